//! Which goroutine started which, as far as it was seen.
//!
//! In: goroutines as calls and connections show them. Out: a goroutine's parent, since when it is known, and whether it
//! ever served.

use std::collections::VecDeque;

use crate::capture::event::Goroutine;
use crate::clock::Monotonic;
use crate::hash::WordMap;

/// Goroutines of a process that are remembered (about 64 bytes each). Full: the one seen first is forgotten.
const GOROUTINES_MAX: usize = 4096;

/// A goroutine's parent.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// 0: not known.
    pub parent: u64,
    /// It existed then; it may be older.
    pub seen: Monotonic,
    /// It served a request, which may be over.
    pub serves: bool,
}

/// The goroutines of one process.
#[derive(Debug, Default)]
pub struct Goroutines {
    known: WordMap<u64, Known>,
    order: VecDeque<u64>,
}

impl Goroutines {
    pub fn learn(&mut self, goroutine: Goroutine, seen: Monotonic) {
        if goroutine.parent != 0 {
            self.insert(goroutine, seen);
        }
    }

    /// It serves a request.
    pub fn serves(&mut self, goroutine: Goroutine, seen: Monotonic) {
        self.insert(goroutine, seen);
        if let Some(known) = self.known.get_mut(&goroutine.id) {
            known.serves = true;
        }
    }

    fn insert(&mut self, goroutine: Goroutine, seen: Monotonic) {
        if self.known.contains_key(&goroutine.id) {
            return;
        }
        if self.order.len() >= GOROUTINES_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.known.remove(&oldest);
            }
        }
        self.order.push_back(goroutine.id);
        let parent = goroutine.parent;
        let known = Known {
            parent,
            seen,
            serves: false,
        };
        self.known.insert(goroutine.id, known);
    }

    pub fn get(&self, goroutine: u64) -> Option<Known> {
        self.known.get(&goroutine).copied()
    }
}
