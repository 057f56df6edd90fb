//! What tracing costs: a saturated function with and without the agent, in turn, so that a machine whose speed drifts
//! slows both alike. In: arguments (see [`USAGE`]). Out: a line a pair and the medians. Needs root, wrk and the built
//! agent: `cargo xtask bench`.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};
use spanlet_e2e::agent::{Agent, Backend, Options};
use spanlet_e2e::client::Address;
use spanlet_e2e::function::{self, Function};
use spanlet_e2e::language::Language;
use spanlet_e2e::report::Report;
use spanlet_e2e::wait::wait_until;

const USAGE: &str = "arguments: [LANGUAGE [PAIRS [SECONDS]]], by default go 5 3";
const CONNECTIONS: &str = "16";
const DRAINED: Duration = Duration::from_secs(5);
const REST: Duration = Duration::from_millis(300);

/// One run of the load.
struct Run {
    requests: f64,
    /// CPU time of the function per request, microseconds.
    function_us: f64,
}

/// A run with the agent beside the one before it without.
struct Pair {
    kept: f64,
    added_us: f64,
    agent_us: f64,
    agent_mib: f64,
    spans: f64,
    losses: f64,
}

fn main() -> Result<()> {
    // `cargo bench` adds `--bench`.
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|text| text != "--bench")
        .collect();
    let argument = |index: usize, default: &str| {
        arguments
            .get(index)
            .map_or(default, String::as_str)
            .to_owned()
    };
    let name = argument(0, "go");
    let Some(language) = Language::ALL
        .into_iter()
        .find(|language| language.name() == name)
    else {
        bail!("{USAGE}");
    };
    let pairs: usize = argument(1, "5").parse().context(USAGE)?;
    let seconds: u32 = argument(2, "3").parse().context(USAGE)?;
    let function = Function::start(language, &function::Options::default())?;
    load(&function, seconds)?;
    println!("{name}: {CONNECTIONS} connections, {seconds} s a run; kept = requests with the agent / without");
    for backend in Backend::ALL {
        let results = (0..pairs)
            .map(|_| pair(&function, backend, seconds))
            .collect::<Result<Vec<_>>>()?;
        summary(backend, &results);
    }
    Ok(())
}

fn pair(function: &Function, backend: Backend, seconds: u32) -> Result<Pair> {
    let without = load(function, seconds)?;
    let agent = Agent::start(&Options {
        pids: vec![function.pid()],
        backend,
        otlp: None,
        output: "none",
        environment: Vec::new(),
        arguments: Vec::new(),
    })?;
    let before = cpu_us(agent.pid())?;
    let with = load(function, seconds)?;
    let agent_us = (settled_cpu_us(agent.pid())? - before) / with.requests;
    let report = agent.report()?;
    let pair = Pair {
        kept: with.requests / without.requests,
        added_us: with.function_us - without.function_us,
        agent_us,
        agent_mib: counter(&report, "process.memory.usage") / (1 << 20) as f64,
        spans: counter(&report, "spanlet.enrich.spans") / with.requests,
        losses: counter(&report, "spanlet.kernel.losses"),
    };
    agent.finish()?;
    println!(
        "  {backend}: kept {:.2}, function {:.1} + {:.1} µs a request, agent {:.1} µs a request and {:.0} MiB, {:.3} spans a request, {} records lost",
        pair.kept, without.function_us, pair.added_us, pair.agent_us, pair.agent_mib, pair.spans, pair.losses
    );
    Ok(pair)
}

fn summary(backend: Backend, pairs: &[Pair]) {
    let of = |value: fn(&Pair) -> f64| spread(pairs.iter().map(value).collect());
    println!(
        "{backend}: median (least to most): kept {}, added {} µs, agent {} µs, {} MiB, {} spans a request",
        of(|pair| pair.kept),
        of(|pair| pair.added_us),
        of(|pair| pair.agent_us),
        of(|pair| pair.agent_mib),
        of(|pair| pair.spans),
    );
}

fn spread(mut values: Vec<f64>) -> String {
    values.sort_by(f64::total_cmp);
    let [first, .., last] = values.as_slice() else {
        return values
            .first()
            .map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"));
    };
    format!("{:.2} ({first:.2} to {last:.2})", values[values.len() / 2])
}

/// Saturates the function from this machine's loopback.
fn load(function: &Function, seconds: u32) -> Result<Run> {
    let Address::Tcp(address) = &function.address else {
        bail!("wrk needs a TCP address");
    };
    let before = cpu_us(function.pid())?;
    let output = Command::new("wrk")
        .args([
            "-t1",
            "-c",
            CONNECTIONS,
            &format!("-d{seconds}"),
            &format!("http://{address}/hello"),
        ])
        .output()
        .context("cannot run wrk: `cargo xtask setup` brings it")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "wrk: {said}");
    let requests = said
        .lines()
        .find_map(|line| line.trim().split_once(" requests in"))
        .and_then(|(requests, _)| requests.parse::<f64>().ok())
        .with_context(|| format!("wrk did not say how many requests: {said}"))?;
    Ok(Run {
        requests,
        function_us: (cpu_us(function.pid())? - before) / requests,
    })
}

/// CPU time of a process so far, microseconds, to the kernel's clock tick (10 ms).
fn cpu_us(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(") ").context("stat has a name")?;
    let ticks = |index: usize| -> Result<f64> {
        let field = fields
            .split(' ')
            .nth(index)
            .context("stat has the fields")?;
        Ok(field.parse()?)
    };
    // proc_pid_stat(5): fields 14 and 15, counted here from field 3.
    Ok((ticks(11)? + ticks(12)?) * 10_000.0)
}

/// As [`cpu_us`], once the process has nothing left to do: spans are held for a moment after their end.
fn settled_cpu_us(pid: u32) -> Result<f64> {
    let mut last = (Instant::now(), cpu_us(pid)?);
    wait_until(DRAINED, "the agent's rest", || {
        let now = cpu_us(pid)?;
        if now > last.1 {
            last = (Instant::now(), now);
        }
        Ok((last.0.elapsed() > REST).then_some(now))
    })
}

/// The sum of a counter of `spanlet probes`, over its labels.
fn counter(report: &Report, metric: &str) -> f64 {
    let counters = report
        .counters
        .iter()
        .filter(|counter| counter.room == metric);
    counters.map(|counter| counter.value as f64).sum()
}
