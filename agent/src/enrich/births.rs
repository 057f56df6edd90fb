//! Go: which goroutines were born since a request came, and whether that says for whom they work.
//!
//! In: which were not born yet as a request was read; requests as they start and end; for which a goroutine was seen to call.
//! Out: whether a child of the goroutine that serves a request was certainly born after it came. That goroutine was in the call
//! that read the request, and had no other to serve: what it starts later, it starts for this one, or after it. Whether it is
//! the call that read the request is told by where its bytes stand.
//!
//! A goroutine of a pool is born for one request and may work for another while that is open. It gives itself away by calling
//! once its request is over; where one did, to be born for a request proves nothing for a while.

use std::time::Duration;

use super::nodes::Nodes;
use crate::capture::event::{ConnectionId, Unborn};
use crate::clock::Monotonic;
use crate::decode::exchange::{ExchangeId, Started};
use crate::few::Few;
use crate::hash::WordMap;

/// Connections of a process of which something was read that no request has begun with so far (about 150 bytes each), and
/// goroutines that called for a request (about 50). Full: all are forgotten; of the next requests of those it is not known, and
/// those do not give themselves away.
const READ_MAX: usize = 1024;
const CALLED_MAX: usize = 4096;
/// Goroutines of a process that has pools prove nothing for this time.
const POOL_MEMORY: Duration = Duration::from_secs(24 * 3600);

/// The births of one process.
#[derive(Debug, Default)]
pub struct Births {
    read: WordMap<ConnectionId, Unborn>,
    /// Of requests that are open.
    open: WordMap<ExchangeId, Unborn>,
    /// Children of goroutines that serve: for which request they called, and what.
    called: WordMap<u64, (ExchangeId, Few<ExchangeId>)>,
    /// When one last called after its request.
    pool_seen: Option<Monotonic>,
}

impl Births {
    /// Something was read, which may begin a request.
    pub fn read(&mut self, unborn: Unborn) {
        if self.read.len() >= READ_MAX {
            self.read.clear();
        }
        self.read.insert(unborn.connection, unborn);
    }

    /// A request starts, which that goroutine serves. Of its first byte there may be nothing told, where another goroutine
    /// read that alone.
    pub fn started(&mut self, request: &Started, server: u64) {
        let Some(unborn) = self.read.remove(&request.link.id) else {
            return;
        };
        let is_its_start = unborn.position.wrapping_sub(request.position) <= 1;
        if is_its_start && unborn.goroutine == server {
            self.open.insert(request.id, unborn);
        }
    }

    pub fn ended(&mut self, request: ExchangeId) {
        self.open.remove(&request);
    }

    /// Whether a child of the goroutine that serves a request was certainly born since that came.
    pub fn is_since(&self, request: ExchangeId, child: u64) -> bool {
        let unborn = self.open.get(&request);
        unborn.is_some_and(|unborn| unborn.has(child))
    }

    /// Whether goroutines that were born for a request may work for others.
    pub fn has_pools(&self, time: Monotonic) -> bool {
        let seen = self.pool_seen;
        seen.is_some_and(|seen| time.since(seen) < POOL_MEMORY)
    }

    /// A child of the goroutine that serves a request, or one that descends from it, calls for that.
    pub fn calls(&mut self, child: u64, request: ExchangeId, call: ExchangeId) {
        if self.called.len() >= CALLED_MAX {
            self.called.clear();
        }
        let (before, calls) = self.called.entry(child).or_insert((request, Few::None));
        if *before != request {
            (*before, *calls) = (request, Few::None);
        }
        calls.push(call);
    }

    /// One calls for no request that is known. Gives what it called before, if that was for one which is over.
    pub fn calls_on(&mut self, child: u64, time: Monotonic, nodes: &Nodes) -> Few<ExchangeId> {
        let is_over = |request| nodes.get(request).is_none_or(|node| node.ended.is_some());
        match self.called.remove(&child) {
            Some((request, calls)) if is_over(request) => {
                self.pool_seen = Some(time);
                calls
            }
            _ => Few::None,
        }
    }
}
