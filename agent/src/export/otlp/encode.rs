//! Spans in, the OTLP message out. Pure.
//!
//! Spans are written straight to protobuf (field numbers: opentelemetry/proto/trace/v1/trace.proto and
//! common/v1/common.proto), because building a tree of messages first costs ten times as much. What is written once a
//! request is built from the messages of `opentelemetry-proto`; a test compares all of it with them.

use std::collections::HashMap;
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

use super::wire::Message;
use crate::enrich::span::{Attribute, Kind, Resource, Span, Status, Value};

/// The semantic conventions that attribute names follow.
pub const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.37.0";

/// Bytes of key and text with which the length of all of the attribute still takes one byte.
const SHORT_BYTES_MAX: usize = 0x7f - 6;

/// Bytes of a usual span: for so many there is room from the start.
const SPAN_BYTES_USUAL: usize = 800;

/// W3C trace flag: what is exported was sampled.
const SAMPLED: u32 = 1;

/// One encoded `ExportTraceServiceRequest`: spans by resource, in the order they came.
pub fn traces(spans: &[Arc<Span>]) -> Vec<u8> {
    let mut place = HashMap::new();
    let mut groups: Vec<(&Resource, Message)> = Vec::new();
    for span in spans {
        let index = *place
            .entry(Arc::as_ptr(&span.resource))
            .or_insert(groups.len());
        if index == groups.len() {
            let room = spans.len() * SPAN_BYTES_USUAL;
            groups.push((
                &span.resource,
                Message::with_room(if index == 0 { room } else { 0 }),
            ));
        }
        groups[index].1.message(2, |message| write(span, message));
    }
    let mut request = Message::default();
    for (resource, spans) in groups {
        request.message(1, |resource_spans| {
            resource_spans.encoded(1, &otlp_resource(&resource.attributes));
            resource_spans.message(2, |scope_spans| {
                scope_spans.encoded(1, &scope());
                scope_spans.raw(&spans.into_bytes());
                scope_spans.text(3, SCHEMA_URL);
            });
            resource_spans.text(3, SCHEMA_URL);
        });
    }
    request.into_bytes()
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
fn write(span: &Span, message: &mut Message) {
    let kind = match span.kind {
        Kind::Server => SpanKind::Server,
        Kind::Client => SpanKind::Client,
    };
    message.fixed32(16, flags(span));
    message.varint(6, kind as u64);
    message.text(5, &span.name);
    if let Some(state) = &span.trace_state {
        message.text(3, state);
    }
    if let Status::Error(text) = &span.status {
        message.message(15, |status| {
            if let Some(text) = text {
                status.text(2, text);
            }
            status.varint(3, StatusCode::Error as u64);
        });
    }
    for attribute in &span.attributes {
        write_attribute(attribute, message);
    }
    message.fixed64(7, span.started.0);
    message.fixed64(8, span.ended.0);
    if let Some(parent) = span.parent_span_id {
        message.bytes(4, &parent.0);
    }
    message.bytes(1, &span.trace_id.0);
    message.bytes(2, &span.span_id.0);
}

/// A `common.v1.KeyValue`, as field 9 of a span.
fn write_attribute(Attribute { key, value }: &Attribute, span: &mut Message) {
    match value {
        // Most are such, and to write them at once takes a third of the time.
        Value::Text(text) if key.len() + text.len() <= SHORT_BYTES_MAX => {
            let (key_bytes, text_bytes) = (key.len() as u8, text.len() as u8);
            span.raw(&[
                9 << 3 | 2,
                key_bytes + text_bytes + 6,
                1 << 3 | 2,
                key_bytes,
            ]);
            span.raw(key.as_bytes());
            span.raw(&[2 << 3 | 2, text_bytes + 2, 1 << 3 | 2, text_bytes]);
            span.raw(text.as_bytes());
        }
        value => span.message(9, |pair| {
            pair.text(1, key);
            pair.message(2, |any| write_value(value, any));
        }),
    }
}

/// A `common.v1.AnyValue`.
fn write_value(value: &Value, any: &mut Message) {
    match value {
        Value::Text(text) => any.text(1, text),
        Value::Boolean(boolean) => any.varint(2, u64::from(*boolean)),
        // Two's complement, as protobuf's int64 is.
        Value::Integer(integer) => any.varint(3, *integer as u64),
        Value::Seconds(time) => any.fixed64(4, seconds(*time).to_bits()),
        Value::Texts(texts) => any.message(5, |array| {
            for text in texts {
                array.message(1, |any| any.text(1, text));
            }
        }),
    }
}

/// The seconds, to the nanosecond: the number with the fewest digits in binary that is nearer to them than half a
/// nanosecond. The digits after those would say nothing, and cannot be compressed.
pub fn seconds(time: Duration) -> f64 {
    let exact = time.as_secs_f64().to_bits();
    let digits = u128::BITS - time.as_nanos().leading_zeros();
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
                    .map(|text| any(Any::StringValue(text.clone())))
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
