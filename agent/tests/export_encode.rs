//! The bytes that the OTLP output writes, read by `opentelemetry-proto`: any span in, the same span out.

mod export_support;

use std::sync::Arc;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::{Span as OtlpSpan, Status as OtlpStatus};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use prost::Message;
use spanlet::capture::event::Endpoint;
use spanlet::clock::{Monotonic, WallOffset};
use spanlet::decode::exchange::{Exchange, Link, Outcome, Protocol, Side};
use spanlet::enrich::span::{Attribute, Kind, Resource, Span, SpanId, Status, TraceId, Value};
use spanlet::enrich::{Evidence, Query};
use spanlet::export::otlp::compress::Packer;
use spanlet::export::otlp::encode::{seconds, traces};
use spanlet::export::otlp::Compression;
use spanlet::pods::Peer;

/// Of lengths that take one, two and three bytes.
fn text() -> impl Strategy<Value = String> {
    let long = |bytes: usize| "x".repeat(bytes);
    prop_oneof![
        8 => "[a-zé]{0,8}",
        2 => (100..130usize).prop_map(long),
        1 => (16_250..16_400usize).prop_map(long),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn what_is_written_is_what_is_read(spans in vec(span(), 0..8)) {
        let mut written = Vec::new();
        traces(&spans, &mut written);
        let request = ExportTraceServiceRequest::decode(&written[..]).unwrap();
        let mut read = Vec::new();
        for of_process in &request.resource_spans {
            let resource = of_process.resource.as_ref().unwrap();
            prop_assert_eq!(of_process.scope_spans.len(), 1);
            let scope_spans = &of_process.scope_spans[0];
            prop_assert_eq!(&scope_spans.schema_url, &of_process.schema_url);
            prop_assert_eq!(&scope_spans.scope.as_ref().unwrap().name, "spanlet");
            read.extend(scope_spans.spans.iter().map(|span| (resource.attributes.clone(), span.clone())));
        }
        let told = |span: &Span| (pairs(&span.resource.attributes), expected(span));
        let mut told: Vec<_> = spans.iter().map(told).collect();
        // Spans of a process stay in order; processes come as they are met.
        let first = |resource: &Vec<KeyValue>| {
            spans.iter().position(|span| &pairs(&span.resource.attributes) == resource)
        };
        told.sort_by_key(|(resource, _)| first(resource));
        prop_assert_eq!(read, told);
    }

    #[test]
    fn seconds_are_right_to_the_nanosecond(nanoseconds in 0..=100_000_000_000_000u64) {
        let time = Duration::from_nanos(nanoseconds);
        prop_assert_eq!(Duration::from_secs_f64(seconds(time)), time);
    }

    #[test]
    fn what_is_compressed_can_be_read(messages in vec(vec(any::<u8>(), 0..5000), 1..4)) {
        let mut packers = Compression::ALL.map(|how| Packer::new(how).unwrap());
        for plain in messages {
            let [whole, gzip, zstd] = packers.each_mut().map(|packer| packer.pack(&mut plain.clone()));
            prop_assert_eq!(&whole, &plain);
            let mut read = Vec::new();
            std::io::copy(&mut flate2::read::GzDecoder::new(&gzip[..]), &mut read).unwrap();
            prop_assert_eq!(&read, &plain);
            prop_assert_eq!(&zstd::stream::decode_all(&zstd[..]).unwrap(), &plain);
        }
    }
}

/// Nothing says more digits than nanoseconds have: what is left out is zero.
#[test]
fn seconds_have_no_more_digits_than_needed() {
    for (nanoseconds, bytes) in [
        (1_000, 6),
        (123_456, 5),
        (123_456_789, 4),
        (1_000_000_000, 6),
    ] {
        let bits = seconds(Duration::from_nanos(nanoseconds)).to_bits();
        let zeros = bits
            .to_le_bytes()
            .iter()
            .take_while(|byte| **byte == 0)
            .count();
        assert!(zeros >= bytes - 1, "{nanoseconds} ns: {bits:x}");
    }
}

fn span() -> impl Strategy<Value = Span> {
    let ids = (
        any::<[u8; 16]>(),
        any::<[u8; 8]>(),
        option::of(any::<[u8; 8]>()),
    );
    let texts = (text(), option::of(text()));
    let marks = (any::<bool>(), 0..3usize, any::<u64>());
    (ids, texts, marks, exchange()).prop_map(
        |((trace, span, parent), (name, state), (remote, place, offset), exchange)| Span {
            trace_id: TraceId(trace),
            span_id: SpanId(span),
            parent_span_id: parent.map(SpanId),
            parent_is_remote: remote,
            evidence: parent.map(|_| Evidence::Connection),
            query: Query::Keep,
            trace_state: state.map(String::into_boxed_str),
            name: name.into(),
            exchange: Box::new(exchange),
            offset: WallOffset(offset),
            resource: resource(place),
            route: (place == 2).then(|| "/users/{id}".into()),
            peer: (place == 1).then(|| {
                Arc::new(Peer {
                    name: "stock".into(),
                    namespace: "shop".into(),
                })
            }),
        },
    )
}

/// Of few connections, so that some come again.
fn exchange() -> impl Strategy<Value = Exchange> {
    let texts = (
        option::of(text()),
        option::of(text()),
        option::of(text()),
        option::of(text()),
    );
    let numbers = (any::<Option<u64>>(), any::<Option<u64>>(), 0..700u16);
    let times = (any::<u64>(), any::<u64>(), any::<Option<u64>>());
    let wait = option::of((0..u64::from(u32::MAX)).prop_map(Duration::from_nanos));
    let marks = (any::<bool>(), any::<bool>(), any::<bool>(), 0..4usize);
    (texts, numbers, times, wait, marks).prop_map(
        |((method, path, host, agent), (sent, came, status), times, wait, marks)| {
            let side = if marks.0 { Side::Server } else { Side::Client };
            let mut exchange = export_support::exchange(side);
            exchange.protocol = [Protocol::Http1, Protocol::Http11][usize::from(marks.1)];
            exchange.link = LINKS.with(|links| links[marks.3].clone());
            exchange.request.method = method.map(Into::into);
            exchange.request.target = path.map(|path| format!("/{path}?{path}=1").into());
            exchange.request.host = host.map(Into::into);
            exchange.request.user_agent = agent.map(Into::into);
            exchange.request.body_bytes = sent;
            exchange.response.body_bytes = came;
            exchange.response.status = (status >= 100).then_some(status);
            exchange.outcome = match marks.2 {
                true => Outcome::Complete,
                false => Outcome::ConnectionReset,
            };
            exchange.upgraded = status == 101;
            exchange.started = Monotonic(times.0);
            exchange.ended = Monotonic(times.1);
            exchange.first_byte = times.2.map(Monotonic);
            exchange.read_wait = wait;
            exchange
        },
    )
}

thread_local! {
    static RESOURCES: [Arc<Resource>; 3] = ["one", "two", "three"].map(|name| {
        Arc::new(Resource { attributes: vec![Attribute::text("service.name", name)] })
    });
    static LINKS: [Arc<Link>; 4] = ["10.0.0.1", "100.200.100.200", "::1", "2001:db8::1"].map(|address| {
        let mut link = Link::clone(&export_support::exchange(Side::Server).link);
        let end = |port| Endpoint::Tcp { address: address.parse().unwrap(), port };
        (link.local, link.remote) = (end(80), end(50_000));
        Arc::new(link)
    });
}

fn resource(index: usize) -> Arc<Resource> {
    RESOURCES.with(|resources| resources[index].clone())
}

fn expected(span: &Span) -> OtlpSpan {
    OtlpSpan {
        trace_id: span.trace_id.0.to_vec(),
        span_id: span.span_id.0.to_vec(),
        trace_state: span.trace_state.clone().unwrap_or_default().into(),
        parent_span_id: span.parent_span_id.map_or(Vec::new(), |id| id.0.to_vec()),
        // Sampled; it is known whether the parent is remote, and whether it is (opentelemetry-proto, SpanFlags).
        flags: if span.parent_is_remote { 0x301 } else { 0x101 },
        name: span.name.to_string(),
        kind: if span.kind() == Kind::Server { 2 } else { 3 },
        start_time_unix_nano: span.started().0,
        end_time_unix_nano: span.ended().0,
        attributes: pairs(&span.attributes()),
        status: match span.status() {
            Status::Unset => None,
            Status::Error(message) => Some(OtlpStatus {
                message: message.unwrap_or_default().to_owned(),
                code: 2,
            }),
        },
        ..Default::default()
    }
}

fn pairs(attributes: &[Attribute]) -> Vec<KeyValue> {
    let pair = |attribute: &Attribute| KeyValue {
        key: attribute.key.to_string(),
        value: Some(value(&attribute.value)),
        ..Default::default()
    };
    attributes.iter().map(pair).collect()
}

fn value(value: &Value) -> AnyValue {
    let any_text = |text: &str| AnyValue {
        value: Some(Any::StringValue(text.to_owned())),
    };
    let value = match value {
        Value::Text(content) => return any_text(content),
        Value::Integer(integer) => Any::IntValue(*integer),
        Value::Seconds(time) => Any::DoubleValue(seconds(*time)),
        Value::Boolean(boolean) => Any::BoolValue(*boolean),
        Value::Texts(texts) => Any::ArrayValue(ArrayValue {
            values: texts.iter().map(|content| any_text(content)).collect(),
        }),
    };
    AnyValue { value: Some(value) }
}
