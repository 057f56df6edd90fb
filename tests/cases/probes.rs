//! `spanlet probes`: who is traced and by what, what it costs, who is not traced and what to do about it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{ensure, Context, Result};
use spanlet_e2e::agent::{self, Agent, Backend, Options};
use spanlet_e2e::function::{self, Function};
use spanlet_e2e::language::Language;
use spanlet_e2e::load::Load;
use spanlet_e2e::message::Request;
use spanlet_e2e::report::Report;
use spanlet_e2e::scratch::Scratch;

use crate::watched::{every_language, send};

on_each_back_end!(
    each_process_is_described,
    each_probe_has_its_cost,
    who_is_not_traced_is_told_with_a_remedy,
    only_root_may_ask,
);

/// `nobody`
const NOBODY: u32 = 65534;

fn each_process_is_described(backend: Backend) -> Result<()> {
    let functions = every_language()?;
    let pids: Vec<_> = functions.iter().map(Function::pid).collect();
    let agent = Agent::start(&Options::json(backend, &pids))?;
    for function in &functions {
        send(&function.address, "told", 5)?;
    }
    let report = agent.report()?;
    ensure!(report.io_backend == backend.to_string(), "{report:?}");
    ensure!(report.processes.len() == functions.len(), "{report:?}");
    for function in &functions {
        let process = report.process(function.pid()).context("not there")?;
        let (language, has_version) = match function.name {
            "node" => ("nodejs", true),
            "c" => ("native", false),
            other => (other, true),
        };
        ensure!(process.language == language, "{process:?}");
        ensure!(
            process.runtime_version.is_some() == has_version,
            "{process:?}"
        );
        ensure!(
            !process.service.is_empty() && process.reason == "selected",
            "{process:?}"
        );
        ensure!(
            process.ports == Vec::from_iter(function.address.port()),
            "{process:?}"
        );
        ensure!(process.spans == 5 && process.records >= 10, "{process:?}");
        // Those in files see the processes that map them.
        let is_for_it = |name: &str| {
            let mut places = report.uprobes.iter().filter(|uprobe| uprobe.name == name);
            let nowhere = places.clone().next().is_none();
            nowhere || places.any(|uprobe| uprobe.processes.contains(&function.pid()))
        };
        let probes = report.probes.iter().map(|probe| &probe.name);
        let probes: BTreeSet<_> = probes.filter(|name| is_for_it(name)).collect();
        ensure!(
            !probes.is_empty() && process.attached.iter().collect::<BTreeSet<_>>() == probes,
            "{process:?}"
        );
    }
    for form in ["text", "wide"] {
        let output = agent.probes(form)?;
        let text = String::from_utf8(output.stdout)?;
        ensure!(output.status.success(), "{form}: {}", output.status);
        for pid in &pids {
            ensure!(
                text.contains(&format!(" {pid} ")) || text.contains(&format!("\n{pid} ")),
                "{text}"
            );
        }
    }
    agent.finish().map(drop)
}

fn each_probe_has_its_cost(backend: Backend) -> Result<()> {
    let function = Function::start(Language::C, &function::Options::default())?;
    let agent = Agent::start(&Options::json(backend, &[function.pid()]))?;
    let report = under_load(&function, || agent.report())?;
    let probe = match backend {
        Backend::SocketTracepoints => "sock_send_length",
        Backend::SysExit => "sys_exit",
    };
    let probe = report
        .probes
        .iter()
        .find(|found| found.name == probe)
        .with_context(|| format!("no {probe}: {report:?}"))?;
    ensure!(probe.hits > 100, "{probe:?}");
    let cost = probe.nanoseconds_per_hit.context("no cost")?;
    ensure!((1..1_000_000).contains(&cost), "{probe:?}");
    for probe in &report.probes {
        ensure!(
            probe.hits == 0 || probe.nanoseconds_per_hit.is_some(),
            "{probe:?}"
        );
    }
    agent.finish().map(drop)
}

fn who_is_not_traced_is_told_with_a_remedy(backend: Backend) -> Result<()> {
    let traced = Function::start(Language::C, &function::Options::default())?;
    let other = Function::start(Language::Python, &function::Options::default())?;
    let agent = Agent::start(&Options::json(backend, &[traced.pid()]))?;
    let report = agent.report()?;
    let not_traced = |pid| report.not_traced.iter().find(|process| process.pid == pid);
    ensure!(not_traced(traced.pid()).is_none(), "{report:?}");
    ensure!(not_traced(agent.pid()).is_none(), "{report:?}");
    let told = not_traced(other.pid()).context("not there")?;
    ensure!(
        told.ports == Vec::from_iter(other.address.port()),
        "{told:?}"
    );
    ensure!(!told.reason.is_empty(), "{told:?}");
    // The remedy is a command that works.
    let remedy = format!("--pid {}", other.pid());
    ensure!(told.remedy.contains(&remedy), "{told:?}");
    agent.finish().map(drop)
}

fn only_root_may_ask(backend: Backend) -> Result<()> {
    let function = Function::start(Language::C, &function::Options::default())?;
    let agent = Agent::start(&Options::json(backend, &[function.pid()]))?;
    // A copy: the agent's own folder may be closed to others.
    let scratch = Scratch::new()?;
    let copy = scratch.join("spanlet");
    fs::copy(agent::binary()?, &copy)?;
    for path in [scratch.path().to_owned(), copy.clone()] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    }
    let mut command = Command::new(&copy);
    command.args(["probes", "--socket"]).arg(agent.socket());
    let output = command.uid(NOBODY).gid(NOBODY).output()?;
    let said = String::from_utf8(output.stderr)?;
    ensure!(
        !output.status.success() && output.stdout.is_empty(),
        "answered: {said}"
    );
    ensure!(said.contains("Permission denied"), "{said}");
    agent.finish().map(drop)
}

/// Asks while requests come without a pause.
fn under_load(function: &Function, ask: impl FnOnce() -> Result<Report>) -> Result<Report> {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| -> Result<()> {
            while !done.load(Ordering::Relaxed) {
                Load::serial(50).run(&function.address, |_| Request::get("/t/load:0/hello"))?;
            }
            Ok(())
        });
        let report = ask();
        done.store(true, Ordering::Relaxed);
        report
    })
}
