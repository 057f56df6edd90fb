//! The OpenTelemetry Collector in the cluster. In: OTLP to its Service. Out: files that [`crate::spans`] reads.

use std::fs;

use anyhow::Result;
use serde_json::{json, Value as Json};

use crate::api::{self, apply};
use crate::spans;

const NAMESPACE: &str = "collector";
/// For the agent's OTLP over gRPC.
pub const ENDPOINT: &str = "http://collector.collector.svc.cluster.local:4317";

const CONFIGURATION: &str = "
receivers:
  otlp: {protocols: {grpc: {endpoint: 0.0.0.0:4317}, http: {endpoint: 0.0.0.0:4318}}}
exporters:
  file/spans: {path: /out/spans.json, format: json, flush_interval: 20ms}
  file/metrics: {path: /out/metrics.json, format: json, flush_interval: 20ms}
service:
  telemetry: {metrics: {level: none}}
  pipelines:
    traces: {receivers: [otlp], exporters: [file/spans]}
    metrics: {receivers: [otlp], exporters: [file/metrics]}
";

/// Starts it where it does not run, and waits until it does.
pub fn start() -> Result<()> {
    fs::create_dir_all(spans::folder())?;
    apply(&api::list(vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}),
        json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "collector", "namespace": NAMESPACE},
            "data": {"config.yaml": CONFIGURATION},
        }),
        deployment(),
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "collector", "namespace": NAMESPACE},
            "spec": {"selector": {"app": "collector"}, "ports": [
                {"name": "grpc", "port": 4317}, {"name": "http", "port": 4318},
            ]},
        }),
    ]))?;
    api::rolled_out(NAMESPACE, "deployment/collector")
}

fn deployment() -> Json {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "collector", "namespace": NAMESPACE},
        "spec": {
            "replicas": 1,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": {"app": "collector"}},
            "template": {
                "metadata": {"labels": {"app": "collector"}},
                "spec": {
                    "terminationGracePeriodSeconds": 1,
                    "containers": [{
                        "name": "otelcol", "image": "localhost/otelcol:test", "imagePullPolicy": "Never",
                        "args": ["--config=/etc/otelcol/config.yaml"],
                        "readinessProbe": {"tcpSocket": {"port": 4317}, "periodSeconds": 1},
                        "volumeMounts": [
                            {"name": "config", "mountPath": "/etc/otelcol"}, {"name": "out", "mountPath": "/out"},
                        ],
                    }],
                    "volumes": [
                        {"name": "config", "configMap": {"name": "collector"}},
                        {"name": "out", "hostPath": {"path": spans::folder(), "type": "Directory"}},
                    ],
                },
            },
        },
    })
}
