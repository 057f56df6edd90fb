//! The agent's own metrics: the table, the OTLP message, and that the newest numbers reach a collector.

mod export_support;

use std::collections::HashSet;
use std::time::Duration;

use export_support::collector::{Answer, Collector};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use prost::Message;
use spanlet::clock::WallClock;
use spanlet::config::Metrics;
use spanlet::export::otlp::{Compression, Protocol, Target};
use spanlet::export::{Counts, OutputCounts, Reason};
use spanlet::pods::{
    self,
    status::{KindStatus, State, Status},
};
use spanlet::telemetry::{otlp, own_resource, Id, Reporter, Snapshot, METRICS};

const LONG: Duration = Duration::from_secs(60);

fn message(snapshot: &Snapshot) -> ExportMetricsServiceRequest {
    otlp(
        snapshot,
        &own_resource(None),
        WallClock(100),
        WallClock(200),
    )
}

#[test]
fn names_are_unique_and_each_id_has_its_row() {
    let names: HashSet<_> = METRICS.iter().map(|metric| metric.name).collect();
    assert_eq!(names.len(), METRICS.len());
    for metric in METRICS {
        assert_eq!(metric.id.metric().name, metric.name);
        assert!(metric.meaning.ends_with('.'));
    }
}

#[test]
fn a_snapshot_becomes_sums_and_gauges() {
    let mut snapshot = Snapshot::default();
    snapshot.add_one(Id::KernelLosses, "ring_full", 3.0);
    snapshot.add_one(Id::KernelLosses, "map_full", 4.0);
    snapshot.add(Id::DecodeHeld, 25.0);
    let message = message(&snapshot);
    let metrics = &message.resource_metrics[0].scope_metrics[0].metrics;
    assert_eq!(metrics.len(), 2);
    let Some(Data::Sum(sum)) = &metrics[0].data else {
        panic!("losses are a sum")
    };
    assert!(sum.is_monotonic && sum.aggregation_temporality == 2);
    assert_eq!(metrics[0].name, "spanlet.kernel.losses");
    let point = &sum.data_points[1];
    assert_eq!(
        (point.start_time_unix_nano, point.time_unix_nano),
        (100, 200)
    );
    assert_eq!(point.attributes[0].key, "reason");
    assert_eq!(point.value, Some(Value::AsInt(4)));
    let Some(Data::Gauge(gauge)) = &metrics[1].data else {
        panic!("what is held is a gauge")
    };
    assert_eq!(gauge.data_points[0].value, Some(Value::AsInt(25)));
}

#[test]
fn every_count_of_the_export_room_is_a_number() {
    let mut snapshot = Snapshot::default();
    snapshot.add_export(&Counts {
        otlp: Some(OutputCounts::default()),
        terminal: None,
    });
    // Accepted, delivered, waiting and each reason, of the one output that is on.
    assert_eq!(snapshot.0.len(), 3 + Reason::ALL.len());
    let dropped = snapshot
        .0
        .iter()
        .filter(|sample| sample.id == Id::ExportDropped);
    assert!(dropped
        .into_iter()
        .all(|sample| sample.labels.len() == 2 && sample.labels[0] == "otlp"));
}

#[test]
fn the_agent_measures_itself() {
    let mut snapshot = Snapshot::default();
    snapshot.add_own_usage();
    let of = |id| snapshot.0.iter().filter(move |sample| sample.id == id);
    assert!(of(Id::MemoryUsage).all(|sample| sample.number > 100_000.0));
    assert_eq!(
        (of(Id::MemoryUsage).count(), of(Id::CpuTime).count()),
        (1, 2)
    );
    let names: Vec<_> = own_resource(None)
        .attributes
        .iter()
        .map(|a| a.key.to_string())
        .collect();
    assert!(
        names.contains(&"host.name".to_owned())
            && own_resource(None).text("service.name") == Some("spanlet")
    );
}

