//! An exporter to a collector of [`super::collector`].
#![allow(dead_code)]

use std::time::Duration;

use super::collector::Collector;
use super::lone;
use spanlet::enrich::span::Span;
use spanlet::export::otlp::{Compression, Protocol, Target};
use spanlet::export::retry::Policy;
use spanlet::export::terminal::Held;
use spanlet::export::{Config, Exporter, Output, OutputCounts};

pub const LONG: Duration = Duration::from_secs(60);

pub fn target(collector: &Collector, protocol: Protocol) -> Target {
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
pub fn config(target: Target) -> Config {
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

pub async fn deliver(config: Config, spans: Vec<Span>) -> OutputCounts {
    let exporter = Exporter::start(config).unwrap();
    exporter.offer(spans);
    let counts = exporter.shutdown(LONG).await.otlp.unwrap();
    assert_eq!(counts.accepted, counts.delivered + counts.dropped_total());
    counts
}

pub fn spans(number: u8) -> Vec<Span> {
    (1..=number).map(lone).collect()
}
