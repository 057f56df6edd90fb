//! A look over all processes of the node, for those that came to be chosen while they ran: their pod was, or the selection
//! is another. A little in each turn of the loop. In: whom it concerns. Out: new facts. Touches procfs through [`discover`].

use super::pods::concerns;
use super::Census;
use crate::attach::listening::Listening;
use crate::attach::{discover, Probes, ProcessFacts};
use crate::capture::event::HostPid;
use crate::pods::Changes;

/// Processes that are looked at before it is looked at the time.
const PROCESSES_AT_ONCE: usize = 16;

/// Whom a scan is for.
pub(super) enum Whom {
    Everybody,
    Pods(Changes),
}

/// One look over all processes.
pub(super) struct Scan {
    whom: Whom,
    pids: Vec<HostPid>,
    listening: Listening,
    /// One was found: its children may have been born meanwhile.
    has_found: bool,
}

impl Scan {
    fn begin(whom: Whom) -> Self {
        Self {
            whom,
            pids: discover::pids(),
            listening: Listening::default(),
            has_found: false,
        }
    }

    fn concerns(&self, pid: HostPid) -> bool {
        match &self.whom {
            Whom::Everybody => true,
            Whom::Pods(changes) => concerns(changes, &discover::place(pid)),
        }
    }
}

impl Whom {
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Pods(mut these), Self::Pods(others)) => {
                these.all |= others.all;
                these.pods.extend(others.pods);
                Self::Pods(these)
            }
            _ => Self::Everybody,
        }
    }
}

impl Census {
    /// Looks for who is chosen, from the start if it does already.
    pub(super) fn scan(&mut self, whom: Whom) {
        let whom = match self.scan.take() {
            Some(scan) => scan.whom.and(whom),
            None => whom,
        };
        self.scan = Some(Scan::begin(whom));
    }

    /// Looks at a few more processes; adds the facts of those that are traced from now on. False: there are no more.
    pub(super) fn scan_some(&mut self, probes: &mut Probes, facts: &mut Vec<ProcessFacts>) -> bool {
        let Some(mut scan) = self.scan.take() else {
            return false;
        };
        for _ in 0..PROCESSES_AT_ONCE {
            let Some(pid) = scan.pids.pop() else {
                // A child may be born while the list is read; once its parent is traced the kernel side tells.
                self.scan = scan.has_found.then(|| Scan::begin(scan.whom));
                return self.scan.is_some();
            };
            if self.traces(pid) || !scan.concerns(pid) {
                continue;
            }
            let Ok(seen) = discover::process(pid) else {
                continue;
            };
            let found = self.consider(probes, &seen, &mut scan.listening);
            scan.has_found |= found.is_some();
            facts.extend(found);
        }
        self.scan = Some(scan);
        true
    }
}
