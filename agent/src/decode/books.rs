//! What all connections share: exchange numbers, counters, threads that serve, losses of processes. In: what
//! conversations report. Out: [`Counts`], and whether a thread served one exchange alone.

use super::exchange::ExchangeId;
use super::http1::head::Known;
use super::limits::PROCESSES_MAX;
use crate::capture::event::{HostPid, HostTid};
use crate::hash::{WordMap, WordSet};

/// Running totals of this room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections first seen.
    pub connections: u64,
    /// Connections that carried, or came to carry, something that is neither HTTP/1 nor FastCGI.
    pub opaque: u64,
    /// Exchanges started.
    pub exchanges: u64,
    /// Exchanges finished: `exchanges` less those open.
    pub finished: u64,
    /// Messages, or bytes in the place of one, that were not valid.
    pub malformed: u64,
    /// Heads understood in part: longer than what is copied, or cut by a loss.
    pub incomplete_heads: u64,
    /// Answers whose request was not seen: no exchange.
    pub answers_without_request: u64,
    /// Turns of requests to a process of which none could be read: too little was seen of the first one's head.
    pub unread_requests: u64,
    /// Requests not followed because [`super::limits::PIPELINED_MAX`] others waited.
    pub pipeline_full: u64,
    /// Times that bytes were missing between two calls of one direction.
    pub gaps: u64,
    /// Bytes missing there.
    pub lost_bytes: u64,
    /// Bytes left out because they had been seen before.
    pub repeated_bytes: u64,
    /// Connections let go for lack of room.
    pub evicted: u64,
}

/// See the file.
#[derive(Debug, Default)]
pub struct Books {
    pub counts: Counts,
    pub threads: Threads,
    pub heads: Known,
    losses: WordMap<HostPid, u32>,
    /// Whose event loops are followed.
    proxies: WordSet<HostPid>,
}

impl Books {
    /// A name for the next exchange.
    pub fn next_exchange(&mut self) -> ExchangeId {
        self.counts.exchanges += 1;
        ExchangeId(self.counts.exchanges)
    }

    /// Notes the losses of a process, told when they have changed.
    pub fn note_losses(&mut self, process: HostPid, losses: u32) {
        if self.losses.len() >= PROCESSES_MAX {
            self.losses.clear();
        }
        self.losses.insert(process, losses);
    }

    /// Whether records of the process were lost since it had lost `losses`.
    pub fn lost_since(&self, process: HostPid, losses: u32) -> bool {
        self.losses.get(&process).is_some_and(|now| *now != losses)
    }

    /// Whether it is told what the event loop of a process does, in order.
    pub fn follow(&mut self, process: HostPid, is_proxy: bool) {
        if !is_proxy {
            self.proxies.remove(&process);
        } else if self.proxies.len() < PROCESSES_MAX {
            self.proxies.insert(process);
        }
    }

    pub fn is_followed(&self, process: HostPid) -> bool {
        !self.proxies.is_empty() && self.proxies.contains(&process)
    }

    pub fn forget_process(&mut self, process: HostPid) {
        self.losses.remove(&process);
        self.proxies.remove(&process);
    }
}

/// Threads with server exchanges open.
#[derive(Debug, Default)]
pub struct Threads(WordMap<HostTid, Work>);

#[derive(Debug, Default)]
struct Work {
    open: u32,
    /// Grows with each exchange that the thread begins, and with each other one that it touches.
    turns: u64,
}

/// A thread began an exchange: what it had begun by then, if it had no other open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alone(Option<u64>);

impl Threads {
    pub fn begin(&mut self, thread: HostTid) -> Alone {
        let work = self.0.entry(thread).or_default();
        work.open += 1;
        work.turns += 1;
        Alone((work.open == 1).then_some(work.turns))
    }

    /// The thread did something for an exchange that another thread began.
    pub fn disturb(&mut self, thread: HostTid) {
        if let Some(work) = self.0.get_mut(&thread) {
            work.turns += 1;
        }
    }

    /// The exchange is over: whether the thread had no other from its begin to now.
    pub fn end(&mut self, thread: HostTid, alone: Alone) -> bool {
        let Some(work) = self.0.get_mut(&thread) else {
            return false;
        };
        let was_alone = alone.0 == Some(work.turns);
        work.open -= 1;
        if work.open == 0 {
            self.0.remove(&thread);
        }
        was_alone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_alone_with_one_exchange_at_a_time() {
        let mut threads = Threads::default();
        let (one, two) = (HostTid(1), HostTid(2));
        let first = threads.begin(one);
        assert!(threads.end(one, first));
        let second = threads.begin(one);
        let other = threads.begin(two);
        let third = threads.begin(one);
        assert!(!threads.end(one, second));
        assert!(!threads.end(one, third));
        assert!(threads.end(two, other));
        assert!(threads.0.is_empty());
    }

    #[test]
    fn work_on_another_exchange_disturbs() {
        let mut threads = Threads::default();
        let first = threads.begin(HostTid(1));
        threads.disturb(HostTid(1));
        assert!(!threads.end(HostTid(1), first));
    }
}
