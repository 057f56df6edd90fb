//! Which thread was started for which request.
//!
//! In: threads as they are born and end, requests as they are over. Out: the request that a thread which serves none
//! works for. A thread that outlives its request may be one of a pool or go on by itself, so what it did is not certain.

use std::collections::BTreeMap;

use crate::capture::event::HostTid;
use crate::decode::exchange::ExchangeId;

/// Threads of a process that are remembered (about 32 bytes each). Full: a new one works for no request.
const THREADS_MAX: usize = 4096;

/// What a thread was started for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// For this request.
    Request(ExchangeId),
    /// For a request that is over: what it calls first after that is no other request's work, unless it called before.
    Past,
}

#[derive(Clone, Copy, Debug)]
struct Thread {
    purpose: Purpose,
    has_called: bool,
    /// It was seen to call over two connections at once: it works for many.
    mixes: bool,
}

/// The threads of a process that were started for requests.
#[derive(Debug, Default)]
pub struct Threads {
    threads: BTreeMap<HostTid, Thread>,
}

impl Threads {
    /// A thread was born, for a request or for none. Its number may have been another's.
    pub fn born(&mut self, thread: HostTid, purpose: Option<Purpose>) {
        self.threads.remove(&thread);
        if self.threads.len() < THREADS_MAX {
            let new = purpose.map(|purpose| Thread {
                purpose,
                has_called: false,
                mixes: false,
            });
            self.threads.extend(new.map(|new| (thread, new)));
        }
    }

    pub fn ended(&mut self, thread: HostTid) {
        self.threads.remove(&thread);
    }

    pub fn called(&mut self, thread: HostTid) {
        if let Some(thread) = self.threads.get_mut(&thread) {
            thread.has_called = true;
        }
    }

    pub fn mixes(&mut self, thread: HostTid) {
        if let Some(thread) = self.threads.get_mut(&thread) {
            thread.mixes = true;
        }
    }

    /// None for a thread that calls again and again, whoever started it.
    pub fn purpose(&self, thread: HostTid) -> Option<Purpose> {
        let thread = self.threads.get(&thread).filter(|thread| !thread.mixes)?;
        let goes_on = thread.purpose == Purpose::Past && thread.has_called;
        (!goes_on).then_some(thread.purpose)
    }

    /// Whether a thread was started for a request that is over: one of a pool, or a loop that the request began.
    pub fn is_left(&self, thread: HostTid) -> bool {
        let thread = self.threads.get(&thread);
        thread.is_some_and(|thread| thread.purpose == Purpose::Past)
    }

    /// A request was answered: threads that have called nothing for it will not.
    pub fn answered(&mut self, request: ExchangeId) {
        for thread in self.threads.values_mut() {
            if thread.purpose == Purpose::Request(request) && !thread.has_called {
                thread.purpose = Purpose::Past;
            }
        }
    }

    /// A request is over for good. Its threads that have not ended are no longer its own; they are returned.
    pub fn over(&mut self, request: ExchangeId) -> Vec<HostTid> {
        let mut left = Vec::new();
        for (id, thread) in &mut self.threads {
            if thread.purpose == Purpose::Request(request) {
                thread.purpose = Purpose::Past;
                left.push(*id);
            }
        }
        left
    }
}
