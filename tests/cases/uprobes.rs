//! Uprobes follow the processes that run their files: what a hundred of them cost the agent, and what becomes of them when a
//! process becomes another program.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::process::Command;
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use spanlet_e2e::agent::{Agent, Backend, Options};
use spanlet_e2e::function::{self, Function, Starting};
use spanlet_e2e::language::{self, Language};
use spanlet_e2e::process::{Process, Stream};
use spanlet_e2e::report::Report;
use spanlet_e2e::scratch::Scratch;
use spanlet_e2e::usage::memory;
use spanlet_e2e::wait::wait_until;

on_each_back_end!(
    a_hundred_processes_of_a_large_file_cost_one_probe_and_little_memory,
    a_process_that_becomes_another_program_has_its_probes,
);

const GO_CLIENT: &str = "go_client_request";
pub const PROCESSES: usize = 100;
const FILE_BYTES: u64 = 100 << 20;
pub const AGENT_BYTES_MAX: u64 = 50 << 20;
const SOON: Duration = Duration::from_secs(5);

fn a_hundred_processes_of_a_large_file_cost_one_probe_and_little_memory(
    backend: Backend,
) -> Result<()> {
    let scratch = Scratch::new()?;
    let program = scratch.join("large");
    std::fs::copy(Language::Go.command()?.get_program(), &program)?;
    // As debug information is: after all that is loaded.
    let file = OpenOptions::new().write(true).open(&program)?;
    file.set_len(FILE_BYTES)?;
    drop(file);
    let launch = |_| {
        let command = Command::new(&program);
        Function::launch_as("large", command, &function::Options::default())
    };
    let starting = (0..PROCESSES).map(launch).collect::<Result<Vec<_>>>()?;
    let functions = starting.into_iter().map(Starting::serving);
    let functions = functions.collect::<Result<Vec<_>>>()?;
    let pids: Vec<u32> = functions.iter().map(Function::pid).collect();
    let agent = Agent::start(&Options::json(backend, &pids))?;
    let report = agent.report()?;
    let clients = report.uprobes.iter();
    let clients = clients.filter(|probe| probe.name == GO_CLIENT);
    let processes: Vec<_> = clients.map(|probe| &probe.processes).collect();
    ensure!(
        processes.len() == 1 && processes[0].len() == PROCESSES,
        "{processes:?}"
    );
    let used = memory(agent.pid())?;
    ensure!(used.peak < AGENT_BYTES_MAX, "{used:?}");
    agent.finish().map(drop)
}

/// Names of the uprobes of a process.
fn names(report: &Report, pid: u32) -> BTreeSet<&str> {
    let of_it = report.uprobes.iter();
    let of_it = of_it.filter(|probe| probe.processes.contains(&pid));
    of_it.map(|probe| probe.name.as_str()).collect()
}

/// A Python with OpenSSL, which waits until a file is there, then becomes a function in Go.
const BECOMES: &str = "
import os, ssl, sys, time
print('waiting', flush=True)
while not os.path.exists(sys.argv[1]):
    time.sleep(0.01)
os.execv(sys.argv[2], sys.argv[2:])
";

fn a_process_that_becomes_another_program_has_its_probes(backend: Backend) -> Result<()> {
    let scratch = Scratch::new()?;
    let now = scratch.join("now");
    let go = Language::Go.command()?.get_program().to_owned();
    let mut command = Command::new(language::python()?);
    command.args(["-c", BECOMES]).arg(&now).arg(go);
    let mut process = Process::start("becomes", &mut command)?;
    let said = |line: &str, start: &str| line.starts_with(start).then_some(());
    process.wait_for_line(Stream::Stdout, SOON, |line| said(line, "waiting"))?;
    let agent = Agent::start(&Options::json(backend, &[process.pid()]))?;
    let before = agent.report()?;
    ensure!(
        names(&before, process.pid()).contains("tls_read"),
        "{before:?}"
    );
    std::fs::write(&now, "")?;
    process.wait_for_line(Stream::Stdout, SOON, |line| said(line, "listening"))?;
    let after = wait_until(SOON, "probes of the new program", || {
        let report = agent.report()?;
        let names = names(&report, process.pid());
        let is_new = names.contains(GO_CLIENT) && !names.contains("tls_read");
        Ok(is_new.then_some(report))
    });
    after.with_context(|| format!("{:?}", agent.report()))?;
    agent.finish().map(drop)
}
