//! The configuration: what wins over what, that all faults are told at once.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use spanlet::config::{Config, ConfigErrors, IoBackend, Query, RawConfig, RawOtlp, RawSelect};
use spanlet::export::otlp::{Compression, Protocol};
use spanlet::export::Output;

/// A file with this text, removed with the value.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("spanlet-config-{}-{name}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        Self(path)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn all() -> RawConfig {
    RawConfig {
        select: RawSelect {
            all: Some(true),
            ..RawSelect::default()
        },
        ..RawConfig::default()
    }
}

fn load(
    file: Option<&File>,
    env: &[(&str, &str)],
    flags: RawConfig,
) -> Result<Config, ConfigErrors> {
    let env: HashMap<&str, &str> = env.iter().copied().collect();
    let path: Option<&Path> = file.map(|file| file.0.as_path());
    Config::load(
        path,
        |name| env.get(name).map(|value| value.to_string()),
        flags,
    )
}

/// Where each fault is.
fn faults(result: Result<Config, ConfigErrors>) -> Vec<String> {
    result
        .unwrap_err()
        .0
        .into_iter()
        .map(|fault| fault.at)
        .collect()
}

#[test]
fn defaults_hold_without_file_and_environment() {
    let config = load(None, &[], all()).unwrap();
    assert_eq!(config.export.output, Output::Text);
    assert_eq!(config.io_backend, IoBackend::Auto);
    assert_eq!(config.query, Query::Redact);
    assert!(config.thread_clocks && config.read_wait && config.select.all);
    assert_eq!(config.socket, Path::new("/run/spanlet.sock"));
    assert_eq!(config.drain_interval.as_millis(), 50);
    assert_eq!(config.export.queue_spans, 16384);
    assert_eq!(config.export.batch_spans, 512);
    assert_eq!(config.export.retry, Default::default());
    assert_eq!(config.export.held, Default::default());
    assert!(config.export.otlp.is_none() && config.metrics.is_none());
}

#[test]
fn flags_win_over_variables_over_file_over_defaults() {
    let text = "batch_spans = 1\nqueue_spans = 100\nbatch_delay_ms = 7\n";
    let file = File::new("order.toml", text);
    let env = [
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "2"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "200"),
    ];
    let flags = RawConfig {
        batch_spans: Some(3),
        ..all()
    };
    let config = load(Some(&file), &env, flags).unwrap();
    assert_eq!(config.export.batch_spans, 3);
    assert_eq!(config.export.queue_spans, 200);
    assert_eq!(config.export.batch_delay.as_millis(), 7);
    let shown = config.to_string();
    let source = |key: &str| {
        let line = shown.lines().find(|line| line.starts_with(key)).unwrap();
        line.split("# ").nth(1).unwrap().to_owned()
    };
    assert_eq!(source("batch_spans"), "flag");
    assert_eq!(source("queue_spans"), "environment");
    assert_eq!(source("batch_delay_ms"), "file");
    assert_eq!(source("drain_interval_ms"), "default");
}

#[test]
fn all_faults_are_told_at_once() {
    let text = "outptu = 'text'\noutput = 'xml'\ndrain_interval_ms = 0\nbatch_spans = -1\nsocket = 'here'\n\
                [select]\npids = [0]\nexec = ['[']\nports = [70000]\n[nothing]\n[otlp]\nendpoint = 'collector'\n\
                client_key = '/nowhere/key.pem'\n[metrics]\ninterval_ms = 1\n";
    let file = File::new("faults.toml", text);
    let env = [
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=%zz"),
    ];
    let mut found = faults(load(Some(&file), &env, RawConfig::default()));
    found.sort();
    let expected = [
        "OTEL_EXPORTER_OTLP_HEADERS",
        "OTEL_EXPORTER_OTLP_PROTOCOL",
        "OTEL_EXPORTER_OTLP_TIMEOUT",
        "batch_spans",
        "drain_interval_ms",
        "metrics.interval_ms",
        "nothing",
        "otlp.client_certificate",
        "otlp.client_key",
        "otlp.endpoint",
        "outptu",
        "output",
        "select.exec",
        "select.pids",
        "select.ports",
        "socket",
    ];
    assert_eq!(found, expected);
}

