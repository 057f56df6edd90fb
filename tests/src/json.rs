//! The agent's own JSON, a line a span. In: a line. Out: a span. Strict, as [`crate::otlp`] is.

use std::collections::BTreeMap;

use anyhow::{bail, ensure, Result};
use serde::Deserialize;

use crate::otlp::{is_id, Attributes, Kind, Span, Status, Value};

/// One line of `--output json`.
pub fn parse(line: &str) -> Result<Span> {
    let line: Line = serde_json::from_str(line)
        .map_err(|error| anyhow::anyhow!("the agent wrote {line:?}: {error}"))?;
    ensure!(is_id(&line.trace_id, 32), "trace id {:?}", line.trace_id);
    ensure!(is_id(&line.span_id, 16), "span id {:?}", line.span_id);
    let (started_ns, ended_ns): (u64, u64) = (line.start.parse()?, line.end.parse()?);
    ensure!(
        ended_ns.saturating_sub(started_ns) == line.duration_nano,
        "a duration of its own: {} ns",
        line.duration_nano
    );
    Ok(Span {
        resource: attributes(line.resource)?,
        scope: Default::default(),
        trace_id: line.trace_id,
        span_id: line.span_id,
        parent_span_id: line.parent_span_id,
        trace_state: line.trace_state,
        flags: 0,
        name: line.name,
        kind: match line.kind.as_str() {
            "server" => Kind::Server,
            "client" => Kind::Client,
            kind => bail!("span kind {kind}"),
        },
        started_ns,
        ended_ns,
        attributes: attributes(line.attributes)?,
        status: match line.status.code.as_str() {
            "unset" => Status::Unset,
            "error" => Status::Error(line.status.message),
            code => bail!("status code {code}"),
        },
    })
}

type Object = BTreeMap<String, serde_json::Value>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Line {
    trace_id: String,
    span_id: String,
    parent_span_id: Option<String>,
    #[serde(rename = "parentIsRemote")]
    _parent_is_remote: Option<bool>,
    #[serde(default)]
    trace_state: String,
    name: String,
    kind: String,
    #[serde(rename = "startTimeUnixNano")]
    start: String,
    #[serde(rename = "endTimeUnixNano")]
    end: String,
    duration_nano: u64,
    status: LineStatus,
    attributes: Object,
    resource: Object,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LineStatus {
    code: String,
    #[serde(default)]
    message: String,
}

fn attributes(object: Object) -> Result<Attributes> {
    let pairs = object.into_iter();
    pairs.map(|(key, json)| Ok((key, value(json)?))).collect()
}

fn value(json: serde_json::Value) -> Result<Value> {
    Ok(match json {
        serde_json::Value::String(text) => Value::Text(text),
        serde_json::Value::Bool(boolean) => Value::Boolean(boolean),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => Value::Integer(integer),
            (None, Some(double)) => Value::Double(double),
            (None, None) => bail!("number {number}"),
        },
        serde_json::Value::Array(list) => {
            Value::Array(list.into_iter().map(value).collect::<Result<_>>()?)
        }
        other => bail!("value {other}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"b7ad6b7169203331","name":"GET",
        "kind":"client","startTimeUnixNano":"1","endTimeUnixNano":"3","durationNano":2,"status":{"code":"unset"},
        "attributes":{"a":1,"b":0.5,"c":["d"]},"resource":{"process.pid":7}}"#;

    #[test]
    fn a_span_is_read() -> Result<()> {
        let span = parse(LINE)?;
        assert_eq!((span.kind, span.pid()), (Kind::Client, Some(7)));
        assert_eq!((span.integer("a"), span.double("b")), (Some(1), Some(0.5)));
        assert_eq!((span.parent_span_id, span.ended_ns), (None, 3));
        Ok(())
    }

    #[test]
    fn what_is_not_known_is_an_error() {
        for (from, to) in [
            (r#""kind":"client""#, r#""kind":"internal""#),
            (r#""name":"GET""#, r#""name":"GET","links":[]"#),
            (r#""durationNano":2"#, r#""durationNano":3"#),
            (r#""b7ad6b7169203331""#, r#""b7""#),
        ] {
            let line = LINE.replace(from, to);
            assert_ne!(line, LINE, "{from}");
            assert!(parse(&line).is_err(), "{to}");
        }
    }
}
