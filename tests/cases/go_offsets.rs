//! Go releases that the agent does not know: they are traced by system calls, and it says so; a table of the user's makes them
//! known, also while the agent runs. Such a release is today's under another name.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use spanlet_e2e::agent::{Agent, Backend, Options};
use spanlet_e2e::function::Function;
use spanlet_e2e::language::Language;
use spanlet_e2e::report::Report;
use spanlet_e2e::scratch::Scratch;
use spanlet_e2e::system::workspace;
use spanlet_e2e::wait::wait_until;

use crate::go_client::{call, pair, score, share, PROBE, RECALL_MIN};
use crate::health::configuration;

const REQUESTS: usize = 400;
/// How a program's build information begins, and where in it the version's length and text are (debug/buildinfo).
const MAGIC: &[u8] = b"\xff Go buildinf:";
const VERSION: usize = 32;
/// The configuration's files are looked at each second.
const APPLIED: Duration = Duration::from_secs(15);

/// A program of a release that nobody knows.
struct Unknown {
    scratch: Scratch,
    /// `1.99.0`
    version: String,
    /// The table that tells of it.
    table: String,
}

impl Unknown {
    fn new() -> Result<Self> {
        let scratch = Scratch::new()?;
        let program = Language::Go.command()?.get_program().to_owned();
        let mut bytes = std::fs::read(&program)?;
        let start = position(&bytes, MAGIC).context("it has no build information")? + VERSION;
        let length = usize::from(bytes[start]);
        let text = &mut bytes[start + 1..start + 1 + length];
        let version = String::from_utf8(text.to_vec())?;
        let (release, patch) = version[2..].split_at(4);
        text.copy_from_slice(format!("go1.99{patch}").as_bytes());
        let table = table(release)?;
        let copy = scratch.join("function");
        std::fs::write(&copy, &bytes)?;
        std::fs::set_permissions(&copy, std::fs::metadata(&program)?.permissions())?;
        Ok(Self {
            scratch,
            version: format!("1.99{patch}"),
            table,
        })
    }

    fn start(&self) -> Result<(Function, Function)> {
        let (function, next) = pair("unknown", Command::new(self.scratch.join("function")))?;
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
    let file = workspace().join("agent/src/attach/golang/offsets.txt");
    let text = std::fs::read_to_string(file)?;
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
    let told = format!("Go {version} is not among the releases that are known");
    let limits = process.limits.iter();
    let limited = limits.filter(|limit| limit.what == "goroutines" && limit.reason == told);
    Ok(limited.count() == 1 && process.offsets_file.is_none())
}

fn is_told_by(report: &Report, pid: u32, file: &str) -> Result<bool> {
    let process = report.process(pid).context("it is not traced")?;
    let told = process.offsets_file.as_deref() == Some(file);
    let limited = process
        .limits
        .iter()
        .any(|limit| limit.what == "goroutines");
    Ok(told && !limited && process.attached.iter().any(|name| name == PROBE))
}

#[test]
fn a_release_that_is_not_known_is_traced_by_system_calls_and_told() -> Result<()> {
    let unknown = Unknown::new()?;
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

#[test]
fn a_users_table_makes_it_known() -> Result<()> {
    let unknown = Unknown::new()?;
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
    call(&function, "eight", 8, REQUESTS)?;
    let spans = agent.finish()?.spans;
    let evidence = score(&spans, "eight", function.pid(), REQUESTS)?;
    ensure!(share(&evidence, REQUESTS) >= RECALL_MIN, "{evidence:?}");
    Ok(())
}

#[test]
fn a_users_table_is_taken_while_the_agent_runs_and_a_broken_one_is_not() -> Result<()> {
    let unknown = Unknown::new()?;
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
    let unknown = Unknown::new()?;
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
