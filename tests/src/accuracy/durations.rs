//! How true durations and costs are. In: a runtime, a back end. Out: for each kind of request, how far its spans are from
//! the function's own clock and the client's.
//!
//! A duration's truth: from when the handler began to when the function had handed over the last byte, or the client had
//! it, whichever was told first. A request that is written slowly is served from its first byte on, which only the client
//! knows. A first byte's: when the client read it; a slow reader pauses before it says so.

use std::fmt::Write;
use std::time::Duration;

use anyhow::{ensure, Context, Result};

use super::throttle::Throttle;
use crate::agent::{Agent, Backend, Options as AgentOptions};
use crate::client::Connection;
use crate::function::{Function, Options};
use crate::language::Language;
use crate::message::{Answer, Framing, Request};
use crate::otlp::{Kind, Span};
use crate::reader::Pace;
use crate::system::wall_ahead_ns;

/// One kind of request.
#[derive(Clone, Copy, Debug)]
pub struct Kindred {
    pub name: &'static str,
    target: &'static str,
    times: usize,
    manner: Manner,
}

/// How a request is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Plain,
    /// The answer is read in small pieces with pauses.
    SlowReader,
    /// The request is written in small pieces with pauses.
    SlowWriter,
    /// A body of so many bytes is sent.
    Upload(u64),
    /// The next request lies unread: it is the one looked at.
    Late,
    /// By a function that may use a third of a core.
    Throttled,
}

const DURATION_OFF_NS_MAX: u64 = 1_000_000;
/// The function also reads and parses, and writes.
const CPU_OFF_NS_MAX: u64 = 2_000_000;
const MIB: u64 = 1 << 20;

const fn kindred(
    name: &'static str,
    target: &'static str,
    times: usize,
    manner: Manner,
) -> Kindred {
    Kindred {
        name,
        target,
        times,
        manner,
    }
}

/// What takes a second or two.
pub const SHORT: [Kindred; 11] = [
    kindred("delay 0 ms", "delay?ms=0", 100, Manner::Plain),
    kindred("delay 1 ms", "delay?ms=1", 100, Manner::Plain),
    kindred("delay 10 ms", "delay?ms=10", 40, Manner::Plain),
    kindred("body 0 B", "big?bytes=0", 40, Manner::Plain),
    kindred("body 1 MiB", "big?bytes=1048576", 20, Manner::Plain),
    kindred("file 32 MiB", "file?bytes=33554432", 5, Manner::Plain),
    kindred("upload 8 MiB", "upload", 5, Manner::Upload(8 * MIB)),
    kindred("events 60 ms", "stream?n=4&ms=20&sse=1", 5, Manner::Plain),
    kindred("slow reader", "big?bytes=16777216", 2, Manner::SlowReader),
    kindred("slow writer", "hello", 3, Manner::SlowWriter),
    kindred("burn 40 ms", "burn?ms=40", 8, Manner::Plain),
];

/// The rest.
pub const LONG: [Kindred; 5] = [
    kindred("delay 100 ms", "delay?ms=100", 30, Manner::Plain),
    kindred("body 1 GiB", "big?bytes=1073741824", 2, Manner::Plain),
    kindred("events 30 s", "stream?n=31&ms=1000&sse=1", 1, Manner::Plain),
    kindred("late 20 ms", "late?ms=20", 10, Manner::Late),
    kindred("a third of a core", "burn?ms=40", 8, Manner::Throttled),
];

/// How far spans of one kind are off, nanoseconds, each list in order.
#[derive(Clone, Debug, Default)]
pub struct Errors {
    pub duration: Vec<u64>,
    pub first_byte: Vec<u64>,
    /// CPU time, against what the function burned.
    pub cpu: Vec<u64>,
    /// What is told of waits: for a core, and to be read.
    pub run_queue_wait: Vec<u64>,
    pub read_wait: Vec<u64>,
}

/// Requests of each kind over one connection, and how far their spans are off.
pub fn measure(
    language: Language,
    backend: Backend,
    kinds: &[Kindred],
) -> Result<Vec<(Kindred, Errors)>> {
    let function = Function::start(language, &Options::default())?;
    let kinds = kinds.iter().filter(|kind| kind.is_of(language));
    let kinds: Vec<_> = kinds.copied().collect();
    let mut connection = Connection::open(&function.address)?;
    for kind in kinds.iter().filter(|kind| kind.times > 2) {
        connection.exchange(&Request::get(format!("/{}", kind.target)))?;
    }
    let agent = Agent::start(&AgentOptions::json(backend, &[function.pid()]))?;
    let mut answers = Vec::new();
    for (number, kind) in kinds.iter().enumerate() {
        answers.push(kind.run(number, &function)?);
    }
    let (spans, ahead_ns) = (agent.finish()?.spans, wall_ahead_ns());
    let truth = function.truth()?;
    let measured = kinds.iter().enumerate().map(|(number, kind)| {
        let mut errors = Errors::default();
        for (index, answer) in answers[number].iter().enumerate() {
            let mark = mark(number, index);
            let span = spans.iter().find(|span| {
                let path = span.text("url.path").unwrap_or_default();
                span.kind == Kind::Server && path.starts_with(&mark)
            });
            let span = span.with_context(|| format!("no span for {mark}: {kind:?}"))?;
            let truth = truth.iter().find(|line| line.path.starts_with(&mark));
            let truth = truth.context("no ground truth")?;
            let started_ns = match kind.manner {
                Manner::SlowWriter => answer.sent_ns,
                _ => truth.started_ns,
            };
            let ended_ns = truth.ended_ns.min(answer.last_byte_ns);
            let true_ns = ended_ns.saturating_sub(started_ns);
            errors.duration.push(span.duration_ns().abs_diff(true_ns));
            errors.add(span, answer, ahead_ns);
        }
        errors.sort();
        Ok((*kind, errors))
    });
    measured.collect()
}

