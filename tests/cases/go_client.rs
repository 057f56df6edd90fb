//! Go's HTTP client: who asked for a request is known, however the connections of its pool go round. A uprobe tells, one for
//! each executable: where it is, that it is cheap there, and that it goes with the last process.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use spanlet_e2e::agent::{Agent, Backend, Options};
use spanlet_e2e::function::{self, Function};
use spanlet_e2e::language::Language;
use spanlet_e2e::load::Load;
use spanlet_e2e::message::Request;
use spanlet_e2e::otlp::{Kind, Span};
use spanlet_e2e::report::{Report, Uprobe};
use spanlet_e2e::runtime;
use spanlet_e2e::scratch::Scratch;
use spanlet_e2e::wait::wait_until;

use crate::calls::EVIDENCE;
use crate::stage::{index, path};
use crate::watched::marked;

on_each_back_end!(
    who_asked_is_known_however_many_requests_are_in_flight,
    who_started_those_that_ask_is_known_over_connections_that_go_on,
    the_probe_goes_with_the_last_process_of_its_file,
    a_process_that_ends_at_once_leaves_nothing,
    a_file_that_only_its_container_sees_is_attached,
);

/// Calls of a fan.
const FAN: usize = 4;
pub const PROBE: &str = "go_client_request";
pub const RECALL_MIN: f64 = 0.99;
/// After the end of a process; a report takes half a second itself.
const GONE: Duration = Duration::from_secs(2);

/// The file of an executable and its command.
fn command(runtime: &str) -> Result<Command> {
    (runtime::named(runtime)?.command)()
}

/// A function and one that it calls over a pool that keeps as many connections as there are requests in flight.
pub fn pair(name: &'static str, command: Command) -> Result<(Function, Function)> {
    let next = Function::start(Language::C, &function::Options::default())?;
    let options = function::Options {
        next: Some(next.address.clone()),
        environment: vec![("POOL".to_owned(), "64".to_owned())],
        ..function::Options::default()
    };
    Ok((Function::start_as(name, command, &options)?, next))
}

/// Requests with a mark, each of which makes calls with the same: how, says the route.
fn ask(
    function: &Function,
    mark: &str,
    in_flight: usize,
    requests: usize,
    route: &str,
) -> Result<()> {
    let load = Load {
        in_flight,
        requests,
        keep_alive: true,
    };
    let answers = load.run(&function.address, |index| {
        Request::get(format!(
            "/t/{mark}:{index}/{route}path=/t/{mark}:{index}/delay%3Fms=2"
        ))
    })?;
    ensure!(answers.iter().all(|answer| answer.status == 200));
    Ok(())
}

pub fn call(function: &Function, mark: &str, in_flight: usize, requests: usize) -> Result<()> {
    ask(function, mark, in_flight, requests, "chain?")
}

/// Each call's parent is the request with its index, which only the paths tell; or, for few, it has none.
pub fn score(
    spans: &[Span],
    mark: &str,
    pid: u32,
    requests: usize,
) -> Result<BTreeMap<String, usize>> {
    score_fans(spans, mark, pid, requests, 1)
}

/// The same of requests that make so many calls each.
fn score_fans(
    spans: &[Span],
    mark: &str,
    pid: u32,
    requests: usize,
    wide: usize,
) -> Result<BTreeMap<String, usize>> {
    let served = marked(spans, mark, Kind::Server, pid);
    let calls = marked(spans, mark, Kind::Client, pid);
    ensure!(served.len() == requests && calls.len() == requests * wide);
    let by_id: BTreeMap<_, _> = served.iter().map(|span| (&span.span_id, span)).collect();
    let mut evidence = BTreeMap::new();
    for call in calls {
        if let Some(parent) = &call.parent_span_id {
            let parent = by_id
                .get(parent)
                .context("its parent is no request of this mark")?;
            ensure!(
                index(path(parent)) == index(path(call)),
                "{parent:?} of {call:?}"
            );
        }
        let by = call.text(EVIDENCE).unwrap_or_default().to_owned();
        *evidence.entry(by).or_default() += 1;
    }
    Ok(evidence)
}

pub fn share(evidence: &BTreeMap<String, usize>, requests: usize) -> f64 {
    *evidence.get("goroutine").unwrap_or(&0) as f64 / requests as f64
}

