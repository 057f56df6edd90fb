//! Who called whom: the parents are true, there where they must be known, and never wrong.

use std::collections::HashMap;

use anyhow::{ensure, Context, Result};
use spanlet_e2e::load::Load;
use spanlet_e2e::message::Request;
use spanlet_e2e::otlp::{Kind, Span, Status};

use crate::costs::serves_by_thread;
use crate::durations::least;
use crate::stage::{index, next_of, path, Seen, Stage};
use crate::timing::{self, Route, Served};
use crate::traces::Check;

pub const EVIDENCE: &str = "spanlet.parent.evidence";

/// The spans of a chain case.
struct Chain<'a> {
    /// Server spans of `main`.
    callers: Vec<&'a Span>,
    /// Client spans of `main`.
    clients: Vec<&'a Span>,
    /// Server spans of `next`.
    callees: Vec<&'a Span>,
}

pub fn chain(
    stage: &Stage,
    case: &'static str,
    in_flight: usize,
    keep_alive: bool,
) -> Result<Check> {
    let requests = 40;
    let load = Load {
        in_flight,
        requests,
        keep_alive,
    };
    load.run(&stage.main.address, |index| {
        chain_request(case, index, "delay%3Fms=2")
    })?;
    let must_know = in_flight == 1 || serves_by_thread(stage.language);
    let (main, next) = (stage.main.pid(), stage.next.pid());
    Ok(Box::new(move |seen| {
        let chain = Chain::of(seen, case, main, next, requests, 1)?;
        chain.times(case, seen)?;
        chain.edges(must_know)
    }))
}

/// The client's span is around the work of the function that it called, and within that of its caller.
pub fn chain_delay(stage: &Stage, case: &'static str) -> Result<Check> {
    Load::serial(20).run(&stage.main.address, |index| {
        chain_request(case, index, "delay%3Fms=20")
    })?;
    let (main, next) = (stage.main.pid(), stage.next.pid());
    let least = least(next_of(stage.language), 20);
    Ok(Box::new(move |seen| {
        let chain = Chain::of(seen, case, main, next, 20, 1)?;
        chain.times(case, seen)?;
        let mut served = Vec::new();
        let clients = by_id(&chain.clients);
        for span in &chain.callees {
            let client = parent(span, &clients)?.context("no client")?;
            let truth = timing::truth_of(span, case, &seen.next_truth)?;
            timing::around(client, truth, least, seen.ahead_ns)?;
            served.push(Served {
                span,
                truth,
                client: timing::client_of(client, seen.ahead_ns)?,
            });
        }
        timing::check(&served, Route::of(least), seen.ahead_ns)
    }))
}

pub fn chain_error(stage: &Stage, case: &'static str) -> Result<Check> {
    Load::serial(5).run(&stage.main.address, |index| {
        chain_request(case, index, "error%3Fstatus=404")
    })?;
    let (main, next) = (stage.main.pid(), stage.next.pid());
    Ok(Box::new(move |seen| {
        let chain = Chain::of(seen, case, main, next, 5, 1)?;
        for client in &chain.clients {
            // Semantic conventions: for clients, 4xx is an error.
            ensure!(matches!(client.status, Status::Error(_)), "{client:?}");
            ensure!(client.text("error.type") == Some("404"), "{client:?}");
        }
        chain.edges(true)
    }))
}

pub fn fan(stage: &Stage, case: &'static str) -> Result<Check> {
    Load::serial(10).run(&stage.main.address, |index| {
        Request::get(format!(
            "/t/{case}:{index}/fan?n=4&path=/t/{case}:{index}/delay%3Fms=5"
        ))
    })?;
    let (main, next) = (stage.main.pid(), stage.next.pid());
    Ok(Box::new(move |seen| {
        let chain = Chain::of(seen, case, main, next, 10, 4)?;
        chain.times(case, seen)?;
        chain.edges(true)
    }))
}

impl<'a> Chain<'a> {
    fn of(
        seen: &'a Seen,
        case: &str,
        main: u32,
        next: u32,
        requests: usize,
        calls: usize,
    ) -> Result<Self> {
        let chain = Self {
            callers: seen.exactly(case, Kind::Server, main, requests)?,
            clients: seen.exactly(case, Kind::Client, main, requests * calls)?,
            callees: seen.exactly(case, Kind::Server, next, requests * calls)?,
        };
        let all = seen.of(case).len();
        ensure!(
            all == requests * (1 + 2 * calls),
            "{all} spans of {requests} requests"
        );
        Ok(chain)
    }

