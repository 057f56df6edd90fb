//! Connections that were open before the agent came: what comes over them is seen.

use anyhow::{ensure, Result};
use spanlet_e2e::agent::{Agent, Backend, Options};
use spanlet_e2e::client::Connection;
use spanlet_e2e::function::Function;
use spanlet_e2e::language::Language;
use spanlet_e2e::message::Request;
use spanlet_e2e::otlp::Kind;

use crate::calls::EVIDENCE;
use crate::watched::{caller, each_seen, every_language, marked, no_wrong_parent};

on_each_back_end!(a_connection_that_was_open_already_is_seen);

const REQUESTS: usize = 10;

/// Each language calls the one before it, over connections that both ends have used.
fn a_connection_that_was_open_already_is_seen(backend: Backend) -> Result<()> {
    let called = every_language()?;
    let mut callers = Vec::new();
    let mut connections = Vec::new();
    for (language, next) in Language::ALL.into_iter().zip(called.iter().rev()) {
        let function = caller(language, next)?;
        let mut connection = Connection::open(&function.address)?;
        connection.exchange(&chain("before", 0))?;
        connections.push(connection);
        callers.push(function);
    }
    let functions = callers.iter().chain(&called);
    let pids: Vec<_> = functions.map(Function::pid).collect();
    let agent = Agent::start(&Options::json(backend, &pids))?;
    for connection in &mut connections {
        for index in 0..REQUESTS {
            let answer = connection.exchange(&chain("after", index))?;
            ensure!(answer.status == 200, "{answer:?}");
        }
    }
    let spans = agent.finish()?.spans;
    for (function, next) in callers.iter().zip(called.iter().rev()) {
        each_seen(&spans, "after", Kind::Server, function.pid(), REQUESTS)?;
        each_seen(&spans, "after", Kind::Client, function.pid(), REQUESTS)?;
        each_seen(&spans, "after", Kind::Server, next.pid(), REQUESTS)?;
        for span in marked(&spans, "after", Kind::Server, next.pid()) {
            ensure!(span.text(EVIDENCE) == Some("connection"), "{span:?}");
        }
    }
    no_wrong_parent(&spans).map(drop)
}

fn chain(mark: &str, index: usize) -> Request {
    Request::get(format!(
        "/t/{mark}:{index}/chain?path=/t/{mark}:{index}/hello"
    ))
}
