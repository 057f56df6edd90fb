//! New programs: what a process is from now on, also where it has ended before it could be looked at. In: that it replaced
//! its program, and how that was called. Out: its facts, if it is traced.

use super::{Census, Chosen};
use crate::attach::decision::{decide, is_named, Decision, Inherited};
use crate::attach::discover::{self, Seen};
use crate::attach::process::{Language, Standing};
use crate::attach::tracked::Reason;
use crate::attach::{Probes, ProcessFacts};
use crate::capture::event::HostPid;
use crate::pods::Place;

impl Census {
    /// A process replaced its program by the one at `path`, as it was called. Gives its facts if it is traced (from here
    /// on, or still).
    pub fn executed(
        &mut self,
        probes: &mut Probes,
        pid: HostPid,
        path: &[u8],
    ) -> Option<ProcessFacts> {
        // That of a process which has ended, but was not waited for, cannot be read.
        let seen = discover::process(pid).ok();
        let Some(seen) = seen.filter(|seen| !seen.executable_path.is_empty()) else {
            return self.executed_and_gone(probes, pid, path);
        };
        let place = self.place(pid);
        let Some(chosen) = self.chosen_anew(&seen, &place) else {
            self.forget(probes, pid);
            return None;
        };
        let facts = self.retrace(probes, pid, chosen);
        if facts
            .as_ref()
            .is_some_and(|facts| facts.language != Language::Go)
        {
            self.look_later(pid);
        }
        facts.or_else(|| self.executed_and_gone(probes, pid, path))
    }

    /// Why a process that runs another program now, or whose pod changed, is traced. What it was traced for goes on, unless that was its pod.
    pub(super) fn chosen_anew(&self, seen: &Seen, place: &Place) -> Option<Chosen> {
        let before = self.tracked.get(&seen.pid);
        let before = before.filter(|before| !before.reason.is_of_pod());
        let mut case = self.case(seen, place);
        let mut reason = None;
        if let Some(before) = before {
            // As if it were its own child.
            reason = Some(before.reason.clone());
            case.inherited = Some(Inherited {
                parent: seen.parent,
                is_named: before.is_named,
            });
        }
        let is_named = is_named(&self.selection, &case);
        let reason = match decide(&self.selection, &case, || None) {
            Decision::Traced(Reason::Child(parent)) => reason.unwrap_or(Reason::Child(parent)),
            Decision::Traced(reason) => reason,
            Decision::Pending => Reason::Pending,
            Decision::Left(_) => return None,
        };
        Some(Chosen { reason, is_named })
    }

    /// A process replaced its program and has ended since: all that is known is how the program was called. A link may
    /// have been called, so that nothing is known of it where something is excluded.
    fn executed_and_gone(
        &mut self,
        probes: &mut Probes,
        pid: HostPid,
        path: &[u8],
    ) -> Option<ProcessFacts> {
        let path = String::from_utf8_lossy(path);
        let before = self.tracked.get(&pid);
        let is_known = !self.selection.excludes_any();
        let is_chosen = before.is_some() || self.selection.chooses(pid, &path);
        if !(is_known && is_chosen) {
            // It may have been called by a link, or by a path that is not the file's own: counted, to hide nothing.
            self.unidentified += 1;
            self.forget(probes, pid);
            return None;
        }
        let facts = ProcessFacts {
            pid,
            parent: before.map_or(HostPid(0), |tracked| tracked.facts.parent),
            start_ticks: before.map_or(0, |tracked| tracked.facts.start_ticks),
            executable_path: path.into_owned(),
            place: before.map_or_else(Place::default, |tracked| tracked.facts.place.clone()),
            workload: before.and_then(|tracked| tracked.facts.workload.clone()),
            standing: before.map_or(Standing::Known, |tracked| tracked.facts.standing),
            ..ProcessFacts::default()
        };
        probes.unfollow(pid);
        // Its end is told by a record that is still to come.
        self.tracked.entry(pid).or_default().facts = facts.clone();
        Some(facts)
    }
}