    /// Each call is made within its caller's work.
    fn times(&self, case: &str, seen: &Seen) -> Result<()> {
        self.clients.iter().try_for_each(|client| {
            let caller = timing::truth_of(client, case, &seen.truth)?;
            timing::within(client, caller, seen.ahead_ns)
        })
    }

    /// The indices in the paths say which request each span is of: no edge may join two requests.
    fn edges(&self, must_know_callers: bool) -> Result<()> {
        let callers = by_id(&self.callers);
        let clients = by_id(&self.clients);
        for callee in &self.callees {
            let client =
                parent(callee, &clients)?.with_context(|| format!("no client above {callee:?}"))?;
            joined(callee, client)?;
            ensure!(callee.text(EVIDENCE) == Some("connection"), "{callee:?}");
        }
        for client in &self.clients {
            match parent(client, &callers)? {
                Some(caller) => joined(client, caller)?,
                None => ensure!(!must_know_callers, "no server above {client:?}"),
            }
        }
        for caller in &self.callers {
            ensure!(
                caller.parent_span_id.is_none(),
                "a parent from nowhere: {caller:?}"
            );
        }
        let called: std::collections::HashSet<_> = self
            .callees
            .iter()
            .map(|span| &span.parent_span_id)
            .collect();
        ensure!(
            called.len() == self.callees.len(),
            "two servers under one client"
        );
        Ok(())
    }
}

fn by_id<'a>(spans: &[&'a Span]) -> HashMap<&'a str, &'a Span> {
    let pairs = spans.iter().map(|span| (span.span_id.as_str(), *span));
    pairs.collect()
}

/// The parent among `spans`; an error when it is another span.
fn parent<'a>(child: &Span, spans: &HashMap<&str, &'a Span>) -> Result<Option<&'a Span>> {
    let Some(id) = child.parent_span_id.as_deref() else {
        return Ok(None);
    };
    let found = spans.get(id).copied();
    found
        .map(Some)
        .with_context(|| format!("a parent of the wrong kind: {child:?}"))
}

fn joined(child: &Span, parent: &Span) -> Result<()> {
    ensure!(
        index(path(child)) == index(path(parent)),
        "wrong parent: {parent:?} of {child:?}"
    );
    ensure!(
        child.trace_id == parent.trace_id,
        "another trace: {parent:?} of {child:?}"
    );
    ensure!(
        parent.started_ns <= child.started_ns,
        "not open: {parent:?} of {child:?}"
    );
    Ok(())
}

fn chain_request(case: &str, index: usize, route: &str) -> Request {
    Request::get(format!(
        "/t/{case}:{index}/chain?path=/t/{case}:{index}/{route}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Span `id` of request `index` under `parent`.
    fn span(kind: Kind, index: usize, id: &str, parent: Option<&str>) -> Span {
        let text = |text: String| spanlet_e2e::otlp::Value::Text(text);
        Span {
            resource: Default::default(),
            scope: Default::default(),
            trace_id: format!("trace of {index}"),
            span_id: id.to_owned(),
            parent_span_id: parent.map(str::to_owned),
            trace_state: String::new(),
            flags: 0,
            name: String::new(),
            kind,
            started_ns: 1,
            ended_ns: 2,
            attributes: [
                (
                    "url.path".to_owned(),
                    text(format!("/t/case:{index}/hello")),
                ),
                (EVIDENCE.to_owned(), text("connection".to_owned())),
            ]
            .into(),
            status: Status::Unset,
        }
    }

    /// Two chains, 0 and 1; `parents` of the two clients.
    fn edges(parents: [Option<&str>; 2], must_know: bool) -> Result<()> {
        let callers = [0, 1].map(|index| span(Kind::Server, index, ["a0", "a1"][index], None));
        let clients =
            [0, 1].map(|index| span(Kind::Client, index, ["b0", "b1"][index], parents[index]));
        let callees = [0, 1].map(|index| {
            span(
                Kind::Server,
                index,
                ["c0", "c1"][index],
                Some(["b0", "b1"][index]),
            )
        });
        let chain = Chain {
            callers: callers.iter().collect(),
            clients: clients.iter().collect(),
            callees: callees.iter().collect(),
        };
        chain.edges(must_know)
    }

    #[test]
    fn edges_that_are_wrong_or_missing_are_found() {
        assert!(edges([Some("a0"), Some("a1")], true).is_ok());
        assert!(edges([Some("a1"), Some("a0")], false).is_err(), "crossed");
        assert!(
            edges([Some("a0"), Some("c1")], false).is_err(),
            "a parent that is no caller"
        );
        assert!(edges([Some("a0"), None], true).is_err(), "missing");
        assert!(
            edges([Some("a0"), None], false).is_ok(),
            "unknown, and allowed to be"
        );
    }
}
