//! asyncio: the probes that tell which task started which, and which asked uvloop to write. They are cheap in every release,
//! come when they are needed and go with the process.

use std::time::Duration;

use anyhow::{ensure, Context, Result};
use spanlet_e2e::accuracy::subjects;
use spanlet_e2e::agent::{Agent, Backend, Options};
use spanlet_e2e::function::{self, Function};
use spanlet_e2e::report::Report;
use spanlet_e2e::runtime::{self, cpython};
use spanlet_e2e::wait::wait_until;

use crate::watched::{hop, places};

const TASK_BORN: &str = "python_task_born";
const UVLOOP_WRITE: &str = "uvloop_write";
const SEEN: Duration = Duration::from_secs(10);
/// After the end of a process; a report takes half a second itself.
const GONE: Duration = Duration::from_secs(2);

/// Waits until a process has these probes and no others.
fn seen(agent: &Agent, pid: u32, wanted: &[(&str, &str)]) -> Result<Report> {
    wait_until(SEEN, "place of the probes", || {
        let report = agent.report()?;
        let is_seen = places(&report, pid) == wanted;
        Ok(is_seen.then_some(report))
    })
}

/// A request whose calls are made by other tasks than the one that answers it: only who started them would tell whose they
/// are.
fn gather(function: &Function) -> Result<()> {
    let port = function.address.port().context("a port")?;
    let plan = format!("{port};/hop/1/0;1;1;p;1,1|{port};/hop/2/1;1;1;p;");
    hop(function, &plan)
}

#[test]
fn every_cpython_has_a_cheap_place() -> Result<()> {
    if let Some(why) = runtime::missing(cpython::NEEDS) {
        println!("skipped: CPython by release: {why}");
        return Ok(());
    }
    for name in subjects::RELEASES {
        let function = subjects::start(name, &function::Options::default())?;
        let agent = Agent::start(&Options::json(
            Backend::SocketTracepoints,
            &[function.pid()],
        ))?;
        ensure!(places(&agent.report()?, function.pid()).is_empty());
        gather(&function)?;
        let report = seen(&agent, function.pid(), &[(TASK_BORN, "push")]);
        let report = report.with_context(|| name)?;
        agent.finish()?;
        let limits = report.processes.iter().flat_map(|process| &process.limits);
        let limits: Vec<_> = limits.map(|limit| &limit.what).collect();
        ensure!(limits.is_empty(), "{name}: {limits:?}");
    }
    Ok(())
}

#[test]
fn probes_come_while_the_process_runs_and_go_with_it() -> Result<()> {
    let agent = Agent::start(&Options {
        arguments: vec!["--exec".to_owned(), "python*".to_owned()],
        ..Options::json(Backend::SocketTracepoints, &[])
    })?;
    let uvicorn = runtime::named("python-uvicorn-uvloop")?;
    let function = uvicorn.start(&function::Options::default())?;
    let pid = function.pid();
    // What it maps late is found when it listens.
    seen(&agent, pid, &[(UVLOOP_WRITE, "push")])?;
    drop(function);
    std::thread::sleep(GONE);
    let report = agent.report()?;
    let left = places(&report, pid);
    let of_it = report.processes.iter().find(|process| process.pid == pid);
    ensure!(of_it.is_none() && left.is_empty(), "{left:?}");
    agent.finish()?;
    Ok(())
}