#[test]
fn faults_of_outputs_do_not_show_secrets() {
    let filed = File::new("bad-headers", "Bearer s3cret=x\n");
    let text = format!(
        "[select]\nall = true\n[otlp]\nheaders = 'authorization=Bearer s3cret'\nendpoint = 's3cret'\n\
         headers_file = {filed:?}\nprotocol = 's3cret'\ntimeout_ms = 's3cret'\n\
         [otlp_traces]\nheaders = {{ 's3cret name' = 'x', a = ['s3cret, expected s3cret'] }}\n",
        filed = filed.0
    );
    let file = File::new("secrets.toml", &text);
    let faults = load(Some(&file), &[], RawConfig::default()).unwrap_err();
    let told = faults.to_string();
    for key in ["otlp.headers:", "otlp.protocol:", "otlp_traces.headers:"] {
        assert!(told.contains(key), "{told}");
    }
    assert!(told.contains("expected a map"), "{told}");
    assert!(!told.contains("s3cret"), "{told}");
}

#[test]
fn faults_say_what_to_do() {
    let errors = load(
        None,
        &[("OTEL_EXPORTER_OTLP_COMPRESSION", "zip")],
        RawConfig::default(),
    );
    let message = errors.unwrap_err().to_string();
    assert_eq!(
        message,
        "the configuration has faults\
         \n  OTEL_EXPORTER_OTLP_COMPRESSION: `zip` is not known; give none or gzip or zstd\
         \n  select: nothing is selected: give --pid, --exec, --port or --all, or the same in the file, or turn on [kubernetes]"
    );
}

#[test]
fn unreadable_and_broken_files_are_faults() {
    let missing = Config::load(Some(Path::new("/nowhere/spanlet.toml")), |_| None, all());
    assert_eq!(faults(missing), ["/nowhere/spanlet.toml"]);
    let file = File::new("broken.toml", "output = 'text'\nquery = \n");
    let at = faults(load(Some(&file), &[], all()));
    assert_eq!(at, [format!("{}, line 2", file.0.display())]);
}

#[test]
fn selecting_flags_replace_the_selection_of_the_file() {
    let file = File::new(
        "select.toml",
        "[select]\nall = true\nexclude_exec = ['sshd']\n",
    );
    let flags = RawConfig {
        select: RawSelect {
            pids: Some(vec![7]),
            ..RawSelect::default()
        },
        ..RawConfig::default()
    };
    let config = load(Some(&file), &[], flags).unwrap();
    assert!(!config.select.all);
    assert_eq!(config.select.pids.len(), 1);
    assert_eq!(config.select.exclude_exec[0].glob(), "sshd");
    assert!(config.to_string().contains("select.all = false"));
}

#[test]
fn http_is_the_protocol_and_paths_are_appended_to_the_common_endpoint_only() {
    let env = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/base/"),
        (
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
            "https://metrics/push",
        ),
    ];
    let config = load(None, &env, all()).unwrap();
    let traces = config.export.otlp.unwrap();
    assert_eq!(traces.protocol, Protocol::HttpProtobuf);
    assert_eq!(traces.endpoint, "http://collector:4318/base/v1/traces");
    assert_eq!(
        config.metrics.unwrap().target.endpoint,
        "https://metrics/push"
    );
}

