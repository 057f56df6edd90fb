//! A parent that the request itself names is taken over, in every form that is known; a malformed one never.

use anyhow::{ensure, Result};
use spanlet_e2e::client::Connection;
use spanlet_e2e::message::Request;
use spanlet_e2e::otlp::Kind;

use crate::basics::each_once;
use crate::calls::EVIDENCE;
use crate::stage::{index, path, Stage};
use crate::traces::Check;

type Headers = &'static [(&'static str, &'static str)];

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";
const TRACE_PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Headers, the trace that they name, and the evidence that they are.
const NAMED: &[(Headers, &str, &str)] = &[
    (&[("traceparent", TRACE_PARENT)], TRACE, "traceparent"),
    (&[("TraceParent", TRACE_PARENT)], TRACE, "traceparent"),
    (
        // A version to come may say more.
        &[(
            "traceparent",
            "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
        )],
        TRACE,
        "traceparent",
    ),
    (
        &[(
            "b3",
            "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1-05e3ac9a4f6e3b90",
        )],
        TRACE,
        "b3",
    ),
    (
        &[("b3", "8448eb211c80319c-b7ad6b7169203331")],
        "00000000000000008448eb211c80319c",
        "b3",
    ),
    (
        &[
            ("X-B3-TraceId", TRACE),
            ("X-B3-SpanId", PARENT),
            ("X-B3-Sampled", "1"),
        ],
        TRACE,
        "b3",
    ),
    (
        &[(
            "uber-trace-id",
            "af7651916cd43dd8448eb211c80319c:b7ad6b7169203331:0:1",
        )],
        TRACE,
        "uber-trace-id",
    ),
    (
        &[(
            "X-Amzn-Trace-Id",
            "Root=1-0af76519-16cd43dd8448eb211c80319c;Parent=b7ad6b7169203331;Sampled=1",
        )],
        TRACE,
        "x-amzn-trace-id",
    ),
    (
        // The strongest of several that are well formed.
        &[
            ("b3", "8448eb211c80319c-b7ad6b7169203331"),
            ("traceparent", TRACE_PARENT),
        ],
        TRACE,
        "traceparent",
    ),
    (
        &[
            ("traceparent", "not one"),
            ("X-B3-TraceId", TRACE),
            ("X-B3-SpanId", PARENT),
        ],
        TRACE,
        "b3",
    ),
];

const MALFORMED: &[Headers] = &[
    &[("traceparent", "")],
    &[(
        "traceparent",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
    )],
    &[(
        "traceparent",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
    )],
    &[(
        "traceparent",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
    )],
    &[(
        "traceparent",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
    )],
    &[(
        "traceparent",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )],
    &[(
        "traceparent",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
    )],
    &[("traceparent", TRACE_PARENT), ("traceparent", TRACE_PARENT)],
    &[("b3", "1")],
    &[("b3", "0af7651916cd43dd8448eb211c80319c")],
    &[("b3", "0af7651916cd43dd-b7ad6b716920333x-1")],
    &[("X-B3-TraceId", TRACE)],
    &[("X-B3-TraceId", "abc"), ("X-B3-SpanId", PARENT)],
    &[(
        "uber-trace-id",
        "0af7651916cd43dd8448eb211c80319c:b7ad6b7169203331:1",
    )],
    &[("uber-trace-id", "0:b7ad6b7169203331:0:1")],
    &[(
        "X-Amzn-Trace-Id",
        "Root=1-0af76519-16cd43dd8448eb211c80319c;Sampled=1",
    )],
    &[(
        "X-Amzn-Trace-Id",
        "Root=2-0af76519-16cd43dd8448eb211c80319c;Parent=b7ad6b7169203331",
    )],
];

pub fn named(stage: &Stage, case: &'static str) -> Result<Check> {
    let headers = NAMED.iter().map(|(headers, ..)| *headers);
    let requests = send(stage, case, headers)?;
    let pid = stage.main.pid();
    Ok(Box::new(move |seen| {
        let spans = seen.exactly(case, Kind::Server, pid, requests)?;
        let mut indices: Vec<_> = spans.iter().filter_map(|span| index(path(span))).collect();
        indices.sort_unstable();
        ensure!(indices.iter().copied().eq(0..requests), "{indices:?}");
        for span in spans {
            let (headers, trace, evidence) = NAMED[index(path(span)).unwrap_or_default()];
            ensure!(span.trace_id == trace, "{headers:?}: {span:?}");
            let parent = span.parent_span_id.as_deref();
            ensure!(parent == Some(PARENT), "{headers:?}: {span:?}");
            ensure!(
                span.text(EVIDENCE) == Some(evidence),
                "{headers:?}: {span:?}"
            );
        }
        Ok(())
    }))
}

pub fn malformed(stage: &Stage, case: &'static str) -> Result<Check> {
    let requests = send(stage, case, MALFORMED.iter().copied())?;
    let pid = stage.main.pid();
    Ok(Box::new(move |seen| {
        for span in seen.exactly(case, Kind::Server, pid, requests)? {
            let headers = index(path(span)).and_then(|index| MALFORMED.get(index));
            ensure!(span.parent_span_id.is_none(), "{headers:?}: {span:?}");
            ensure!(span.text(EVIDENCE) == Some("none"), "{headers:?}: {span:?}");
        }
        each_once(&seen.of(case), requests)
    }))
}

/// What comes beside the parent is passed on.
pub fn state(stage: &Stage, case: &'static str) -> Result<Check> {
    let request = Request::get(format!("/t/{case}:0/hello"))
        .header("traceparent", TRACE_PARENT)
        .header("tracestate", "vendor=value");
    Connection::open(&stage.main.address)?.exchange(&request)?;
    let pid = stage.main.pid();
    Ok(Box::new(move |seen| {
        for span in seen.exactly(case, Kind::Server, pid, 1)? {
            ensure!(span.trace_state == "vendor=value", "{span:?}");
        }
        Ok(())
    }))
}

/// One request with each set of headers: how many.
fn send(stage: &Stage, case: &str, sets: impl Iterator<Item = Headers>) -> Result<usize> {
    let mut connection = Connection::open(&stage.main.address)?;
    let mut requests = 0;
    for headers in sets {
        let mut request = Request::get(format!("/t/{case}:{requests}/hello"));
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        connection.exchange(&request)?;
        requests += 1;
    }
    Ok(requests)
}
