//! The OTLP output against real servers: what arrives, what is tried again, and that every span is accounted for.

mod export_support;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use export_support::collector::{Answer, Authority, Collector};
use export_support::{checkout, lone, resource, Make};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use prost::Message;
use spanlet::enrich::span::Span;
use spanlet::export::otlp::status::{Any, RetryDelay, RetryInfo, RpcStatus};
use spanlet::export::otlp::{ClientIdentity, Compression, Pem, Protocol, Target};
use spanlet::export::retry::Policy;
use spanlet::export::terminal::Held;
use spanlet::export::{Config, Exporter, Output, OutputCounts, Reason};
use tonic::{Code, Status};

const LONG: Duration = Duration::from_secs(60);

fn target(collector: &Collector, protocol: Protocol) -> Target {
    let port = collector.port();
    Target {
        endpoint: match protocol {
            Protocol::Grpc => format!("http://127.0.0.1:{port}"),
            Protocol::HttpProtobuf => format!("http://127.0.0.1:{port}/v1/traces"),
        },
        protocol,
        headers: vec![],
        timeout: LONG,
        compression: Compression::None,
        certificate: None,
        client: None,
    }
}

/// Batches of four at once, and back-off too short to wait for.
fn config(target: Target) -> Config {
    Config {
        output: Output::None,
        otlp: Some(target),
        queue_spans: 8192,
        batch_spans: 4,
        batch_delay: Duration::from_millis(1),
        retry: Policy {
            tries_max: 5,
            time_max: LONG,
            back_off: Duration::from_millis(1),
            back_off_max: Duration::from_millis(4),
        },
        held: Held::default(),
    }
}

async fn deliver(config: Config, spans: Vec<Span>) -> OutputCounts {
    let exporter = Exporter::start(config).unwrap();
    exporter.offer(spans);
    let counts = exporter.shutdown(LONG).await.otlp.unwrap();
    assert_eq!(counts.accepted, counts.delivered + counts.dropped_total());
    counts
}

fn spans(number: u8) -> Vec<Span> {
    (1..=number).map(lone).collect()
}

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
    assert_eq!(span.start_time_unix_nano, failed.started.0);
    assert_eq!(span.end_time_unix_nano, failed.ended.0);
    assert_eq!(span.status.unwrap().code, 2);
    assert_eq!(span.attributes.len(), failed.attributes.len());
    let code = &span.attributes[1];
    assert_eq!(code.key, "http.response.status_code");
    assert_eq!(
        code.value.clone().unwrap().value,
        Some(Value::IntValue(503))
    );
}

