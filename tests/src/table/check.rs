//! Spans against what was sent. In: the requests of a case and all spans. Out: what is missing, wrong or too much.

use std::collections::{HashMap, HashSet};

use anyhow::{anyhow, bail, ensure, Result};

use super::sent::{Calls, Sent};
use crate::otlp::{Kind, Span, Status};

/// What came out of a run.
pub struct Seen {
    pub spans: Vec<Span>,
    /// The processes of the web server that hands requests on to the function under test, if there is one.
    pub gateway: HashSet<u32>,
    /// The processes of the function under test.
    pub main: HashSet<u32>,
    /// The function that it calls.
    pub next: u32,
    /// How far the spans' clock is ahead of CLOCK_MONOTONIC.
    pub ahead_ns: u64,
}

/// Whose span it is, of which kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Role {
    /// A request to the web server in front of the function under test.
    Taken,
    /// The same as that hands it on.
    HandedOn,
    /// A request to the function under test.
    Served,
    /// A call that it makes.
    Called,
    /// The same call, at the function that it calls.
    Answered,
}

/// The spans of a case by role and path.
struct Found<'a> {
    spans: HashMap<(Role, String), Vec<&'a Span>>,
    count: usize,
}

/// How far apart two readings of clocks may be that are the same: spans come with wall-clock times.
const SLACK_NS: u64 = 300_000;
/// By how much half of the spans may end after the client had the answer: who writes may have to wait for a core then.
const LATE_NS: u64 = 5_000_000;

/// Every request of a case has its spans, right ones, and there are no others.
pub fn check(case: &str, sent: &[Sent], seen: &Seen) -> Result<()> {
    let found = Found::of(case, seen);
    let mut expected = 0;
    let mut late = Vec::new();
    let has_gateway = !seen.gateway.is_empty();
    let first = if has_gateway {
        Role::Taken
    } else {
        Role::Served
    };
    for request in sent {
        let mut server = found.one(first, request)?;
        let after = truly(request, server, seen)?;
        // A connection is shut before it is closed, which is what ends an answer that was cut.
        late.extend((!request.is_cut).then_some(after));
        ensure!(
            server.parent_span_id.is_none(),
            "a parent: {}",
            brief(server)
        );
        expected += 1;
        if has_gateway {
            server = handed_on(request, server, &found, seen)?;
            expected += 2;
        }
        if let Some(calls) = &request.calls {
            // A process of PHP does one thing at a time.
            called(request.alone || has_gateway, calls, server, &found)?;
            expected += 2 * calls.count;
        }
    }
    late.sort_unstable();
    let median = late.get(late.len() / 2).copied().unwrap_or(0);
    ensure!(median <= LATE_NS, "half of the spans end {median} ns late");
    ensure!(
        found.count == expected,
        "{} spans instead of {expected}",
        found.count
    );
    Ok(())
}

/// Spans of no request at all.
pub fn strays<'a>(marks: &[&str], seen: &'a Seen) -> Vec<&'a Span> {
    let known = |span: &&Span| marks.iter().any(|mark| is_of(mark, span));
    seen.spans.iter().filter(|span| !known(span)).collect()
}

impl<'a> Found<'a> {
    fn of(case: &str, seen: &'a Seen) -> Self {
        let mut found = Self {
            spans: HashMap::new(),
            count: 0,
        };
        for span in seen.spans.iter().filter(|span| is_of(case, span)) {
            found.count += 1;
            if let Some(role) = seen.role(span) {
                let same = found
                    .spans
                    .entry((role, path(span).to_owned()))
                    .or_default();
                same.push(span);
            }
        }
        found
    }

    /// The one span of a request.
    fn one(&self, role: Role, request: &Sent) -> Result<&'a Span> {
        match self.of_role(role, &request.path) {
            [span] => Ok(span),
            spans => bail!("{} spans of {}: {role:?}", spans.len(), request.path),
        }
    }

    fn of_role(&self, role: Role, path: &str) -> &[&'a Span] {
        let key = (role, path.to_owned());
        self.spans.get(&key).map_or(&[], Vec::as_slice)
    }
}

impl Seen {
    fn role(&self, span: &Span) -> Option<Role> {
        let pid = span.pid()?;
        match span.kind {
            Kind::Server if self.gateway.contains(&pid) => Some(Role::Taken),
            Kind::Client if self.gateway.contains(&pid) => Some(Role::HandedOn),
            Kind::Server if self.main.contains(&pid) => Some(Role::Served),
            Kind::Client if self.main.contains(&pid) => Some(Role::Called),
            Kind::Server if self.next == pid => Some(Role::Answered),
            _ => None,
        }
    }
}

