//! Every key with its default, its variable and its meaning: the one place that checks, the reference page and the
//! example file are made from. Pure.

use std::fmt::Write;

/// A key of the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Section and name: `select.pids`; names without a section stand at the top of the file.
    pub key: &'static str,
    /// As TOML; empty where there is none.
    pub default: &'static str,
    /// An example as TOML, for keys without a default.
    pub example: &'static str,
    /// The environment variable, if any. For `otlp.*`, the end of `OTEL_EXPORTER_OTLP_…`.
    pub variable: &'static str,
    pub meaning: &'static str,
}

/// The default of `socket`, also for who asks.
pub const SOCKET: &str = "/run/spanlet.sock";

const fn field(
    key: &'static str,
    default: &'static str,
    variable: &'static str,
    meaning: &'static str,
) -> Field {
    Field {
        key,
        default,
        example: "",
        variable,
        meaning,
    }
}

const fn optional(
    key: &'static str,
    example: &'static str,
    variable: &'static str,
    meaning: &'static str,
) -> Field {
    Field {
        key,
        default: "",
        example,
        variable,
        meaning,
    }
}

/// Sections whose keys also exist for one signal: `[otlp_traces]` and `[otlp_metrics]` have the keys of `[otlp]`.
pub const SIGNALS: [(&str, &str); 2] = [("otlp_traces", "TRACES_"), ("otlp_metrics", "METRICS_")];

