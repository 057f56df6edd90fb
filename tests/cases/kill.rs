//! The agent is killed at any point while functions work: none of them notices, the kernel keeps nothing of it, and the
//! next agent sees what goes on over the same connections.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::Duration;
use std::{env, fs};

use anyhow::{ensure, Context, Result};
use spanlet_e2e::agent::{binary, Agent, Backend, Options};
use spanlet_e2e::bpf;
use spanlet_e2e::client::Connection;
use spanlet_e2e::function::{self, Function};
use spanlet_e2e::language::Language;
use spanlet_e2e::message::Request;
use spanlet_e2e::otlp::Kind;
use spanlet_e2e::process::{Process, Stream};
use spanlet_e2e::scratch::Scratch;
use spanlet_e2e::system::Signal;
use spanlet_e2e::wait::wait_until;

use crate::watched::{caller, each_seen};

on_each_back_end!(kills_at_any_point_are_not_noticed);

/// Kills for each back end; the environment can ask for more.
const KILLS: usize = 5;
const KILLS_VARIABLE: &str = "SPANLET_KILLS";

/// An agent lives for less after its start, or after it is ready.
const LIFE_MAX: Duration = Duration::from_millis(700);
const START: Duration = Duration::from_secs(60);
/// The kernel frees what has no user after a while.
const FREED: Duration = Duration::from_secs(20);
const STOP: Duration = Duration::from_secs(10);
/// Requests on each kept connection at the end.
const REQUESTS: usize = 20;
/// Between two requests of a connection: the functions are busy, and others on this machine can work too.
const PAUSE: Duration = Duration::from_millis(1);

fn kills_at_any_point_are_not_noticed(backend: Backend) -> Result<()> {
    let kills = match env::var(KILLS_VARIABLE) {
        Ok(number) => number.parse().context(KILLS_VARIABLE)?,
        Err(_) => KILLS,
    };
    let next = Function::start(Language::C, &function::Options::default())?;
    let callers = [
        Language::Go,
        Language::Python,
        Language::Node,
        Language::Java,
    ];
    let callers = callers.map(|language| caller(language, &next));
    let functions = callers.into_iter().collect::<Result<Vec<_>>>()?;
    let mut kept = functions
        .iter()
        .map(|function| Connection::open(&function.address))
        .collect::<Result<Vec<_>>>()?;
    let pids: Vec<u32> = functions.iter().chain([&next]).map(Function::pid).collect();
    let over = AtomicBool::new(false);
    let answered = AtomicUsize::new(0);
    let killed = thread::scope(|scope| {
        let work = |connection| work(connection, &over, &answered);
        let loads: Vec<_> = kept
            .iter_mut()
            .map(|connection| scope.spawn(move || work(connection)))
            .collect();
        let killed = Scratch::new().and_then(|scratch| {
            let each = |round| kill(round, backend, &pids, &scratch, &answered);
            (0..kills).try_for_each(each)
        });
        over.store(true, Relaxed);
        let results = loads.into_iter().map(|load| load.join());
        let all = results.map(|result| result.map_err(|_| anyhow::anyhow!("a load panicked"))?);
        all.collect::<Result<Vec<()>>>().and(killed)
    });
    killed?;
    seen_again(backend, &pids, &functions, &mut kept)
}

/// Requests one after another until it is over: each must have its right answer.
fn work(connection: &mut Connection, over: &AtomicBool, answered: &AtomicUsize) -> Result<()> {
    while !over.load(Relaxed) {
        answer(connection, "meanwhile", answered.fetch_add(1, Relaxed))?;
        thread::sleep(PAUSE);
    }
    Ok(())
}

/// A request that the function passes on.
fn answer(connection: &mut Connection, mark: &str, index: usize) -> Result<()> {
    let target = format!("/t/{mark}:{index}/chain?path=/t/{mark}:{index}/hello");
    let answer = connection.exchange(&Request::get(target))?;
    let is_right = answer.status == 200 && answer.text() == "hello from c\n";
    ensure!(is_right, "{answer:?}");
    Ok(())
}

/// One agent's life, cut short. It has the same folder as the one before, and finds what that left there.
fn kill(
    round: usize,
    backend: Backend,
    pids: &[u32],
    scratch: &Scratch,
    answered: &AtomicUsize,
) -> Result<()> {
    let before = bpf::orphans()?;
    let pinned = pinned()?;
    let mut agent = start(backend, pids, scratch)?;
    // Every other one while it starts, however long that takes; the others while they serve.
    if round % 2 == 1 {
        let ready = |line: &str| line.contains("ready").then_some(());
        agent.wait_for_line(Stream::Stderr, START, ready)?;
    }
    let life = moment(round);
    thread::sleep(life);
    let held = bpf::held_by(agent.pid())?;
    agent.stop(Signal::Kill, STOP)?;
    let since = ["start", "readiness"][round % 2];
    let round = format!("kill {round}, {life:?} after {since}, held {}", held.len());
    let left = wait_until(FREED, "end of what the agent held", || {
        let left: Vec<_> = bpf::orphans()?.difference(&before).copied().collect();
        Ok(left.is_empty().then_some(()))
    });
    left.context(round.clone())?;
    ensure!(self::pinned()? == pinned, "{round}: pinned files");
    let files = files(scratch.path())?;
    let only_the_socket = files.iter().all(|file| file.ends_with("agent.sock"));
    ensure!(only_the_socket, "{round}: {files:?}");
    let already = answered.load(Relaxed);
    wait_until(STOP, "answers after the kill", || {
        Ok((answered.load(Relaxed) > already).then_some(()))
    })
    .context(round.clone())?;
    println!("{round}");
    Ok(())
}

fn start(backend: Backend, pids: &[u32], scratch: &Scratch) -> Result<Process> {
    let mut command = Command::new(binary()?);
    command.args([
        "run",
        "--output",
        "lines",
        "--io-backend",
        &backend.to_string(),
    ]);
    command.arg("--socket").arg(scratch.join("agent.sock"));
    command
        .env("TMPDIR", scratch.path())
        .current_dir(scratch.path());
    for pid in pids {
        command.arg("--pid").arg(pid.to_string());
    }
    Process::start("agent", &mut command)
}

/// Any moment of an agent's life; the same one for a round in each run.
fn moment(round: usize) -> Duration {
    // Steps of the golden ratio fill an interval evenly, however many there are.
    let part = (round as f64 * 0.618_033_988_75).fract();
    LIFE_MAX.mul_f64(part)
}

/// What is pinned in the kernel's BPF file system.
fn pinned() -> Result<Vec<PathBuf>> {
    match Path::new("/sys/fs/bpf") {
        folder if folder.exists() => files(folder),
        _ => Ok(Vec::new()),
    }
}

/// Every file below a folder.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        match path.is_dir() {
            true => found.extend(files(&path)?),
            false => found.push(path),
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// The next agent sees each request on connections that were open all the time.
fn seen_again(
    backend: Backend,
    pids: &[u32],
    functions: &[Function],
    kept: &mut [Connection],
) -> Result<()> {
    let agent = Agent::start(&Options::json(backend, pids))?;
    for connection in kept {
        (0..REQUESTS).try_for_each(|index| answer(connection, "after", index))?;
    }
    let spans = agent.finish()?.spans;
    functions.iter().try_for_each(|function| {
        each_seen(&spans, "after", Kind::Server, function.pid(), REQUESTS)?;
        each_seen(&spans, "after", Kind::Client, function.pid(), REQUESTS)
    })
}
