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
    /// For a request that was over before the thread called anything: what it calls first is no other request's work.
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

    /// A thread called. One that calls again and again is like any other.
    pub fn called(&mut self, thread: HostTid) {
        match self.threads.get_mut(&thread) {
            Some(past) if past.purpose == Purpose::Past => self.ended(thread),
            Some(known) => known.has_called = true,
            None => {}
        }
    }

    pub fn mixes(&mut self, thread: HostTid) {
        if let Some(thread) = self.threads.get_mut(&thread) {
            thread.mixes = true;
        }
    }

    pub fn purpose(&self, thread: HostTid) -> Option<Purpose> {
        let thread = self.threads.get(&thread).filter(|thread| !thread.mixes)?;
        Some(thread.purpose)
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
        let purpose = Purpose::Request(request);
        let left = self
            .threads
            .extract_if(.., |_, thread| thread.purpose == purpose);
        left.map(|(thread, _)| thread).collect()
    }
}