/// In the order of the reference page: keys without a section first, as TOML wants it.
pub const FIELDS: &[Field] = &[
    field("output", r#""text""#, "",
        "What is written to standard output: `text` (each trace as a waterfall when it is complete), `lines` (each span as it finishes), `json` (one object a span) or `none`."),
    field("io_backend", r#""auto""#, "",
        "How bytes on sockets are seen: `auto` (the cheapest that the kernel allows), `socket-tracepoints` or `sys-exit`."),
    field("thread_clocks", "true", "",
        "CPU time and run-queue wait of the serving thread on server spans. `false` saves reading two kernel counters at each event."),
    field("read_wait", "true", "",
        "How long a request's first bytes waited before they were read, on server spans. `false` saves one probe."),
    field("query", r#""redact""#, "",
        "What becomes of a URL's query: `redact` (names kept, values replaced), `keep` (may hold secrets) or `drop`."),
    field("socket", r#""/run/spanlet.sock""#, "SPANLET_SOCKET",
        "The Unix socket where `spanlet probes` asks the running agent; only root may connect. Its folder is made if it is missing."),
    optional("go_offsets", r#""/etc/spanlet/go-offsets.txt""#, "SPANLET_GO_OFFSETS",
        "A file of offsets of Go's releases, in the form of the agent's own `agent/src/attach/golang/offsets.txt`, whose lines win over that table's and over what programs say of themselves: so a release that is newer than the agent is known in programs without debug information, too. `cargo xtask go-offsets --go GO` prints them for a toolchain, `spanlet go-offsets PROGRAM` for one that built a program with it. Looked at each second."),
    field("drain_interval_ms", "50", "",
        "How often the ring buffer is emptied, 1 to 1000 ms, besides when it is a quarter full; while nothing is going on, every 100 ms at least. Longer costs less CPU and fills the ring more."),
    field("queue_spans", "16384", "OTEL_BSP_MAX_QUEUE_SIZE",
        "Spans that wait for each output at most, 1 to 1048576, about 0.6 KB each: as many as a full ring buffer holds. More are dropped and counted as `queue_full`."),
    field("batch_spans", "512", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
        "Spans in one OTLP request at most; not more than `queue_spans`."),
    field("batch_delay_ms", "1000", "OTEL_BSP_SCHEDULE_DELAY",
        "How long a span waits at most for its OTLP request to fill, up to 60000 ms."),
    field("retry_tries_max", "5", "",
        "How often one OTLP request is tried, 1 to 100, before its spans are dropped and counted as `retries_exhausted`."),
    field("retry_time_max_ms", "60000", "",
        "How long after its first try an OTLP request may be tried again, up to 3600000 ms."),
    field("held_spans", "8192", "",
        "`output = \"text\"`: spans held until their trace is complete, 1 to 1048576. With more, the trace that was quiet for longest is shown as it is."),
    field("trace_quiet_ms", "2500", "",
        "`output = \"text\"`: a complete trace is shown when no span of it came for so long, 1 to 60000 ms. A span can wait 2 seconds until its parent is believed."),
    field("select.pids", "[]", "",
        "Processes to trace, by number."),
    field("select.exec", "[]", "",
        "Executables to trace: globs on the path; a glob without a slash is compared with the last part of the path."),
    field("select.ports", "[]", "",
        "Processes to trace: those that listen on one of these TCP ports."),
    field("select.all", "false", "",
        "Trace every process. One of `pids`, `exec`, `ports` and `all` is needed, here or as flags; flags that select replace all four."),
    field("select.exclude_exec", "[]", "",
        "Executables not to trace, as in `exec`, whatever else selects them."),
    optional("otlp.enabled", "true", "",
        "Send spans by OTLP. Unset: when an endpoint is set. `OTEL_TRACES_EXPORTER` sets it: `otlp` or `none`."),
    optional("otlp.endpoint", r#""http://localhost:4318""#, "ENDPOINT",
        "The collector: `http` or `https` URL. HTTP appends `v1/traces` and `v1/metrics`; in `[otlp_traces]` and `[otlp_metrics]` it is used as it is. Unset but enabled: `http://localhost:4318`, for gRPC `http://localhost:4317`."),
    optional("otlp.protocol", r#""http/protobuf""#, "PROTOCOL",
        "`grpc` or `http/protobuf`. Unset: `http/protobuf`, but `grpc` where the endpoint's port is 4317."),
    field("otlp.headers", "{}", "HEADERS",
        "Sent with each request: a table of texts. As a variable: `name=value,…`, values percent-encoded."),
    optional("otlp.headers_file", r#""/etc/spanlet/headers""#, "SPANLET_OTLP_HEADERS_FILE",
        "A file of more of them, a line `name=value` each, as it is; an empty line or one that begins with # says nothing. For secrets; it wins over `headers`, and is looked at each second, as the certificates are."),
    field("otlp.timeout_ms", "10000", "TIMEOUT",
        "How long one try may take, 1 to 600000 ms."),
    field("otlp.compression", r#""none""#, "COMPRESSION",
        "`none`, `gzip` or `zstd`. Of 1000 spans of a small function, 710 KB go out as they are, 54 KB by gzip and 38 KB by zstd; see the README for what that costs. The specification wants only gzip of a collector; OpenTelemetry's takes zstd too."),
    optional("otlp.certificate", r#""/etc/spanlet/ca.pem""#, "CERTIFICATE",
        "PEM file of certificates to trust besides the well-known roots."),
    optional("otlp.client_certificate", r#""/etc/spanlet/client.pem""#, "CLIENT_CERTIFICATE",
        "PEM file of the certificate to show to a collector that asks for one; needs `client_key`."),
    optional("otlp.client_key", r#""/etc/spanlet/client.key""#, "CLIENT_KEY",
        "PEM file of the key of `client_certificate`."),
    field("otlp.insecure", "false", "INSECURE",
        "gRPC: an endpoint without `http` or `https` is reached without TLS."),
    field("metrics.enabled", "true", "OTEL_METRICS_EXPORTER",
        "Send the agent's own metrics where OTLP is on. As a variable: `otlp` or `none`."),
    field("metrics.interval_ms", "60000", "OTEL_METRIC_EXPORT_INTERVAL",
        "How often, 1000 to 3600000 ms."),
    optional("health.listen", r#""0.0.0.0:9464""#, "SPANLET_HEALTH_LISTEN",
        "Address and port where `/livez` (the agent's loop turns) and `/readyz` (it has seen a request of its own to itself) are answered over HTTP, and `/metrics` for Prometheus. Unset: nowhere."),
    optional("kubernetes.enabled", "true", "",
        "Ask the API server whose pods are traced and what they are called; then nothing else has to be selected. Unset: when `node_name` is set and there is a `kubeconfig` or, in a pod, a service account."),
    optional("kubernetes.node_name", r#""node-1""#, "SPANLET_NODE_NAME",
        "This node, as the API server calls it. The chart sets the variable."),
    optional("kubernetes.pod_name", r#""spanlet-x7k2p""#, "SPANLET_POD_NAME",
        "The agent's own pod, which is never traced. The chart sets the variable."),
    optional("kubernetes.pod_namespace", r#""spanlet""#, "SPANLET_POD_NAMESPACE",
        "Its namespace. The chart sets the variable."),
    optional("kubernetes.kubeconfig", r#""/etc/spanlet/kubeconfig""#, "",
        "How the API server is reached. Unset: by the service account of the agent's pod."),
    optional("kubernetes.cluster_name", r#""europe-1""#, "",
        "`k8s.cluster.name` of spans. `k8s.cluster.uid` is told in any case."),
    optional("kubernetes.environment", r#""production""#, "",
        "`deployment.environment.name` of spans."),
    field("kubernetes.label", r#""spanlet.dev/trace""#, "",
        "The label of a namespace that has its pods traced, with the value `enabled`. The annotation of that name on a pod, or else the label, wins over the namespace: `enabled` or `disabled`. Other values are told in `spanlet probes` and count as not set."),
    field("kubernetes.exclude_namespaces", r#"["kube-system"]"#, "",
        "Namespaces whose pods are never traced, whatever their labels and annotations say."),
    field("kubernetes.select_pods", "[]", "",
        "Pods to trace as well: those that one of these label selectors matches, each as for `kubectl get pods -l`."),
    field("kubernetes.select_workloads", "[]", "",
        "Pods to trace as well: globs on `NAMESPACE/KIND/NAME` of the pod, of what made it and of what owns that, such as `shop/Deployment/*`."),
    field("kubernetes.pod_labels", "[]", "",
        "Labels of pods that their spans tell, as `k8s.pod.label.KEY`."),
    field("kubernetes.pod_annotations", "[]", "",
        "Annotations of pods that their spans tell, as `k8s.pod.annotation.KEY`."),
    field("kubernetes.well_known_labels", "false", "",
        "Name services by the pod labels `app.kubernetes.io/instance`, `/name` and `/version`, before their workload's name."),
    field("kubernetes.cluster_pods", "false", "",
        "Follow the pods of all nodes, so that calls to their addresses name the service. Each agent then receives every change of every pod."),
    field("kubernetes.pods_max", "1024", "",
        "Pods of this node that are kept, 1 to 100000, about 4 KB each. Further ones are not traced; `spanlet.kubernetes.dropped` counts what is not kept, here and below."),
    field("kubernetes.namespaces_max", "10000", "",
        "Namespaces that are kept, 1 to 1000000, about 100 bytes each. The labels of further ones are not known."),
    field("kubernetes.services_max", "20000", "",
        "Addresses of services that are kept, 1 to 1000000, about 250 bytes each. Calls to further ones do not name the service."),
    field("kubernetes.cluster_pods_max", "50000", "",
        "Addresses of pods of all nodes that are kept, 1 to 1000000, about 250 bytes each. Calls to further ones do not name the service."),
];

