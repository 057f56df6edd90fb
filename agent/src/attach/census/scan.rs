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
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Whom {
    Everybody,
    Pods(Changes),
}

/// One look over all processes.
pub(super) struct Scan {
    whom: Whom,
    /// Whom to look for once more: those that were added on the way, and pods of which one was found, because its
    /// children may have been born meanwhile.
    again: Option<Whom>,
    pids: Vec<HostPid>,
    listening: Listening,
}

impl Scan {
    fn begin(whom: Whom) -> Self {
        Self::over(discover::pids(), whom)
    }

    fn over(pids: Vec<HostPid>, whom: Whom) -> Self {
        Self {
            whom,
            again: None,
            pids,
            listening: Listening::default(),
        }
    }

    /// Looks for these too, among those that are left and then among all: it does not start over, which could go on for
    /// ever.
    fn extend(&mut self, whom: Whom) {
        self.whom.add(whom.clone());
        self.once_more(whom);
    }

    fn found(&mut self, facts: &ProcessFacts) {
        self.once_more(match &self.whom {
            Whom::Everybody => Whom::Everybody,
            Whom::Pods(_) => Whom::Pods(Changes {
                pods: facts.place.pod.iter().cloned().collect(),
                ..Changes::default()
            }),
        });
    }

    fn once_more(&mut self, whom: Whom) {
        match &mut self.again {
            Some(again) => again.add(whom),
            None => self.again = Some(whom),
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
    fn add(&mut self, other: Self) {
        match (&mut *self, other) {
            (Self::Pods(these), Self::Pods(others)) => {
                these.all |= others.all;
                these.pods.extend(others.pods);
            }
            _ => *self = Self::Everybody,
        }
    }
}

impl Census {
    /// Looks for who is chosen.
    pub(super) fn scan(&mut self, whom: Whom) {
        match &mut self.scan {
            Some(scan) => scan.extend(whom),
            None => self.scan = Some(Scan::begin(whom)),
        }
    }

    /// Looks at a few more processes; adds the facts of those that are traced from now on. False: there are no more.
    pub(super) fn scan_some(&mut self, probes: &mut Probes, facts: &mut Vec<ProcessFacts>) -> bool {
        let Some(mut scan) = self.scan.take() else {
            return false;
        };
        for _ in 0..PROCESSES_AT_ONCE {
            let Some(pid) = scan.pids.pop() else {
                self.scan = scan.again.map(Scan::begin);
                return self.scan.is_some();
            };
            if self.traces(pid) || !scan.concerns(pid) {
                continue;
            }
            let Ok(seen) = discover::process(pid) else {
                continue;
            };
            if let Some(found) = self.consider(probes, &seen, &mut scan.listening) {
                scan.found(&found);
                facts.push(found);
            }
        }
        self.scan = Some(scan);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pods::PodUid;

    fn pods(names: &[&str]) -> Whom {
        Whom::Pods(Changes {
            all: false,
            pods: names.iter().map(|name| PodUid((*name).into())).collect(),
        })
    }

    #[test]
    fn a_scan_that_is_under_way_goes_on_when_more_is_to_be_found() {
        let mut scan = Scan::over(vec![HostPid(1), HostPid(2)], pods(&["a"]));
        scan.pids.pop();
        scan.extend(pods(&["b"]));
        assert_eq!(scan.pids, [HostPid(1)], "it does not start over");
        assert_eq!(scan.whom, pods(&["a", "b"]));
        assert_eq!(scan.again, Some(pods(&["b"])), "the first was not asked");
        scan.found(&ProcessFacts {
            place: crate::pods::Place {
                pod: Some(PodUid("a".into())),
                container: None,
            },
            ..ProcessFacts::default()
        });
        assert_eq!(scan.again, Some(pods(&["a", "b"])));
        scan.extend(Whom::Everybody);
        assert_eq!(scan.again, Some(Whom::Everybody));
    }
}
