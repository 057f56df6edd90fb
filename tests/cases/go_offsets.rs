//! Go releases that the agent does not know: the program's debug information makes them known, or a table of the user's, also while
//! the agent runs; without either they are traced by system calls, and it says so. Such a release is today's under another name.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use spanlet_e2e::agent::{Agent, Backend, Options};
use spanlet_e2e::client::Connection;
use spanlet_e2e::function::{self, Function, Starting};
use spanlet_e2e::message::Request;
use spanlet_e2e::otlp::Kind;
use spanlet_e2e::report::{Process, Report};
use spanlet_e2e::runtime::{self, go};
use spanlet_e2e::scratch::Scratch;
use spanlet_e2e::system::workspace;
use spanlet_e2e::usage::memory;
use spanlet_e2e::wait::wait_until;

use crate::go_client::{call, pair, score, share, PROBE, RECALL_MIN};
use crate::health::configuration;
use crate::site::{all_by, parents, served, Site, IN_FLIGHT};
use crate::uprobes::{AGENT_BYTES_MAX, PROCESSES};
use crate::watched::marked;

const REQUESTS: usize = 400;
/// The agent's own table.
const TABLE: &str = "agent/src/attach/golang/offsets.txt";
/// How a program's build information begins, and where in it the version's length and text are (debug/buildinfo).
const MAGIC: &[u8] = b"\xff Go buildinf:";
const VERSION: usize = 32;
/// The configuration's files are looked at each second.
const APPLIED: Duration = Duration::from_secs(15);
/// A program's debug information is read beside the agent.
const READ: Duration = Duration::from_secs(15);
/// Builds of the same function, and whether each has its debug information.
const WHOLE: &str = "go";
const STRIPPED: &str = "go-stripped";
/// Those whose releases are in the agent's own table.
const RELEASES: [&str; 10] = [
    "go",
    "go-static",
    "go-pie",
    "go-unoptimised",
    "go-1.19",
    "go-1.21",
    "go-1.22",
    "go-1.23",
    "go-1.24",
    "go-1.25",
];

/// A program of a release that nobody knows, or of another name.
struct Unknown {
    scratch: Scratch,
    /// `1.99.0`
    version: String,
    /// The table that tells of it.
    table: String,
}

/// Of no known release.
fn new(version: &str) -> String {
    version.replacen("go1.26", "go1.99", 1)
}

/// Nothing like a release.
fn development(version: &str) -> String {
    let whole = format!("devel {}", "x".repeat(version.len()));
    whole[..version.len()].to_owned()
}

/// Of a known release, by others than Go's makers.
fn fork(version: &str) -> String {
    version.replacen("go1.26.", "go1.26-", 1)
}

impl Unknown {
    fn new(build: &str) -> Result<Self> {
        let program = (runtime::named(build)?.command)()?;
        Self::of(program, new)
    }

    fn of(program: Command, named: fn(&str) -> String) -> Result<Self> {
        let scratch = Scratch::new()?;
        let program = program.get_program();
        let mut bytes = std::fs::read(program)?;
        let start = position(&bytes, MAGIC).context("it has no build information")? + VERSION;
        let length = usize::from(bytes[start]);
        let text = &mut bytes[start + 1..start + 1 + length];
        let version = String::from_utf8(text.to_vec())?;
        let name = named(&version);
        ensure!(name.len() == length && name != version, "{version}");
        text.copy_from_slice(name.as_bytes());
        let copy = scratch.join("function");
        std::fs::write(&copy, &bytes)?;
        std::fs::set_permissions(&copy, std::fs::metadata(program)?.permissions())?;
        Ok(Self {
            scratch,
            version: name.strip_prefix("go").unwrap_or(&name).to_owned(),
            table: table(&version[2..6])?,
        })
    }

    fn command(&self) -> Command {
        Command::new(self.scratch.join("function"))
    }

    fn start(&self) -> Result<(Function, Function)> {
        let (function, next) = pair("unknown", self.command())?;
        call(&function, "before", 8, 32)?;
        Ok((function, next))
    }
}

fn position(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    let mut windows = bytes.windows(wanted.len());
    windows.position(|window| window == wanted)
}

/// The agent's own line of a release, as that of 1.99.
fn table(release: &str) -> Result<String> {
    let text = std::fs::read_to_string(workspace().join(TABLE))?;
    let line = |start: &str| {
        let mut lines = text.lines();
        lines.find_map(|line| line.strip_prefix(start)?.strip_prefix(' '))
    };
    let (columns, offsets) = line("release")
        .zip(line(release))
        .with_context(|| format!("no line of {release}"))?;
    Ok(format!(
        "# by the tests\nrelease {columns}\n1.99 {offsets}\n"
    ))
}