fn who_asked_is_known_however_many_requests_are_in_flight(backend: Backend) -> Result<()> {
    let (function, next) = pair("go", Language::Go.command()?)?;
    // It runs and has a pool before the agent comes.
    call(&function, "before", 8, 32)?;
    let agent = Agent::start(&Options::json(backend, &[function.pid(), next.pid()]))?;
    let rows = [("one", 1, 100), ("eight", 8, 400), ("many", 64, 1600)];
    for (mark, in_flight, requests) in rows {
        call(&function, mark, in_flight, requests)?;
    }
    let found = agent.report()?.counter("spanlet.kernel.askers", "found");
    let spans = agent.finish()?.spans;
    for (mark, in_flight, requests) in rows {
        let evidence = score(&spans, mark, function.pid(), requests)?;
        ensure!(
            share(&evidence, requests) >= RECALL_MIN,
            "{in_flight} in flight: {evidence:?}, {found:?} askers"
        );
    }
    Ok(())
}

/// A call waits for its parent 2 seconds at most.
const TOLD: Duration = Duration::from_secs(3);

/// As [`call`], but each request calls four times at once, by goroutines of its own.
fn fan(function: &Function, mark: &str, in_flight: usize, requests: usize) -> Result<()> {
    ask(
        function,
        mark,
        in_flight,
        requests,
        &format!("fan?n={FAN}&"),
    )
}

fn who_started_those_that_ask_is_known_over_connections_that_go_on(backend: Backend) -> Result<()> {
    let (function, next) = pair("go", Language::Go.command()?)?;
    fan(&function, "before", 8, 32)?;
    let agent = Agent::start(&Options::json(backend, &[function.pid(), next.pid()]))?;
    // It is asked for once it is missed, which is known when these calls' spans are told.
    fan(&function, "missed", 8, 32)?;
    thread::sleep(TOLD);
    let rows = [("one", 1, 100), ("eight", 8, 400), ("many", 64, 800)];
    for (mark, in_flight, requests) in rows {
        fan(&function, mark, in_flight, requests)?;
    }
    let spans = agent.finish()?.spans;
    for (mark, in_flight, requests) in rows {
        let evidence = score_fans(&spans, mark, function.pid(), requests, FAN)?;
        ensure!(
            share(&evidence, requests * FAN) >= RECALL_MIN,
            "{in_flight} in flight: {evidence:?}"
        );
    }
    Ok(())
}

/// Where the client is probed: one for each file.
fn clients(report: &Report) -> impl Iterator<Item = &Uprobe> {
    report.uprobes.iter().filter(|uprobe| uprobe.name == PROBE)
}

fn uprobes<'a>(report: &'a Report, function: &Function) -> Vec<&'a Uprobe> {
    clients(report)
        .filter(|uprobe| uprobe.processes.contains(&function.pid()))
        .collect()
}

/// As releases compile it: the push behind the check of the stack; Go 1.19 has none.
fn place(runtime: &str) -> (String, &'static str) {
    let (offset, instruction) = match runtime {
        "go-1.19" => (12, "jcc"),
        _ => (18, "push"),
    };
    let function = "net/http.(*persistConn).roundTrip";
    (format!("{function}+{offset:#x}"), instruction)
}

macro_rules! in_every_build {
    ($($test:ident: $runtime:literal),* $(,)?) => {$(
        #[test]
        fn $test() -> Result<()> { built($runtime) }
    )*};
}

in_every_build!(
    stripped: "go-stripped",
    statically_linked: "go-static",
    position_independent: "go-pie",
    unoptimised: "go-unoptimised",
    go_1_19: "go-1.19",
    go_1_21: "go-1.21",
    go_1_22: "go-1.22",
    go_1_23: "go-1.23",
    go_1_24: "go-1.24",
    go_1_25: "go-1.25",
);

fn built(name: &'static str) -> Result<()> {
    let runtime = runtime::named(name)?;
    if let Some(missing) = runtime.missing() {
        println!("skipped: runtime {name}: {missing}");
        return Ok(());
    }
    let (function, next) = pair(name, command(name)?)?;
    call(&function, "before", 8, 32)?;
    let pids = [function.pid(), next.pid()];
    let agent = Agent::start(&Options::json(Backend::SocketTracepoints, &pids))?;
    let report = agent.report()?;
    let found = uprobes(&report, &function);
    let [uprobe] = found[..] else {
        anyhow::bail!("{name}: {:?}", report.not_attached);
    };
    ensure!(
        (uprobe.place.clone(), uprobe.instruction.as_str()) == place(name),
        "{uprobe:?}"
    );
    call(&function, "eight", 8, 400)?;
    fan(&function, "missed", 8, 32)?;
    let report = agent.report()?;
    let limits = &report.process(function.pid()).context("not there")?.limits;
    fan(&function, "fans", 8, 400)?;
    let spans = agent.finish()?.spans;
    let evidence = score(&spans, "eight", function.pid(), 400)?;
    ensure!(share(&evidence, 400) >= RECALL_MIN, "{name}: {evidence:?}");
    let evidence = score_fans(&spans, "fans", function.pid(), 400, FAN)?;
    let found = share(&evidence, 400 * FAN);
    match name {
        // It does not keep who started a goroutine, and says so.
        "go-1.19" => ensure!(
            limits
                .iter()
                .any(|limit| limit.what == "parents of goroutines")
                && found == 0.0
        ),
        // There the last number that was given out is not found.
        "go-unoptimised" => {}
        _ => ensure!(
            found >= RECALL_MIN,
            "{name}: fans: {evidence:?}, {limits:?}"
        ),
    }
    Ok(())
}

