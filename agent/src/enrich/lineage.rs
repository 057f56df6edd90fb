//! Which tasks one descends from.
//!
//! In: tasks as they are born, with their ancestors. Out: those of a task. A task is named by an address, which another may
//! have after it; which one is meant is told by when it was born.

use std::collections::VecDeque;

use crate::capture::event::{Task, TaskBirth};
use crate::clock::Monotonic;
use crate::hash::WordMap;

/// Tasks of a process whose birth is remembered (about 180 bytes each). Full: the one told of first is forgotten, and what
/// it descends from is not known.
const TASKS_MAX: usize = 2048;

/// The tasks of one process.
#[derive(Debug, Default)]
pub struct Lineage {
    births: WordMap<u64, TaskBirth>,
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
    /// A task was started by another.
    pub fn born(&mut self, birth: TaskBirth) {
        if self.births.insert(birth.task, birth).is_some() {
            return;
        }
        self.order.push_back(birth.task);
        if self.order.len() > TASKS_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.births.remove(&oldest);
            }
        }
    }

    /// A task, and those that it descends from, from itself upwards.
    pub fn of(&self, task: Task) -> impl Iterator<Item = Ancestor> + '_ {
        let itself = Ancestor {
            task: task.id,
            born: task.born,
            branched: None,
        };
        let birth = self.births.get(&task.id);
        let birth = birth.filter(|birth| Some(birth.born) == task.born);
        std::iter::once(itself).chain(birth.into_iter().flat_map(above))
    }
}

/// The ancestors of a task.
fn above(birth: &TaskBirth) -> impl Iterator<Item = Ancestor> + '_ {
    let ancestors = birth.ancestors.iter();
    let known = ancestors.take_while(|(task, _)| *task != 0);
    known.scan(Some(birth.born), |below, (task, born)| {
        let branched = Some((*below)?);
        *below = *born;
        Some(Ancestor {
            task: *task,
            born: *born,
            branched,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn birth(task: u64, born: u64, ancestors: &[(u64, u64)]) -> TaskBirth {
        let mut birth = TaskBirth {
            task,
            born: Monotonic(born),
            ancestors: [(0, None); _],
        };
        for (place, (task, born)) in birth.ancestors.iter_mut().zip(ancestors) {
            *place = (*task, (*born != 0).then_some(Monotonic(*born)));
        }
        birth
    }

    fn path(lineage: &Lineage, id: u64, born: u64) -> Vec<(u64, Option<u64>)> {
        let born = (born != 0).then_some(Monotonic(born));
        let path = lineage.of(Task { id, born });
        path.map(|ancestor| (ancestor.task, ancestor.branched.map(|time| time.0)))
            .collect()
    }

    #[test]
    fn a_task_descends_from_those_that_were_there_at_its_birth() {
        let mut lineage = Lineage::default();
        lineage.born(birth(3, 20, &[(2, 10), (1, 0)]));
        let all = [(3, None), (2, Some(20)), (1, Some(10))];
        assert_eq!(path(&lineage, 3, 20), all);
        // Another has the address of its parent by now.
        lineage.born(birth(2, 25, &[(9, 0)]));
        assert_eq!(path(&lineage, 3, 20), all);
        assert_eq!(path(&lineage, 2, 25), [(2, None), (9, Some(25))]);
        // One that was not told of.
        assert_eq!(path(&lineage, 2, 10), [(2, None)]);
        assert_eq!(path(&lineage, 2, 0), [(2, None)]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut lineage = Lineage::default();
        for task in 1..=2 * TASKS_MAX as u64 {
            lineage.born(birth(task, task, &[]));
        }
        assert_eq!(lineage.births.len(), TASKS_MAX);
        assert_eq!(lineage.order.len(), TASKS_MAX);
    }
}
