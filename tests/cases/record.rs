//! Recordings: one small scenario for each language and back end, its kernel records saved by the agent.
//!
//! In: a language and a back end. Out: a recording and a list of its processes, small and without a name of this
//! machine; with `SPANLET_RECORD=1` they replace those in `tests/recordings/`, which `cargo test` replays.

mod fastcgi;
mod https;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use spanlet_e2e::agent::{Agent, Backend, Options as AgentOptions};
use spanlet_e2e::client::{Address, Connection};
use spanlet_e2e::function::{Function, Options};
use spanlet_e2e::language::Language;
use spanlet_e2e::load::Load;
use spanlet_e2e::message::{End, Framing, Request};
use spanlet_e2e::scratch::Scratch;
use spanlet_e2e::system::workspace;

use crate::stage::{named, next_of};

/// Set to 1: the recordings of the repository are replaced.
const REPLACE: &str = "SPANLET_RECORD";

/// Bytes of a recording: they are kept in the repository.
const BYTES_MAX: usize = 64 << 10;

macro_rules! on_both_back_ends {
    ($($language:ident: $variant:ident),*) => {$(
        mod $language {
            use spanlet_e2e::agent::Backend;
            use spanlet_e2e::language::Language::$variant;

            #[test]
            fn socket_tracepoints() -> anyhow::Result<()> { super::record($variant, Backend::SocketTracepoints) }
            #[test]
            fn sys_exit() -> anyhow::Result<()> { super::record($variant, Backend::SysExit) }
        }
    )*};
}

on_both_back_ends!(go: Go, python: Python, node: Node, java: Java, c: C);

fn record(language: Language, backend: Backend) -> Result<()> {
    let next = Function::start(next_of(language), &named("next", Options::default()))?;
    let calls_next = Options {
        next: Some(next.address.clone()),
        ..Options::default()
    };
    let main = Function::start(language, &named("main", calls_next))?;
    let mut early = Connection::open(&main.address)?;
    early.exchange(&get(0, "hello"))?;
    let name = format!("{}-{backend}", language.name());
    let files = recorded(
        &name,
        backend,
        &[main.pid(), next.pid()],
        |agent, listing| {
            early.exchange(&get(0, "hello"))?;
            answered(&main.address)?;
            called(&main.address)?;
            broken(&main.address)?;
            list(agent, listing)?;
            Connection::open(&main.address)?.exchange(&get(40, "die"))?;
            Ok(())
        },
    )?;
    keep_if_asked(&files)
}

/// A recording and the list of its processes.
struct Files {
    #[expect(dead_code, reason = "held so that the files stay")]
    scratch: Scratch,
    recording: PathBuf,
    listing: PathBuf,
}

/// Records what an agent sees meanwhile, and checks it. `scenario` lists the processes, into the file that it is given, when all
/// are there.
fn recorded(
    name: &str,
    backend: Backend,
    pids: &[u32],
    scenario: impl FnOnce(&Agent, &Path) -> Result<()>,
) -> Result<Files> {
    let scratch = Scratch::new()?;
    let recording = scratch.join(&format!("{name}.recording"));
    let listing = scratch.join(&format!("{name}.processes"));
    let agent = Agent::start(&AgentOptions {
        pids: pids.to_vec(),
        backend,
        otlp: None,
        output: "lines",
        environment: Vec::new(),
        arguments: vec!["--record".to_owned(), recording.display().to_string()],
    })?;
    scenario(&agent, &listing)?;
    agent.finish()?;
    check(&[&recording, &listing])?;
    Ok(Files {
        scratch,
        recording,
        listing,
    })
}

fn keep_if_asked(files: &Files) -> Result<()> {
    if std::env::var_os(REPLACE).is_some_and(|value| value == "1") {
        for file in [&files.recording, &files.listing] {
            keep(file)?;
        }
    }
    Ok(())
}

