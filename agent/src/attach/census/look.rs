//! What is looked at of traced processes when there is time: a little in each turn of the pipeline's loop, so that many new
//! processes hold nothing up. In: processes to look at. Out: their places to the kernel side, new facts.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use super::{Census, Chosen};
use crate::attach::listening::{ports_of, Listening, Place};
use crate::attach::tracked::{is_of_runtime, Limit};
use crate::attach::{Probes, ProcessFacts};
use crate::capture::event::HostPid;

/// How long after its start a program has mapped the libraries that it names, and does not use them yet.
const MAPPED_AFTER: Duration = Duration::from_millis(4);

/// What is still to be looked at of traced processes. It can wait, and takes a while where they are many.
#[derive(Default)]
pub(super) struct Looks {
    pub wanted: BTreeSet<(HostPid, Look)>,
    /// New programs, whose libraries are not mapped yet, and when they will be.
    later: VecDeque<(Instant, HostPid)>,
    /// Those that are being looked at. All are in the kernel side's table since before `listening` was read: who
    /// comes to listen later is told by it.
    now: BTreeSet<(HostPid, Look)>,
    listening: Listening,
}

/// What to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Look {
    /// Where it listens since before it was traced, too.
    Places,
    /// What it is: by now the runtime's libraries are mapped, which at exec they were not.
    Runtime,
    /// What it maps: nothing else is looked at again.
    Libraries,
}

impl Census {
    /// Looks at what could wait, for about so long. Gives facts that are new.
    pub fn look(&mut self, probes: &mut Probes, time: Duration) -> Vec<ProcessFacts> {
        let began = Instant::now();
        let mut facts = Vec::new();
        self.learn(probes);
        while let Some((_, pid)) = self.looks.later.pop_front_if(|(due, _)| *due <= began) {
            self.looks.wanted.insert((pid, Look::Libraries));
        }
        while let Some((pid, look)) = self.next_look() {
            match look {
                Look::Places => self.look_for_places(probes, pid),
                Look::Runtime => facts.extend(self.look_again(probes, pid)),
                Look::Libraries => self.look_for_libraries(probes, pid),
            }
            if began.elapsed() >= time {
                return facts;
            }
        }
        while self.scan_some(probes, &mut facts) && began.elapsed() < time {}
        facts
    }

    /// Whether there is still something to be looked at.
    pub fn has_looks(&self) -> bool {
        let looks = &self.looks;
        let is_idle = looks.now.is_empty() && looks.wanted.is_empty() && looks.later.is_empty();
        self.scan.is_some() || !is_idle
    }

    /// A process runs a new program, which maps its libraries now.
    pub(super) fn look_later(&mut self, pid: HostPid) {
        let due = Instant::now() + MAPPED_AFTER;
        self.looks.later.push_back((due, pid));
    }

    fn next_look(&mut self) -> Option<(HostPid, Look)> {
        if self.looks.now.is_empty() {
            self.looks.now = std::mem::take(&mut self.looks.wanted);
            self.looks.listening = Listening::default();
        }
        self.looks.now.pop_first()
    }

    fn look_for_places(&mut self, probes: &mut Probes, pid: HostPid) {
        let Some(tracked) = self.tracked.get_mut(&pid) else {
            return;
        };
        let places = self.looks.listening.of(pid);
        for port in ports_of(&places) {
            tracked.listens(port);
        }
        for place in places {
            self.enter(probes, pid, place);
        }
    }

    fn look_for_libraries(&mut self, probes: &mut Probes, pid: HostPid) {
        if let Some(tracked) = self.tracked.get(&pid) {
            probes.follow(&tracked.facts);
        }
    }

    fn enter(&mut self, probes: &mut Probes, pid: HostPid, place: Place) {
        if !self.places.contains(place) {
            match probes.listener(place) {
                Ok(true) => {}
                Ok(false) => return,
                Err(_) => {
                    self.full += 1;
                    return;
                }
            }
        }
        self.places.hold(pid, place);
    }

    fn look_again(&mut self, probes: &mut Probes, pid: HostPid) -> Option<ProcessFacts> {
        let tracked = self.tracked.get(&pid)?;
        let chosen = Chosen {
            reason: tracked.reason.clone(),
            is_named: tracked.is_named,
        };
        // What its runtime lacks may be there by now.
        let met = |limit: &&Limit| !is_of_runtime(limit);
        let before: Vec<Limit> = tracked.limits.iter().filter(met).cloned().collect();
        let facts = self.retrace(probes, pid, chosen)?;
        for limit in before {
            self.limit(pid, limit);
        }
        Some(facts)
    }
}
