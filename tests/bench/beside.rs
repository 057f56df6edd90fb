//! What runs beside the function: nothing, empty probes, or the agent. In: which, and whom it traces. Out: that, running, and
//! what it spent on a load.

use std::time::{Duration, Instant};
use std::{fmt, thread};

use anyhow::{Context, Result};
use spanlet_e2e::agent::{Agent, Backend, Options, Protocol};
use spanlet_e2e::empty::{EmptyProbes, Hook, Place};
use spanlet_e2e::report::{Report, Uprobe};
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
    /// The same with those in functions at their first instructions, where they are usually put.
    Entries(Backend),
    Agent(Backend),
}

impl fmt::Display for Beside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(each) => write!(f, "known: +{:.1} µs", burned_us(*each)),
            Self::Empty(backend) => write!(f, "empty, {backend}"),
            Self::Entries(backend) => write!(f, "at entries, {backend}"),
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

/// Where the agent's programs are attached: asked of a running one.
#[derive(Clone, Debug)]
pub struct Hooks {
    pub backend: Backend,
    /// As the agent places them.
    pub chosen: Vec<Hook>,
    /// The same with uprobes at the start of their functions; the same ones where there are no uprobes.
    pub at_entries: Vec<Hook>,
}

impl Hooks {
    /// Of an agent that traces these.
    pub fn of(backend: Backend, pids: &[u32], sink: &Sink) -> Result<Self> {
        let watcher = Watcher::start(backend, pids, sink)?;
        let report = watcher.report()?;
        watcher.finish()?;
        let raw = report.probes.iter().filter_map(|probe| {
            let name = probe.at.strip_prefix("raw_tp/")?;
            Some(Hook::RawTracepoint(name.to_owned()))
        });
        let (mut chosen, mut at_entries): (Vec<_>, Vec<_>) =
            raw.map(|hook| (hook.clone(), hook)).unzip();
        for uprobe in &report.uprobes {
            let within = offset_in_function(uprobe)?;
            chosen.push(hook(&report, uprobe, uprobe.file_offset)?);
            at_entries.push(hook(&report, uprobe, uprobe.file_offset - within)?);
        }
        Ok(Self {
            backend,
            chosen,
            at_entries,
        })
    }

    /// Whether there are two ways to place them.
    pub fn have_entries(&self) -> bool {
        self.chosen != self.at_entries
    }
}

fn offset_in_function(uprobe: &Uprobe) -> Result<u64> {
    let offset = uprobe.place.rsplit_once("+0x").map(|(_, offset)| offset);
    let offset = offset.with_context(|| format!("an offset in {}", uprobe.place))?;
    Ok(u64::from_str_radix(offset, 16)?)
}

fn hook(report: &Report, uprobe: &Uprobe, offset: u64) -> Result<Hook> {
    let probe = report.probes.iter().find(|probe| probe.name == uprobe.name);
    let process = uprobe.processes.first().context("a uprobe of no process")?;
    let place = Place {
        file: format!("/proc/{process}/root{}", uprobe.executable).into(),
        offset,
    };
    let at = probe.map(|probe| probe.at.as_str()).unwrap_or_default();
    Ok(match at.split_once('/') {
        Some(("uretprobe", _)) => Hook::Uretprobe(place),
        _ => Hook::Uprobe(place),
    })
}

/// The empty programs that run beside a function; none where it is something else that does.
pub fn empty(hooks: &[Hooks], beside: Beside) -> Result<EmptyProbes> {
    let of = |backend| {
        let found = hooks.iter().find(|hooks| hooks.backend == backend);
        found.context("hooks of a back end that was not asked")
    };
    EmptyProbes::attach(match beside {
        Beside::Empty(backend) => of(backend)?.chosen.as_slice(),
        Beside::Entries(backend) => of(backend)?.at_entries.as_slice(),
        Beside::Known(_) | Beside::Agent(_) => &[],
    })
}
