//! One JSON object for a span: a span in, a line out. Pure.
//!
//! | field | value |
//! |---|---|
//! | `traceId`, `spanId` | lower-case hexadecimal, 32 and 16 digits |
//! | `parentSpanId` | as `spanId`; left out for a root |
//! | `parentIsRemote` | whether the parent is in another process; left out for a root |
//! | `traceState` | W3C tracestate; left out where there is none |
//! | `name` | as in OTLP |
//! | `kind` | `server` or `client` |
//! | `startTimeUnixNano`, `endTimeUnixNano` | decimal text, as OTLP/JSON has it: JSON numbers are too short |
//! | `durationNano` | number |
//! | `status` | `{"code": "unset"}` or `{"code": "error", "message": …}`; the message where there is one |
//! | `attributes`, `resource` | plain objects: semantic-convention name to text, number, boolean or texts |

use std::fmt;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::enrich::span::{Attribute, Kind, Span, Status, Value};

/// The span as a line of JSON.
pub fn json(span: &Span) -> String {
    // Serializing to text fails only for maps with keys that are not text: there are none.
    let mut line = serde_json::to_string(&Json(span)).unwrap_or_default();
    line.push('\n');
    line
}

struct Json<'a>(&'a Span);

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let span = self.0;
        let duration = span.ended().0.saturating_sub(span.started().0);
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("traceId", &Shown(span.trace_id))?;
        map.serialize_entry("spanId", &Shown(span.span_id))?;
        if let Some(parent) = span.parent_span_id {
            map.serialize_entry("parentSpanId", &Shown(parent))?;
            map.serialize_entry("parentIsRemote", &span.parent_is_remote)?;
        }
        if let Some(state) = &span.trace_state {
            map.serialize_entry("traceState", state)?;
        }
        map.serialize_entry("name", span.name.as_str())?;
        map.serialize_entry("kind", kind(span.kind()))?;
        map.serialize_entry("startTimeUnixNano", &Shown(span.started().0))?;
        map.serialize_entry("endTimeUnixNano", &Shown(span.ended().0))?;
        map.serialize_entry("durationNano", &duration)?;
        map.serialize_entry("status", &JsonStatus(span.status()))?;
        map.serialize_entry("attributes", &Attributes(&span.attributes()))?;
        map.serialize_entry("resource", &Attributes(&span.resource.attributes))?;
        map.end()
    }
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Server => "server",
        Kind::Client => "client",
    }
}

/// What displays as text, as JSON text.
struct Shown<T>(T);

impl<T: fmt::Display> Serialize for Shown<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

struct JsonStatus(Status);

impl Serialize for JsonStatus {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self.0 {
            Status::Unset => map.serialize_entry("code", "unset")?,
            Status::Error(message) => {
                map.serialize_entry("code", "error")?;
                if let Some(message) = message {
                    map.serialize_entry("message", message)?;
                }
            }
        }
        map.end()
    }
}

struct Attributes<'a>(&'a [Attribute]);

impl Serialize for Attributes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for Attribute { key, value } in self.0 {
            map.serialize_entry(key, &JsonValue(value))?;
        }
        map.end()
    }
}

struct JsonValue<'a>(&'a Value);

impl Serialize for JsonValue<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Text(text) => serializer.serialize_str(text),
            Value::Integer(integer) => serializer.serialize_i64(*integer),
            Value::Seconds(time) => serializer.serialize_f64(time.as_secs_f64()),
            Value::Boolean(boolean) => serializer.serialize_bool(*boolean),
            Value::Texts(texts) => texts.serialize(serializer),
        }
    }
}
