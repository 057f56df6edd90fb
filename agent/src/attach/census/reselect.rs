//! Another selection, or other probes, while the agent runs. In: the new ones. Out: who is left; who is chosen now is found
//! by a scan.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::look::Look;
use super::pods::{seen, Pods, Reconsidered};
use super::scan::Whom;
use super::{Census, Chosen, Places, Reason};
use crate::attach::{Probes, Selection};
use crate::capture::event::HostPid;
use crate::pods::{Config, Index};

impl Census {
    /// Chooses by this from now on. `kubernetes`: where it is on.
    pub fn select(
        &mut self,
        probes: &mut Probes,
        selection: Selection,
        kubernetes: Option<Arc<Config>>,
    ) -> Reconsidered {
        for port in &self.selection.ports {
            probes.no_port(*port);
        }
        self.selection = selection;
        self.enter_ports(probes);
        match (&mut self.pods, kubernetes) {
            (Some(pods), Some(config)) => pods.configure(config),
            (pods, kubernetes) => {
                *pods = kubernetes.map(|config| Pods::new(Index::new(config)));
            }
        }
        self.scan(Whom::Everybody);
        let own = |reason: &Reason| !matches!(reason, Reason::Child(_));
        let mut again = self.reselect(probes, own);
        // Children of those that are left, and theirs.
        let mut left: BTreeSet<HostPid> = again.left.iter().copied().collect();
        loop {
            let of_left =
                |reason: &Reason| matches!(reason, Reason::Child(parent) if left.contains(parent));
            let more = self.reselect(probes, of_left);
            again.facts.extend(more.facts);
            if more.left.is_empty() {
                return again;
            }
            left = more.left.iter().copied().collect();
            again.left.extend(more.left);
        }
    }

    /// Goes on with other probes, which trace already who is traced.
    pub fn reopened(&mut self, probes: &mut Probes) {
        self.enter_ports(probes);
        self.places = Places::default();
        for pid in self.tracked.keys() {
            self.looks.wanted.insert((*pid, Look::Places));
        }
    }

    fn enter_ports(&mut self, probes: &mut Probes) {
        for port in &self.selection.ports {
            self.full += u64::from(probes.port(*port).is_err());
        }
    }

    fn reselect(&mut self, probes: &mut Probes, which: impl Fn(&Reason) -> bool) -> Reconsidered {
        let its = self.tracked.iter();
        let its = its.filter(|(_, tracked)| which(&tracked.reason));
        let pids: Vec<HostPid> = its.map(|(pid, _)| *pid).collect();
        self.again(probes, pids, Self::chosen_by_selection)
    }

    fn chosen_by_selection(&self, pid: HostPid) -> Option<Chosen> {
        let tracked = self.tracked.get(&pid)?;
        let mut ports = tracked.ports.iter().copied();
        let port = ports.find(|port| self.selection.ports.contains(port));
        let chosen = self.chosen_with(&seen(&tracked.facts), || port)?;
        Some(tracked.unless_forgotten(chosen))
    }
}
