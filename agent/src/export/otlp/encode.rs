//! Spans in, the OTLP message out. Pure.

use std::collections::HashMap;
use std::sync::Arc;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue,
};
use opentelemetry_proto::tonic::resource::v1;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{
    ResourceSpans, ScopeSpans, Span as OtlpSpan, SpanFlags, Status as OtlpStatus,
};

use crate::enrich::span::{Attribute, Kind, Resource, Span, Status, Value};

/// The semantic conventions that attribute names follow.
pub const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.37.0";

/// W3C trace flag: what is exported was sampled.
const SAMPLED: u32 = 1;

/// One request: spans by resource, in the order they came.
pub fn traces(spans: &[Arc<Span>]) -> ExportTraceServiceRequest {
    let mut place = HashMap::new();
    let mut resource_spans: Vec<(&Arc<Resource>, Vec<OtlpSpan>)> = Vec::new();
    for span in spans {
        let index = *place
            .entry(Arc::as_ptr(&span.resource))
            .or_insert(resource_spans.len());
        match resource_spans.get_mut(index) {
            Some((_, spans)) => spans.push(otlp_span(span)),
            None => resource_spans.push((&span.resource, vec![otlp_span(span)])),
        }
    }
    let resource_spans = resource_spans
        .into_iter()
        .map(|(resource, spans)| ResourceSpans {
            resource: Some(otlp_resource(&resource.attributes)),
            scope_spans: vec![ScopeSpans {
                scope: Some(scope()),
                spans,
                schema_url: SCHEMA_URL.into(),
            }],
            schema_url: SCHEMA_URL.into(),
        })
        .collect();
    ExportTraceServiceRequest { resource_spans }
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

fn otlp_span(span: &Span) -> OtlpSpan {
    let kind = match span.kind {
        Kind::Server => SpanKind::Server,
        Kind::Client => SpanKind::Client,
    };
    OtlpSpan {
        trace_id: span.trace_id.0.to_vec(),
        span_id: span.span_id.0.to_vec(),
        trace_state: span.trace_state.clone().unwrap_or_default(),
        parent_span_id: span.parent_span_id.map_or(Vec::new(), |id| id.0.to_vec()),
        flags: flags(span),
        name: span.name.clone(),
        kind: kind.into(),
        start_time_unix_nano: span.started.0,
        end_time_unix_nano: span.ended.0,
        attributes: span.attributes.iter().map(key_value).collect(),
        status: otlp_status(&span.status),
        ..Default::default()
    }
}

fn flags(span: &Span) -> u32 {
    let remote = match span.parent_is_remote {
        true => SpanFlags::ContextIsRemoteMask as u32,
        false => 0,
    };
    SAMPLED | SpanFlags::ContextHasIsRemoteMask as u32 | remote
}

fn otlp_status(status: &Status) -> Option<OtlpStatus> {
    match status {
        Status::Unset => None,
        Status::Error(message) => Some(OtlpStatus {
            code: StatusCode::Error.into(),
            message: message.clone().unwrap_or_default(),
        }),
    }
}

/// One attribute.
pub fn key_value(attribute: &Attribute) -> KeyValue {
    KeyValue {
        key: attribute.key.to_string(),
        value: Some(any(match &attribute.value {
            Value::Text(text) => Any::StringValue(text.clone()),
            Value::Integer(integer) => Any::IntValue(*integer),
            Value::Double(double) => Any::DoubleValue(*double),
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

/// The encoded request.
pub fn message(spans: &[Arc<Span>]) -> Vec<u8> {
    prost::Message::encode_to_vec(&traces(spans))
}
