//! The OTLP output against real servers that take what they are sent: what arrives, in which shape.

mod export_support;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use export_support::checkout;
use export_support::collector::{Authority, Collector};
use export_support::otlp::{config, deliver, spans, target, LONG};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use spanlet::export::otlp::{ClientIdentity, Compression, Pem, Protocol};
use spanlet::export::{Exporter, Reason};

#[tokio::test]
async fn spans_arrive_by_both_protocols_grouped_by_process() {
    for protocol in [Protocol::Grpc, Protocol::HttpProtobuf] {
        let collector = match protocol {
            Protocol::Grpc => Collector::grpc(vec![]).await,
            Protocol::HttpProtobuf => Collector::http(vec![]).await,
        };
        let mut config = config(target(&collector, protocol));
        config.batch_spans = 512;
        let counts = deliver(config, checkout()).await;
        assert_eq!(counts.delivered, 5);
        let request = collector.look(|seen| seen.requests[0].clone());
        let mut services = BTreeMap::new();
        for of_process in &request.resource_spans {
            let scope = &of_process.scope_spans[0];
            assert_eq!(scope.scope.as_ref().unwrap().name, "spanlet");
            assert!(scope
                .schema_url
                .starts_with("https://opentelemetry.io/schemas/1."));
            let attribute = &of_process.resource.as_ref().unwrap().attributes[0];
            assert_eq!(attribute.key, "service.name");
            let Some(Value::StringValue(name)) = attribute.value.clone().unwrap().value else {
                panic!("service.name is text")
            };
            services.insert(name, scope.spans.len());
        }
        let expected = [("cart", 1), ("gateway", 3), ("payments", 1)];
        assert_eq!(
            services,
            expected
                .map(|(name, spans)| (name.to_owned(), spans))
                .into()
        );
    }
}

