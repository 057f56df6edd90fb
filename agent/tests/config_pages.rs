//! The pages written from the table of keys: that they are fresh, and say the same as the code.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use spanlet::config::{
    fields, IoBackend, Query, RawConfig, RawHealth, RawKubernetes, RawMetrics, RawOtlp, RawSelect,
};
use spanlet::export::otlp::{Compression, Protocol};
use spanlet::export::Output;

#[test]
fn the_example_says_the_same_as_no_file() {
    let text = std::fs::read_to_string(deploy("spanlet.toml")).unwrap();
    let example: toml::Table = text.parse().unwrap();
    let defaults: toml::Table = fields::defaults().parse().unwrap();
    assert_eq!(example, defaults);
    // The keys without a default are commented out; their examples must be right, too.
    let whole: String = text
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(example)
                if fields::FIELDS.iter().any(|field| {
                    !field.example.is_empty()
                        && example == format!("{} = {}", field.name(), field.example)
                }) =>
            {
                example
            }
            _ => line,
        })
        .flat_map(|line| [line, "\n"])
        .collect();
    toml::from_str::<RawConfig>(&whole).unwrap();
    assert!(whole.contains("\nendpoint = "));
}

/// To write them anew: `SPANLET_WRITE=1 cargo test -p spanlet --test config_pages`.
#[test]
fn written_pages_are_fresh() {
    let pages = [
        ("config-reference.md", fields::reference()),
        ("spanlet.toml", fields::example()),
    ];
    for (name, text) in pages {
        if std::env::var_os("SPANLET_WRITE").is_some() {
            std::fs::write(deploy(name), &text).unwrap();
        }
        let written = std::fs::read_to_string(deploy(name)).unwrap_or_default();
        assert!(
            written == text,
            "deploy/{name} is stale: run SPANLET_WRITE=1 cargo test -p spanlet --test config_pages"
        );
    }
}

/// Each key of the table is one that a file may have, and the other way round.
#[test]
fn the_table_has_every_key() {
    let mut listed = BTreeSet::new();
    for field in fields::FIELDS {
        listed.insert(field.key.to_owned());
    }
    let all_some = RawConfig {
        output: Some(Output::Json),
        io_backend: Some(IoBackend::Auto),
        thread_clocks: Some(true),
        read_wait: Some(true),
        query: Some(Query::Drop),
        socket: Some("/s".into()),
        go_offsets: Some("/g".into()),
        drain_interval_ms: Some(1),
        queue_spans: Some(1),
        batch_spans: Some(1),
        batch_delay_ms: Some(1),
        retry_tries_max: Some(1),
        retry_time_max_ms: Some(1),
        held_spans: Some(1),
        trace_quiet_ms: Some(1),
        select: RawSelect {
            pids: Some(vec![]),
            exec: Some(vec![]),
            ports: Some(vec![]),
            all: Some(true),
            exclude_exec: Some(vec![]),
        },
        otlp: RawOtlp {
            enabled: Some(true),
            endpoint: Some(String::new()),
            protocol: Some(Protocol::Grpc),
            headers: Some(Default::default()),
            headers_file: Some("/h".into()),
            timeout_ms: Some(1),
            compression: Some(Compression::Gzip),
            certificate: Some("/c".into()),
            client_certificate: Some("/c".into()),
            client_key: Some("/k".into()),
            insecure: Some(true),
        },
        otlp_traces: RawOtlp::default(),
        otlp_metrics: RawOtlp::default(),
        metrics: RawMetrics {
            enabled: Some(true),
            interval_ms: Some(1),
        },
        health: RawHealth {
            listen: Some(String::new()),
        },
        kubernetes: RawKubernetes {
            enabled: Some(true),
            node_name: Some(String::new()),
            pod_name: Some(String::new()),
            pod_namespace: Some(String::new()),
            kubeconfig: Some("/k".into()),
            cluster_name: Some(String::new()),
            environment: Some(String::new()),
            label: Some(String::new()),
            exclude_namespaces: Some(vec![]),
            select_pods: Some(vec![]),
            select_workloads: Some(vec![]),
            pod_labels: Some(vec![]),
            pod_annotations: Some(vec![]),
            well_known_labels: Some(true),
            cluster_pods: Some(true),
            pods_max: Some(1),
            namespaces_max: Some(1),
            services_max: Some(1),
            cluster_pods_max: Some(1),
        },
    };
    let table = toml::Table::try_from(all_some).unwrap();
    let keys = table.iter().flat_map(|(key, value)| match value {
        toml::Value::Table(section) => section.keys().map(|name| format!("{key}.{name}")).collect(),
        _ => vec![key.clone()],
    });
    assert_eq!(keys.collect::<BTreeSet<_>>(), listed);
}

fn deploy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../deploy")
        .join(name)
}
