//! Which goroutine started which, as far as it was seen.
//!
//! In: goroutines as calls and connections show them. Out: a goroutine's parent, since when it is known, and whether it
//! ever served; which goroutine serves a connection.

use std::collections::VecDeque;

use crate::capture::event::{ConnectionId, Goroutine};
use crate::clock::Monotonic;
use crate::hash::WordMap;

/// Goroutines of a process that are remembered, and connections that they serve (about 64 bytes each). Full: the one seen
/// first is forgotten.
const GOROUTINES_MAX: usize = 4096;

/// Goroutines looked at on the way from one to a server exchange's.
pub const ANCESTORS_MAX: usize = 16;

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
    /// Who serves a connection for as long as it lasts.
    servers: WordMap<ConnectionId, u64>,
    servers_order: VecDeque<ConnectionId>,
}

impl Goroutines {
    pub fn learn(&mut self, goroutine: Goroutine, seen: Monotonic) {
        if goroutine.parent != 0 {
            self.insert(goroutine, seen);
        }
    }

    /// A request's first byte was read by that goroutine. Gives the one that serves it: net/http has a child of it read
    /// ahead while it serves, so that this may get the next request's.
    pub fn serves(&mut self, reader: Goroutine, connection: ConnectionId, seen: Monotonic) -> u64 {
        if let Some(server) = self.servers.get(&connection) {
            if reader.id == *server || reader.parent == *server || reader.parent == 0 {
                return *server;
            }
        }
        self.insert(reader, seen);
        if let Some(known) = self.known.get_mut(&reader.id) {
            known.serves = true;
        }
        self.remember(connection, reader.id);
        reader.id
    }

    fn remember(&mut self, connection: ConnectionId, server: u64) {
        if self.servers.insert(connection, server).is_some() {
            return;
        }
        self.servers_order.push_back(connection);
        if self.servers_order.len() > GOROUTINES_MAX {
            if let Some(oldest) = self.servers_order.pop_front() {
                self.servers.remove(&oldest);
            }
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

    /// The child of one that served, by which a goroutine descends from that; itself, if it is one.
    pub fn child_of_server(&self, goroutine: u64) -> Option<u64> {
        let mut child = goroutine;
        for _ in 0..ANCESTORS_MAX {
            let above = self.get(child)?.parent;
            if self.get(above)?.serves {
                return Some(child);
            }
            child = above;
        }
        None
    }

    pub fn get(&self, goroutine: u64) -> Option<Known> {
        self.known.get(&goroutine).copied()
    }
}
