//! The output of this room: an OpenTelemetry span, which tells in plain words what an exporter only has to write down.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use smol_str::SmolStr;

use super::evidence::Evidence;
use super::redact::Query;
use super::semantic;
use crate::clock::{WallClock, WallOffset};
use crate::decode::exchange::{Exchange, Side};
use crate::pods::Peer;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Unset,
    /// With a message for people, where the attributes do not say it.
    Error(Option<&'static str>),
}

/// An attribute value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Text(SmolStr),
    Integer(i64),
    /// A time, told in seconds as a floating-point number.
    Seconds(Duration),
    Boolean(bool),
    Texts(Vec<SmolStr>),
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

/// A finished span: the exchange as it was seen, and its place. What it says is told when it is asked, because most
/// spans wait longer than they are looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    pub trace_id: TraceId,
    pub span_id: SpanId,
    pub parent_span_id: Option<SpanId>,
    /// The parent is in another process.
    pub parent_is_remote: bool,
    /// What the parent is known by.
    pub evidence: Option<Evidence>,
    /// What may be told of the request's query.
    pub query: Query,
    /// W3C `tracestate` as it came, where the parent came from a header.
    pub trace_state: Option<Box<str>>,
    pub name: SmolStr,
    pub exchange: Box<Exchange>,
    /// How the exchange's times become those of the wall clock.
    pub offset: WallOffset,
    pub resource: Arc<Resource>,
    /// The service at the other end of its connection, as it was when the exchange ended, where that is known.
    pub peer: Option<Arc<Peer>>,
    /// The route that the program serves it by (`/users/{id}`), where that is known.
    pub route: Option<SmolStr>,
}

/// Takes the attributes of a span, one after the other.
pub trait Visitor {
    fn text(&mut self, key: &'static str, value: &str);
    /// A text in pieces.
    fn pieces(&mut self, key: &'static str, value: &[&str]);
    fn integer(&mut self, key: &'static str, value: i64);
    /// A time, told in seconds as a floating-point number.
    fn seconds(&mut self, key: &'static str, value: Duration);
    fn boolean(&mut self, key: &'static str, value: bool);
    /// What is told now is the same in all exchanges of the connection that have the side and the protocol of this one.
    #[inline(always)]
    fn connection(&mut self, _: &Exchange, tell: impl FnOnce(&mut Self)) {
        tell(self);
    }
}

impl Resource {
    /// The text value of an attribute.
    pub fn text(&self, key: &str) -> Option<&str> {
        let mut attributes = self.attributes.iter();
        match attributes.find(|attribute| attribute.key == key)?.value {
            Value::Text(ref text) => Some(text),
            _ => None,
        }
    }
}

impl Span {
    pub fn kind(&self) -> Kind {
        match self.exchange.side {
            Side::Server => Kind::Server,
            Side::Client => Kind::Client,
        }
    }

    pub fn started(&self) -> WallClock {
        self.offset.wall(self.exchange.started)
    }

    pub fn ended(&self) -> WallClock {
        let ended = self.exchange.ended.max(self.exchange.started);
        self.offset.wall(ended)
    }

    pub fn status(&self) -> Status {
        semantic::status(&self.exchange)
    }

    /// Tells its attributes, in the order of [`semantic`].
    #[inline]
    pub fn tell(&self, visitor: &mut impl Visitor) {
        let route = self.route.as_deref();
        semantic::tell(&self.exchange, route, self.evidence, self.query, visitor);
        if let Some(peer) = &self.peer {
            visitor.text("service.peer.name", &peer.name);
            visitor.text("service.peer.namespace", &peer.namespace);
        }
    }

    /// Its attributes.
    pub fn attributes(&self) -> Vec<Attribute> {
        let mut attributes = Vec::new();
        self.tell(&mut attributes);
        attributes
    }

    /// The text value of an attribute.
    pub fn text(&self, key: &str) -> Option<SmolStr> {
        match self.value(key) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// The value of an attribute.
    pub fn value(&self, key: &str) -> Option<Value> {
        let mut attributes = self.attributes().into_iter();
        let found = attributes.find(|attribute| attribute.key == key);
        found.map(|attribute| attribute.value)
    }
}

impl Visitor for Vec<Attribute> {
    fn text(&mut self, key: &'static str, value: &str) {
        self.push(Attribute::text(key, value));
    }

    fn pieces(&mut self, key: &'static str, value: &[&str]) {
        self.push(Attribute::text(key, value.concat()));
    }

    fn integer(&mut self, key: &'static str, value: i64) {
        self.push(Attribute::integer(key, value));
    }

    fn seconds(&mut self, key: &'static str, value: Duration) {
        self.push(Attribute::seconds(key, value));
    }

    fn boolean(&mut self, key: &'static str, value: bool) {
        self.push(Attribute::boolean(key, value));
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
