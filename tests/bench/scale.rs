//! Many processes, many connections, and many new ones a second. In: which back ends. Out: two tables. Bounded: loopback, less than
//! a minute a back end.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use spanlet_e2e::agent::{Backend, Options};
use spanlet_e2e::bench_options::Settings;
use spanlet_e2e::function::{self, Function};
use spanlet_e2e::kernel::{maps_of, MapUse};
use spanlet_e2e::language::{program, Language};
use spanlet_e2e::process::{Process, Stream};
use spanlet_e2e::sheet::Sheet;
use spanlet_e2e::sink::Sink;
use spanlet_e2e::system::{signal_process, Signal};
use spanlet_e2e::usage::{memory, process_cpu_ns};
use spanlet_e2e::wait::wait_until;

use crate::account::Account;
use crate::beside::Watcher;
use crate::show;

const PROCESSES: u64 = 1000;
const CONNECTIONS: u64 = 20;
const REST: Duration = Duration::from_secs(5);
const BUSY_SECONDS: u64 = 5;
const OPENED_A_SECOND: u64 = 5000;
const OPENING_SECONDS: u64 = 5;
const PATIENCE: Duration = Duration::from_secs(90);

const CROWD_COLUMNS: [&str; 5] = [
    "phase",
    "agent CPU",
    "agent MiB (peak)",
    "map entries",
    "seen",
];
const OPENER_COLUMNS: [&str; 9] = [
    "beside",
    "opened/s",
    "opener µs",
    "server µs",
    "agent µs",
    "agent MiB (peak)",
    "spans",
    "the rest",
    "map entries after",
];

pub fn measure(settings: &Settings) -> Result<()> {
    let sink = Sink::start()?;
    let mut crowds = Sheet::new(&CROWD_COLUMNS);
    for &backend in &settings.backends {
        eprintln!("scale: {PROCESSES} processes, {backend}");
        crowds.group(backend.to_string(), crowd(backend, &sink)?);
    }
    let title = format!(
        "{PROCESSES} traced processes with {} open connections (both ends traced); busy: {PROCESSES} requests a second",
        PROCESSES * CONNECTIONS
    );
    show(settings, &title, &crowds);
    let mut openers = Sheet::new(&OPENER_COLUMNS);
    let besides = settings.backends.iter().map(|&backend| Some(backend));
    let rows = [None].into_iter().chain(besides);
    let rows = rows.map(|backend| opener(backend, &sink));
    openers.group("", rows.collect::<Result<_>>()?);
    let title = format!(
        "A process that opens {OPENED_A_SECOND} connections a second, a request each, and their server, both traced"
    );
    show(settings, &title, &openers);
    Ok(())
}

fn crowd(backend: Backend, sink: &Sink) -> Result<Vec<Vec<String>>> {
    let executable = program("crowd")?.canonicalize()?;
    let arguments = [
        "--exec".to_owned(),
        executable.to_string_lossy().into_owned(),
    ];
    let mut watcher = Watcher::start_as(&options(backend, Vec::new(), arguments.into()), sink)?;
    let mut phase = Phase::begin();
    let mut rows = vec![phase.end("before them", &mut watcher)?];
    let numbers = [PROCESSES, CONNECTIONS, BUSY_SECONDS];
    let mut command = Command::new(&executable);
    command.args(numbers.map(|number| number.to_string()));
    let mut process = Process::start("crowd", &mut command)?;
    wait_for(&mut process, "connected")?;
    rows.push(phase.end("while they start", &mut watcher)?);
    wait_for_traced(&watcher, |traced| traced > PROCESSES)?;
    rows.push(phase.end("until all are known", &mut watcher)?);
    thread::sleep(REST);
    rows.push(phase.end("at rest", &mut watcher)?);
    signal_process(process.pid(), Signal::User)?;
    wait_for(&mut process, "served")?;
    rows.push(phase.end("busy", &mut watcher)?);
    let due = PROCESSES * BUSY_SECONDS * 2;
    let mut account = Account::default();
    account.add(due, &watcher.spent(due)?);
    *rows[4].last_mut().context("cells")? = format!("{}; {}", account.seen(), account.verdict());
    drop(process);
    wait_for_traced(&watcher, |traced| traced == 0)?;
    rows.push(phase.end("until all are forgotten", &mut watcher)?);
    watcher.finish()?;
    Ok(rows)
}

/// Waits for a number of traced processes. An agent that is busy with them may be too busy to answer at once.
fn wait_for_traced(watcher: &Watcher<'_>, is_reached: impl Fn(u64) -> bool) -> Result<()> {
    wait_until(PATIENCE, "change of the traced processes", || {
        let report = watcher.report().ok();
        let traced = report.map(|report| report.sum("spanlet.processes.traced"));
        Ok(traced.filter(|&traced| is_reached(traced)).map(drop))
    })
}

/// A stretch of time, and what the agent spent on it.
struct Phase(Instant);

impl Phase {
    fn begin() -> Self {
        Self(Instant::now())
    }