/// A span in one line, for messages.
pub fn brief(span: &Span) -> String {
    let attributes = span.attributes.iter();
    let telling = attributes.filter(|(name, _)| {
        let quiet = ["client.", "network.", "server.", "user_agent."];
        !quiet.iter().any(|prefix| name.starts_with(prefix))
    });
    let telling: Vec<_> = telling
        .map(|(name, value)| format!("{name} {value:?}"))
        .collect();
    let took = span.duration_ns() / 1000;
    let pid = span.pid().unwrap_or(0);
    format!(
        "{:?} span of process {pid}, {took} µs, {:?}, {}",
        span.kind,
        span.status,
        telling.join(", ")
    )
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

/// What a span says of a request is so. By how much the span ends after the client had the answer.
fn truly(request: &Sent, span: &Span, seen: &Seen) -> Result<u64> {
    let of_span = |error| anyhow!("{error:#}: {}", brief(span));
    described(request, span).map_err(of_span)?;
    timed(request, span, seen.ahead_ns).map_err(of_span)
}

/// A request that a web server hands on: its client span, below the server's where that is known, and below it the server span of
/// the function, which is returned.
fn handed_on<'a>(
    request: &Sent,
    server: &Span,
    found: &Found<'a>,
    seen: &Seen,
) -> Result<&'a Span> {
    let client = found.one(Role::HandedOn, request)?;
    let behind = found.one(Role::Served, request)?;
    for span in [client, behind] {
        let protocol = span.text("network.protocol.name");
        ensure!(protocol == Some("fastcgi"), "{protocol:?}: {}", brief(span));
        // An answer that the function cuts has its end there all the same.
        if !request.is_cut {
            truly(request, span, seen)?;
        }
    }
    // For whom a web server's event loop calls is another matter.
    below(false, client, server)?;
    below(true, behind, client)?;
    Ok(behind)
}

/// A span is the child of another, or, unless that is certain to be known, of none.
fn below(is_known: bool, child: &Span, parent: &Span) -> Result<()> {
    let found = child.parent_span_id.as_deref();
    let right = found == Some(&parent.span_id) && child.trace_id == parent.trace_id;
    ensure!(found.is_none() || right, "a wrong parent: {}", brief(child));
    ensure!(found.is_some() || !is_known, "no parent: {}", brief(child));
    Ok(())
}