/// Requests that one function answers by itself.
fn answered(address: &Address) -> Result<()> {
    let mut kept = Connection::open(address)?;
    for (index, route) in [
        "hello?secret=1",
        "hello",
        "error?status=404",
        "error?status=500",
        "error?status=204",
        "delay?ms=20",
        "stream?n=4&ms=5",
        "big?bytes=65536",
    ]
    .iter()
    .enumerate()
    {
        kept.exchange(&get(1 + index, route))?;
    }
    kept.upload("/t/9/upload", 20_000, Framing::Chunked)?;
    kept.upload("/t/10/upload", 2_000, Framing::ContentLength)?;
    kept.exchange(&Request::head("/t/11/hello"))?;
    for index in 12..15 {
        kept.send(&get(index, "hello"))?;
    }
    for _ in 12..15 {
        kept.receive()?;
    }
    let closing = Load {
        in_flight: 1,
        requests: 2,
        keep_alive: false,
    };
    closing.run(address, |index| get(15 + index, "hello"))?;
    let old = get(17, "stream?n=2&ms=1").http10();
    Connection::open(address)?.exchange(&old)?;
    let mut slow = Connection::open(address)?;
    // The pause is the case: each byte is read by itself.
    slow.send_split(&get(18, "hello"), 1, Duration::from_micros(500))?;
    slow.receive()?;
    Ok(())
}

/// Requests for which a function calls the next one.
fn called(address: &Address) -> Result<()> {
    let chain = |index: usize, path: &str| get(index, &format!("chain?path=/t/{index}/{path}"));
    let mut kept = Connection::open(address)?;
    for index in 19..22 {
        kept.exchange(&chain(index, "delay%3Fms=2"))?;
    }
    kept.exchange(&chain(22, "error%3Fstatus=404"))?;
    let named = chain(23, "hello").header(
        "traceparent",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    );
    kept.exchange(&named)?;
    kept.exchange(&get(24, "fan?n=2&path=/t/24/delay%3Fms=5"))?;
    Connection::open(address)?.exchange(&chain(25, "hello").header("Connection", "close"))?;
    let together = Load {
        in_flight: 3,
        requests: 6,
        keep_alive: true,
    };
    together.run(address, |index| chain(26 + index, "delay%3Fms=5"))?;
    Ok(())
}

/// Exchanges that do not come to their end.
fn broken(address: &Address) -> Result<()> {
    let answer = Connection::open(address)?.exchange(&get(32, "abort"))?;
    ensure!(answer.end == End::Cut, "{answer:?}");
    let mut closing = Connection::open(address)?;
    closing.send(&get(33, "stream?n=100&ms=2"))?;
    ensure!(!closing.is_closed()?, "no answer");
    drop(closing);
    let mut resetting = Connection::open(address)?;
    resetting.send(&get(34, "stream?n=100&ms=2"))?;
    ensure!(!resetting.is_closed()?, "no answer");
    resetting.abort()?;
    // Long enough for the function to give up on them.
    Connection::open(address)?.exchange(&get(35, "delay?ms=300"))?;
    Ok(())
}

fn get(index: usize, route: &str) -> Request {
    Request::get(format!("/t/{index}/{route}"))
}

fn list(agent: &Agent, listing: &Path) -> Result<()> {
    Ok(fs::write(listing, processes(agent)?)?)
}

/// What the replay has to know of the processes, a line each: pid, service, language, version of the runtime (`-`: not
/// known) and name of the executable.
fn processes(agent: &Agent) -> Result<String> {
    let report = agent.report()?;
    let lines = report.processes.iter().map(|process| {
        let executable = process.executable.rsplit('/').next().unwrap_or("-");
        let version = process.runtime_version.as_deref().unwrap_or("-");
        format!(
            "{} {} {} {version} {executable}\n",
            process.pid, process.service, process.language
        )
    });
    Ok(lines.collect())
}

/// Nothing too large, and nothing that names this machine, may get into the repository.
fn check(files: &[&Path]) -> Result<()> {
    let hostname = fs::read_to_string("/proc/sys/kernel/hostname")?;
    let names = [
        workspace().canonicalize()?.display().to_string(),
        std::env::temp_dir().display().to_string(),
        hostname.trim().to_owned(),
    ];
    for file in files {
        let bytes = fs::read(file).with_context(|| file.display().to_string())?;
        let size = bytes.len();
        ensure!(
            (1..=BYTES_MAX).contains(&size),
            "{}: {size} bytes",
            file.display()
        );
        for name in names.iter().filter(|name| is_telling(name)) {
            let found = bytes
                .windows(name.len())
                .any(|window| window == name.as_bytes());
            ensure!(!found, "{} holds `{name}`", file.display());
        }
    }
    Ok(())
}

/// Host names that are found by chance, or that every machine has, tell nothing.
fn is_telling(name: &str) -> bool {
    name.len() >= 4 && name != "localhost"
}

fn keep(file: &Path) -> Result<()> {
    let folder: PathBuf = workspace().join("tests/recordings");
    let name = file.file_name().context("a file has a name")?;
    fs::copy(file, folder.join(name)).with_context(|| format!("write to {}", folder.display()))?;
    Ok(())
}
