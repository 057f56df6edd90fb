//! The OTLP output against real servers that fail: what is tried again, and that every span is accounted for.

mod export_support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use export_support::collector::{Answer, Collector};
use export_support::otlp::{config, deliver, spans, target, LONG};
use export_support::{lone, resource, Make};
use prost::Message;
use spanlet::export::otlp::status::{Any, RetryDelay, RetryInfo, RpcStatus};
use spanlet::export::otlp::{Protocol, Target};
use spanlet::export::{Exporter, Reason};
use tonic::{Code, Status};

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
