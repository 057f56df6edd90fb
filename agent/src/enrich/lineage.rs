//! Which task started which.
//!
//! In: tasks as they are born. Out: those that one descends from. A task is named by an address, which another may have
//! after it: a parent is the one that had the address when its child was born.

use std::collections::VecDeque;

use crate::capture::event::Task;
use crate::clock::Monotonic;
use crate::hash::WordMap;

/// Tasks of a process whose birth is remembered (about 64 bytes each). Full: the one told of first is forgotten, and what
/// it descends from is not known.
const TASKS_MAX: usize = 8192;
/// Tasks looked at on the way up from one: frameworks put a few between a request and its work.
const ANCESTORS_MAX: usize = 6;

#[derive(Clone, Copy, Debug)]
struct Birth {
    parent: u64,
    time: Monotonic,
}

/// The tasks of one process.
#[derive(Debug, Default)]
pub struct Lineage {
    births: WordMap<u64, Birth>,
    order: VecDeque<u64>,
}

/// A task, or one that it descends from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ancestor {
    pub task: u64,
    /// When it was born, where that is known.
    pub born: Option<Monotonic>,
    /// When it started the one through which the task descends from it; `None`: it is the task itself.
    pub branched: Option<Monotonic>,
}

impl Lineage {
    /// A task started another.
    pub fn born(&mut self, task: u64, parent: u64, time: Monotonic) {
        if self.births.insert(task, Birth { parent, time }).is_some() {
            return;
        }
        self.order.push_back(task);
        if self.order.len() > TASKS_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.births.remove(&oldest);
            }
        }
    }

    /// A task that does something then, and those that it descends from, from itself upwards.
    pub fn of(&self, task: Task, now: Monotonic) -> impl Iterator<Item = Ancestor> + '_ {
        let first = self.ancestor(task.id, None, now);
        let descent = std::iter::successors(Some(first), |below| {
            let parent = self.births.get(&below.task)?.parent;
            let branched = below.born?;
            Some(self.ancestor(parent, Some(branched), branched))
        });
        let around = task.within.map(|around| self.ancestor(around, None, now));
        descent.take(ANCESTORS_MAX).chain(around)
    }

    /// The one that has that address, if it was there by then.
    fn ancestor(&self, task: u64, branched: Option<Monotonic>, by: Monotonic) -> Ancestor {
        let birth = self.births.get(&task).filter(|birth| birth.time <= by);
        Ancestor {
            task,
            born: birth.map(|birth| birth.time),
            branched,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(lineage: &Lineage, id: u64, now: u64) -> Vec<u64> {
        let task = Task { id, within: None };
        let path = lineage.of(task, Monotonic(now));
        path.map(|ancestor| ancestor.task).collect()
    }

    #[test]
    fn a_task_descends_from_those_that_had_their_address_then() {
        let mut lineage = Lineage::default();
        lineage.born(2, 1, Monotonic(10));
        lineage.born(3, 2, Monotonic(20));
        assert_eq!(path(&lineage, 3, 30), [3, 2, 1]);
        // Another has the address of its parent by now.
        lineage.born(2, 9, Monotonic(25));
        assert_eq!(path(&lineage, 3, 30), [3, 2]);
        assert_eq!(path(&lineage, 2, 30), [2, 9]);
        // It was not born yet when it was asked for.
        assert_eq!(path(&lineage, 2, 24), [2]);
    }

    #[test]
    fn the_way_up_ends() {
        let mut lineage = Lineage::default();
        lineage.born(1, 2, Monotonic(10));
        lineage.born(2, 1, Monotonic(10));
        assert_eq!(path(&lineage, 1, 30).len(), ANCESTORS_MAX);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut lineage = Lineage::default();
        for task in 1..=2 * TASKS_MAX as u64 {
            lineage.born(task, 0, Monotonic(task));
        }
        assert_eq!(lineage.births.len(), TASKS_MAX);
        assert_eq!(lineage.order.len(), TASKS_MAX);
    }
}
