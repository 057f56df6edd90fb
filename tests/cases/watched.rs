//! What the cases without a collector share: requests that carry a mark, and the spans of them in the agent's JSON.

use std::collections::HashMap;

use anyhow::{bail, ensure, Context, Result};
use spanlet_e2e::client::{Address, Connection};
use spanlet_e2e::function::{Function, Options, Starting};
use spanlet_e2e::language::Language;
use spanlet_e2e::load::Load;
use spanlet_e2e::message::Request;
use spanlet_e2e::otlp::{Kind, Span};
use spanlet_e2e::report::Report;

use crate::stage::{index, path};

/// A function of each language.
pub fn every_language() -> Result<Vec<Function>> {
    let launch = |language| Function::launch(language, &Options::default());
    let starting = Language::ALL.into_iter().map(launch);
    let starting = starting.collect::<Result<Vec<_>>>()?;
    starting.into_iter().map(Starting::serving).collect()
}

/// A function that calls `next`.
pub fn caller(language: Language, next: &Function) -> Result<Function> {
    let options = Options {
        next: Some(next.address.clone()),
        ..Options::default()
    };
    Function::start(language, &options)
}

/// Requests with a mark, one after another over one connection; each must succeed.
pub fn send(address: &Address, mark: &str, requests: usize) -> Result<()> {
    let answers = Load::serial(requests).run(address, |index| {
        Request::get(format!("/t/{mark}:{index}/hello"))
    })?;
    ensure!(
        answers.iter().all(|answer| answer.status == 200),
        "{answers:?}"
    );
    Ok(())
}

/// One request that follows a plan from its first node on.
pub fn hop(function: &Function, plan: &str) -> Result<()> {
    let request = Request::get("/hop/1/0")
        .header("X-Plan", plan)
        .header("X-Node", "0");
    let answer = Connection::open(&function.address)?.exchange(&request)?;
    ensure!(answer.status == 200, "{answer:?}");
    Ok(())
}

/// The spans of a mark.
pub fn marked<'a>(spans: &'a [Span], mark: &str, kind: Kind, pid: u32) -> Vec<&'a Span> {
    let start = format!("/t/{mark}:");
    let of_it = spans
        .iter()
        .filter(|span| span.kind == kind && span.pid() == Some(pid));
    of_it
        .filter(|span| path(span).starts_with(&start))
        .collect()
}

/// Whether each request of a mark has exactly one span of a kind in a process.
pub fn each_seen(spans: &[Span], mark: &str, kind: Kind, pid: u32, requests: usize) -> Result<()> {
    let found = marked(spans, mark, kind, pid);
    let mut indices: Vec<_> = found.iter().filter_map(|span| index(path(span))).collect();
    indices.sort_unstable();
    ensure!(
        indices.iter().copied().eq(0..requests),
        "{kind:?} spans of process {pid} for {requests} requests of {mark}: {indices:?}"
    );
    Ok(())
}

/// Whether every parent is one that can be: of the same request, of the other kind, and open when its child started.
/// Gives the number of edges.
pub fn no_wrong_parent(spans: &[Span]) -> Result<usize> {
    let by_id: HashMap<_, _> = spans
        .iter()
        .map(|span| (span.span_id.as_str(), span))
        .collect();
    let mut edges = 0;
    for child in spans {
        let Some(id) = child.parent_span_id.as_deref() else {
            continue;
        };
        let Some(parent) = by_id.get(id) else {
            // Its own span was lost; whose it was is not known.
            continue;
        };
        ensure!(parent.kind != child.kind, "{parent:?} of {child:?}");
        ensure!(parent.trace_id == child.trace_id, "{parent:?} of {child:?}");
        let is_over = parent.ended_ns < child.started_ns
            // Its end is only what was last seen of it.
            && parent.text("spanlet.end") != Some("end_unseen");
        let is_open = parent.started_ns <= child.started_ns && !is_over;
        ensure!(is_open, "not open: {parent:?} of {child:?}");
        match (mark_of(child), mark_of(parent)) {
            (Some(one), Some(other)) if one != other => bail!("{parent:?} of {child:?}"),
            _ => edges += 1,
        }
    }
    Ok(edges)
}

/// The most spans that any trace has.
pub fn longest_trace(spans: &[Span]) -> usize {
    let mut traces = HashMap::new();
    for span in spans {
        *traces.entry(&span.trace_id).or_insert(0) += 1;
    }
    traces.into_values().max().unwrap_or(0)
}

/// Mark and index of a path, where it was seen.
fn mark_of(span: &Span) -> Option<&str> {
    path(span).strip_prefix("/t/")?.split('/').next()
}

/// The text of an attribute of the resource.
pub fn resource_text<'a>(span: &'a Span, key: &str) -> Result<&'a str> {
    match span.resource.get(key) {
        Some(spanlet_e2e::otlp::Value::Text(text)) => Ok(text),
        other => None.with_context(|| format!("{key}: {other:?}")),
    }
}

/// The instruction that each probe of a process is on, by name; but those for TLS, which every program with OpenSSL has.
pub fn places(report: &Report, pid: u32) -> Vec<(&str, &str)> {
    let its = report
        .uprobes
        .iter()
        .filter(|uprobe| uprobe.processes.contains(&pid) && !uprobe.name.starts_with("tls_"));
    let mut places: Vec<_> = its
        .map(|uprobe| (uprobe.name.as_str(), uprobe.instruction.as_str()))
        .collect();
    places.sort_unstable();
    places
}

#[cfg(test)]
mod tests {
    use spanlet_e2e::json;

    use super::*;

    /// Span `id` of `mark` under `parent`.
    fn span(kind: &str, id: u8, parent: Option<u8>, mark: &str, started: u8) -> Result<Span> {
        let parent = parent.map_or(String::new(), |parent| {
            format!(r#""parentSpanId":"{parent:016x}","#)
        });
        json::parse(&format!(
            r#"{{"traceId":"{:032x}","spanId":"{id:016x}",{parent}"name":"GET","kind":"{kind}","startTimeUnixNano":"{started}",
            "endTimeUnixNano":"9","durationNano":{},"status":{{"code":"unset"}},"attributes":{{"url.path":"/t/{mark}/hello"}},
            "resource":{{}}}}"#,
            1,
            9 - started
        ))
    }

    #[test]
    fn parents_that_cannot_be_are_found() -> Result<()> {
        let server = span("server", 1, None, "a:0", 2)?;
        let under = |kind, mark, started| span(kind, 2, Some(1), mark, started);
        let edges = |child| no_wrong_parent(&[server.clone(), child]);
        assert_eq!(edges(under("client", "a:0", 3)?)?, 1);
        assert!(
            edges(under("client", "a:1", 3)?).is_err(),
            "of another request"
        );
        assert!(
            edges(under("server", "a:0", 3)?).is_err(),
            "of the same kind"
        );
        assert!(edges(under("client", "a:0", 1)?).is_err(), "not open yet");
        let mut over = server.clone();
        over.ended_ns = 2;
        let late = under("client", "a:0", 3)?;
        assert!(
            no_wrong_parent(&[over.clone(), late.clone()]).is_err(),
            "over"
        );
        let unseen = spanlet_e2e::otlp::Value::Text("end_unseen".to_owned());
        over.attributes.insert("spanlet.end".to_owned(), unseen);
        assert_eq!(no_wrong_parent(&[over, late])?, 1, "its end was lost");
        assert_eq!(no_wrong_parent(&[under("client", "a:0", 3)?])?, 0, "lost");
        Ok(())
    }
}