fn the_probe_goes_with_the_last_process_of_its_file(backend: Backend) -> Result<()> {
    let (first, _next) = pair("go", Language::Go.command()?)?;
    let second = Function::start(Language::Go, &function::Options::default())?;
    // The same text in another file.
    let scratch = Scratch::new()?;
    let copy = scratch.join("copy");
    std::fs::copy(Language::Go.command()?.get_program(), &copy)?;
    let other = Function::start_as("copy", Command::new(&copy), &function::Options::default())?;
    // A file that is replaced while it runs is still the file that runs.
    std::fs::remove_file(&copy)?;
    let pids = [first.pid(), second.pid(), other.pid()];
    let agent = Agent::start(&Options::json(backend, &pids))?;
    let report = agent.report()?;
    ensure!(clients(&report).count() == 2, "{:?}", report.uprobes);
    let shared = uprobes(&report, &first);
    ensure!(
        shared.len() == 1 && shared[0].processes.len() == 2,
        "{shared:?}"
    );
    for function in [&first, &second, &other] {
        let process = report.process(function.pid()).context("not there")?;
        ensure!(
            process.attached.iter().any(|name| name == PROBE),
            "{process:?}"
        );
    }
    drop(first);
    let left = |number: usize| {
        wait_until(GONE, "probe less", || {
            let report = agent.report()?;
            Ok((clients(&report).count() == number).then_some(report))
        })
    };
    let report = left(2)?;
    ensure!(uprobes(&report, &second).len() == 1, "{report:?}");
    drop(other);
    left(1)?;
    drop(second);
    let report = left(0)?;
    ensure!(
        report.probes.iter().all(|probe| probe.name != PROBE),
        "{report:?}"
    );
    agent.finish().map(drop)
}

fn a_process_that_ends_at_once_leaves_nothing(backend: Backend) -> Result<()> {
    let scratch = Scratch::new()?;
    let program = scratch.join("brief");
    std::fs::copy(Language::Go.command()?.get_program(), &program)?;
    let options = Options::json(backend, &[]);
    let options = options.with(&["--exec", program.to_str().context("a path in words")?]);
    let mut agent = Agent::start(&options)?;
    for wait_us in (0..4000).step_by(100) {
        let mut child = Command::new(&program).stdout(Stdio::null()).spawn()?;
        std::thread::sleep(Duration::from_micros(wait_us));
        child.kill()?;
        child.wait()?;
    }
    let report = wait_until(GONE, "end of all", || {
        let report = agent.report()?;
        Ok(report.uprobes.is_empty().then_some(report))
    })?;
    ensure!(
        report.processes.is_empty() && agent.is_alive()?,
        "{report:?}"
    );
    agent.finish().map(drop)
}

/// In a file system of its own, which is mounted nowhere else, as in a container.
fn a_file_that_only_its_container_sees_is_attached(backend: Backend) -> Result<()> {
    let scratch = Scratch::new()?;
    let program = command("go-static")?.get_program().to_owned();
    let mut contained = Command::new("unshare");
    contained.args(["--mount", "sh", "-ec"]);
    contained.arg(
        "mount -t tmpfs none \"$1\"; cp \"$0\" \"$1/contained\"; exec chroot \"$1\" /contained",
    );
    contained.arg(program).arg(scratch.path());
    let options = function::Options {
        without_truth: true,
        ..function::Options::default()
    };
    let function = Function::start_as("go", contained, &options)?;
    ensure!(!scratch.join("contained").exists(), "it is not contained");
    let agent = Agent::start(&Options::json(backend, &[function.pid()]))?;
    let report = agent.report()?;
    let found = uprobes(&report, &function);
    ensure!(found.len() == 1, "{:?}", report.not_attached);
    ensure!(found[0].executable.ends_with("/contained"), "{found:?}");
    agent.finish().map(drop)
}