fn described(request: &Sent, span: &Span) -> Result<()> {
    let method = span.text("http.request.method");
    ensure!(method == Some(request.method), "method");
    let status = span.integer("http.response.status_code");
    ensure!(status == Some(i64::from(request.status)), "status");
    // Semantic conventions: for servers, 4xx is no error.
    let lowest = if span.kind == Kind::Client { 400 } else { 500 };
    let failed = request.is_cut || request.status >= lowest;
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

/// The calls of one request are in their places: below its server span, and above those of the function that is called.
fn called(is_known: bool, calls: &Calls, server: &Span, found: &Found) -> Result<()> {
    let clients = found.of_role(Role::Called, &calls.path);
    let answers = found.of_role(Role::Answered, &calls.path);
    ensure!(
        (clients.len(), answers.len()) == (calls.count, calls.count),
        "{} client and {} server spans of {} calls of {}",
        clients.len(),
        answers.len(),
        calls.count,
        calls.path
    );
    for client in clients {
        below(is_known, client, server)?;
        let below = answers.iter().filter(|answer| {
            let parent = answer.parent_span_id.as_deref();
            parent == Some(&client.span_id) && answer.trace_id == client.trace_id
        });
        ensure!(below.count() == 1, "no server span below {}", brief(client));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::otlp::Value;

    fn sent() -> Sent {
        Sent {
            method: "GET",
            path: "/t/case:0/chain".to_owned(),
            status: 200,
            is_cut: false,
            request_bytes: None,
            answer_bytes: Some(5),
            sent_ns: 1_000_000,
            last_byte_ns: 9_000_000,
            least: Duration::from_millis(5),
            alone: true,
            calls: Some(Calls {
                path: "/t/case:0/delay".to_owned(),
                count: 1,
            }),
        }
    }

    fn span(role: Role, path: &str, id: &str, parent: Option<&str>) -> Span {
        let (kind, pid) = match role {
            Role::Taken => (Kind::Server, 3),
            Role::HandedOn => (Kind::Client, 3),
            Role::Served => (Kind::Server, 1),
            Role::Called => (Kind::Client, 1),
            Role::Answered => (Kind::Server, 2),
        };
        let attributes = [
            ("url.path", Value::Text(path.to_owned())),
            ("http.request.method", Value::Text("GET".to_owned())),
            ("http.response.status_code", Value::Integer(200)),
            ("http.response.body.size", Value::Integer(5)),
        ];
        let attributes = attributes.map(|(name, value)| (name.to_owned(), value));
        Span {
            resource: [("process.pid".to_owned(), Value::Integer(pid))].into(),
            scope: Default::default(),
            trace_id: "trace".to_owned(),
            span_id: id.to_owned(),
            parent_span_id: parent.map(str::to_owned),
            trace_state: String::new(),
            flags: 0,
            name: String::new(),
            kind,
            started_ns: 2_000_000,
            ended_ns: 8_000_000,
            attributes: attributes.into(),
            status: Status::Unset,
        }
    }

    /// A request that calls another function, after `change`.
    fn after(change: impl FnOnce(&mut Vec<Span>)) -> Result<()> {
        let (chain, delay) = ("/t/case:0/chain", "/t/case:0/delay");
        let mut spans = vec![
            span(Role::Served, chain, "a", None),
            span(Role::Called, delay, "b", Some("a")),
            span(Role::Answered, delay, "c", Some("b")),
        ];
        change(&mut spans);
        checked(spans, &[])
    }

    /// The same behind a web server.
    fn after_gateway(change: impl FnOnce(&mut Vec<Span>)) -> Result<()> {
        let (chain, delay) = ("/t/case:0/chain", "/t/case:0/delay");
        let mut spans = vec![
            span(Role::Taken, chain, "x", None),
            span(Role::HandedOn, chain, "y", Some("x")),
            span(Role::Served, chain, "a", Some("y")),
            span(Role::Called, delay, "b", Some("a")),
            span(Role::Answered, delay, "c", Some("b")),
        ];
        for span in &mut spans[1..3] {
            let name = "network.protocol.name".to_owned();
            span.attributes
                .insert(name, Value::Text("fastcgi".to_owned()));
        }
        change(&mut spans);
        checked(spans, &[3])
    }

    fn checked(spans: Vec<Span>, gateway: &[u32]) -> Result<()> {
        let seen = Seen {
            spans,
            gateway: gateway.iter().copied().collect(),
            main: [1].into(),
            next: 2,
            ahead_ns: 0,
        };
        check("case", &[sent()], &seen)
    }

    #[test]
    fn what_is_right_passes() {
        after(|_| ()).unwrap();
        let other = "/t/other:0/hello";
        after(|spans| spans.push(span(Role::Served, other, "d", None))).unwrap();
    }

    #[test]
    fn what_is_missing_wrong_or_too_much_is_found() {
        type Change = fn(&mut Vec<Span>);
        let changes: [(&str, Change); 12] = [
            ("no server span", |spans| drop(spans.remove(0))),
            ("no client span", |spans| drop(spans.remove(1))),
            ("no answer", |spans| drop(spans.remove(2))),
            ("twice", |spans| spans.push(spans[0].clone())),
            ("invented", |spans| {
                let more = span(Role::Answered, "/t/case:1/hello", "d", None);
                spans.push(more);
            }),
            ("no parent", |spans| spans[1].parent_span_id = None),
            ("wrong parent", |spans| {
                spans[1].parent_span_id = Some("c".to_owned());
            }),
            ("a parent from nowhere", |spans| {
                spans[0].parent_span_id = Some("d".to_owned());
            }),
            ("too early", |spans| spans[0].started_ns = 100),
            ("too short", |spans| spans[0].ended_ns = 3_000_000),
            ("too late", |spans| spans[0].ended_ns = 20_000_000),
            ("an error", |spans| {
                spans[0].status = Status::Error(String::new());
            }),
        ];
        for (name, change) in changes {
            assert!(after(change).is_err(), "{name}");
        }
    }

    #[test]
    fn what_a_web_server_hands_on_is_one_chain() {
        after_gateway(|_| ()).unwrap();
        type Change = fn(&mut Vec<Span>);
        let changes: [(&str, Change); 6] = [
            ("not handed on", |spans| drop(spans.remove(1))),
            ("not served", |spans| drop(spans.remove(2))),
            ("handed on for another", |spans| {
                spans[1].parent_span_id = Some("a".to_owned());
            }),
            ("served for nobody", |spans| spans[2].parent_span_id = None),
            ("by another protocol", |spans| {
                spans[2].attributes.remove("network.protocol.name");
            }),
            ("called for nobody", |spans| spans[3].parent_span_id = None),
        ];
        for (name, change) in changes {
            assert!(after_gateway(change).is_err(), "{name}");
        }
    }

    #[test]
    fn what_a_span_says_is_compared() {
        for (name, value) in [
            ("http.request.method", Value::Text("POST".to_owned())),
            ("http.response.status_code", Value::Integer(500)),
            ("http.response.body.size", Value::Integer(4)),
            ("error.type", Value::Text("500".to_owned())),
        ] {
            let changed = after(|spans| {
                spans[0].attributes.insert(name.to_owned(), value);
            });
            assert!(changed.is_err(), "{name}");
        }
    }
}
