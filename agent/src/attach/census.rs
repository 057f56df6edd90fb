//! The traced processes: who they are, why they are traced, what is not seen of them and why.
//!
//! In: what the selection says, and births and deaths from the kernel. Out: entries in the kernel side's table (by
//! [`Probes`]), and the facts of each process for the rooms that follow. Touches procfs through [`discover`].

use std::collections::{BTreeMap, HashMap};
use std::os::unix::fs::MetadataExt;

use spanlet_abi::state;

use super::discover::{self, Seen};
use super::golang::goroutine_offsets;
use super::process::{Language, ProcessFacts};
use super::runtime::Runtime;
use super::{Error, Probes, Selection};
use crate::capture::event::HostPid;

/// Executables whose runtime is remembered (about 200 bytes each). Full: all are forgotten and looked at again.
const RUNTIMES_MAX: usize = 1024;

/// Why a process is traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Its number, its executable or `--all`.
    Selected,
    /// It listens on a port that was named.
    Port(u16),
    /// A traced process started it.
    Child(HostPid),
}

/// What is not seen of a process, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    pub what: &'static str,
    pub reason: String,
    pub remedy: &'static str,
}

/// A traced process.
#[derive(Clone, Debug)]
pub struct Tracked {
    pub facts: ProcessFacts,
    pub reason: Reason,
    pub limits: Vec<Limit>,
    pub ports: Vec<u16>,
    /// Spans made of its exchanges.
    pub spans: u64,
    /// Connections that carry something that is not understood.
    pub opaque: u64,
}

/// Every traced process.
pub struct Census {
    selection: Selection,
    tracked: BTreeMap<HostPid, Tracked>,
    /// By device, inode and time of change of the executable.
    runtimes: HashMap<(u64, u64, i64), Runtime>,
}

impl Census {
    /// Nobody yet.
    pub fn new(selection: Selection) -> Self {
        Self {
            selection,
            tracked: BTreeMap::new(),
            runtimes: HashMap::new(),
        }
    }

    /// Traces the processes that are there and chosen. Gives their facts.
    ///
    /// Errors: procfs cannot be read, or a process that was named by its number is not there.
    pub fn begin(&mut self, probes: &mut Probes) -> Result<Vec<ProcessFacts>, Error> {
        for pid in &self.selection.pids {
            discover::process(*pid)?;
        }
        for port in &self.selection.ports {
            probes.port(*port)?;
        }
        let own = HostPid(std::process::id());
        let mut facts = Vec::new();
        for seen in discover::processes()? {
            if seen.pid == own {
                continue;
            }
            if let Some(reason) = self.reason(&seen) {
                facts.extend(self.trace(probes, &seen, reason)?);
            }
        }
        Ok(facts)
    }

    fn reason(&self, seen: &Seen) -> Option<Reason> {
        if self.selection.chooses(seen.pid, &seen.executable_path) {
            return Some(Reason::Selected);
        }
        if self.selection.ports.is_empty() || self.selection.excludes(&seen.executable_path) {
            return None;
        }
        discover::listeners(seen.pid)
            .into_iter()
            .find(|(_, port)| self.selection.ports.contains(port))
            .map(|(_, port)| Reason::Port(port))
    }

    /// Traces one process from now on. `None`: it is gone.
    fn trace(
        &mut self,
        probes: &mut Probes,
        seen: &Seen,
        reason: Reason,
    ) -> Result<Option<ProcessFacts>, Error> {
        let Ok((facts, runtime)) = self.facts(seen.pid) else {
            return Ok(None);
        };
        probes.trace(seen.pid, kernel_state(probes, &facts, &runtime))?;
        for (namespace, port) in discover::listeners(seen.pid) {
            probes.listener(seen.pid, namespace, port)?;
        }
        self.tracked.insert(
            seen.pid,
            Tracked {
                limits: limits(&runtime),
                facts: facts.clone(),
                reason,
                ports: discover::ports(seen.pid),
                spans: 0,
                opaque: 0,
            },
        );
        Ok(Some(facts))
    }

    fn facts(&mut self, pid: HostPid) -> Result<(ProcessFacts, Runtime), Error> {
        let key = std::fs::metadata(format!("/proc/{}/exe", pid.0))
            .ok()
            .map(|file| (file.dev(), file.ino(), file.ctime()));
        let known = key.and_then(|key| self.runtimes.get(&key));
        let (facts, runtime) = discover::facts(pid, known)?;
        if let (Some(key), None, true) = (key, known, runtime.is_complete()) {
            if self.runtimes.len() >= RUNTIMES_MAX {
                self.runtimes.clear();
            }
            self.runtimes.insert(key, runtime.clone());
        }
        Ok((facts, runtime))
    }

    /// A process replaced its program. Gives its facts if it is traced (from here on, or still).
    pub fn executed(&mut self, probes: &mut Probes, pid: HostPid) -> Option<ProcessFacts> {
        let reason = self.tracked.get(&pid).map(|tracked| tracked.reason);
        let Ok(seen) = discover::process(pid) else {
            return self.executed_and_gone(probes, pid);
        };
        let chosen = if self.selection.chooses(pid, &seen.executable_path) {
            Some(Reason::Selected)
        } else if self.selection.excludes(&seen.executable_path) {
            None
        } else {
            reason
        };
        let Some(reason) = chosen else {
            self.forget(probes, pid);
            return None;
        };
        match self.trace(probes, &seen, reason) {
            Ok(Some(facts)) => Some(facts),
            _ => self.executed_and_gone(probes, pid),
        }
    }

