//! New programs: what a process is from now on, also where it has ended before it could be looked at. In: that it replaced
//! its program, and how that was called. Out: its facts, if it is traced.

use super::Census;
use crate::attach::tracked::Reason;
use crate::attach::{discover, Probes, ProcessFacts};
use crate::capture::event::HostPid;

impl Census {
    /// A process replaced its program by the one at `path`, as it was called. Gives its facts if it is traced (from here
    /// on, or still).
    pub fn executed(
        &mut self,
        probes: &mut Probes,
        pid: HostPid,
        path: &[u8],
    ) -> Option<ProcessFacts> {
        let before = self.tracked.get(&pid).map(|tracked| tracked.reason);
        // That of a process which has ended, but was not waited for, cannot be read.
        let seen = discover::process(pid).ok();
        let Some(seen) = seen.filter(|seen| !seen.executable_path.is_empty()) else {
            return self.executed_and_gone(probes, pid, path);
        };
        let reason = if self.selection.chooses(pid, &seen.executable_path) {
            Some(Reason::Selected)
        } else if self.selection.excludes(&seen.executable_path) {
            None
        } else {
            before.or_else(|| self.inherited(&seen))
        };
        let Some(reason) = reason else {
            self.forget(probes, pid);
            return None;
        };
        self.retrace(probes, pid, reason)
            .or_else(|| self.executed_and_gone(probes, pid, path))
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
            ..ProcessFacts::default()
        };
        // Its end is told by a record that is still to come.
        self.tracked.entry(pid).or_default().facts = facts.clone();
        Some(facts)
    }
}
