//! How soon a new process is traced. In: which back ends. Out: a table: from before its exec to the first of its requests that has
//! a span, and whether that was the first it sent.
//!
//! The process sends requests from its first instruction on, each as soon as it has the answer to the one before, and writes its
//! own age into their paths.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use spanlet_e2e::agent::{Agent, Backend, Options};
use spanlet_e2e::bench_options::Settings;
use spanlet_e2e::function::{self, Function};
use spanlet_e2e::language::{program, Language};
use spanlet_e2e::otlp::{Kind, Span};
use spanlet_e2e::sheet::Sheet;
use spanlet_e2e::statistics::Spread;
use spanlet_e2e::system::monotonic_ns;

use crate::show;

const TITLE: &str =
    "From exec to the first traced request, of processes that call at once (--exec)";
const COLUMNS: [&str; 6] = [
    "back end",
    "processes",
    "traced",
    "first request seen",
    "ms from exec to it",
    "requests missed",
];
/// For how long a process calls.
const LIFE_MS: &str = "40";
const PROCESSES: usize = 30;

/// What one process showed.
struct Birth {
    /// Age at the first request that was seen, and how many were sent before.
    first: Option<(u64, u64)>,
}

pub fn measure(settings: &Settings) -> Result<()> {
    let processes = if settings.is_quick { 10 } else { PROCESSES };
    let rows = settings
        .backends
        .iter()
        .map(|&backend| row(backend, &births(backend, processes)?))
        .collect::<Result<_>>()?;
    let mut table = Sheet::new(&COLUMNS);
    table.group("", rows);
    show(settings, TITLE, &table);
    Ok(())
}

fn births(backend: Backend, processes: usize) -> Result<Vec<Birth>> {
    eprintln!("start: {processes} processes, {backend}");
    let executable = program("newborn")?.canonicalize()?;
    let server = Function::start(
        Language::C,
        &function::Options {
            without_truth: true,
            ..function::Options::default()
        },
    )?;
    let port = server.address.port().context("a TCP port")?.to_string();
    let pattern = executable.to_string_lossy().into_owned();
    let agent = Agent::start(&Options::json(backend, &[]).with(&["--exec", &pattern]))?;
    let pids = (0..processes)
        .map(|_| bear(&executable, &port))
        .collect::<Result<Vec<_>>>()?;
    let spans = agent.finish()?.spans;
    pids.into_iter()
        .map(|pid| {
            let of_it = spans.iter().filter(|span| span.pid() == Some(pid));
            let calls = of_it.filter(|span| span.kind == Kind::Client);
            let seen = calls.map(birth).collect::<Result<Vec<_>>>()?;
            Ok(Birth {
                first: seen.into_iter().min(),
            })
        })
        .collect()
}

/// Runs one to its end; its pid.
fn bear(executable: &Path, port: &str) -> Result<u32> {
    let born_ns = monotonic_ns().to_string();
    let mut child = Command::new(executable)
        .args([port, &born_ns, LIFE_MS])
        .stdout(std::process::Stdio::null())
        .spawn()?;
    let pid = child.id();
    let status = child.wait()?;
    anyhow::ensure!(status.success(), "newborn: {status}");
    Ok(pid)
}

/// Age and number in `/t/NUMBER-AGE/hello`.
fn birth(span: &Span) -> Result<(u64, u64)> {
    let url = span.text("url.full").context("a call without url.full")?;
    let mark = url
        .split("/t/")
        .nth(1)
        .and_then(|rest| rest.split('/').next());
    let (number, age) = mark
        .and_then(|mark| mark.split_once('-'))
        .with_context(|| format!("no mark in {url}"))?;
    Ok((age.parse()?, number.parse()?))
}

fn row(backend: Backend, births: &[Birth]) -> Result<Vec<String>> {
    let seen: Vec<(u64, u64)> = births.iter().filter_map(|birth| birth.first).collect();
    let at_once = seen.iter().filter(|(_, before)| *before == 0).count();
    let ages = Spread::of(seen.iter().map(|(age, _)| *age as f64 / 1e6));
    let missed = Spread::of(seen.iter().map(|(_, before)| *before as f64));
    let cell = |spread: Option<Spread>, places: usize| {
        spread.map_or_else(|| "-".to_owned(), |spread| format!("{spread:.places$}"))
    };
    Ok(vec![
        backend.to_string(),
        births.len().to_string(),
        seen.len().to_string(),
        at_once.to_string(),
        cell(ages, 2),
        cell(missed, 0),
    ])
}
