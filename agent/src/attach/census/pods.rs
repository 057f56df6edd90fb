//! Processes by their pods, while the agent runs: a pod that is chosen has its processes traced, one that no longer is has
//! them left. In: what the API server told. Out: new facts, processes that are left. Touches procfs through [`discover`].

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::scan::Whom;
use super::{Census, Chosen, Reason};
use crate::attach::decision::{decide, decide_without_pod, Case, Decision, Left};
use crate::attach::discover::{self, Seen};
use crate::attach::listening::places_of;
use crate::attach::process::{Resolution, Standing};
use crate::attach::{Probes, ProcessFacts};
use crate::capture::event::HostPid;
use crate::clock::Monotonic;
use crate::pods::{Changes, Choice, Config, Index, Place, PodUid, Update};

/// How long a process whose pod is not known is traced at most, and what it does kept. Then it is left, unless something
/// else selects it: counted as `pods_unknown`.
pub const PENDING_MAX: Duration = Duration::from_secs(30);
/// How often it is looked for processes that have waited for too long.
const OVERDUE_EVERY: Duration = Duration::from_secs(1);

/// What is known of pods, and whose processes are still to be looked at.
pub(super) struct Pods {
    pub index: Index,
    /// What was told since processes were reconsidered.
    changes: Changes,
    /// Pods that were chosen when all processes were looked at: those that came later were decided by themselves.
    entered: BTreeSet<PodUid>,
    overdue_next: Monotonic,
    /// Processes that were left because their pod was not told of in time.
    unknown: u64,
}

/// What became of processes that were looked at again.
#[derive(Default)]
pub struct Reconsidered {
    pub facts: Vec<ProcessFacts>,
    /// Not traced any more, though they live.
    pub left: Vec<HostPid>,
}

impl Pods {
    pub fn new(index: Index) -> Self {
        Self {
            index,
            changes: Changes::default(),
            entered: BTreeSet::new(),
            overdue_next: Monotonic::default(),
            unknown: 0,
        }
    }

    /// What was told since this was last asked.
    pub fn take_changes(&mut self) -> Changes {
        std::mem::take(&mut self.changes)
    }

    /// Another configuration; whom it concerns is reconsidered.
    pub fn configure(&mut self, config: Arc<Config>) {
        self.index.configure(config, &mut self.changes);
    }

    /// Whether processes that are not traced have to be looked for: those of pods that came to be chosen.
    pub fn has_new(&mut self, changes: &Changes) -> bool {
        let index = &self.index;
        let is_traced = |pod: &PodUid| matches!(index.choice(pod), Choice::Traced(_));
        self.entered.retain(is_traced);
        let chosen = changes.pods.iter().filter(|pod| is_traced(pod));
        let new = chosen.filter(|pod| self.entered.insert((*pod).clone()));
        new.count() > 0 || changes.all
    }
}

/// Whether what changed concerns a place.
pub(super) fn concerns(changes: &Changes, place: &Place) -> bool {
    let pod = place.pod.as_ref();
    pod.is_some_and(|pod| changes.all || changes.pods.contains(pod))
}

impl Census {
    /// What Kubernetes told, where it is on.
    pub fn pods(&self) -> Option<&Index> {
        self.pods.as_ref().map(|pods| &pods.index)
    }

    /// Processes that were left because their pod was not told of in time.
    pub fn pods_unknown(&self) -> u64 {
        self.pods.as_ref().map_or(0, |pods| pods.unknown)
    }

    /// Takes in what the API server told. [`Self::reconsider`] follows.
    pub fn told(&mut self, updates: Vec<Update>) {
        if let Some(pods) = &mut self.pods {
            for update in updates {
                pods.index.apply(update, &mut pods.changes);
            }
        }
    }

    /// Decides again of the traced processes of pods that were told of; others are looked for when there is time.
    pub fn reconsider(&mut self, probes: &mut Probes) -> Reconsidered {
        let Some(pods) = &mut self.pods else {
            return Reconsidered::default();
        };
        let changes = pods.take_changes();
        let its = |(pid, tracked): (&HostPid, &super::Tracked)| {
            concerns(&changes, &tracked.facts.place).then_some(*pid)
        };
        let pids: Vec<HostPid> = self.tracked.iter().filter_map(its).collect();
        let again = self.again(probes, pids, Self::chosen_still);
        if self
            .pods
            .as_mut()
            .is_some_and(|pods| pods.has_new(&changes))
        {
            self.scan(Whom::Pods(changes));
        }
        again
    }

    /// Decides of processes whose pod was not told of in time. To be called in each turn.
    pub fn overdue(&mut self, probes: &mut Probes, now: Monotonic) -> Reconsidered {
        match &mut self.pods {
            Some(pods) if now >= pods.overdue_next => {
                pods.overdue_next = now.after(OVERDUE_EVERY);
            }
            _ => return Reconsidered::default(),
        }
        let is_overdue = |since: Monotonic| now.since(since) >= PENDING_MAX;
        let overdue = self.tracked.iter();
        let overdue = overdue.filter(|(_, tracked)| tracked.pending_since.is_some_and(is_overdue));
        let pids: Vec<HostPid> = overdue.map(|(pid, _)| *pid).collect();
        let again = self.again(probes, pids, Self::chosen_without_pod);
        if let Some(pods) = &mut self.pods {
            pods.unknown += again.left.len() as u64;
        }
        again
    }

