//! The traced processes: who they are, why they are traced, what is not seen of them and why.
//!
//! In: what the selection says, and births and deaths from the kernel. Out: entries in the kernel side's table (by
//! [`Probes`]), and the facts of each process for the rooms that follow. Touches procfs through [`discover`].

mod choose;
mod exec;
#[cfg(test)]
mod flips;
mod look;
mod pods;
mod reselect;
mod scan;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use spanlet_abi::state::{self, process_flag};

use super::discover::{self, Seen};
use super::golang::sources::Sources;
use super::inspected::Executables;
use super::listening::Listening;
use super::places::Places;
use super::process::{Language, ProcessFacts};
use super::python::threads_in_contexts;
use super::runtime::Runtime;
use super::targets;
use super::tracked::{limits, Limit, Reason, Tracked};
use super::{Error, Probes, Selection};
use crate::capture::event::HostPid;
use crate::clock::Monotonic;
use crate::pods::Index;
use choose::Chosen;
use look::{Look, Looks};
use pods::Pods;
pub use pods::{Reconsidered, PENDING_MAX};
use scan::Scan;

/// What is not seen of connections that are not understood.
const OPAQUE: &str = "opaque connections";

/// Every traced process.
pub struct Census {
    selection: Selection,
    tracked: BTreeMap<HostPid, Tracked>,
    executables: Executables,
    places: Places,
    looks: Looks,
    /// `None`: Kubernetes is off.
    pods: Option<Pods>,
    scan: Option<Scan>,
    /// Processes that only one side traced when that was looked at last.
    alone: BTreeSet<HostPid>,
    unidentified: u64,
    full: u64,
}

impl Census {
    /// Nobody yet. `index`: where Kubernetes is on.
    pub fn new(selection: Selection, index: Option<Index>) -> Self {
        Self {
            selection,
            tracked: BTreeMap::new(),
            executables: Executables::default(),
            places: Places::default(),
            looks: Looks::default(),
            pods: index.map(Pods::new),
            scan: None,
            alone: BTreeSet::new(),
            unidentified: 0,
            full: 0,
        }
    }

    /// What is known of Go's releases from now on: Go's processes are looked at again when there is time.
    pub fn know(&mut self, sources: Arc<Sources>) {
        self.executables = Executables::new(sources);
        let tracked = self.tracked.iter();
        let go = tracked.filter(|(_, tracked)| tracked.facts.language == Language::Go);
        let wanted = go.map(|(pid, _)| (*pid, Look::Runtime));
        self.looks.wanted.extend(wanted);
    }

    /// What is known of Go's releases.
    pub fn sources(&self) -> &Arc<Sources> {
        self.executables.sources()
    }

    /// What was read of programs' debug information beside the agent: the processes that wait for it are looked at again.
    fn learn(&mut self, probes: &mut Probes) {
        let read = self.executables.sources().read();
        if read.is_empty() {
            return;
        }
        for file in read {
            self.executables.forget(file);
            probes.relearn(file);
        }
        let tracked = self.tracked.iter();
        let waiting = tracked.filter(|(_, tracked)| tracked.is_being_read);
        for (pid, _) in waiting {
            probes.forget_births(*pid);
            self.looks.wanted.insert((*pid, Look::Runtime));
        }
    }

    /// Traces the processes that are there and chosen, and their children. Gives their facts.
    ///
    /// Errors: procfs cannot be read, a process that was named by its number is not there, or numbers mean other
    /// processes here than to the kernel.
    pub fn begin(&mut self, probes: &mut Probes) -> Result<Vec<ProcessFacts>, Error> {
        if !discover::in_initial_pid_namespace() {
            return Err(Error::PidNamespace);
        }
        self.selection
            .pids
            .iter()
            .copied()
            .try_for_each(check_named)?;
        for port in &self.selection.ports {
            probes.port(*port)?;
        }
        let mut facts = Vec::new();
        // A child may be born while the list is read; once its parent is traced the kernel side tells.
        loop {
            let before = facts.len();
            let mut listening = Listening::default();
            for seen in discover::processes()? {
                facts.extend(self.consider(probes, &seen, &mut listening));
            }
            if facts.len() == before {
                break;
            }
        }
        facts.extend(self.look(probes, Duration::MAX));
        Ok(facts)
    }

