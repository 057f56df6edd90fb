//! What is looked at of traced processes when there is time: a little in each turn of the pipeline's loop, so that many new
//! processes hold nothing up. In: processes to look at. Out: their places to the kernel side, new facts.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{Census, Chosen};
use crate::attach::listening::{ports_of, Listening, Place};
use crate::attach::tracked::{is_of_runtime, Limit};
use crate::attach::{Probes, ProcessFacts};
use crate::capture::event::HostPid;

/// What is still to be looked at of traced processes. It can wait, and takes a while where they are many.
#[derive(Default)]
pub(super) struct Looks {
    pub wanted: BTreeMap<HostPid, Look>,
    /// Those that are being looked at. All are in the kernel side's table since before `listening` was read: who
    /// comes to listen later is told by it.
    now: BTreeMap<HostPid, Look>,
    listening: Listening,
}

/// What to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Where it listens since before it was traced, too.
    Places,
    /// What it is: by now the runtime's libraries are mapped, which at exec they were not.
    Runtime,
}

impl Census {
    /// Looks at what could wait, for about so long. Gives facts that are new.
    pub fn look(&mut self, probes: &mut Probes, time: Duration) -> Vec<ProcessFacts> {
        let began = Instant::now();
        let mut facts = Vec::new();
        while let Some((pid, look)) = self.next_look() {
            match look {
                Look::Places => self.look_for_places(probes, pid),
                Look::Runtime => facts.extend(self.look_again(probes, pid)),
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
        self.scan.is_some() || !self.looks.now.is_empty() || !self.looks.wanted.is_empty()
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