impl Field {
    /// `select` of `select.pids`; empty for keys without a section.
    pub fn section(&self) -> &'static str {
        self.key.split_once('.').map_or("", |(section, _)| section)
    }

    pub fn name(&self) -> &'static str {
        self.key.split_once('.').map_or(self.key, |(_, name)| name)
    }

    /// The whole name of its variable, for a signal (`TRACES_`, `METRICS_`) or for all (empty).
    pub fn variable(&self, signal: &str) -> String {
        match (self.section(), self.variable) {
            (_, "") => String::new(),
            // The agent's own, which is for all signals.
            (_, name) if name.starts_with("SPANLET_") && !signal.is_empty() => String::new(),
            ("otlp", end) if !end.starts_with("SPANLET_") => {
                format!("OTEL_EXPORTER_OTLP_{signal}{end}")
            }
            (_, name) => name.to_owned(),
        }
    }
}

/// The defaults as a TOML file.
pub fn defaults() -> String {
    file(|field, text| match field.default {
        "" => Ok(()),
        default => writeln!(text, "{} = {default}", field.name()),
    })
}

/// `deploy/spanlet.toml`: every key with its meaning; says the same as an empty file.
pub fn example() -> String {
    let body = file(|field, text| {
        writeln!(text, "\n# {}", wrapped(field.meaning, "\n# "))?;
        match field.default {
            "" => writeln!(text, "# {} = {}", field.name(), field.example),
            default => writeln!(text, "{} = {default}", field.name()),
        }
    });
    format!(
        "# Spanlet's configuration: each key with its default, those without one as an example behind a #.\n\
         # Written by the agent's tests from its table of keys; see config-reference.md.\n{body}"
    )
}

/// `deploy/config-reference.md`.
pub fn reference() -> String {
    let mut page = String::from(
        "# Configuration reference\n\n\
         Written by the agent's tests from its table of keys: change the table, not this page.\n\n\
         Flags win over `OTEL_*` variables, those over the file, and the file over the defaults. Unknown keys and \
         bad values are refused, all of them at once: `spanlet check-config FILE` prints them, or every setting \
         with where it came from.\n\n\
         `[otlp_traces]` and `[otlp_metrics]` have the keys of `[otlp]` except `enabled`, for one signal only, and \
         win over it; their variables are `OTEL_EXPORTER_OTLP_TRACES_…` and `OTEL_EXPORTER_OTLP_METRICS_…`.\n\n\
         | key | default | variable | meaning |\n|---|---|---|---|\n",
    );
    for field in FIELDS {
        let quoted = |text: &str| match text {
            "" => String::new(),
            text => format!("`{text}`"),
        };
        page.push_str(&format!(
            "| `{}` | {} | {} | {} |\n",
            field.key,
            quoted(field.default),
            quoted(&field.variable("")),
            field.meaning
        ));
    }
    page
}

/// A TOML file with each section's header where the section begins.
fn file(mut entry: impl FnMut(&Field, &mut String) -> std::fmt::Result) -> String {
    let mut text = String::new();
    let mut section = "";
    for field in FIELDS {
        if field.section() != section {
            section = field.section();
            text.push_str(&format!("\n[{section}]\n"));
        }
        // Writing to a string does not fail.
        let _ = entry(field, &mut text);
    }
    text
}

fn wrapped(text: &str, line_break: &str) -> String {
    let mut lines = String::new();
    let mut column = 0;
    for word in text.split(' ') {
        if column + word.len() > 110 {
            lines.push_str(line_break);
            column = 0;
        } else if column > 0 {
            lines.push(' ');
        }
        lines.push_str(word);
        column += word.len() + 1;
    }
    lines
}
