//! Work that no request causes: traces do not grow by it.

use std::time::Duration;

use anyhow::{ensure, Result};
use spanlet_e2e::agent::{Agent, Backend, Options};
use spanlet_e2e::function::{self, Function};
use spanlet_e2e::language::{python_program, Language};
use spanlet_e2e::load::Load;
use spanlet_e2e::message::Request;
use spanlet_e2e::otlp::{Kind, Span};
use spanlet_e2e::wait::wait_until;

use crate::stage::path;
use crate::watched::{each_seen, longest_trace, marked, no_wrong_parent};

on_each_back_end!(calls_in_the_background_have_no_request_above_them);

const REQUESTS: usize = 40;

/// One request: a server, its client, and the server that it called.
const TRACE_SPANS_MAX: usize = 3;

fn calls_in_the_background_have_no_request_above_them(backend: Backend) -> Result<()> {
    let next = Function::start(Language::C, &function::Options::default())?;
    let (mut command, function) = python_program("background")?;
    command.arg(function);
    let options = function::Options {
        next: Some(next.address.clone()),
        ..Default::default()
    };
    let function = Function::start_as("background", command, &options)?;
    let agent = Agent::start(&Options::json(backend, &[function.pid(), next.pid()]))?;
    wait_until(Duration::from_secs(10), "calls in the background", || {
        Ok((background(&agent.spans()?).len() >= 10).then_some(()))
    })?;
    for (mark, in_flight) in [("alone", 1), ("many", 8)] {
        let load = Load {
            in_flight,
            requests: REQUESTS,
            keep_alive: true,
        };
        load.run(&function.address, |index| {
            Request::get(format!(
                "/t/{mark}:{index}/chain?path=/t/{mark}:{index}/delay%3Fms=20"
            ))
        })?;
    }
    let spans = agent.finish()?.spans;
    for mark in ["alone", "many"] {
        each_seen(&spans, mark, Kind::Server, function.pid(), REQUESTS)?;
        each_seen(&spans, mark, Kind::Client, function.pid(), REQUESTS)?;
        each_seen(&spans, mark, Kind::Server, next.pid(), REQUESTS)?;
        for client in marked(&spans, mark, Kind::Client, function.pid()) {
            ensure!(
                client.parent_span_id.is_some(),
                "no server above {client:?}"
            );
        }
    }
    no_wrong_parent(&spans)?;
    let background = background(&spans);
    ensure!(
        background.len() >= 40,
        "{} calls in the background",
        background.len()
    );
    for span in background {
        let is_root = span.kind == Kind::Server || span.parent_span_id.is_none();
        ensure!(is_root, "a request above {span:?}");
    }
    let longest = longest_trace(&spans);
    ensure!(longest <= TRACE_SPANS_MAX, "a trace of {longest} spans");
    Ok(())
}

fn background(spans: &[Span]) -> Vec<&Span> {
    let calls = spans.iter();
    calls
        .filter(|span| path(span).starts_with("/t/background:"))
        .collect()
}
