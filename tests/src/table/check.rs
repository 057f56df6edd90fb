//! Spans against what was sent. In: the requests of a case and all spans. Out: what is missing, wrong or too much.

use std::collections::HashSet;

use anyhow::{ensure, Context, Result};

use super::sent::{Calls, Sent};
use crate::otlp::{Kind, Span, Status};

/// What came out of a run.
pub struct Seen {
    pub spans: Vec<Span>,
    /// The processes of the function under test.
    pub main: HashSet<u32>,
    /// The function that it calls.
    pub next: u32,
    /// How far the spans' clock is ahead of CLOCK_MONOTONIC.
    pub ahead_ns: u64,
}

/// How far apart two readings of clocks may be that are the same: spans come with wall-clock times.
const SLACK_NS: u64 = 300_000;
/// By how much half of the spans may end after the client had the answer: who writes may have to wait for a core then.
const LATE_NS: u64 = 2_000_000;

/// Every request of a case has its spans, right ones, and there are no others.
pub fn check(case: &str, sent: &[Sent], seen: &Seen) -> Result<()> {
    let mut expected = 0;
    let mut late = Vec::new();
    for request in sent {
        let server = server(request, seen)?;
        described(request, server).with_context(|| format!("{server:?}"))?;
        late.push(timed(request, server, seen.ahead_ns).with_context(|| format!("{server:?}"))?);
        expected += 1;
        if let Some(calls) = &request.calls {
            expected += called(request, calls, server, seen)?;
        } else {
            ensure!(server.parent_span_id.is_none(), "a parent: {server:?}");
        }
    }
    late.sort_unstable();
    let median = late.get(late.len() / 2).copied().unwrap_or(0);
    ensure!(median <= LATE_NS, "half of the spans end {median} ns late");
    let found = seen.spans.iter().filter(|span| is_of(case, span));
    let found = found.count();
    ensure!(found == expected, "{found} spans instead of {expected}");
    Ok(())
}

/// Spans of no request at all.
pub fn strays<'a>(marks: &[&str], seen: &'a Seen) -> Vec<&'a Span> {
    let known = |span: &&Span| marks.iter().any(|mark| is_of(mark, span));
    seen.spans.iter().filter(|span| !known(span)).collect()
}

/// Cases mark their requests by the second segment: `/t/CASE:INDEX/route`, `/hop/CASE:INDEX/caller`.
fn is_of(case: &str, span: &Span) -> bool {
    let mark = path(span).split('/').nth(2);
    let marked = mark.and_then(|mark| mark.split_once(':'));
    marked.is_some_and(|(name, _)| name == case)
}

/// A span's path; empty where it has none.
fn path(span: &Span) -> &str {
    let full = span.text("url.path").or_else(|| {
        // Client spans carry the whole URL.
        let (_, rest) = span.text("url.full")?.split_once("://")?;
        rest.find('/').map(|start| &rest[start..])
    });
    let path = full.and_then(|full| full.split('?').next());
    path.unwrap_or_default()
}

/// The one server span of a request.
fn server<'a>(request: &Sent, seen: &'a Seen) -> Result<&'a Span> {
    let mine = |span: &&Span| {
        let own = span.pid().is_some_and(|pid| seen.main.contains(&pid));
        own && span.kind == Kind::Server && path(span) == request.path
    };
    let found: Vec<_> = seen.spans.iter().filter(mine).collect();
    let [span] = found.as_slice() else {
        anyhow::bail!("{} server spans of {}", found.len(), request.path);
    };
    Ok(span)
}

fn described(request: &Sent, span: &Span) -> Result<()> {
    let method = span.text("http.request.method");
    ensure!(method == Some(request.method), "method");
    let status = span.integer("http.response.status_code");
    ensure!(status == Some(i64::from(request.status)), "status");
    // Semantic conventions: for servers, 4xx is no error.
    let failed = request.is_cut || request.status >= 500;
    ensure!(matches!(span.status, Status::Error(_)) == failed, "error");
    ensure!(span.text("error.type").is_some() == failed, "error.type");
    for (attribute, truth) in [
        ("http.request.body.size", request.request_bytes),
        ("http.response.body.size", request.answer_bytes),
    ] {
        let Some(truth) = truth else { continue };
        let size = span.integer(attribute);
        // An absent size of nothing is as true.
        let right = size == Some(truth as i64) || (truth == 0 && size.is_none());
        ensure!(right, "{attribute} is {size:?}, {truth} were sent");
    }
    Ok(())
}

/// The order in which things happened, and how long. By how much the span ends after the client had the answer.
fn timed(request: &Sent, span: &Span, ahead_ns: u64) -> Result<u64> {
    let (started, ended) = (span.started_ns - ahead_ns, span.ended_ns - ahead_ns);
    ensure!(
        started + SLACK_NS >= request.sent_ns,
        "starts before its request"
    );
    ensure!(
        started <= request.last_byte_ns.saturating_add(SLACK_NS),
        "starts after its answer"
    );
    let least = request.least.as_nanos() as u64;
    ensure!(
        span.duration_ns() + SLACK_NS >= least,
        "shorter than its work"
    );
    Ok(ended.saturating_sub(request.last_byte_ns))
}

/// How many spans the calls of one request have, and whether they are in their places.
fn called(request: &Sent, calls: &Calls, server: &Span, seen: &Seen) -> Result<usize> {
    let of = |kind: Kind, is_next: bool| {
        let mine = move |span: &&Span| {
            let process = span.pid();
            let own = process.is_some_and(|pid| seen.main.contains(&pid));
            let right = if is_next {
                process == Some(seen.next)
            } else {
                own
            };
            right && span.kind == kind && path(span) == calls.path
        };
        seen.spans.iter().filter(mine).collect::<Vec<_>>()
    };
    let (clients, servers) = (of(Kind::Client, false), of(Kind::Server, true));
    ensure!(
        (clients.len(), servers.len()) == (calls.count, calls.count),
        "{} client and {} server spans of {} calls of {}",
        clients.len(),
        servers.len(),
        calls.count,
        calls.path
    );
    for client in &clients {
        let known = client.parent_span_id.as_deref();
        ensure!(
            known.is_none_or(|id| id == server.span_id),
            "a wrong parent: {client:?}"
        );
        ensure!(known.is_some() || !request.alone, "no parent: {client:?}");
        let above = servers.iter().filter(|span| {
            span.parent_span_id.as_deref() == Some(&client.span_id)
                && span.trace_id == client.trace_id
        });
        ensure!(above.count() == 1, "its server is not below {client:?}");
    }
    Ok(2 * calls.count)
}