fn is_unknown(report: &Report, pid: u32, version: &str) -> Result<bool> {
    let process = report.process(pid).context("it is not traced")?;
    let told = format!("Go {version} is not among the releases that are known, and the program has no debug information (it was stripped)");
    let limits = process.limits.iter();
    let limited = limits.filter(|limit| limit.what == "goroutines" && limit.reason == told);
    let is_told_by_nobody = process.offsets_file.is_none() && !process.offsets_of_program;
    Ok(limited.count() == 1 && is_told_by_nobody)
}

fn is_told_by(report: &Report, pid: u32, file: &str) -> Result<bool> {
    let process = report.process(pid).context("it is not traced")?;
    let told = process.offsets_file.as_deref() == Some(file) && !process.offsets_of_program;
    Ok(told && is_followed(process))
}

fn is_followed(process: &Process) -> bool {
    let mut limits = process.limits.iter();
    let is_limited = limits.any(|limit| limit.what == "goroutines");
    !is_limited && process.attached.iter().any(|name| name == PROBE)
}

/// Waits until the agent has read what a program says itself.
fn wait_until_told(agent: &Agent, pid: u32) -> Result<()> {
    wait_until(READ, "its debug information", || {
        let report = agent.report()?;
        let process = report.process(pid).context("it is not traced")?;
        let is_told = process.offsets_of_program && process.offsets_file.is_none();
        Ok((is_told && is_followed(process)).then_some(()))
    })
}

/// A new release, and one that has no number: parents over connections that are used again.
#[test]
fn what_a_program_says_itself_is_taken() -> Result<()> {
    for named in [new, development] {
        let unknown = Unknown::of((runtime::named(WHOLE)?.command)()?, named)?;
        let (function, next) = unknown.start()?;
        let pids = [function.pid(), next.pid()];
        let agent = Agent::start(&Options::json(Backend::SocketTracepoints, &pids))?;
        wait_until_told(&agent, function.pid())?;
        let text = String::from_utf8(agent.probes("text")?.stdout)?;
        let told = format!(
            "offsets of go {} are those of its own debug information",
            unknown.version
        );
        ensure!(text.contains(&told), "{text}");
        askers_are_known(agent, &function)?;
    }
    Ok(())
}

/// Of calls that overlap.
fn askers_are_known(agent: Agent, function: &Function) -> Result<()> {
    call(function, "eight", 8, REQUESTS)?;
    let spans = agent.finish()?.spans;
    let evidence = score(&spans, "eight", function.pid(), REQUESTS)?;
    ensure!(share(&evidence, REQUESTS) >= RECALL_MIN, "{evidence:?}");
    Ok(())
}

#[test]
fn routes_of_a_program_that_tells_of_itself_are_known() -> Result<()> {
    let unknown = Unknown::new(WHOLE)?;
    let mut command = unknown.command();
    command.env("MUX", "1");
    let function = Function::start_as("unknown", command, &function::Options::default())?;
    let options = Options::json(Backend::SocketTracepoints, &[function.pid()]);
    let agent = Agent::start(&options)?;
    wait_until_told(&agent, function.pid())?;
    let mut connection = Connection::open(&function.address)?;
    for _ in 0..3 {
        connection.exchange(&Request::get("/t/routed:0/hello"))?;
    }
    let spans = agent.finish()?.spans;
    let served = marked(&spans, "routed", Kind::Server, function.pid());
    let routes: Vec<_> = served.iter().map(|span| span.text("http.route")).collect();
    ensure!(routes == [Some("/t/{mark}/hello"); 3], "{routes:?}");
    Ok(())
}

#[test]
fn tls_of_a_program_that_tells_of_itself_is_seen() -> Result<()> {
    let build = go::TLS.iter().find(|build| build.name == "go-tls");
    let unknown = Unknown::of((build.context("no such build")?.command)()?, new)?;
    let site = Site::new()?;
    let next = site.start("unknown", unknown.command(), None)?;
    let first = site.start("unknown", unknown.command(), Some(&next))?;
    let pids = [first.pid(), next.pid()];
    let agent = Agent::start(&Options::json(Backend::SocketTracepoints, &pids))?;
    for pid in pids {
        wait_until_told(&agent, pid)?;
    }
    site.send(&first, "many", IN_FLIGHT)?;
    let spans = agent.finish()?.spans;
    let above = served(&spans, "many", Kind::Server, first.pid())?;
    let calls = served(&spans, "many", Kind::Client, first.pid())?;
    served(&spans, "many", Kind::Server, next.pid())?;
    let by = parents(&calls, &above)?;
    ensure!(by == all_by("goroutine"), "{by:?}");
    Ok(())
}