#[test]
fn the_grpc_port_means_grpc_unless_a_protocol_is_named() {
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317");
    let target = |env: &[(&str, &str)]| load(None, env, all()).unwrap().export.otlp.unwrap();
    let guessed = target(&[endpoint]);
    assert_eq!(guessed.protocol, Protocol::Grpc);
    assert_eq!(guessed.endpoint, "http://collector:4317");
    let named = target(&[endpoint, ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")]);
    assert_eq!(named.endpoint, "http://collector:4317/v1/traces");
}

#[test]
fn insecure_decides_for_grpc_endpoints_without_a_scheme() {
    let target = |insecure: &str| {
        let env = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"),
            ("OTEL_EXPORTER_OTLP_INSECURE", insecure),
        ];
        load(None, &env, all())
            .unwrap()
            .export
            .otlp
            .unwrap()
            .endpoint
    };
    assert_eq!(target("true"), "http://collector:4317");
    assert_eq!(target("FALSE"), "https://collector:4317");
    assert_eq!(target(""), "https://collector:4317");
}

#[test]
fn signal_variables_win_over_common_ones_but_not_over_flags() {
    let env = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://common:4318"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "20"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "30"),
        ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "gzip"),
        (
            "OTEL_EXPORTER_OTLP_HEADERS",
            "authorization=Bearer%20x, b = 2",
        ),
        (
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "http://traces:4318/here",
        ),
    ];
    let config = load(None, &env, all()).unwrap();
    let shown = config.to_string();
    let (traces, metrics) = (config.export.otlp.unwrap(), config.metrics.unwrap().target);
    assert_eq!(traces.timeout.as_millis(), 20);
    assert_eq!(metrics.timeout.as_millis(), 30);
    assert_eq!(traces.compression, Compression::Gzip);
    assert_eq!(metrics.compression, Compression::None);
    let header = |name: &str| {
        let header = traces.headers.iter().find(|header| header.0 == name);
        header.unwrap().1.to_str().unwrap().to_owned()
    };
    assert_eq!(
        (header("authorization"), header("b")),
        ("Bearer x".into(), "2".into())
    );
    assert!(!format!("{traces:?}").contains("Bearer") && !shown.contains("Bearer"));
    let flags = RawConfig {
        otlp: RawOtlp {
            endpoint: Some("http://flag:4318".into()),
            ..RawOtlp::default()
        },
        ..all()
    };
    let config = load(None, &env, flags).unwrap();
    assert_eq!(
        config.export.otlp.unwrap().endpoint,
        "http://flag:4318/v1/traces"
    );
}

#[test]
fn exporters_are_turned_on_and_off_by_the_standard_variables() {
    let on = load(None, &[("OTEL_TRACES_EXPORTER", "otlp")], all()).unwrap();
    assert_eq!(
        on.export.otlp.unwrap().endpoint,
        "http://localhost:4318/v1/traces"
    );
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
    let off = load(None, &[endpoint, ("OTEL_TRACES_EXPORTER", "none")], all()).unwrap();
    assert!(off.export.otlp.is_none());
    let silent = load(None, &[endpoint, ("OTEL_METRICS_EXPORTER", "none")], all()).unwrap();
    assert!(silent.export.otlp.is_some() && silent.metrics.is_none());
}

#[test]
fn passwords_in_endpoints_and_files_without_certificates_are_refused() {
    let file = File::new("empty.pem", "nothing here");
    let path = file.0.display().to_string();
    let env = [
        (
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "https://me:secret@collector",
        ),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", path.as_str()),
    ];
    assert_eq!(
        faults(load(None, &env, all())),
        ["otlp_traces.endpoint", "otlp.certificate"]
    );
}

const POD: &[(&str, &str)] = &[
    ("SPANLET_NODE_NAME", "node-1"),
    ("SPANLET_POD_NAME", "p"),
    ("SPANLET_POD_NAMESPACE", "n"),
];

#[test]
fn kubernetes_is_asked_where_there_is_a_way() {
    let kubeconfig = File::new("k8s", "[kubernetes]\nkubeconfig = \"/k\"\npods_max = 7\n");
    let config = load(Some(&kubeconfig), POD, RawConfig::default()).unwrap();
    let kubernetes = config.kubernetes.unwrap();
    assert_eq!(kubernetes.node_name, "node-1");
    assert_eq!(kubernetes.own, Some(("n".into(), "p".into())));
    assert_eq!(kubernetes.label, "spanlet.dev/trace");
    assert_eq!(kubernetes.exclude_namespaces, ["kube-system"]);
    assert_eq!(kubernetes.limits.pods, 7);
    assert!(!kubernetes.cluster_pods && !kubernetes.well_known_labels);
    // Without a node's name it is off, and so without a way.
    assert!(load(Some(&kubeconfig), &[], all())
        .unwrap()
        .kubernetes
        .is_none());
    assert!(load(None, POD, all()).unwrap().kubernetes.is_none());
    assert_eq!(faults(load(None, POD, RawConfig::default())), ["select"]);
    let off = File::new(
        "k8s-off",
        "[kubernetes]\nenabled = false\nkubeconfig = \"/k\"\n",
    );
    assert!(load(Some(&off), POD, all()).unwrap().kubernetes.is_none());
    let on = File::new("k8s-on", "[kubernetes]\nenabled = true\n");
    assert_eq!(
        faults(load(Some(&on), &[], RawConfig::default())),
        ["kubernetes.node_name", "kubernetes.enabled"]
    );
}

