//! The output of this room: an OpenTelemetry span, in plain words that an exporter only has to write down.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use smol_str::SmolStr;

use crate::clock::WallClock;

/// W3C trace id: 16 bytes, never all zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TraceId(pub [u8; 16]);

/// W3C parent (span) id: 8 bytes, never all zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpanId(pub [u8; 8]);

/// OpenTelemetry span kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Server,
    Client,
}

/// OpenTelemetry span status. Unset is the normal case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    Unset,
    /// With a message for people, where the attributes do not say it.
    Error(Option<String>),
}

/// An attribute value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Text(SmolStr),
    Integer(i64),
    /// A time, told in seconds as a floating-point number.
    Seconds(Duration),
    Boolean(bool),
    Texts(Vec<String>),
}

/// An attribute: its key as the semantic conventions (or, in a resource, the function's owner) have it.
#[derive(Clone, Debug, PartialEq)]
pub struct Attribute {
    pub key: Cow<'static, str>,
    pub value: Value,
}

/// What the span's process is: one for each process, shared by its spans.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resource {
    pub attributes: Vec<Attribute>,
}

/// A finished span.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    pub trace_id: TraceId,
    pub span_id: SpanId,
    pub parent_span_id: Option<SpanId>,
    /// The parent is in another process.
    pub parent_is_remote: bool,
    /// W3C `tracestate` as it came, where the parent came from a header.
    pub trace_state: Option<String>,
    pub kind: Kind,
    pub name: SmolStr,
    pub started: WallClock,
    pub ended: WallClock,
    pub status: Status,
    pub attributes: Vec<Attribute>,
    pub resource: Arc<Resource>,
}

impl Resource {
    /// The text value of an attribute.
    pub fn text(&self, key: &str) -> Option<&str> {
        text_of(&self.attributes, key)
    }
}

impl Span {
    /// The text value of an attribute.
    pub fn text(&self, key: &str) -> Option<&str> {
        text_of(&self.attributes, key)
    }

    /// The value of an attribute.
    pub fn value(&self, key: &str) -> Option<&Value> {
        value_of(&self.attributes, key)
    }
}

fn value_of<'a>(attributes: &'a [Attribute], key: &str) -> Option<&'a Value> {
    attributes
        .iter()
        .find(|attribute| attribute.key == key)
        .map(|attribute| &attribute.value)
}

fn text_of<'a>(attributes: &'a [Attribute], key: &str) -> Option<&'a str> {
    match value_of(attributes, key) {
        Some(Value::Text(text)) => Some(text),
        _ => None,
    }
}

impl Attribute {
    /// A text attribute.
    pub fn text(key: impl Into<Cow<'static, str>>, value: impl Into<SmolStr>) -> Self {
        Self {
            key: key.into(),
            value: Value::Text(value.into()),
        }
    }

    /// An integer attribute.
    pub fn integer(key: impl Into<Cow<'static, str>>, value: impl Into<i64>) -> Self {
        Self {
            key: key.into(),
            value: Value::Integer(value.into()),
        }
    }

    /// An attribute in seconds.
    pub fn seconds(key: impl Into<Cow<'static, str>>, value: Duration) -> Self {
        Self {
            key: key.into(),
            value: Value::Seconds(value),
        }
    }

    /// A boolean attribute.
    pub fn boolean(key: impl Into<Cow<'static, str>>, value: bool) -> Self {
        Self {
            key: key.into(),
            value: Value::Boolean(value),
        }
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

fn hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}