/// It is read once, and takes little beside what an agent takes that starts.
#[test]
fn a_hundred_processes_that_tell_of_themselves_take_little_memory() -> Result<()> {
    let unknown = Unknown::new(WHOLE)?;
    let launch = |_| {
        let options = function::Options::default();
        Function::launch_as("unknown", unknown.command(), &options)
    };
    let starting = (0..PROCESSES).map(launch).collect::<Result<Vec<_>>>()?;
    let functions = starting.into_iter().map(Starting::serving);
    let functions = functions.collect::<Result<Vec<_>>>()?;
    let pids: Vec<u32> = functions.iter().map(Function::pid).collect();
    let agent = Agent::start(&Options::json(Backend::SocketTracepoints, &pids))?;
    wait_until(READ, "all of them", || {
        let report = agent.report()?;
        let told = report.processes.iter();
        let told = told.filter(|process| process.offsets_of_program && is_followed(process));
        Ok((told.count() == PROCESSES).then_some(()))
    })?;
    let used = memory(agent.pid())?;
    ensure!(used.peak < AGENT_BYTES_MAX, "{used:?}");
    println!("{used:?}");
    agent.finish().map(drop)
}

/// What a fork adds may be more than a name: its program is asked first. Without an answer its release is meant.
#[test]
fn a_fork_is_asked_before_its_release_is_taken() -> Result<()> {
    for (build, is_asked) in [(WHOLE, true), (STRIPPED, false)] {
        let program = (runtime::named(build)?.command)()?;
        let unknown = Unknown::of(program, fork)?;
        let (function, next) = unknown.start()?;
        let pids = [function.pid(), next.pid()];
        let agent = Agent::start(&Options::json(Backend::SocketTracepoints, &pids))?;
        if is_asked {
            wait_until_told(&agent, function.pid())?;
        }
        let report = agent.report()?;
        let process = report.process(function.pid()).context("it is not traced")?;
        ensure!(process.offsets_of_program == is_asked && is_followed(process));
    }
    Ok(())
}

/// The one field of the table that is of another size than is read, and is not read there: `net/http.conn.curReq` is no pointer yet.
const OTHER: ([&str; 2], &str, &str) = (["1", "19"], " 72 0 - 0 8 ", " 72 0 112 0 8 ");

/// What programs built by each release say of themselves is what Go's own reader of debug information says of them.
#[test]
fn programs_say_what_the_table_says() -> Result<()> {
    let own = std::fs::read_to_string(workspace().join(TABLE))?;
    let mut own = own.lines().filter(|line| !line.starts_with('#'));
    let head = own.next();
    let rows: Vec<&str> = own.collect();
    for name in RELEASES {
        let build = runtime::named(name)?;
        if let Some(missing) = build.missing() {
            println!("skipped: {name}: {missing}");
            continue;
        }
        let mut run = Command::new(spanlet_e2e::agent::binary()?);
        let output = run
            .arg("go-offsets")
            .arg((build.command)()?.get_program())
            .output()?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{name}: {error}");
        let said = String::from_utf8(output.stdout)?;
        let (columns, line) = said.trim_end().split_once('\n').context("a line")?;
        let (version, offsets) = line.split_once(' ').context("a version")?;
        let release: Vec<&str> = version.split('.').take(2).collect();
        let mut row = format!("{} {offsets}", release.join("."));
        if release == OTHER.0 {
            row = row.replace(OTHER.1, OTHER.2);
        }
        ensure!(
            Some(columns) == head && rows.contains(&row.as_str()),
            "{name}: {said}"
        );
        println!("{name}: {version} as in the table");
    }
    Ok(())
}

#[test]
fn a_release_that_is_not_known_is_traced_by_system_calls_and_told() -> Result<()> {
    let unknown = Unknown::new(STRIPPED)?;
    let (function, next) = unknown.start()?;
    let pids = [function.pid(), next.pid()];
    let agent = Agent::start(&Options::json(Backend::SocketTracepoints, &pids))?;
    let report = agent.report()?;
    ensure!(
        is_unknown(&report, function.pid(), &unknown.version)?,
        "{report:?}"
    );
    let not_attached = report.not_attached.iter().filter(|left| left.name == PROBE);
    let reasons: Vec<&str> = not_attached.map(|left| left.reason.as_str()).collect();
    ensure!(
        matches!(reasons[..], [reason] if reason.contains(&unknown.version)),
        "{reasons:?}"
    );
    call(&function, "eight", 8, REQUESTS)?;
    let spans = agent.finish()?.spans;
    // Each is there, and what has a parent has the right one.
    let evidence = score(&spans, "eight", function.pid(), REQUESTS)?;
    ensure!(!evidence.contains_key("goroutine"), "{evidence:?}");
    Ok(())
}

