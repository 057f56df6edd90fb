//! Whether a process is traced, with all that this census knows of it. In: a process as it was seen. Out: why it is traced.
//! The rules are those of [`decision`](crate::attach::decision).

use super::Census;
use crate::attach::decision::{decide, is_named, Case, Decision, Inherited};
use crate::attach::discover::{self, Seen};
use crate::attach::listening::Listening;
use crate::attach::tracked::{Reason, Tracked};
use crate::capture::event::HostPid;
use crate::pods::Place;

/// Holds the listeners of services that are started by their first connection, and starts everything else: never
/// traced for a port.
const INIT: HostPid = HostPid(1);

/// Why a process is traced; see [`Tracked`].
pub(super) struct Chosen {
    pub reason: Reason,
    pub is_named: bool,
}

impl Tracked {
    /// A pod that was chosen is so until the opposite is told, though it is not known any more.
    pub(super) fn unless_forgotten(&self, chosen: Chosen) -> Chosen {
        match (&chosen.reason, &self.reason) {
            (Reason::Pending, Reason::Pod(_)) => Chosen {
                reason: self.reason.clone(),
                ..chosen
            },
            _ => chosen,
        }
    }
}

impl Census {
    /// Why a process is traced, if it is.
    pub(super) fn chosen(&self, seen: &Seen, listening: &mut Listening) -> Option<Chosen> {
        self.chosen_with(seen, || self.port(seen.pid, listening))
    }

    pub(super) fn chosen_with(
        &self,
        seen: &Seen,
        port: impl FnOnce() -> Option<u16>,
    ) -> Option<Chosen> {
        let place = self.place(seen.pid);
        let case = self.case(seen, &place);
        let reason = match decide(&self.selection, &case, port) {
            Decision::Traced(reason) => reason,
            Decision::Pending => Reason::Pending,
            Decision::Left(_) => return None,
        };
        let is_named = is_named(&self.selection, &case);
        Some(Chosen { reason, is_named })
    }

    pub(super) fn case<'a>(&self, seen: &'a Seen, place: &'a Place) -> Case<'a> {
        Case {
            pid: seen.pid,
            executable_path: &seen.executable_path,
            place,
            choice: self.choice(place),
            inherited: self.inherited(seen.parent),
        }
    }

    /// A named port that a process listens on.
    pub(super) fn port(&self, pid: HostPid, listening: &mut Listening) -> Option<u16> {
        if self.selection.ports.is_empty() || pid == INIT {
            return None;
        }
        let mut ports = listening.of(pid).into_iter().map(|(_, port)| port);
        ports.find(|port| self.selection.ports.contains(port))
    }

    /// Children are traced. One that is not known yet was born before, or the record of its birth was lost. Those of
    /// processes that are traced for their pod have a pod of their own.
    pub(super) fn inherited(&self, parent: HostPid) -> Option<Inherited> {
        let tracked = self.tracked.get(&parent)?;
        (!tracked.reason.is_of_pod()).then_some(Inherited {
            parent,
            is_named: tracked.is_named,
        })
    }

    pub(super) fn chosen_by_port(&self, pid: HostPid, port: u16) -> Option<Chosen> {
        let seen = discover::process(pid).ok()?;
        let is_named = self.selection.ports.contains(&port) && pid != INIT;
        self.chosen_with(&seen, || is_named.then_some(port))
    }
}
