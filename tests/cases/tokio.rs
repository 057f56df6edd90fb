//! tokio: the probes that tell which task asked another to call, and which started which. They come with the first call, are cheap
//! and go with the process; without symbols there are none, which is told.

use std::time::Duration;

use anyhow::{ensure, Context, Result};
use spanlet_e2e::accuracy::drive::Budget;
use spanlet_e2e::accuracy::{table, Row, Service, Setting, Shape};
use spanlet_e2e::agent::{Agent, Backend, Options};
use spanlet_e2e::function::{self, Function};
use spanlet_e2e::otlp::Kind;
use spanlet_e2e::runtime::{self, rust};
use spanlet_e2e::scratch::Scratch;
use spanlet_e2e::wait::wait_until;

use crate::scored;
use crate::watched::{hop, places};

const SEED: u64 = 5;
/// Who woke a connection's task is not always certain.
const RECALL_MIN: f64 = 0.97;
const BUDGET: Budget = Budget {
    time: Duration::from_millis(600),
    roots: 10,
};
const SEEN: Duration = Duration::from_secs(10);
/// After the end of a process; a report takes half a second itself.
const GONE: Duration = Duration::from_secs(2);
/// Each probe, and the instruction that it is on.
const PROBES: [(&str, &str); 4] = [
    ("tokio_schedule", "jmp"),
    ("tokio_spawn", "jcc"),
    ("tokio_wake_by_ref", "jcc"),
    ("tokio_wake_by_val", "push"),
];

/// One request, for which it calls itself.
fn call(function: &Function) -> Result<()> {
    let port = function.address.port().context("a port")?;
    let plan = format!("{port};/hop/1/0;1;1;s;1|{port};/hop/2/1;1;1;s;");
    hop(function, &plan)
}

#[test]
fn probes_come_with_the_first_call_and_go_with_the_process() -> Result<()> {
    let function = runtime::named("rust-tokio")?.start(&function::Options::default())?;
    let pid = function.pid();
    let agent = Agent::start(&Options::json(Backend::SocketTracepoints, &[pid]))?;
    ensure!(places(&agent.report()?, pid).is_empty());
    call(&function)?;
    wait_until(SEEN, "the places of the probes", || {
        Ok((places(&agent.report()?, pid) == PROBES).then_some(()))
    })?;
    drop(function);
    std::thread::sleep(GONE);
    let report = agent.report()?;
    let left = places(&report, pid);
    ensure!(left.is_empty(), "{left:?}");
    agent.finish()?;
    Ok(())
}

/// Nothing but its tasks tells of most: many requests are open at once.
fn found(name: &'static str) -> Result<()> {
    // The probes come with the first rows.
    let mut rows = Row::all(&[1, 8], &[Service::Exponential]);
    rows.extend(Row::of(&[64], Shape::Chain, Service::Exponential));
    let run = Setting::plain(name).run(&rows, BUDGET, SEED)?;
    print!("{}", table::rows(&run));
    scored::none_wrong(&run)?;
    scored::found(&run, RECALL_MIN)
}

#[test]
fn many_at_once_on_many_threads() -> Result<()> {
    found("rust-tokio")
}

#[test]
fn many_at_once_on_one_thread() -> Result<()> {
    found("rust-tokio-current-thread")
}

/// Each request's own task writes what it calls over connections that are kept, whoever wakes it because one is free.
#[test]
fn tasks_that_write_themselves() -> Result<()> {
    found(rust::RAW)
}

#[test]
fn a_program_without_symbols_says_so() -> Result<()> {
    let scratch = Scratch::new()?;
    let stripped = rust::stripped(&scratch)?;
    let function = Function::start_as("rust", stripped, &function::Options::default())?;
    let pid = function.pid();
    let agent = Agent::start(&Options::json(Backend::SocketTracepoints, &[pid]))?;
    call(&function)?;
    let report = agent.report()?;
    let spans = agent.finish()?.spans;
    ensure!(places(&report, pid).is_empty());
    let limits = report.processes.iter().flat_map(|process| &process.limits);
    let limits: Vec<_> = limits.map(|limit| limit.what.as_str()).collect();
    ensure!(limits == ["tasks"], "{limits:?}");
    let served = spans.iter().filter(|span| span.kind == Kind::Server);
    ensure!(served.count() == 2, "it is traced all the same");
    Ok(())
}