    /// A process replaced its program and has ended since. That of a traced process's child is traced whatever it is,
    /// unless it may be excluded; what it was is not known any more.
    fn executed_and_gone(&mut self, probes: &mut Probes, pid: HostPid) -> Option<ProcessFacts> {
        let excludes = self.selection.excludes_any();
        let Some(tracked) = self.tracked.get_mut(&pid).filter(|_| !excludes) else {
            self.forget(probes, pid);
            return None;
        };
        tracked.facts = ProcessFacts {
            pid,
            parent: tracked.facts.parent,
            start_ticks: tracked.facts.start_ticks,
            ..ProcessFacts::default()
        };
        Some(tracked.facts.clone())
    }

    /// A traced process was forked: its child is traced.
    pub fn forked(&mut self, parent: HostPid, child: HostPid) {
        let Some(tracked) = self.tracked.get(&parent) else {
            return;
        };
        let mut tracked = Tracked {
            reason: Reason::Child(parent),
            spans: 0,
            opaque: 0,
            ..tracked.clone()
        };
        tracked.facts.pid = child;
        tracked.facts.parent = parent;
        if let Ok(start_ticks) = discover::start_ticks(child) {
            tracked.facts.start_ticks = start_ticks;
        }
        self.tracked.insert(child, tracked);
    }

    /// A process listens. One that is not traced yet does so on a port that was named. Gives new facts.
    pub fn listens(
        &mut self,
        probes: &mut Probes,
        pid: HostPid,
        port: u16,
    ) -> Option<ProcessFacts> {
        let seen = discover::process(pid).ok()?;
        let reason = match self.tracked.get(&pid) {
            Some(tracked) => tracked.reason,
            None if self.selection.excludes(&seen.executable_path) => {
                self.forget(probes, pid);
                return None;
            }
            None => Reason::Port(port),
        };
        // By now the runtime's libraries are mapped, which at exec they were not.
        self.trace(probes, &seen, reason).ok().flatten()
    }

    /// A process moves bytes by io_uring.
    pub fn uses_io_uring(&mut self, pid: HostPid) {
        self.limit(
            pid,
            Limit {
                what: "io_uring",
                reason: "bytes moved by io_uring are counted, not seen".to_owned(),
                remedy: "turn io_uring off in the runtime to see its requests",
            },
        );
    }

    /// A connection of a process carries something that is not understood.
    pub fn opaque(&mut self, pid: HostPid) {
        if let Some(tracked) = self.tracked.get_mut(&pid) {
            tracked.opaque += 1;
        }
        self.limit(
            pid,
            Limit {
                what: "opaque connections",
                reason: "they carry something other than plain HTTP/1 (TLS, HTTP/2, a database)"
                    .to_owned(),
                remedy: "nothing to do: other protocols are not decoded yet",
            },
        );
    }

    fn limit(&mut self, pid: HostPid, limit: Limit) {
        if let Some(tracked) = self.tracked.get_mut(&pid) {
            if !tracked.limits.contains(&limit) {
                tracked.limits.push(limit);
            }
        }
    }

    /// A span was made of a process's exchange.
    pub fn span(&mut self, pid: HostPid) {
        if let Some(tracked) = self.tracked.get_mut(&pid) {
            tracked.spans += 1;
        }
    }

    /// A process ended.
    pub fn ended(&mut self, pid: HostPid) {
        self.tracked.remove(&pid);
    }

    fn forget(&mut self, probes: &mut Probes, pid: HostPid) {
        probes.leave(pid);
        self.tracked.remove(&pid);
    }

    /// Whether a process is traced.
    pub fn traces(&self, pid: HostPid) -> bool {
        self.tracked.contains_key(&pid)
    }

    /// The traced processes, by number.
    pub fn tracked(&self) -> impl Iterator<Item = (HostPid, &Tracked)> {
        self.tracked.iter().map(|(pid, tracked)| (*pid, tracked))
    }

    /// What was chosen.
    pub fn selection(&self) -> &Selection {
        &self.selection
    }
}

/// What the kernel side is told of a process; its counts go on if it is there already.
fn kernel_state(probes: &Probes, facts: &ProcessFacts, runtime: &Runtime) -> state::Process {
    let mut state = probes.state(facts.pid).unwrap_or_default();
    state.flags &= !state::process_flag::PROVISIONAL;
    let offsets = match (
        facts.language,
        &runtime.goroutines_unknown,
        &facts.runtime_version,
    ) {
        (Language::Go, None, Some(version)) => goroutine_offsets(version),
        _ => None,
    };
    state.goroutine_id = offsets.map_or(0, |offsets| offsets.id);
    state.goroutine_parent = offsets.and_then(|offsets| offsets.parent).unwrap_or(0);
    state
}

fn limits(runtime: &Runtime) -> Vec<Limit> {
    let goroutines = runtime.goroutines_unknown.iter().map(|reason| Limit {
        what: "goroutines",
        reason: reason.clone(),
        remedy: "parents come from headers, connections and lone requests only",
    });
    goroutines.collect()
}