    /// Traces a process that was there before the agent, if there is a reason.
    fn consider(
        &mut self,
        probes: &mut Probes,
        seen: &Seen,
        listening: &mut Listening,
    ) -> Option<ProcessFacts> {
        let own = HostPid(std::process::id());
        if seen.pid == own || self.traces(seen.pid) {
            return None;
        }
        let chosen = self.chosen(seen, listening)?;
        // What it did before it is known is lost anyhow: only new programs are traced until then.
        if chosen.reason == Reason::Pending {
            return None;
        }
        let (facts, runtime) = self.facts(seen.pid, &chosen)?;
        if probes
            .trace(seen.pid, kernel_state(probes, &facts, &runtime))
            .is_err()
        {
            self.full += 1;
            return None;
        }
        // Nothing tells of a process that ended just before it was entered.
        if discover::process(seen.pid).is_err() {
            probes.leave(seen.pid);
            return None;
        }
        probes.follow(&facts);
        self.track(chosen, &facts, &runtime);
        Some(facts)
    }

    /// The facts of a process that was chosen. `None`: it is gone.
    fn facts(&mut self, pid: HostPid, chosen: &Chosen) -> Option<(ProcessFacts, Runtime)> {
        let (mut facts, runtime) = self.executables.facts(pid).ok()?;
        self.describe(&mut facts, &chosen.reason);
        Some((facts, runtime))
    }

    /// Goes on tracing a process that the kernel side traces already. `None`: it is gone.
    fn retrace(
        &mut self,
        probes: &mut Probes,
        pid: HostPid,
        chosen: Chosen,
    ) -> Option<ProcessFacts> {
        let (facts, runtime) = self.facts(pid, &chosen)?;
        let state = kernel_state(probes, &facts, &runtime);
        if !probes.retrace(pid, state) && !self.traces(pid) {
            return None;
        }
        probes.follow(&facts);
        self.track(chosen, &facts, &runtime);
        Some(facts)
    }

    fn track(&mut self, chosen: Chosen, facts: &ProcessFacts, runtime: &Runtime) {
        let before = self.tracked.remove(&facts.pid);
        let since = before.as_ref().and_then(|before| before.pending_since);
        let is_pending = chosen.reason == Reason::Pending;
        if before.is_none() {
            self.looks.wanted.insert((facts.pid, Look::Places));
        }
        let tracked = Tracked {
            facts: facts.clone(),
            reason: chosen.reason,
            is_named: chosen.is_named,
            pending_since: is_pending.then(|| since.unwrap_or_else(Monotonic::now)),
            limits: limits(runtime),
            may_map_tls: facts.language != Language::Go,
            told_by: runtime.told_by(),
            is_being_read: runtime.is_being_read(),
            ..before.unwrap_or_default()
        };
        self.tracked.insert(facts.pid, tracked);
    }

    /// A traced process was forked: its child is traced. A process that was refused may have been forked before.
    pub fn forked(&mut self, probes: &mut Probes, parent: HostPid, child: HostPid) {
        let Some(tracked) = self.tracked.get(&parent) else {
            if !self.traces(child) {
                probes.leave(child);
            }
            return;
        };
        let reason = match &tracked.reason {
            of_pod if of_pod.is_of_pod() => of_pod.clone(),
            _ => Reason::Child(parent),
        };
        let mut tracked = Tracked {
            reason,
            records: 0,
            spans: 0,
            opaque: 0,
            may_map_tls: tracked.facts.language != Language::Go,
            ..tracked.clone()
        };
        self.places.forked(parent, child);
        probes.follow_child(parent, child);
        tracked.facts.pid = child;
        tracked.facts.parent = parent;
        if let Ok(start_ticks) = discover::start_ticks(child) {
            tracked.facts.start_ticks = start_ticks;
        }
        self.tracked.insert(child, tracked);
    }