/// Also where the program would tell itself.
#[test]
fn a_users_table_makes_it_known() -> Result<()> {
    let unknown = Unknown::new(WHOLE)?;
    let (function, next) = unknown.start()?;
    let file = unknown.scratch.join("offsets.txt");
    std::fs::write(&file, &unknown.table)?;
    let file = file.to_str().context("its path is no text")?;
    let options = Options::json(Backend::SocketTracepoints, &[function.pid(), next.pid()]);
    let agent = Agent::start(&options.with(&["--go-offsets", file]))?;
    let report = agent.report()?;
    ensure!(is_told_by(&report, function.pid(), file)?, "{report:?}");
    let text = String::from_utf8(agent.probes("text")?.stdout)?;
    ensure!(
        text.contains(&format!(
            "offsets of go {} are those of {file}",
            unknown.version
        )),
        "{text}"
    );
    askers_are_known(agent, &function)
}

#[test]
fn a_users_table_is_taken_while_the_agent_runs_and_a_broken_one_is_not() -> Result<()> {
    let unknown = Unknown::new(STRIPPED)?;
    let (function, next) = unknown.start()?;
    let pid = function.pid();
    let head = unknown.table.split("1.99 ").next().unwrap_or_default();
    let offsets = configuration(head)?;
    let file = configuration(&format!(
        "go_offsets = \"{}\"\n[select]\npids = [{pid}, {}]\n",
        offsets.path(),
        next.pid()
    ))?;
    let options = Options::json(Backend::SocketTracepoints, &[]);
    let agent = Agent::start(&options.with(&["--config", file.path()]))?;
    ensure!(is_unknown(&agent.report()?, pid, &unknown.version)?);
    offsets.replace(&unknown.table.replace("1.99 ", "1.99 x"))?;
    wait_until(APPLIED, "the fault", || {
        let fault = agent.report()?.configuration_fault.unwrap_or_default();
        let place = format!("{}, line 3: ", offsets.path());
        Ok(fault.contains(&place).then_some(()))
    })?;
    ensure!(is_unknown(&agent.report()?, pid, &unknown.version)?);
    offsets.replace(&unknown.table)?;
    wait_until(APPLIED, "what the table tells", || {
        let report = agent.report()?;
        Ok(is_told_by(&report, pid, offsets.path())?.then_some(()))
    })?;
    call(&function, "known", 8, REQUESTS)?;
    // Its line is taken away again.
    offsets.replace(head)?;
    wait_until(APPLIED, "its end", || {
        let report = agent.report()?;
        Ok(is_unknown(&report, pid, &unknown.version)?.then_some(()))
    })?;
    call(&function, "unknown", 8, REQUESTS)?;
    let spans = agent.finish()?.spans;
    let evidence = score(&spans, "known", pid, REQUESTS)?;
    ensure!(share(&evidence, REQUESTS) >= RECALL_MIN, "{evidence:?}");
    let evidence = score(&spans, "unknown", pid, REQUESTS)?;
    ensure!(!evidence.contains_key("goroutine"), "{evidence:?}");
    Ok(())
}

#[test]
fn a_broken_table_is_told_at_the_start() -> Result<()> {
    let unknown = Unknown::new(STRIPPED)?;
    let offsets = configuration(&unknown.table.replace("1.99 ", "1.99 1 "))?;
    let told = |path: &str| -> Result<String> {
        let mut run = Command::new(spanlet_e2e::agent::binary()?);
        let output = run.args(["run", "--all", "--go-offsets", path]).output()?;
        ensure!(!output.status.success(), "it runs");
        Ok(String::from_utf8(output.stderr)?)
    };
    let said = told(offsets.path())?;
    let place = format!("{}, line 3: has ", offsets.path());
    ensure!(said.contains(&place), "{said}");
    let absent = Path::new(offsets.path()).with_file_name("absent");
    let said = told(absent.to_str().context("its path is no text")?)?;
    ensure!(said.contains("go_offsets: cannot read"), "{said}");
    Ok(())
}
