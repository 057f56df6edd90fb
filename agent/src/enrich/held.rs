//! Spans that wait for Kubernetes: of processes that may not be meant, or whose container has no name yet. In: what
//! became known, and time. Out: which finished exchanges may be told, and which never will be.

use std::collections::{BTreeSet, VecDeque};

use super::enricher::Waiting;
use super::nodes::Node;
use super::program::{Program, State, Unresolved};
use super::Enricher;
use crate::attach::{ProcessFacts, Resolution};
use crate::capture::event::HostPid;
use crate::clock::Monotonic;
use crate::decode::exchange::ExchangeId;

/// What becomes of a finished exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Told,
    Held,
    Dropped,
}

impl Enricher {
    /// Asks again of each process of which not all is known, also of those that have ended.
    pub fn resolve(&mut self, resolution: impl Fn(&ProcessFacts) -> Resolution) {
        let config = &self.config;
        for unresolved in &mut self.unresolved {
            if unresolved.is_open() {
                unresolved.resolve(resolution(&unresolved.facts), config);
            }
        }
        self.settle_programs();
    }

    /// Processes that live are not traced any more. What ended before is told now, unless they may not have been meant;
    /// what is open will not be.
    pub fn left(&mut self, pids: &BTreeSet<HostPid>, now: Monotonic) {
        self.latest = self.latest.max(now);
        let mut refused = BTreeSet::new();
        for pid in pids {
            let Some(process) = self.processes.get_mut(pid) else {
                continue;
            };
            let program = std::mem::take(&mut process.program);
            process.program.set(State::Refused);
            match program.state() {
                State::Pending => program.set(State::Refused),
                _ => program.give_up(),
            }
            if program.state() != State::Known {
                refused.insert(*pid);
            }
        }
        self.settle_programs();
        self.orphan_children_of(|node| {
            refused.contains(&node.process)
                || (node.ended.is_none() && pids.contains(&node.process))
        });
        self.hurry(pids);
        for pid in pids {
            self.gone(*pid, now);
        }
    }

    /// How many finished exchanges wait for Kubernetes.
    pub fn held_for_pods(&self) -> usize {
        self.held.len()
    }

    /// Notes that not all is known of a program.
    pub(super) fn unresolved(&mut self, facts: &ProcessFacts, program: Program) {
        let is_noted = |noted: &Unresolved| noted.program.is(&program);
        if program.is_settled() || self.unresolved.iter().any(is_noted) {
            return;
        }
        let unresolved = Unresolved {
            facts: facts.clone(),
            program,
            since: None,
        };
        match self.unresolved.len() < self.config.limits.processes {
            true => self.unresolved.push(unresolved),
            false => unresolved.give_up(),
        }
    }

    /// Gives up what has waited for too long.
    pub(super) fn give_up_unresolved(&mut self, now: Monotonic) {
        if self.unresolved.is_empty() {
            return;
        }
        let limits = &self.config.limits;
        for unresolved in &mut self.unresolved {
            let since = *unresolved.since.get_or_insert(now);
            let patience = match unresolved.program.state() {
                State::Pending => limits.pending,
                _ => limits.incomplete,
            };
            if now.since(since) >= patience {
                unresolved.give_up();
            }
        }
        self.settle_programs();
    }

    /// What becomes of an exchange whose grace is over.
    pub(super) fn fate(&mut self, waiting: &Waiting, was_held: bool) -> Fate {
        let state = waiting.program.as_ref().map(Program::state);
        let fate = match state.unwrap_or_default() {
            State::Refused | State::Unknown => Fate::Dropped,
            State::Pending | State::Incomplete => Fate::Held,
            State::Known if self.has_pending_above(waiting.exchange.id) => Fate::Held,
            State::Known => Fate::Told,
        };
        let has_room = was_held || self.held.len() < self.config.limits.held;
        match fate {
            Fate::Held if !has_room => self.without_room(waiting),
            fate => fate,
        }
    }

    /// Nothing of an exchange is told: nobody keeps it as parent.
    pub(super) fn drop(&mut self, waiting: &Waiting) {
        let (pid, id) = (waiting.exchange.process, waiting.exchange.id);
        match waiting.program.as_ref().map(Program::state) {
            Some(State::Refused) => self.counts.dropped_refused += 1,
            Some(State::Unknown) => self.counts.dropped_unknown += 1,
            _ => self.counts.dropped_held_full += 1,
        }
        self.counts.undone += self.nodes.orphan_children(id);
        self.over(pid, id);
        self.take(id);
    }

    /// There is no room for one more that waits. What is not known to be meant is dropped; the others are told as they are.
    fn without_room(&mut self, waiting: &Waiting) -> Fate {
        if waiting.program.as_ref().map(Program::state) == Some(State::Pending) {
            return Fate::Dropped;
        }
        self.without_pending_parents(waiting.exchange.id);
        Fate::Told
    }

    /// Parents whose process may not be meant are no parents of what is told now.
    pub(super) fn without_pending_parents(&mut self, id: ExchangeId) {
        let above: Vec<ExchangeId> = self.nodes.upwards(id).map(|(id, _)| id).collect();
        for pair in above.windows(2) {
            if self.is_pending(pair[1]) {
                self.counts.undone += u64::from(self.nodes.orphan(pair[0]));
            }
        }
    }

    fn has_pending_above(&self, id: ExchangeId) -> bool {
        let mut above = self.nodes.upwards(id).skip(1);
        !self.unresolved.is_empty() && above.any(|(id, _)| self.is_pending(id))
    }

    fn is_pending(&self, id: ExchangeId) -> bool {
        let node = self.nodes.get(id);
        let process = node.and_then(|node| self.processes.get(&node.process));
        process.is_some_and(|process| process.program.state() == State::Pending)
    }

    /// Forgets what is resolved. What a refused process did is nobody's parent.
    fn settle_programs(&mut self) {
        let settled = self.unresolved.extract_if(.., |one| !one.is_open());
        let is_refused =
            |one: &Unresolved| matches!(one.program.state(), State::Refused | State::Unknown);
        let refused = settled.filter(is_refused).map(|one| one.facts.pid);
        let refused: BTreeSet<HostPid> = refused.collect();
        if !refused.is_empty() {
            self.orphan_children_of(|node| refused.contains(&node.process));
        }
    }

    fn orphan_children_of(&mut self, is_meant: impl Fn(&Node) -> bool) {
        for id in self.nodes.of(is_meant) {
            self.counts.undone += self.nodes.orphan_children(id);
        }
    }

    /// What processes finished is told at the next turn.
    fn hurry(&mut self, pids: &BTreeSet<HostPid>) {
        let is_its = |waiting: &Waiting| pids.contains(&waiting.exchange.process);
        let held = std::mem::take(&mut self.held).into_iter();
        let (mut its, held): (VecDeque<_>, _) = held.partition(is_its);
        let waiting = std::mem::take(&mut self.waiting).into_iter();
        let (finished, mut others): (VecDeque<_>, _) = waiting.partition(is_its);
        its.extend(finished);
        its.iter_mut().for_each(|its| its.due = Waiting::AT_ONCE);
        its.append(&mut others);
        (self.held, self.waiting) = (held, its);
    }
}
