//! Spans in, the OTLP message out. Pure.
//!
//! Spans are written straight to protobuf (field numbers: opentelemetry/proto/trace/v1/trace.proto and
//! common/v1/common.proto), because building a tree of messages first costs ten times as much. What is written once a
//! request is built from the messages of `opentelemetry-proto`; a test compares all of it with them.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue,
};
use opentelemetry_proto::tonic::resource::v1;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::SpanFlags;

use prost::Message as _;

use super::wire::{number_bytes, Message, Room};
use crate::decode::exchange::{Exchange, Link, Protocol, Side};
use crate::enrich::span::{Attribute, Kind, Resource, Span, Status, Value, Visitor};

/// The semantic conventions that attribute names follow.
pub const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.37.0";

/// The longest length that takes one byte.
const SHORT_BYTES_MAX: usize = 0x7f;

/// Bytes of an attribute before its value.
const HEAD_BYTES_MAX: usize = 48;

/// W3C trace flag: what is exported was sampled.
const SAMPLED: u32 = 1;

/// Writes one `ExportTraceServiceRequest`: spans by resource, in the order they came.
pub fn traces<'a>(spans: impl IntoIterator<Item = &'a Span>, request: &mut Vec<u8>) {
    let mut left: Vec<&Span> = spans.into_iter().collect();
    while let Some(first) = left.first() {
        let resource = &first.resource;
        let is_of_it = |span: &&Span| Arc::ptr_eq(&span.resource, resource);
        let spans = left.iter().copied().filter(is_of_it);
        resource_spans(resource, spans, &mut Message(request));
        left.retain(|span| !is_of_it(span));
    }
}

/// A `trace.v1.ResourceSpans`, as field 1 of a request.
fn resource_spans<'a>(
    resource: &Resource,
    spans: impl Iterator<Item = &'a Span>,
    request: &mut Message<'_>,
) {
    request.message(1, Room::Long, |resource_spans| {
        let otlp = otlp_resource(&resource.attributes);
        resource_spans.bytes(1, &otlp.encode_to_vec());
        resource_spans.message(2, Room::Long, |scope_spans| {
            scope_spans.bytes(1, &scope().encode_to_vec());
            let mut told = Told([const { None }; TOLD_PLACES]);
            for span in spans {
                scope_spans.message(2, Room::Middle, |message| write(span, &mut told, message));
            }
            scope_spans.text(3, SCHEMA_URL);
        });
        resource_spans.text(3, SCHEMA_URL);
    });
}

/// Who made the data: this agent.
pub fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: "spanlet".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        ..Default::default()
    }
}

/// A resource with these attributes.
pub fn otlp_resource(attributes: &[Attribute]) -> v1::Resource {
    v1::Resource {
        attributes: attributes.iter().map(key_value).collect(),
        ..Default::default()
    }
}

/// A `trace.v1.Span`. What differs in each span stands together at its end: so it compresses best.
fn write(span: &Span, told: &mut Told, message: &mut Message<'_>) {
    message.fixed32(16, flags(span));
    let kind = match span.kind() {
        Kind::Server => SpanKind::Server,
        Kind::Client => SpanKind::Client,
    };
    message.varint(6, kind as u64);
    message.text(5, &span.name);
    if let Some(state) = &span.trace_state {
        message.text(3, state);
    }
    if let Status::Error(text) = span.status() {
        message.message(15, Room::Short, |status| {
            if let Some(text) = text {
                status.text(2, text);
            }
            status.varint(3, StatusCode::Error as u64);
        });
    }
    span.tell(&mut Attributes { message, told });
    message.fixed64(7, span.started().0);
    message.fixed64(8, span.ended().0);
    if let Some(parent) = span.parent_span_id {
        message.bytes(4, &parent.0);
    }
    message.bytes(1, &span.trace_id.0);
    message.bytes(2, &span.span_id.0);
}

/// Writes attributes as they are told: each a `common.v1.KeyValue`, field 9 of a span. All of it is inlined where the
/// key is known, so that what is the same in each span is copied as one piece.
struct Attributes<'a, 'b> {
    message: &'a mut Message<'b>,
    told: &'a mut Told,
}

/// What was told of the connections of a process, and where in the message. Most are told more than once, and to copy takes a tenth of the
/// time. Connections share places; the last one has it.
struct Told([Option<(Connection, Range<usize>)>; TOLD_PLACES]);

const TOLD_PLACES: usize = 256;

/// What the attributes of a connection depend on. A [`Link`] is where it is for as long as there are spans of it.
#[derive(PartialEq)]
struct Connection(*const Link, Side, Protocol);

impl Connection {
    fn of(exchange: &Exchange) -> Self {
        let link = Arc::as_ptr(&exchange.link);
        Self(link, exchange.side, exchange.protocol)
    }

    fn place(&self) -> usize {
        // What is allocated stands 16 bytes apart or more; a block this long, some powers of two of it.
        let address = self.0.addr() >> 4;
        (address ^ address >> 8 ^ address >> 16) % TOLD_PLACES
    }
}