#[tokio::test]
async fn headers_and_gzip_are_sent_by_both_protocols() {
    for protocol in [Protocol::Grpc, Protocol::HttpProtobuf] {
        let collector = match protocol {
            Protocol::Grpc => Collector::grpc(vec![]).await,
            Protocol::HttpProtobuf => Collector::http(vec![]).await,
        };
        let mut target = target(&collector, protocol);
        let header = ("x-tenant".parse().unwrap(), "a b".parse().unwrap());
        target.headers = vec![header];
        target.compression = Compression::Gzip;
        assert_eq!(deliver(config(target), spans(3)).await.delivered, 3);
        let headers = collector.look(|seen| seen.headers[0].clone());
        assert_eq!(headers["x-tenant"], "a b");
        assert!(headers["user-agent"].starts_with("spanlet/"));
        let encoding = match protocol {
            Protocol::Grpc => "grpc-encoding",
            Protocol::HttpProtobuf => "content-encoding",
        };
        assert_eq!(headers[encoding], "gzip");
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
async fn what_may_be_tried_again_is_and_arrives_once() {
    let codes = [
        Code::Unavailable,
        Code::DeadlineExceeded,
        Code::Aborted,
        Code::Cancelled,
    ];
    let refusals = codes.map(|code| Answer::Refuse(Status::new(code, "later")));
    let answers = [&refusals[..], &[Answer::Take]].concat();
    let collector = Collector::grpc(answers).await;
    let counts = deliver(config(target(&collector, Protocol::Grpc)), spans(4)).await;
    assert_eq!(counts.delivered, 4);
    assert_eq!(
        collector.look(|seen| (seen.headers.len(), seen.spans())),
        (5, 4)
    );

    let statuses = [429, 502, 503, 504].map(|status| Answer::Status(status, ""));
    let collector = Collector::http([&statuses[..], &[Answer::Take]].concat()).await;
    let counts = deliver(config(target(&collector, Protocol::HttpProtobuf)), spans(4)).await;
    assert_eq!(counts.delivered, 4);
    assert_eq!(
        collector.look(|seen| (seen.headers.len(), seen.spans())),
        (5, 4)
    );
}

#[tokio::test]
async fn what_may_not_be_tried_again_is_dropped_at_once() {
    // Without RetryInfo, a full collector is not known to recover.
    for code in [
        Code::InvalidArgument,
        Code::Unauthenticated,
        Code::ResourceExhausted,
    ] {
        let collector = Collector::grpc(vec![Answer::Refuse(Status::new(code, "no"))]).await;
        let counts = deliver(config(target(&collector, Protocol::Grpc)), spans(4)).await;
        assert_eq!(counts.dropped(Reason::Rejected), 4);
        assert_eq!(collector.look(|seen| seen.headers.len()), 1);
    }
    for status in [400, 401, 500, 301] {
        let collector = Collector::http(vec![Answer::Status(status, "\r\nlocation: /")]).await;
        let counts = deliver(config(target(&collector, Protocol::HttpProtobuf)), spans(4)).await;
        assert_eq!(counts.dropped(Reason::Rejected), 4);
        assert_eq!(collector.look(|seen| seen.headers.len()), 1);
    }
}

#[tokio::test]
async fn tries_are_bounded() {
    let collector = Collector::http(vec![Answer::Status(503, "")]).await;
    let counts = deliver(config(target(&collector, Protocol::HttpProtobuf)), spans(4)).await;
    assert_eq!(counts.dropped(Reason::RetriesExhausted), 4);
    assert_eq!(collector.look(|seen| seen.headers.len()), 5);
}

/// The wait that is asked for is longer than the policy allows: giving up at once shows that it was heard.
#[tokio::test]
async fn a_server_that_asks_for_too_long_a_wait_is_not_asked_again() {
    let collector = Collector::http(vec![Answer::Status(503, "\r\nretry-after: 61")]).await;
    let counts = deliver(config(target(&collector, Protocol::HttpProtobuf)), spans(4)).await;
    assert_eq!(counts.dropped(Reason::RetriesExhausted), 4);
    assert_eq!(collector.look(|seen| seen.headers.len()), 1);

    let full = |seconds| {
        let details = retry_details(seconds);
        Answer::Refuse(Status::with_details(
            Code::ResourceExhausted,
            "full",
            details.into(),
        ))
    };
    let collector = Collector::grpc(vec![full(61)]).await;
    let counts = deliver(config(target(&collector, Protocol::Grpc)), spans(4)).await;
    assert_eq!(counts.dropped(Reason::RetriesExhausted), 4);
    assert_eq!(collector.look(|seen| seen.headers.len()), 1);

    let collector = Collector::grpc(vec![full(0), Answer::Take]).await;
    let counts = deliver(config(target(&collector, Protocol::Grpc)), spans(4)).await;
    assert_eq!(counts.delivered, 4);
}

fn retry_details(seconds: i64) -> Vec<u8> {
    let retry_delay = Some(RetryDelay { seconds, nanos: 0 });
    let details = vec![Any {
        type_url: "type.googleapis.com/google.rpc.RetryInfo".into(),
        value: RetryInfo { retry_delay }.encode_to_vec(),
    }];
    RpcStatus {
        code: Code::ResourceExhausted as i32,
        message: "full".into(),
        details,
    }
    .encode_to_vec()
}

#[tokio::test]
async fn partial_success_is_counted() {
    for protocol in [Protocol::Grpc, Protocol::HttpProtobuf] {
        let answers = vec![Answer::TakeBut(3, "too old"), Answer::Take];
        let collector = match protocol {
            Protocol::Grpc => Collector::grpc(answers).await,
            Protocol::HttpProtobuf => Collector::http(answers).await,
        };
        let counts = deliver(config(target(&collector, protocol)), spans(8)).await;
        assert_eq!(counts.dropped(Reason::PartialSuccess), 3);
        assert_eq!(counts.delivered, 5);
        assert_eq!(collector.look(|seen| seen.headers.len()), 2);
    }
}

#[tokio::test]
async fn a_dead_collector_costs_spans_but_no_memory_and_no_time() {
    for protocol in [Protocol::Grpc, Protocol::HttpProtobuf] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let dead = listener.local_addr().unwrap();
        drop(listener);
        let mut config = config(Target {
            endpoint: format!("http://{dead}"),
            ..target(&Collector::http(vec![]).await, protocol)
        });
        config.queue_spans = 16;
        // A back-off longer than the test: the first batch waits, and the queue fills behind it.
        config.retry.back_off = LONG;
        config.retry.back_off_max = LONG;
        config.retry.time_max = LONG * 10;
        let exporter = Exporter::start(config).unwrap();
        for id in 0..100 {
            exporter.offer(vec![lone(id)]);
            tokio::task::yield_now().await;
        }
        let counts = exporter.counts().otlp.unwrap();
        assert_eq!((counts.accepted, counts.delivered), (100, 0));
        assert!(counts.dropped(Reason::QueueFull) >= 100 - 16 - 4);
        let counts = exporter
            .shutdown(Duration::from_millis(10))
            .await
            .otlp
            .unwrap();
        let (full, left) = (
            counts.dropped(Reason::QueueFull),
            counts.dropped(Reason::Shutdown),
        );
        assert_eq!((counts.accepted, counts.waiting()), (100, 0));
        assert_eq!(full + left, 100);
        assert!(left <= 16 + 4);
    }
}

#[tokio::test]
async fn a_collector_that_hangs_times_out_and_is_tried_again() {
    for protocol in [Protocol::Grpc, Protocol::HttpProtobuf] {
        let answers = vec![Answer::Hang, Answer::Take];
        let collector = match protocol {
            Protocol::Grpc => Collector::grpc(answers).await,
            Protocol::HttpProtobuf => Collector::http(answers).await,
        };
        let mut target = target(&collector, protocol);
        target.timeout = Duration::from_millis(500);
        assert_eq!(deliver(config(target), spans(4)).await.delivered, 4);
    }
}

#[tokio::test]
async fn the_shutdown_ends_at_its_deadline_and_counts_what_is_left() {
    let collector = Collector::http(vec![Answer::Take, Answer::Hang]).await;
    let exporter = Exporter::start(config(target(&collector, Protocol::HttpProtobuf))).unwrap();
    exporter.offer(spans(10));
    collector.wait(|seen| seen.headers.len() == 2).await;
    let counts = exporter
        .shutdown(Duration::from_millis(20))
        .await
        .otlp
        .unwrap();
    assert_eq!((counts.accepted, counts.delivered), (10, 4));
    assert_eq!(counts.dropped(Reason::Shutdown), 6);
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

/// Log lines of this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn an_outage_is_one_warning_and_its_end_one_line() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_env_filter("spanlet=info")
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let collector = Collector::http(vec![Answer::Status(503, "")]).await;
    let exporter = Exporter::start(config(target(&collector, Protocol::HttpProtobuf))).unwrap();
    exporter.offer(spans(12));
    collector.wait(|seen| seen.headers.len() >= 12).await;
    collector.answer(Answer::Take);
    let one = Make {
        trace: 99,
        id: 99,
        parent: None,
        resource: &resource("last"),
        start: 0,
        end: 1,
    };
    exporter.offer(vec![one.server("GET", "/", 200)]);
    exporter.shutdown(LONG).await;
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(
        lines[0].contains("WARN") && lines[0].contains("503"),
        "{text}"
    );
    assert!(
        lines[1].contains("INFO") && lines[1].contains("again after"),
        "{text}"
    );
}
