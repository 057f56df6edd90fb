//! The end of the agent: what it has seen is delivered, and nothing of it stays behind.

use std::time::Duration;

use anyhow::{ensure, Result};
use spanlet_e2e::agent::{Agent, Backend, Options, Protocol};
use spanlet_e2e::collector::Collector;
use spanlet_e2e::function::{self, Function};
use spanlet_e2e::language::Language;
use spanlet_e2e::otlp::Kind;
use spanlet_e2e::system::has_program;
use spanlet_e2e::wait::wait_until;

use crate::watched::{each_seen, send};

on_each_back_end!(
    a_stop_delivers_what_was_seen_and_leaves_nothing,
    a_kill_leaves_nothing_and_harms_nobody,
);

/// The kernel frees programs a while after their last user.
const FREED: Duration = Duration::from_secs(10);

fn a_stop_delivers_what_was_seen_and_leaves_nothing(backend: Backend) -> Result<()> {
    let function = Function::start(Language::C, &function::Options::default())?;
    let collector = Collector::start()?;
    let options = Options {
        otlp: Some((Protocol::Grpc, collector.grpc_endpoint())),
        ..Options::json(backend, &[function.pid()])
    };
    let agent = Agent::start(&options)?;
    let (programs, socket) = (agent.programs()?, agent.socket());
    ensure!(!programs.is_empty() && socket.exists(), "{programs:?}");
    send(&function.address, "last", 50)?;
    let ended = agent.finish()?;
    each_seen(&ended.spans, "last", Kind::Server, function.pid(), 50)?;
    ensure!(!socket.exists(), "its socket is still there");
    freed(&programs)?;
    let (spans, _) = collector.finish()?;
    each_seen(&spans, "last", Kind::Server, function.pid(), 50)
}

fn a_kill_leaves_nothing_and_harms_nobody(backend: Backend) -> Result<()> {
    let function = Function::start(Language::C, &function::Options::default())?;
    let mut agent = Agent::start(&Options::json(backend, &[function.pid()]))?;
    let programs = agent.programs()?;
    ensure!(!programs.is_empty(), "no programs to look for");
    send(&function.address, "before", 10)?;
    agent.kill()?;
    send(&function.address, "between", 10)?;
    freed(&programs)?;
    let next = Agent::start(&Options::json(backend, &[function.pid()]))?;
    send(&function.address, "after", 10)?;
    let spans = next.finish()?.spans;
    each_seen(&spans, "after", Kind::Server, function.pid(), 10)
}

fn freed(programs: &[u32]) -> Result<()> {
    wait_until(FREED, "end of the agent's programs", || {
        for number in programs {
            if has_program(*number)? {
                return Ok(None);
            }
        }
        Ok(Some(()))
    })
}
