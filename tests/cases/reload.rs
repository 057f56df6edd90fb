//! Another configuration while the agent runs: applied without a restart, or refused and told.

use std::time::Duration;

use anyhow::{ensure, Context, Result};
use spanlet_e2e::agent::{Agent, Backend, Options};
use spanlet_e2e::function::{self, Function};
use spanlet_e2e::language::Language;
use spanlet_e2e::otlp::Kind;
use spanlet_e2e::report::{Counter, Report};
use spanlet_e2e::wait::wait_until;

use crate::health::configuration;
use crate::watched::{each_seen, marked, send};

on_each_back_end!(
    another_selection_is_applied,
    a_fault_changes_nothing_and_is_told,
    probes_are_opened_anew_for_what_needs_it,
    the_health_endpoint_moves_to_another_host_on_its_port,
    who_is_not_there_cannot_be_named,
);

/// Files are looked at each second.
const APPLIED: Duration = Duration::from_secs(15);

fn another_selection_is_applied(backend: Backend) -> Result<()> {
    let (first, second) = (start()?, start()?);
    let file = configuration(&select(&first))?;
    let agent = Agent::start(&Options::json(backend, &[]).with(&["--config", file.path()]))?;
    send(&first.address, "before", 3)?;
    file.replace(&select(&second))?;
    traced(&agent, second.pid(), first.pid())?;
    send(&first.address, "after", 3)?;
    send(&second.address, "after", 3)?;
    let spans = agent.finish()?.spans;
    each_seen(&spans, "before", Kind::Server, first.pid(), 3)?;
    each_seen(&spans, "after", Kind::Server, second.pid(), 3)?;
    let of_left = marked(&spans, "after", Kind::Server, first.pid());
    ensure!(of_left.is_empty(), "it was left: {of_left:?}");
    Ok(())
}

fn a_fault_changes_nothing_and_is_told(backend: Backend) -> Result<()> {
    let function = start()?;
    let file = configuration(&select(&function))?;
    let agent = Agent::start(&Options::json(backend, &[]).with(&["--config", file.path()]))?;
    file.replace("[select]\nports = [0]\nport = 1\n")?;
    let fault = until(&agent, "the fault", |report| report.configuration_fault)?;
    ensure!(
        fault.contains("select.ports") && fault.contains("select.port:"),
        "{fault}"
    );
    let text = String::from_utf8(agent.probes("text")?.stdout)?;
    ensure!(text.contains("0 is not a port"), "{text}");
    send(&function.address, "still", 3)?;
    file.replace(&select(&function))?;
    until(&agent, "recovery", |report| {
        report.configuration_fault.is_none().then_some(())
    })?;
    let ended = agent.finish()?;
    each_seen(&ended.spans, "still", Kind::Server, function.pid(), 3)?;
    ensure!(ended.log.contains("is not used"), "{}", ended.log);
    Ok(())
}

fn probes_are_opened_anew_for_what_needs_it(backend: Backend) -> Result<()> {
    let function = start()?;
    let file = configuration(&select(&function))?;
    let agent = Agent::start(&Options::json(backend, &[]).with(&["--config", file.path()]))?;
    send(&function.address, "before", 3)?;
    let before = agent.programs()?;
    file.replace(&format!("thread_clocks = false\n{}", select(&function)))?;
    until(&agent, "new probes", |report| {
        let loads = |counter: &&Counter| counter.room == "spanlet.probes.reopened";
        let reopened = report
            .counters
            .iter()
            .find(loads)
            .map(|counter| counter.value);
        (reopened == Some(1) && report.verified == "yes").then_some(())
    })?;
    let after = agent.programs()?;
    ensure!(
        before.iter().all(|program| !after.contains(program)),
        "the old are there"
    );
    send(&function.address, "after", 3)?;
    let ended = agent.finish()?;
    for mark in ["before", "after"] {
        each_seen(&ended.spans, mark, Kind::Server, function.pid(), 3)?;
    }
    let after = marked(&ended.spans, "after", Kind::Server, function.pid());
    let mut clocks = after.iter().map(|span| span.double("spanlet.cpu_time"));
    ensure!(clocks.all(|clock| clock.is_none()), "{after:?}");
    ensure!(ended.log.contains("blind for"), "{}", ended.log);
    Ok(())
}

fn the_health_endpoint_moves_to_another_host_on_its_port(backend: Backend) -> Result<()> {
    let function = start()?;
    let port = std::net::TcpListener::bind("127.0.0.1:0")?
        .local_addr()?
        .port();
    let listen = |host: &str| {
        let select = select(&function);
        format!("{select}[health]\nlisten = \"{host}:{port}\"\n")
    };
    let file = configuration(&listen("127.0.0.1"))?;
    let agent = Agent::start(&Options::json(backend, &[]).with(&["--config", file.path()]))?;
    file.replace(&listen("0.0.0.0"))?;
    wait_until(APPLIED, "the endpoint at the other host", || {
        let report = agent.report()?;
        ensure!(report.configuration_fault.is_none(), "{report:?}");
        // All of 127.0.0.0/8 is this host.
        Ok(std::net::TcpStream::connect(("127.0.0.2", port)).ok())
    })?;
    agent.finish().map(drop)
}

fn who_is_not_there_cannot_be_named(backend: Backend) -> Result<()> {
    let function = start()?;
    let file = configuration(&select(&function))?;
    let agent = Agent::start(&Options::json(backend, &[]).with(&["--config", file.path()]))?;
    // Beyond the highest that the kernel gives.
    file.replace("[select]\npids = [4194305]\n")?;
    let fault = until(&agent, "the fault", |report| report.configuration_fault)?;
    ensure!(fault.contains("4194305"), "{fault}");
    agent.finish().map(drop)
}

fn start() -> Result<Function> {
    Function::start(Language::C, &function::Options::default())
}

fn select(function: &Function) -> String {
    format!("[select]\npids = [{}]\n", function.pid())
}

/// Waits until one process is traced and the other is not.
fn traced(agent: &Agent, traced: u32, left: u32) -> Result<()> {
    until(agent, "the other selection", |report| {
        let is_done = report.process(traced).is_some() && report.process(left).is_none();
        is_done.then_some(())
    })
}

fn until<T>(agent: &Agent, what: &str, found: impl Fn(Report) -> Option<T>) -> Result<T> {
    wait_until(APPLIED, what, || Ok(found(agent.report()?))).context("the configuration")
}