#[tokio::test]
async fn another_collector_gets_what_comes_later_and_the_first_what_it_was_given() {
    let (first, second) = (Collector::http(vec![]).await, Collector::http(vec![]).await);
    let at = |collector: &Collector| config(target(collector, Protocol::HttpProtobuf));
    let mut exporter = Exporter::start(at(&first)).unwrap();
    exporter.offer(spans(3));
    exporter.reconfigure(at(&second), LONG).unwrap();
    exporter.offer(spans(2));
    first.wait(|seen| seen.spans() == 3).await;
    second.wait(|seen| seen.spans() == 2).await;
    // Sums go on, also while the first is still acknowledging.
    let delivered = || exporter.counts().otlp.unwrap().delivered;
    let all = async {
        while delivered() < 5 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(LONG, all).await.unwrap();
    assert_eq!(exporter.counts().otlp.unwrap().accepted, 5);
}

#[tokio::test]
async fn outputs_that_cannot_be_set_up_leave_those_that_are_there() {
    let collector = Collector::http(vec![]).await;
    let good = config(target(&collector, Protocol::HttpProtobuf));
    let mut exporter = Exporter::start(good.clone()).unwrap();
    let mut bad = good;
    bad.otlp.as_mut().unwrap().certificate = Some(Pem {
        path: PathBuf::from("ca.pem"),
        bytes: b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_vec(),
    });
    assert!(exporter.reconfigure(bad, LONG).is_err());
    exporter.offer(spans(2));
    let counts = exporter.shutdown(LONG).await.otlp.unwrap();
    assert_eq!(counts.delivered, 2);
}

#[tokio::test]
async fn a_span_is_written_as_otlp_has_it() {
    let collector = Collector::grpc(vec![]).await;
    let mut failed = checkout().remove(2);
    failed.trace_state = Some("vendor=1".into());
    deliver(
        config(target(&collector, Protocol::Grpc)),
        vec![failed.clone()],
    )
    .await;
    let request = collector.look(|seen| seen.requests[0].clone());
    let span = request.resource_spans[0].scope_spans[0].spans[0].clone();
    assert_eq!(span.trace_id, [7; 16]);
    assert_eq!(span.span_id, [0, 0, 0, 0, 0, 0, 0, 5]);
    assert_eq!(span.parent_span_id, [0, 0, 0, 0, 0, 0, 0, 4]);
    assert_eq!(span.trace_state, "vendor=1");
    // Sampled, and the parent is known to be remote.
    assert_eq!(span.flags, 0x301);
    assert_eq!((span.name.as_str(), span.kind), ("POST /charge", 2));
    assert_eq!(span.start_time_unix_nano, failed.started().0);
    assert_eq!(span.end_time_unix_nano, failed.ended().0);
    assert_eq!(span.status.unwrap().code, 2);
    assert_eq!(span.attributes.len(), failed.attributes().len());
    let code = span.attributes.iter();
    let mut code = code.filter(|attribute| attribute.key == "http.response.status_code");
    let code = code.next().unwrap();
    assert_eq!(
        code.value.clone().unwrap().value,
        Some(Value::IntValue(503))
    );
}

#[tokio::test]
async fn headers_and_compressed_bodies_are_sent_by_both_protocols() {
    for (protocol, compression) in [
        (Protocol::Grpc, Compression::Gzip),
        (Protocol::Grpc, Compression::Zstd),
        (Protocol::HttpProtobuf, Compression::Gzip),
        (Protocol::HttpProtobuf, Compression::Zstd),
    ] {
        let collector = match protocol {
            Protocol::Grpc => Collector::grpc(vec![]).await,
            Protocol::HttpProtobuf => Collector::http(vec![]).await,
        };
        let mut target = target(&collector, protocol);
        let header = ("x-tenant".parse().unwrap(), "a b".parse().unwrap());
        target.headers = vec![header];
        target.compression = compression;
        assert_eq!(deliver(config(target), spans(3)).await.delivered, 3);
        let headers = collector.look(|seen| seen.headers[0].clone());
        assert_eq!(headers["x-tenant"], "a b");
        assert!(headers["user-agent"].starts_with("spanlet/"));
        let encoding = match protocol {
            Protocol::Grpc => "grpc-encoding",
            Protocol::HttpProtobuf => "content-encoding",
        };
        assert_eq!(headers[encoding], compression.name());
        assert_eq!(collector.look(|seen| seen.spans()), 3);
    }
}

#[tokio::test]
async fn http_posts_protobuf_to_the_path() {
    let collector = Collector::http(vec![]).await;
    deliver(config(target(&collector, Protocol::HttpProtobuf)), spans(1)).await;
    let (path, headers) = collector.look(|seen| (seen.paths[0].clone(), seen.headers[0].clone()));
    assert_eq!(path, "/v1/traces");
    assert_eq!(headers["content-type"], "application/x-protobuf");
}

#[tokio::test]
async fn the_shutdown_flushes_what_is_queued() {
    let collector = Collector::grpc(vec![]).await;
    let mut config = config(target(&collector, Protocol::Grpc));
    // Without the shutdown, this batch would wait for its rest for an hour.
    config.batch_delay = Duration::from_secs(3600);
    config.batch_spans = 512;
    assert_eq!(deliver(config, spans(200)).await.delivered, 200);
    assert_eq!(
        collector.look(|seen| (seen.requests.len(), seen.spans())),
        (1, 200)
    );
}

#[tokio::test]
async fn no_spans_are_no_request() {
    let collector = Collector::grpc(vec![]).await;
    let exporter = Exporter::start(config(target(&collector, Protocol::Grpc))).unwrap();
    exporter.offer(vec![]);
    assert_eq!(exporter.shutdown(LONG).await.otlp.unwrap().delivered, 0);
    assert_eq!(collector.look(|seen| seen.headers.len()), 0);
}

#[tokio::test]
async fn batches_are_full_or_due() {
    let collector = Collector::grpc(vec![]).await;
    let mut config = config(target(&collector, Protocol::Grpc));
    config.batch_delay = Duration::from_millis(200);
    let exporter = Exporter::start(config).unwrap();
    exporter.offer(spans(9));
    collector.wait(|seen| seen.spans() == 9).await;
    let counted = |request: &_| spanlet_spans(request);
    let sizes: Vec<usize> = collector.look(|seen| seen.requests.iter().map(counted).collect());
    assert_eq!(sizes, [4, 4, 1]);
    exporter.shutdown(LONG).await;
}

fn spanlet_spans(
    request: &opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest,
) -> usize {
    let scopes = request
        .resource_spans
        .iter()
        .flat_map(|resource| &resource.scope_spans);
    scopes.map(|scope| scope.spans.len()).sum()
}

#[tokio::test]
async fn tls_trusts_the_given_certificate_and_shows_its_own() {
    let authority = Authority::new();
    for protocol in [Protocol::Grpc, Protocol::HttpProtobuf] {
        let collector = match protocol {
            Protocol::Grpc => Collector::grpc_tls(&authority).await,
            Protocol::HttpProtobuf => Collector::https(&authority).await,
        };
        let mut trusting = target(&collector, protocol);
        trusting.endpoint = format!("https://localhost:{}/v1/traces", collector.port());
        let doubting = trusting.clone();
        trusting.certificate = Some(pem(&authority.certificate));
        let nobody = trusting.clone();
        trusting.client = Some(ClientIdentity {
            certificate: pem(&authority.client.0),
            key: pem(&authority.client.1),
        });
        assert_eq!(deliver(config(trusting), spans(4)).await.delivered, 4);
        for target in [doubting, nobody] {
            let counts = deliver(config(target), spans(4)).await;
            assert_eq!(counts.dropped(Reason::RetriesExhausted), 4);
        }
    }
}

fn pem(text: &str) -> Pem {
    Pem {
        path: PathBuf::from("test.pem"),
        bytes: text.as_bytes().to_vec(),
    }
}