    /// The cells of a phase that has ended now; the next begins.
    fn end(&mut self, name: &str, watcher: &mut Watcher<'_>) -> Result<Vec<String>> {
        let seconds = self.0.elapsed().as_secs_f64();
        let share = watcher.cpu_ns()? as f64 / 1e9 / seconds * 100.0;
        let cells = vec![
            name.to_owned(),
            format!("{share:.1} % of {seconds:.1} s"),
            mebibytes(watcher.pid())?,
            entries(watcher.pid())?,
            String::new(),
        ];
        // What was asked of the agent for these cells is no part of the next phase.
        watcher.cpu_ns()?;
        self.0 = Instant::now();
        Ok(cells)
    }
}

fn opener(backend: Option<Backend>, sink: &Sink) -> Result<Vec<String>> {
    let name = backend.map_or_else(|| "nothing".to_owned(), |backend| backend.to_string());
    eprintln!("scale: {OPENED_A_SECOND} connections a second, beside {name}");
    let executable = program("opener")?.canonicalize()?;
    let server = Function::start(
        Language::C,
        &function::Options {
            without_truth: true,
            ..function::Options::default()
        },
    )?;
    let arguments = [
        "--exec".to_owned(),
        executable.to_string_lossy().into_owned(),
    ];
    let watcher = backend.map(|backend| {
        let options = options(backend, vec![server.pid()], arguments.into());
        Watcher::start_as(&options, sink)
    });
    let mut watcher = watcher.transpose()?;
    let port = server.address.port().context("a TCP port")?;
    let before_ns = process_cpu_ns(server.pid())?;
    let (opener_ns, seconds) = open(&executable, port)?;
    let server_ns = process_cpu_ns(server.pid())? - before_ns;
    let opened = OPENED_A_SECOND * OPENING_SECONDS;
    let us = |nanoseconds: u64| format!("{:.1}", nanoseconds as f64 / 1e3 / opened as f64);
    let mut cells = vec![
        name,
        format!("{:.0}", opened as f64 / seconds),
        us(opener_ns),
        us(server_ns),
    ];
    if let Some(watcher) = &mut watcher {
        let spent = watcher.spent(opened * 2)?;
        let mut account = Account::default();
        account.add(opened * 2, &spent);
        cells.push(us(spent.cpu_ns));
        cells.push(mebibytes(watcher.pid())?);
        cells.extend([account.seen(), account.verdict(), entries(watcher.pid())?]);
    }
    cells.resize(OPENER_COLUMNS.len(), "-".to_owned());
    watcher.map(Watcher::finish).transpose()?;
    Ok(cells)
}

/// Runs the opener to its end: its CPU time, and how long it took.
fn open(executable: &std::path::Path, port: u16) -> Result<(u64, f64)> {
    let numbers = [u64::from(port), OPENED_A_SECOND, OPENING_SECONDS];
    let mut command = Command::new(executable);
    command.args(numbers.map(|number| number.to_string()));
    let started = Instant::now();
    let before_ns = children_cpu_ns()?;
    let mut process = Process::start("opener", &mut command)?;
    let status = process.wait(PATIENCE)?;
    anyhow::ensure!(status.success(), "opener: {status}: {}", process.said());
    let seconds = started.elapsed().as_secs_f64();
    Ok((children_cpu_ns()? - before_ns, seconds))
}

/// CPU time of the children that have ended and were waited for, nanoseconds.
fn children_cpu_ns() -> Result<u64> {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is to a live rusage.
    let result = unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, usage.as_mut_ptr()) };
    anyhow::ensure!(
        result == 0,
        "getrusage: {}",
        std::io::Error::last_os_error()
    );
    // SAFETY: zeroed, which is valid for plain integers, and filled by the call.
    let usage = unsafe { usage.assume_init() };
    let ns = |time: libc::timeval| time.tv_sec as u64 * 1_000_000_000 + time.tv_usec as u64 * 1000;
    Ok(ns(usage.ru_utime) + ns(usage.ru_stime))
}

fn options(backend: Backend, pids: Vec<u32>, arguments: Vec<String>) -> Options {
    Options {
        pids,
        backend,
        otlp: None,
        output: "none",
        environment: Vec::new(),
        arguments,
    }
}

fn wait_for(process: &mut Process, word: &str) -> Result<()> {
    process.wait_for_line(Stream::Stdout, PATIENCE, |line| {
        line.starts_with(word).then_some(())
    })
}

fn mebibytes(pid: u32) -> Result<String> {
    let memory = memory(pid)?;
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    Ok(format!("{:.1} ({:.1})", mib(memory.now), mib(memory.peak)))
}

/// The maps that hold something.
fn entries(pid: u32) -> Result<String> {
    let maps = maps_of(pid)?;
    let used: Vec<&MapUse> = maps.iter().filter(|map| map.entries > 0).collect();
    let parts = used
        .iter()
        .map(|map| format!("{} {}", map.name, map.entries));
    Ok(match used.is_empty() {
        true => "none".to_owned(),
        false => parts.collect::<Vec<_>>().join(", "),
    })
}
