//! The harness itself: what a collector writes comes back whole, and children end with their values.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use spanlet_e2e::client::{Address, Connection};
use spanlet_e2e::collector::Collector;
use spanlet_e2e::function::{Function, Options};
use spanlet_e2e::language::Language;
use spanlet_e2e::message::Request;
use spanlet_e2e::otlp::{Kind, Status, Value};
use spanlet_e2e::wait::wait_until;

const REQUEST: &str = r#"{"resourceSpans":[{"resource":{"attributes":[
    {"key":"service.name","value":{"stringValue":"checkout"}},{"key":"process.pid","value":{"intValue":"4711"}}]},
    "scopeSpans":[{"scope":{"name":"spanlet","version":"1"},"spans":[{
    "traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"b7ad6b7169203331","parentSpanId":"00f067aa0ba902b7",
    "flags":257,"name":"GET /hello","kind":2,"startTimeUnixNano":"1000","endTimeUnixNano":"3000",
    "attributes":[{"key":"list","value":{"arrayValue":{"values":[{"stringValue":"a"},{"doubleValue":0.5}]}}},
    {"key":"yes","value":{"boolValue":true}}],"status":{"code":2,"message":"gone"}}]}]}]}"#;

#[test]
fn a_collector_hands_spans_back() -> Result<()> {
    let collector = Collector::start()?;
    let address = Address::Tcp(
        collector
            .http_endpoint()
            .trim_start_matches("http://")
            .parse()?,
    );
    let request =
        Request::post("/v1/traces", REQUEST.into()).header("Content-Type", "application/json");
    let answer = Connection::open(&address)?.exchange(&request)?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    wait_until(Duration::from_secs(5), "span in the file", || {
        Ok(collector.spans()?.first().map(|_| ()))
    })?;
    let (spans, _) = collector.finish()?;
    let [span] = spans.as_slice() else {
        panic!("{spans:?}");
    };
    assert_eq!(span.trace_id, "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(span.span_id, "b7ad6b7169203331");
    assert_eq!(span.parent_span_id.as_deref(), Some("00f067aa0ba902b7"));
    assert_eq!(
        (span.kind, span.duration_ns(), span.flags),
        (Kind::Server, 2000, 257)
    );
    assert_eq!(
        (span.scope.0.as_str(), span.scope.1.as_str()),
        ("spanlet", "1")
    );
    assert_eq!((span.name.as_str(), span.pid()), ("GET /hello", Some(4711)));
    assert_eq!(span.status, Status::Error("gone".to_owned()));
    let list = Value::Array(vec![Value::Text("a".to_owned()), Value::Double(0.5)]);
    let expected = [
        ("list".to_owned(), list),
        ("yes".to_owned(), Value::Boolean(true)),
    ];
    assert_eq!(span.attributes, expected.into());
    Ok(())
}

#[test]
fn a_function_ends_with_its_value() -> Result<()> {
    let function = Function::start(Language::C, &Options::default())?;
    let folder = format!("/proc/{}", function.pid());
    assert!(Path::new(&folder).exists());
    drop(function);
    assert!(!Path::new(&folder).exists());
    Ok(())
}