#[tokio::test]
async fn reports_reach_the_collector_and_failures_are_counted() {
    let collector = Collector::http(vec![Answer::Status(503, ""), Answer::Take]).await;
    let config = Metrics {
        target: Target {
            endpoint: format!("http://{}/v1/metrics", collector.address),
            protocol: Protocol::HttpProtobuf,
            headers: vec![],
            timeout: LONG,
            compression: Compression::Gzip,
            certificate: None,
            client: None,
        },
        interval: LONG,
        kubernetes: None,
    };
    let reporter = Reporter::start(&config, WallClock(1)).unwrap();
    reporter.report(Snapshot::default(), WallClock(2));
    collector.wait(|seen| seen.headers.len() == 1).await;
    // The failure is counted once its answer was read.
    let mut failed = 0;
    for _ in 0..10_000 {
        reporter.report(Snapshot::default(), WallClock(3));
        tokio::time::sleep(Duration::from_millis(1)).await;
        failed = collector.look(|seen| seen.bodies.last().map_or(0, |body| failures(body)));
        if failed > 0 {
            break;
        }
    }
    assert_eq!(failed, 1);
    reporter.shutdown(LONG).await;
}

fn failures(body: &[u8]) -> i64 {
    let message = ExportMetricsServiceRequest::decode(body).unwrap();
    let metrics = &message.resource_metrics[0].scope_metrics[0].metrics;
    let failed = metrics
        .iter()
        .find(|metric| metric.name == "spanlet.metrics.failed");
    match failed.and_then(|metric| metric.data.as_ref()) {
        Some(Data::Sum(sum)) => match sum.data_points[0].value {
            Some(Value::AsInt(number)) => number,
            _ => -1,
        },
        _ => -1,
    }
}

#[tokio::test]
async fn the_shutdown_sends_the_last_report() {
    let collector = Collector::http(vec![]).await;
    let config = Metrics {
        target: Target {
            endpoint: format!("http://{}/v1/metrics", collector.address),
            protocol: Protocol::HttpProtobuf,
            headers: vec![],
            timeout: LONG,
            compression: Compression::None,
            certificate: None,
            client: None,
        },
        interval: LONG,
        kubernetes: None,
    };
    let reporter = Reporter::start(&config, WallClock(1)).unwrap();
    reporter.report(Snapshot::default(), WallClock(2));
    reporter.shutdown(LONG).await;
    assert_eq!(collector.look(|seen| seen.bodies.len()), 1);
    assert_eq!(collector.look(|seen| seen.paths[0].clone()), "/v1/metrics");
}

#[test]
fn in_a_pod_the_agent_says_where_it_is() {
    let config = pods::Config {
        node_name: "node-1".into(),
        own: Some(("spanlet".into(), "spanlet-x".into())),
        ..pods::Config::default()
    };
    let resource = own_resource(Some(&config));
    for (key, value) in [
        ("host.name", "node-1"),
        ("k8s.node.name", "node-1"),
        ("k8s.namespace.name", "spanlet"),
        ("k8s.pod.name", "spanlet-x"),
    ] {
        assert_eq!(resource.text(key), Some(value));
    }
}

#[test]
fn following_the_api_server_is_measured() {
    let kind = |kind: &str, state| KindStatus {
        kind: kind.into(),
        state,
        objects: 7,
        errors: vec![("forbidden".into(), 3)],
        ..KindStatus::default()
    };
    let failing = State::Failing {
        since: 0,
        error: "no".into(),
    };
    let mut snapshot = Snapshot::default();
    snapshot.add_kubernetes(&Status {
        kinds: vec![kind("pods", State::Following), kind("services", failing)],
    });
    let of = |id, labels: &[&str]| {
        let mut samples = snapshot.0.iter();
        let sample = samples.find(|sample| sample.id == id && sample.labels == labels);
        sample.map(|sample| sample.number)
    };
    assert_eq!(of(Id::KubernetesFollowed, &["pods"]), Some(1.0));
    assert_eq!(of(Id::KubernetesFollowed, &["services"]), Some(0.0));
    assert_eq!(of(Id::KubernetesErrors, &["pods", "forbidden"]), Some(3.0));
    assert_eq!(of(Id::KubernetesObjects, &["pods"]), Some(7.0));
}