    /// What became of a process of which not all was known, also where it has ended.
    pub fn resolution(&self, facts: &ProcessFacts) -> Resolution {
        let mut known = facts.clone();
        if facts.standing == Standing::Pending {
            let chosen = match self.tracked.get(&facts.pid) {
                Some(tracked) if tracked.facts.start_ticks == facts.start_ticks => {
                    Some(tracked.reason.clone())
                }
                _ => self.reason_of_gone(facts),
            };
            match chosen {
                Some(reason) => self.describe(&mut known, &reason),
                None => return Resolution::Refused,
            }
        } else {
            self.describe(&mut known, &Reason::Selected);
        }
        Resolution::Traced(known.standing, known.workload)
    }

    fn reason_of_gone(&self, facts: &ProcessFacts) -> Option<Reason> {
        let case = self.case_of(facts);
        match decide(&self.selection, &case, || None) {
            Decision::Traced(reason) => Some(reason),
            Decision::Pending => Some(Reason::Pending),
            Decision::Left(_) => None,
        }
    }

    pub(super) fn place(&self, pid: HostPid) -> Place {
        match self.pods {
            Some(_) => discover::place(pid),
            None => Place::default(),
        }
    }

    pub(super) fn choice(&self, place: &Place) -> Option<Choice> {
        Some(self.pods()?.choice(place.pod.as_ref()?))
    }

    /// Adds what Kubernetes says of a process that is traced for this reason.
    pub(super) fn describe(&self, facts: &mut ProcessFacts, reason: &Reason) {
        let Some(index) = self.pods().filter(|_| facts.place.container.is_some()) else {
            return;
        };
        facts.workload = index.workload(&facts.place);
        let is_complete = |workload: &crate::pods::Workload| workload.is_complete;
        facts.standing = match reason {
            Reason::Pending => Standing::Pending,
            _ if facts.workload.as_deref().is_some_and(is_complete) => Standing::Known,
            _ => Standing::Incomplete,
        };
    }

    /// Why a process is not traced.
    pub fn why_left(&self, seen: &Seen, place: &Place) -> Left {
        let case = self.case(seen, place);
        match decide(&self.selection, &case, || None) {
            Decision::Left(left) => left,
            // It was decided of when its pod was not known.
            Decision::Pending => Left::PodUnknown,
            Decision::Traced(_) => Left::NotLookedAt,
        }
    }

    pub(super) fn again(
        &mut self,
        probes: &mut Probes,
        pids: Vec<HostPid>,
        chosen: impl Fn(&Self, HostPid) -> Option<Chosen>,
    ) -> Reconsidered {
        let mut again = Reconsidered::default();
        for pid in pids {
            match chosen(self, pid) {
                Some(chosen) => again.facts.extend(self.choose_again(pid, chosen)),
                None => again.left.push(pid),
            }
        }
        self.leave(probes, &again.left);
        again
    }

    pub(super) fn chosen_still(&self, pid: HostPid) -> Option<Chosen> {
        let tracked = self.tracked.get(&pid)?;
        let chosen = self.chosen_anew(&seen(&tracked.facts), &tracked.facts.place)?;
        Some(tracked.unless_forgotten(chosen))
    }

    fn chosen_without_pod(&self, pid: HostPid) -> Option<Chosen> {
        let tracked = self.tracked.get(&pid)?;
        let case = self.case_of(&tracked.facts);
        let port = || {
            let mut ports = tracked.ports.iter();
            ports
                .find(|port| self.selection.ports.contains(port))
                .copied()
        };
        match decide_without_pod(&self.selection, &case, port) {
            Decision::Traced(reason) => Some(Chosen {
                reason,
                is_named: tracked.is_named,
            }),
            Decision::Pending | Decision::Left(_) => None,
        }
    }

    fn case_of<'a>(&self, facts: &'a ProcessFacts) -> Case<'a> {
        Case {
            pid: facts.pid,
            executable_path: &facts.executable_path,
            place: &facts.place,
            choice: self.choice(&facts.place),
            inherited: self.inherited(facts.parent),
        }
    }

    /// Gives the facts if they are others now.
    fn choose_again(&mut self, pid: HostPid, chosen: Chosen) -> Option<ProcessFacts> {
        let mut facts = self.tracked.get(&pid)?.facts.clone();
        self.describe(&mut facts, &chosen.reason);
        let tracked = self.tracked.get_mut(&pid)?;
        let is_pending = chosen.reason == Reason::Pending;
        tracked.reason = chosen.reason;
        tracked.pending_since = tracked.pending_since.filter(|_| is_pending);
        let is_new = tracked.facts != facts;
        tracked.facts = facts;
        is_new.then(|| tracked.facts.clone())
    }

    /// Leaves processes that live: with their listeners and connections, so that the kernel side does nothing for them.
    fn leave(&mut self, probes: &mut Probes, pids: &[HostPid]) {
        for pid in pids {
            let ports = self.tracked.get(pid).map(|tracked| tracked.ports.clone());
            let places = places_of(*pid, &ports.unwrap_or_default());
            self.forget(probes, *pid);
            let nobodys = places
                .into_iter()
                .filter(|place| !self.places.contains(*place));
            nobodys.for_each(|place| probes.forget_listener(place));
        }
        if !pids.is_empty() {
            probes.forget_connections(&pids.iter().copied().collect());
        }
    }
}

/// A traced process as it was seen.
pub(super) fn seen(facts: &ProcessFacts) -> Seen {
    Seen {
        pid: facts.pid,
        parent: facts.parent,
        executable_path: facts.executable_path.clone(),
    }
}