impl Attributes<'_, '_> {
    /// All before the last field of a value (a `common.v1.AnyValue`) of so many bytes. Keys and values are short but
    /// for few: then all that is the same each time is copied as one piece.
    #[inline(always)]
    fn before(&mut self, key: &'static str, value_bytes: usize) {
        let (key_end, pair_bytes) = (4 + key.len(), 4 + key.len() + value_bytes);
        let mut head = [0; HEAD_BYTES_MAX];
        if key_end + 2 > HEAD_BYTES_MAX || pair_bytes > SHORT_BYTES_MAX {
            return self.before_long(key, value_bytes);
        }
        let (key_bytes, pair_bytes) = (key.len() as u8, pair_bytes as u8);
        head[..4].copy_from_slice(&[9 << 3 | 2, pair_bytes, 1 << 3 | 2, key_bytes]);
        head[4..key_end].copy_from_slice(key.as_bytes());
        head[key_end..key_end + 2].copy_from_slice(&[2 << 3 | 2, value_bytes as u8]);
        self.message.raw(&head[..key_end + 2]);
    }

    #[cold]
    fn before_long(&mut self, key: &'static str, value_bytes: usize) {
        let lengths = number_bytes(key.len()) + number_bytes(value_bytes);
        let pair_bytes = 2 + lengths + key.len() + value_bytes;
        self.message.counted(9, pair_bytes);
        self.message.text(1, key);
        self.message.counted(2, value_bytes);
    }
}

impl Visitor for Attributes<'_, '_> {
    #[inline(always)]
    fn text(&mut self, key: &'static str, value: &str) {
        self.before(key, 1 + number_bytes(value.len()) + value.len());
        self.message.text(1, value);
    }

    fn pieces(&mut self, key: &'static str, value: &[&str]) {
        let bytes = value.iter().map(|piece| piece.len()).sum();
        self.before(key, 1 + number_bytes(bytes) + bytes);
        self.message.counted(1, bytes);
        value
            .iter()
            .for_each(|piece| self.message.raw(piece.as_bytes()));
    }

    /// Two's complement, as protobuf's int64 is.
    #[inline(always)]
    fn integer(&mut self, key: &'static str, value: i64) {
        self.before(key, 1 + number_bytes(value as usize));
        self.message.varint(3, value as u64);
    }

    #[inline(always)]
    fn seconds(&mut self, key: &'static str, value: Duration) {
        self.before(key, 1 + size_of::<f64>());
        self.message.fixed64(4, seconds(value).to_bits());
    }

    #[inline(always)]
    fn boolean(&mut self, key: &'static str, value: bool) {
        self.before(key, 2);
        self.message.varint(2, u64::from(value));
    }

    #[inline(always)]
    fn connection(&mut self, exchange: &Exchange, tell: impl FnOnce(&mut Self)) {
        let connection = Connection::of(exchange);
        let place = connection.place();
        match &self.told.0[place] {
            Some((told, bytes)) if *told == connection => self.message.again(bytes.clone()),
            _ => {
                let start = self.message.length();
                tell(self);
                let bytes = start..self.message.length();
                self.told.0[place] = Some((connection, bytes));
            }
        }
    }
}

/// The seconds, to the nanosecond: the number with the fewest digits in binary that is nearer to them than half a
/// nanosecond. The digits after those would say nothing, and cannot be compressed.
pub fn seconds(time: Duration) -> f64 {
    let exact = time.as_secs_f64().to_bits();
    let digits = u64::BITS - (time.as_nanos() as u64).leading_zeros();
    let spare = f64::MANTISSA_DIGITS.saturating_sub(digits + 2);
    let half = (1u64 << spare) >> 1;
    f64::from_bits((exact + half) >> spare << spare)
}

fn flags(span: &Span) -> u32 {
    let remote = match span.parent_is_remote {
        true => SpanFlags::ContextIsRemoteMask as u32,
        false => 0,
    };
    SAMPLED | SpanFlags::ContextHasIsRemoteMask as u32 | remote
}

/// One attribute.
pub fn key_value(attribute: &Attribute) -> KeyValue {
    KeyValue {
        key: attribute.key.to_string(),
        value: Some(any(match &attribute.value {
            Value::Text(text) => Any::StringValue(text.to_string()),
            Value::Integer(integer) => Any::IntValue(*integer),
            Value::Seconds(time) => Any::DoubleValue(seconds(*time)),
            Value::Boolean(boolean) => Any::BoolValue(*boolean),
            Value::Texts(texts) => Any::ArrayValue(ArrayValue {
                values: texts
                    .iter()
                    .map(|text| any(Any::StringValue(text.to_string())))
                    .collect(),
            }),
        })),
        ..Default::default()
    }
}

/// A text attribute of a data point.
pub fn text_pair(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.into(),
        value: Some(any(Any::StringValue(value.into()))),
        ..Default::default()
    }
}

fn any(value: Any) -> AnyValue {
    AnyValue { value: Some(value) }
}