    /// A process listens. One that is not traced yet may do so on a port that was named. Gives new facts.
    pub fn listens(
        &mut self,
        probes: &mut Probes,
        pid: HostPid,
        port: u16,
    ) -> Option<ProcessFacts> {
        if !self.traces(pid) {
            let Some(chosen) = self.chosen_by_port(pid, port) else {
                self.forget(probes, pid);
                return None;
            };
            return self.retrace(probes, pid, chosen);
        }
        if let Some(tracked) = self.tracked.get_mut(&pid) {
            tracked.listens(port);
        }
        self.looks.wanted.insert((pid, Look::Runtime));
        None
    }

    /// Puts right what a lost record left wrong: processes that only one side traces, now and at the last call, so that
    /// no record about them can be on its way. Gives new facts, and who is gone.
    pub fn reconcile(&mut self, probes: &mut Probes) -> (Vec<ProcessFacts>, Vec<HostPid>) {
        let there: BTreeSet<HostPid> = probes.traced().into_iter().collect();
        let here: BTreeSet<HostPid> = self.tracked.keys().copied().collect();
        let alone = there.symmetric_difference(&here).copied().collect();
        let before = std::mem::replace(&mut self.alone, alone);
        let lasting: Vec<HostPid> = self.alone.intersection(&before).copied().collect();
        let (mut facts, mut gone) = (Vec::new(), Vec::new());
        for pid in lasting {
            if here.contains(&pid) {
                self.ended(probes, pid);
                gone.push(pid);
            } else {
                facts.extend(self.adopt(probes, pid));
            }
        }
        (facts, gone)
    }

    /// Something is told of a process that is not known here. Its birth would have been told before: if the kernel side
    /// traces it, that record was lost. Gives its facts.
    pub fn stranger(&mut self, probes: &mut Probes, pid: HostPid) -> Option<ProcessFacts> {
        probes.state(pid).and_then(|_| self.adopt(probes, pid))
    }

