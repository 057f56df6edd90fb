//! OTLP/JSON as a collector's file exporter writes it. In: lines. Out: spans. Strict: a shape that is not known is an
//! error, so that nothing the agent sends goes unread.

use std::collections::BTreeMap;

use anyhow::{bail, ensure, Context, Result};

/// Attributes by name.
pub type Attributes = BTreeMap<String, Value>;

/// A span with its resource, as the collector received it.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    pub resource: Attributes,
    /// Instrumentation scope: name and version.
    pub scope: (String, String),
    /// 32 hexadecimal digits.
    pub trace_id: String,
    /// 16 hexadecimal digits.
    pub span_id: String,
    pub parent_span_id: Option<String>,
    pub trace_state: String,
    pub flags: u32,
    pub name: String,
    pub kind: Kind,
    /// Nanoseconds since the Unix epoch.
    pub started_ns: u64,
    pub ended_ns: u64,
    pub attributes: Attributes,
    pub status: Status,
}

/// The span kinds that the agent makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Server,
    Client,
}

/// Span status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    Unset,
    Ok,
    /// With its message, often empty.
    Error(String),
}

/// An attribute value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Text(String),
    Integer(i64),
    Double(f64),
    Boolean(bool),
    Array(Vec<Value>),
}

impl Span {
    /// A text attribute.
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.attributes.get(key) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// An integer attribute.
    pub fn integer(&self, key: &str) -> Option<i64> {
        match self.attributes.get(key) {
            Some(Value::Integer(integer)) => Some(*integer),
            _ => None,
        }
    }

    /// A double attribute.
    pub fn double(&self, key: &str) -> Option<f64> {
        match self.attributes.get(key) {
            Some(Value::Double(double)) => Some(*double),
            _ => None,
        }
    }

    /// A time in seconds, as nanoseconds.
    pub fn nanoseconds(&self, key: &str) -> Option<u64> {
        self.double(key)
            .map(|seconds| (seconds * 1e9).round() as u64)
    }

    /// The process it is of: `process.pid` of its resource.
    pub fn pid(&self) -> Option<u32> {
        match self.resource.get("process.pid") {
            Some(Value::Integer(pid)) => u32::try_from(*pid).ok(),
            _ => None,
        }
    }

    pub fn duration_ns(&self) -> u64 {
        self.ended_ns.saturating_sub(self.started_ns)
    }
}

/// The spans of a file exporter's output; a last line without its end is left for later.
pub fn parse(text: &str) -> Result<Vec<Span>> {
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let mut spans = Vec::new();
    for line in whole.lines() {
        let request: wire::Request =
            serde_json::from_str(line).with_context(|| format!("collector output: {line}"))?;
        for resource_spans in request.resource_spans {
            let resource = attributes(resource_spans.resource.attributes)?;
            for scope_spans in resource_spans.scope_spans {
                let scope = (scope_spans.scope.name, scope_spans.scope.version);
                for span in scope_spans.spans {
                    spans.push(convert(span, &resource, &scope)?);
                }
            }
        }
    }
    Ok(spans)
}

fn convert(span: wire::Span, resource: &Attributes, scope: &(String, String)) -> Result<Span> {
    ensure!(is_id(&span.trace_id, 32), "trace id {:?}", span.trace_id);
    ensure!(is_id(&span.span_id, 16), "span id {:?}", span.span_id);
    let parent = Some(span.parent_span_id).filter(|id| !id.is_empty());
    ensure!(
        parent.as_ref().is_none_or(|id| is_id(id, 16)),
        "parent {parent:?}"
    );
    Ok(Span {
        resource: resource.clone(),
        scope: scope.clone(),
        trace_id: span.trace_id,
        span_id: span.span_id,
        parent_span_id: parent,
        trace_state: span.trace_state,
        flags: span.flags,
        name: span.name,
        kind: match span.kind {
            2 => Kind::Server,
            3 => Kind::Client,
            kind => bail!("span kind {kind}"),
        },
        started_ns: span.start_time_unix_nano.parse()?,
        ended_ns: span.end_time_unix_nano.parse()?,
        attributes: attributes(span.attributes)?,
        status: match span.status.code {
            0 => Status::Unset,
            1 => Status::Ok,
            2 => Status::Error(span.status.message),
            code => bail!("status code {code}"),
        },
    })
}

/// Lower-case hexadecimal, not all zero.
pub fn is_id(text: &str, digits: usize) -> bool {
    let hexadecimal = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    text.len() == digits && text.bytes().all(hexadecimal) && text.bytes().any(|byte| byte != b'0')
}