#[test]
fn all_faults_of_kubernetes_are_told_at_once() {
    let text = r#"[kubernetes]
label = "not a label"
select_pods = ["app=shop", "app in (a", ""]
select_workloads = ["shop/web", "shop/Deployment/[", "shop/*/*"]
pod_labels = ["tier", "a b"]
pods_max = 0
nodename = "x"
"#;
    let file = File::new("k8s-bad", text);
    assert_eq!(
        faults(load(Some(&file), &[], all())),
        [
            "kubernetes.nodename",
            "kubernetes.label",
            "kubernetes.select_pods",
            "kubernetes.select_pods",
            "kubernetes.select_workloads",
            "kubernetes.select_workloads",
            "kubernetes.pod_labels",
            "kubernetes.pods_max",
        ]
    );
}

#[test]
fn selectors_and_workloads_are_read_at_load() {
    let text = r#"[kubernetes]
kubeconfig = "/k"
select_pods = ["app in (shop, cart),!canary"]
select_workloads = ["shop/deployment/*"]
"#;
    let file = File::new("k8s-select", text);
    let config = load(Some(&file), POD, RawConfig::default()).unwrap();
    let kubernetes = config.kubernetes.unwrap();
    assert_eq!(
        kubernetes.select_pods[0].to_string(),
        "app in (cart,shop),!canary"
    );
    let glob = &kubernetes.select_workloads[0];
    assert!(glob.is_match("shop/Deployment/web") && !glob.is_match("shop/Job/x"));
}

const GO_COLUMNS: &str = "release runtime.g.goid net/http.persistConn.conn net.netFD.pfd.Sysfd \
                          net.netFD.family net.netFD.sotype";

/// A file that names the table, by its path.
fn with_go_offsets(table: &File) -> RawConfig {
    RawConfig {
        go_offsets: Some(table.0.clone()),
        ..all()
    }
}

#[test]
fn a_table_of_go_offsets_is_read_with_the_configuration_and_watched() {
    let table = File::new("go", &format!("{GO_COLUMNS}\n1.99 168 80 16 56 64\n"));
    let config = load(None, &[], with_go_offsets(&table)).unwrap();
    assert_eq!(config.files, std::slice::from_ref(&table.0));
    let path = table.0.to_str().unwrap();
    let by_variable = load(None, &[("SPANLET_GO_OFFSETS", path)], all()).unwrap();
    for config in [config, by_variable] {
        let releases = config.go_releases;
        assert_eq!(releases.file(), Some(table.0.as_path()));
        assert!(releases.of("1.99.3").is_some());
    }
    let without = load(None, &[], all()).unwrap().go_releases;
    assert!(without.of("1.99.3").is_none() && without.of("1.26.8").is_some());
}

#[test]
fn a_table_of_go_offsets_that_is_broken_is_told_with_its_line() {
    let table = File::new("go-bad", &format!("# mine\n{GO_COLUMNS}\n1.99 168 80\n"));
    let place = format!("{}, line 3", table.0.display());
    assert_eq!(faults(load(None, &[], with_go_offsets(&table))), [place]);
    let absent = RawConfig {
        go_offsets: Some("/nonexistent".into()),
        ..all()
    };
    assert_eq!(faults(load(None, &[], absent)), ["go_offsets"]);
}