    /// Goes on with a process that only the kernel side traces, if there is a reason; else leaves it.
    fn adopt(&mut self, probes: &mut Probes, pid: HostPid) -> Option<ProcessFacts> {
        let seen = discover::process(pid).ok();
        let chosen = seen.and_then(|seen| self.chosen(&seen, &mut Listening::default()));
        let facts = chosen.and_then(|chosen| self.retrace(probes, pid, chosen));
        if facts.is_none() {
            probes.leave(pid);
        }
        facts
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

    /// A connection of a process carries something that is not understood; with `tls`, what a library may have encrypted that
    /// is mapped by now.
    pub fn opaque(&mut self, pid: HostPid, tls: bool) {
        if let Some(tracked) = self.tracked.get_mut(&pid) {
            tracked.opaque += 1;
            if tls && std::mem::take(&mut tracked.may_map_tls) {
                self.looks.wanted.insert((pid, Look::Libraries));
            }
        }
        self.limit(
            pid,
            Limit {
                what: OPAQUE,
                reason: "they carry something other than HTTP/1, plain or by TLS of OpenSSL or Go (other TLS, HTTP/2, a database)"
                    .to_owned(),
                remedy: "nothing to do: other protocols are not decoded yet",
            },
        );
    }

    /// A connection of a process that was opaque is seen decrypted.
    pub fn decrypted(&mut self, pid: HostPid) {
        if let Some(tracked) = self.tracked.get_mut(&pid) {
            tracked.opaque = tracked.opaque.saturating_sub(1);
            if tracked.opaque == 0 {
                tracked.limits.retain(|limit| limit.what != OPAQUE);
            }
        }
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
    pub fn ended(&mut self, probes: &mut Probes, pid: HostPid) {
        self.tracked.remove(&pid);
        probes.unfollow(pid);
        for place in self.places.leave(pid) {
            probes.no_listener(place);
        }
    }

    fn forget(&mut self, probes: &mut Probes, pid: HostPid) {
        probes.leave(pid);
        self.ended(probes, pid);
    }

    /// Whether a process is traced.
    pub fn traces(&self, pid: HostPid) -> bool {
        self.tracked.contains_key(&pid)
    }

    /// Counts a record of a process; false where it is not traced.
    pub fn record(&mut self, pid: HostPid) -> bool {
        let Some(tracked) = self.tracked.get_mut(&pid) else {
            return false;
        };
        tracked.records += 1;
        // A worker that was given its socket does not listen: by its first call its libraries are mapped.
        if tracked.records == 1 && tracked.maps_late() {
            self.looks.wanted.insert((pid, Look::Runtime));
        }
        true
    }

    /// The traced processes, by number.
    pub fn tracked(&self) -> impl Iterator<Item = (HostPid, &Tracked)> {
        self.tracked.iter().map(|(pid, tracked)| (*pid, tracked))
    }

    /// Processes that had ended before it could be known whether they were chosen.
    pub fn unidentified(&self) -> u64 {
        self.unidentified
    }

    /// Processes and listeners that the kernel side had no room for when they were entered.
    pub fn full(&self) -> u64 {
        self.full
    }

    /// What was chosen.
    pub fn selection(&self) -> &Selection {
        &self.selection
    }
}

/// Whether a number that was named is that of a process.
pub fn check_named(pid: HostPid) -> Result<(), Error> {
    discover::process(pid)?;
    match discover::is_thread(pid) {
        false => Ok(()),
        true => Err(Error::Process {
            pid: pid.0,
            reason: "this is a thread; name its process".to_owned(),
        }),
    }
}

/// What the kernel side is told of a process; its counts go on if it is there already.
fn kernel_state(probes: &Probes, facts: &ProcessFacts, runtime: &Runtime) -> state::Process {
    let mut state = probes.state(facts.pid).unwrap_or_default();
    let known = runtime
        .release
        .as_ref()
        .and_then(|known| known.as_ref().ok());
    let release = known.map(|known| known.release);
    let python = match &runtime.tasks {
        Some(Ok(tasks)) => {
            let mapped = discover::mapped_at(facts.pid, tasks.library.as_deref());
            tasks.of_process(mapped)
        }
        _ => state::Python::default(),
    };
    if python != state.python {
        state.flags &= !process_flag::TASKS_UNFIT;
        state.python = python;
    }
    if facts.language == Language::Python {
        state.flags |= python_flags(facts);
    }
    let goroutine = release.map(|release| release.goroutine);
    state.goroutine_id = goroutine.map_or(0, |offsets| offsets.id);
    state.goroutine_parent_words = goroutine.map_or(0, |offsets| offsets.parent_words());
    let routes = release.and_then(|release| release.routes);
    if routes.is_some() && state.routes_token == 0 {
        // No other process, of whatever number, has had it.
        state.routes_token = Monotonic::now().0;
    }
    state.routes = routes.unwrap_or_default();
    let tokio = runtime.tokio.as_ref().and_then(|tokio| tokio.as_ref().ok());
    let tokio = tokio.copied().unwrap_or_default();
    if tokio != state.tokio {
        state.flags &= !process_flag::WAKERS;
        state.tokio = tokio;
    }
    if facts.language == Language::Node {
        state.flags |= process_flag::LOOP;
    }
    state
}

/// What tells of tasks in a process of CPython, and what does not.
fn python_flags(facts: &ProcessFacts) -> u32 {
    let version = facts.runtime_version.as_deref();
    let in_contexts = version.is_some_and(threads_in_contexts);
    let flag = |is_so: bool, flag: u32| if is_so { flag } else { 0 };
    flag(in_contexts, process_flag::THREADS_IN_CONTEXTS)
        | flag(targets::has_uvloop(facts.pid), process_flag::LOOP_WRITES)
}