fn attributes(list: Vec<wire::Attribute>) -> Result<Attributes> {
    let mut attributes = Attributes::new();
    for wire::Attribute { key, value } in list {
        let twice = attributes.insert(key.clone(), value_of(value)?);
        ensure!(twice.is_none(), "attribute {key} is there twice");
    }
    Ok(attributes)
}

fn value_of(value: wire::Value) -> Result<Value> {
    Ok(match value {
        wire::Value::Text(text) => Value::Text(text),
        wire::Value::Integer(text) => Value::Integer(text.parse()?),
        wire::Value::Double(double) => Value::Double(double),
        wire::Value::Boolean(boolean) => Value::Boolean(boolean),
        wire::Value::Array(array) => Value::Array(
            array
                .values
                .into_iter()
                .map(value_of)
                .collect::<Result<_>>()?,
        ),
    })
}

/// The shapes on the wire, as far as the agent may use them: events, links and dropped counts are not among them.
mod wire {
    use serde::Deserialize;

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "camelCase")]
    pub struct Request {
        pub resource_spans: Vec<ResourceSpans>,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "camelCase")]
    pub struct ResourceSpans {
        pub resource: Resource,
        pub scope_spans: Vec<ScopeSpans>,
        #[serde(default, rename = "schemaUrl")]
        pub _schema_url: String,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Resource {
        pub attributes: Vec<Attribute>,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "camelCase")]
    pub struct ScopeSpans {
        pub scope: Scope,
        pub spans: Vec<Span>,
        #[serde(default, rename = "schemaUrl")]
        pub _schema_url: String,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields, default)]
    #[derive(Default)]
    pub struct Scope {
        pub name: String,
        pub version: String,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "camelCase")]
    pub struct Span {
        pub trace_id: String,
        pub span_id: String,
        #[serde(default)]
        pub parent_span_id: String,
        #[serde(default)]
        pub trace_state: String,
        #[serde(default)]
        pub flags: u32,
        pub name: String,
        pub kind: u8,
        pub start_time_unix_nano: String,
        pub end_time_unix_nano: String,
        #[serde(default)]
        pub attributes: Vec<Attribute>,
        #[serde(default)]
        pub status: Status,
    }

    #[derive(Default, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    pub struct Status {
        pub code: u8,
        pub message: String,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Attribute {
        pub key: String,
        pub value: Value,
    }

    #[derive(Deserialize)]
    pub enum Value {
        #[serde(rename = "stringValue")]
        Text(String),
        #[serde(rename = "intValue")]
        Integer(String),
        #[serde(rename = "doubleValue")]
        Double(f64),
        #[serde(rename = "boolValue")]
        Boolean(bool),
        #[serde(rename = "arrayValue")]
        Array(Array),
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Array {
        #[serde(default)]
        pub values: Vec<Value>,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = concat!(
        r#"{"resourceSpans":[{"resource":{"attributes":[]},"scopeSpans":[{"scope":{},"spans":["#,
        r#"{"traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"b7ad6b7169203331","parentSpanId":"","name":"GET","kind":3,"#,
        r#""startTimeUnixNano":"1","endTimeUnixNano":"3","attributes":[{"key":"a","value":{"intValue":"1"}}],"status":{}}]}]}]}"#,
        "\n"
    );

    #[test]
    fn a_span_is_read() -> Result<()> {
        let spans = parse(LINE)?;
        assert_eq!(spans.len(), 1);
        assert_eq!(
            (spans[0].kind, spans[0].integer("a"), spans[0].duration_ns()),
            (Kind::Client, Some(1), 2)
        );
        assert_eq!(spans[0].parent_span_id, None);
        Ok(())
    }

    #[test]
    fn a_line_without_its_end_is_left_for_later() -> Result<()> {
        assert_eq!(parse(&format!("{LINE}{{\"resource"))?.len(), 1);
        Ok(())
    }

    #[test]
    fn what_is_not_known_is_an_error() {
        let attribute = r#"{"key":"a","value":{"intValue":"1"}}"#;
        for (from, to) in [
            (r#""kind":3"#, r#""kind":3,"droppedAttributesCount":1"#),
            (r#""kind":3"#, r#""kind":1"#),
            (
                r#""spanId":"b7ad6b7169203331""#,
                r#""spanId":"0000000000000000""#,
            ),
            (r#""parentSpanId":"""#, r#""parentSpanId":"b7""#),
            (r#"{"intValue":"1"}"#, r#"{"bytesValue":"1"}"#),
            (attribute, &format!("{attribute},{attribute}")),
        ] {
            let line = LINE.replace(from, to);
            assert_ne!(line, LINE, "{from}");
            assert!(parse(&line).is_err(), "{to}");
        }
    }
}
