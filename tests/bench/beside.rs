//! What runs beside the function: nothing, empty probes, or the agent. In: which, and whom it traces. Out: that, running, and
//! what it spent on a load.

use std::time::{Duration, Instant};
use std::{fmt, thread};

use anyhow::{Context, Result};
use spanlet_e2e::agent::{Agent, Backend, Options, Protocol};
use spanlet_e2e::kernel::EmptyProbes;
use spanlet_e2e::report::Report;
use spanlet_e2e::sink::{Received, Sink};
use spanlet_e2e::usage::{memory, process_cpu_ns, Memory};

use crate::subject::burned_us;

/// What runs beside a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beside {
    /// One request in so many burns.
    Known(u64),
    /// Empty programs on this back end's hooks.
    Empty(Backend),
    Agent(Backend),
}

impl fmt::Display for Beside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(each) => write!(f, "known: +{:.1} µs", burned_us(*each)),
            Self::Empty(backend) => write!(f, "empty, {backend}"),
            Self::Agent(backend) => write!(f, "agent, {backend}"),
        }
    }
}

/// A running agent, and how much CPU time it had spent when the load began.
pub struct Watcher<'a> {
    agent: Agent,
    sink: &'a Sink,
    cpu_ns: u64,
}

/// What an agent spent on a load, and what it sent.
pub struct Spent {
    pub cpu_ns: u64,
    pub memory: Memory,
    pub received: Received,
    pub report: Report,
}

/// No span comes later: a batch waits for a second at most.
const QUIET: Duration = Duration::from_millis(1800);
const POLL: Duration = Duration::from_millis(10);
/// For how long is looked at whether it rests.
const LOOK: Duration = Duration::from_millis(500);
const DRAINED: Duration = Duration::from_secs(60);

impl<'a> Watcher<'a> {
    /// Starts an agent with its defaults that exports to the sink, and waits until its probes are attached.
    pub fn start(backend: Backend, pids: &[u32], sink: &'a Sink) -> Result<Self> {
        Self::start_with(backend, pids, sink, &[])
    }

    /// With more environment.
    pub fn start_with(
        backend: Backend,
        pids: &[u32],
        sink: &'a Sink,
        environment: &[(&str, &str)],
    ) -> Result<Self> {
        let environment = environment.iter();
        Self::start_as(
            &Options {
                pids: pids.to_vec(),
                backend,
                otlp: None,
                output: "none",
                environment: environment
                    .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                    .collect(),
                arguments: Vec::new(),
            },
            sink,
        )
    }

    /// With options of one's own, except where it sends.
    pub fn start_as(options: &Options, sink: &'a Sink) -> Result<Self> {
        sink.clear();
        let agent = Agent::start(&Options {
            otlp: Some((Protocol::HttpProtobuf, sink.endpoint())),
            ..options.clone()
        })?;
        let cpu_ns = process_cpu_ns(agent.pid())?;
        Ok(Self {
            agent,
            sink,
            cpu_ns,
        })
    }

    pub fn pid(&self) -> u32 {
        self.agent.pid()
    }

    pub fn report(&self) -> Result<Report> {
        self.agent.report()
    }

    /// CPU time since it was ready, or since the last call.
    pub fn cpu_ns(&mut self) -> Result<u64> {
        let before = std::mem::replace(&mut self.cpu_ns, process_cpu_ns(self.agent.pid())?);
        Ok(self.cpu_ns - before)
    }

    /// Waits until `due` spans are there or no more come, and says what they cost.
    pub fn spent(&mut self, due: u64) -> Result<Spent> {
        let received = self.settled(due)?;
        // The report costs CPU time itself: it is asked for afterwards.
        let cpu_ns = self.cpu_ns()?;
        Ok(Spent {
            cpu_ns,
            memory: memory(self.agent.pid())?,
            received,
            report: self.agent.report()?,
        })
    }

    /// Stops it; it must end with success.
    pub fn finish(self) -> Result<()> {
        self.agent.finish().map(drop)
    }

    /// What came when all is there; else when the agent rests and none wait; else when patience ends.
    fn settled(&self, due: u64) -> Result<Received> {
        let until = Instant::now() + DRAINED;
        let mut last = (Instant::now(), self.sink.received()?);
        loop {
            let now = self.sink.received()?;
            if now != last.1 {
                last = (Instant::now(), now);
            }
            let is_quiet = last.0.elapsed() > QUIET;
            let is_over = Instant::now() > until;
            if is_over || now.spans() >= due || is_quiet && self.rests()? {
                return Ok(now);
            }
            thread::sleep(POLL);
        }
    }

    /// Whether it does nothing and has nothing to send.
    fn rests(&self) -> Result<bool> {
        let before = process_cpu_ns(self.agent.pid())?;
        thread::sleep(LOOK);
        let spent = Duration::from_nanos(process_cpu_ns(self.agent.pid())? - before);
        Ok(spent < LOOK / 5 && self.agent.report()?.sum("spanlet.export.waiting") == 0)
    }
}

/// The raw tracepoints that the agent uses: asked of a running one.
pub fn hooks(backend: Backend, pids: &[u32], sink: &Sink) -> Result<Vec<String>> {
    let watcher = Watcher::start(backend, pids, sink)?;
    let report = watcher.report()?;
    watcher.finish()?;
    let mut names = Vec::new();
    for probe in &report.probes {
        match probe.at.split_once('/') {
            Some(("raw_tp", name)) => names.push(name.to_owned()),
            _ => eprintln!("{}: no empty counterpart, the floor lacks it", probe.at),
        }
    }
    Ok(names)
}

/// Empty programs on those hooks.
pub fn empty(hooks: &[(Backend, Vec<String>)], backend: Backend) -> Result<EmptyProbes> {
    let found = hooks.iter().find(|(of, _)| *of == backend);
    let (_, names) = found.context("hooks of a back end that was not asked")?;
    EmptyProbes::attach(names)
}