impl Kindred {
    fn is_of(&self, language: Language) -> bool {
        self.manner != Manner::Late || language.has_late()
    }

    fn run(&self, number: usize, function: &Function) -> Result<Vec<Answer>> {
        let _throttle = match self.manner {
            Manner::Throttled => Some(Throttle::third(function.pid())?),
            _ => None,
        };
        let mut connection = Connection::open(&function.address)?;
        if self.manner == Manner::SlowReader {
            connection.read_slowly(Pace {
                bytes: 256 << 10,
                pause: Duration::from_millis(2),
            });
        }
        let mut answers = Vec::new();
        for index in 0..self.times {
            let request = Request::get(format!("{}{}", mark(number, index), self.target));
            answers.push(match self.manner {
                Manner::Upload(bytes) => {
                    connection.upload(&request.target, bytes, Framing::ContentLength)?
                }
                Manner::SlowWriter => {
                    connection.send_split(&request, 8, Duration::from_millis(1))?;
                    connection.receive()?
                }
                Manner::Late => {
                    connection.exchange(&Request::get(format!("/{}", self.target)))?;
                    connection.exchange(&Request::get(format!("{}hello", mark(number, index))))?
                }
                _ => connection.exchange(&request)?,
            });
        }
        Ok(answers)
    }
}

impl Errors {
    fn add(&mut self, span: &Span, answer: &Answer, ahead_ns: u64) {
        if let Some(to_first) = span.nanoseconds("spanlet.time_to_first_byte") {
            let first_ns = span.started_ns - ahead_ns + to_first;
            self.first_byte
                .push(first_ns.abs_diff(answer.first_byte_ns));
        }
        let text = answer.text();
        let burned = text.trim_end().strip_prefix("cpu_ns=");
        let burned = burned.and_then(|number| number.parse::<u64>().ok());
        if let (Some(cpu), Some(burned)) = (span.nanoseconds("spanlet.cpu_time"), burned) {
            self.cpu.push(cpu.abs_diff(burned));
        }
        let waited = |name| span.nanoseconds(name);
        self.run_queue_wait.extend(waited("spanlet.run_queue_wait"));
        self.read_wait.extend(waited("spanlet.read_wait"));
    }

    fn sort(&mut self) {
        for list in [
            &mut self.duration,
            &mut self.first_byte,
            &mut self.cpu,
            &mut self.run_queue_wait,
            &mut self.read_wait,
        ] {
            list.sort_unstable();
        }
    }
}

/// The value below which that share of an ordered list lies.
pub fn quantile(ordered: &[u64], share: f64) -> Option<u64> {
    let last = ordered.len().checked_sub(1)?;
    Some(ordered[(last as f64 * share) as usize])
}

/// The head of the table.
pub fn head() -> String {
    "runtime    back end            requests             n  duration p50    p99   first byte p50    p99   CPU p50  run-queue wait p50  read wait p50\n"
        .to_owned()
}

/// A line for each kind; milliseconds.
pub fn lines(language: Language, backend: Backend, measured: &[(Kindred, Errors)]) -> String {
    let mut text = String::new();
    for (kind, errors) in measured {
        let show = |list: &[u64], share| match quantile(list, share) {
            Some(nanoseconds) => format!("{:.3}", nanoseconds as f64 / 1e6),
            None => "-".to_owned(),
        };
        let _ = writeln!(
            text,
            "{:<10} {:<19} {:<18} {:>3} {:>13} {:>6} {:>16} {:>6} {:>9} {:>19} {:>14}",
            language.name(),
            backend.to_string(),
            kind.name,
            errors.duration.len(),
            show(&errors.duration, 0.5),
            show(&errors.duration, 0.99),
            show(&errors.first_byte, 0.5),
            show(&errors.first_byte, 0.99),
            show(&errors.cpu, 0.5),
            show(&errors.run_queue_wait, 0.5),
            show(&errors.read_wait, 0.5),
        );
    }
    text
}

/// A quarter of the durations, and half of the CPU times, are true to a millisecond or so: a fault of the agent is in all of
/// them, while threads that have to wait for a core move durations.
pub fn check(measured: &[(Kindred, Errors)]) -> Result<()> {
    for (kind, errors) in measured {
        let off = quantile(&errors.duration, 0.25).context("no spans")?;
        ensure!(off <= DURATION_OFF_NS_MAX, "{kind:?}: {off} ns off");
        let off = quantile(&errors.cpu, 0.5).unwrap_or(0);
        ensure!(off <= CPU_OFF_NS_MAX, "{kind:?}: {off} ns of CPU time off");
    }
    Ok(())
}

fn mark(number: usize, index: usize) -> String {
    format!("/t/{number}-{index}-/")
}
