//! A request that is passed on through five languages is one trace: of each of its hops one server span, and between two one
//! client span, each the child of the one before, however many such requests are under way.

use std::collections::BTreeMap;

use anyhow::{ensure, Context, Result};
use spanlet_e2e::agent::{Agent, Backend, Options};
use spanlet_e2e::function::Function;
use spanlet_e2e::language::Language;
use spanlet_e2e::load::Load;
use spanlet_e2e::message::Request;
use spanlet_e2e::otlp::{Kind, Span};

use crate::stage::{index, path};
use crate::watched::caller;

on_each_back_end!(five_languages_are_one_trace);

/// In the order in which they are called.
const LANGUAGES: [Language; 5] = [
    Language::Go,
    Language::Python,
    Language::Java,
    Language::C,
    Language::Node,
];
const REQUESTS: usize = 80;

/// The functions in the order of [`LANGUAGES`]; each calls the next.
fn functions() -> Result<Vec<Function>> {
    let mut functions: Vec<Function> = Vec::new();
    for language in LANGUAGES.into_iter().rev() {
        let function = match functions.last() {
            Some(next) => caller(language, next)?,
            None => Function::start(language, &spanlet_e2e::function::Options::default())?,
        };
        functions.push(function);
    }
    functions.reverse();
    Ok(functions)
}

/// What the first is asked for, so that each of them asks the next.
fn target(mark: &str, index: usize) -> String {
    let prefix = format!("/t/{mark}:{index}");
    (1..LANGUAGES.len()).fold(format!("{prefix}/hello"), |rest, _| {
        let rest = rest.replace('%', "%25").replace('?', "%3F");
        format!("{prefix}/chain?path={}", rest.replace('=', "%3D"))
    })
}

fn five_languages_are_one_trace(backend: Backend) -> Result<()> {
    let functions = functions()?;
    let rows = [("one", 1), ("eight", 8)];
    let send = |mark: &str, in_flight, requests| -> Result<()> {
        let load = Load {
            in_flight,
            requests,
            keep_alive: true,
        };
        let answers = load.run(&functions[0].address, |index| {
            Request::get(target(mark, index))
        })?;
        let all = answers.iter().all(|answer| answer.status == 200);
        ensure!(all, "{answers:?}");
        Ok(())
    };
    send("before", 8, 16)?;
    let pids: Vec<u32> = functions.iter().map(Function::pid).collect();
    let agent = Agent::start(&Options::json(backend, &pids))?;
    for (mark, in_flight) in rows {
        send(mark, in_flight, REQUESTS)?;
    }
    let spans = agent.finish()?.spans;
    for (mark, _) in rows {
        for number in 0..REQUESTS {
            relayed(&spans, mark, number, &pids).with_context(|| format!("{mark} {number}"))?;
        }
    }
    Ok(())
}

/// The spans of one request are a chain from the first function's to the last's.
fn relayed(spans: &[Span], mark: &str, number: usize, pids: &[u32]) -> Result<()> {
    let start = format!("/t/{mark}:");
    let its = spans
        .iter()
        .filter(|span| path(span).starts_with(&start) && index(path(span)) == Some(number));
    let by_parent: BTreeMap<Option<&str>, &Span> = its
        .clone()
        .map(|span| (span.parent_span_id.as_deref(), span))
        .collect();
    let mut wanted = Vec::new();
    for (place, pid) in pids.iter().enumerate() {
        wanted.push((Kind::Server, Some(*pid)));
        if place + 1 < pids.len() {
            wanted.push((Kind::Client, Some(*pid)));
        }
    }
    ensure!(its.count() == wanted.len(), "{by_parent:#?}");
    let mut parent: Option<&Span> = None;
    for wanted in wanted {
        let span = by_parent
            .get(&parent.map(|parent| parent.span_id.as_str()))
            .with_context(|| format!("no child of {parent:?}"))?;
        ensure!((span.kind, span.pid()) == wanted, "{span:?}: {wanted:?}");
        if let Some(parent) = parent {
            ensure!(span.trace_id == parent.trace_id, "{span:?} of {parent:?}");
        }
        parent = Some(span);
    }
    Ok(())
}
