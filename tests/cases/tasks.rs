//! asyncio: the probes that tell which task started which, and which asked uvloop to write. They are cheap in every release,
//! come while the process runs and go with it; what they cannot tell is said.

use std::time::Duration;

use anyhow::{ensure, Result};
use spanlet_e2e::accuracy::subjects;
use spanlet_e2e::agent::{Agent, Backend, Options};
use spanlet_e2e::function;
use spanlet_e2e::report::Report;
use spanlet_e2e::runtime::{self, cpython};
use spanlet_e2e::wait::wait_until;

const TASK_BORN: &str = "python_task_born";
const UVLOOP_WRITE: &str = "uvloop_write";
const SEEN: Duration = Duration::from_secs(10);
/// After the end of a process; a report takes half a second itself.
const GONE: Duration = Duration::from_secs(2);

/// The instruction that each probe of a process is on.
fn places(report: &Report, pid: u32) -> Vec<(&str, &str)> {
    let uprobes = report.uprobes.iter();
    let its = uprobes.filter(|uprobe| uprobe.processes.contains(&pid));
    // What it maps for TLS is of no interest here.
    its.filter(|uprobe| !uprobe.name.starts_with("tls_"))
        .map(|uprobe| (uprobe.name.as_str(), uprobe.instruction.as_str()))
        .collect()
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
        let report = agent.report()?;
        agent.finish()?;
        let found = places(&report, function.pid());
        ensure!(found == [(TASK_BORN, "push")], "{name}: {found:?}");
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
    let both = [(TASK_BORN, "push"), (UVLOOP_WRITE, "push")];
    wait_until(SEEN, "place of both probes", || {
        let report = agent.report()?;
        let mut found = places(&report, pid);
        found.sort_unstable();
        Ok((found == both).then_some(()))
    })?;
    drop(function);
    std::thread::sleep(GONE);
    let report = agent.report()?;
    let left: Vec<_> = report.uprobes.iter().map(|uprobe| &uprobe.name).collect();
    let of_it = report.processes.iter().find(|process| process.pid == pid);
    agent.finish()?;
    ensure!(of_it.is_none() && left.is_empty(), "{left:?}");
    Ok(())
}
