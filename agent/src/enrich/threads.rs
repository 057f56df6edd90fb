//! Which thread was started for which request.
//!
//! In: threads as they are born and end, requests as they are over. Out: the request that a thread which serves none
//! works for. A thread that outlives its request may be one of a pool or go on by itself, so what it did is not certain.

use crate::capture::event::HostTid;
use crate::decode::exchange::ExchangeId;
use crate::hash::WordMap;

/// Threads of a process that are remembered (about 32 bytes each). Full: those whose request is over are forgotten, as
/// their end may have been lost; if there are none, a new one works for no request.
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
    /// It was seen to call over two connections at once, or is of a pool: it works for many.
    mixes: bool,
}

/// The threads of a process that were started for requests.
#[derive(Debug, Default)]
pub struct Threads {
    threads: WordMap<HostTid, Thread>,
    /// Those of requests that are not over.
    of: WordMap<ExchangeId, Vec<HostTid>>,
}

impl Threads {
    /// A thread was born, for a request or for none. Its number may have been another's.
    pub fn born(&mut self, thread: HostTid, purpose: Option<Purpose>) {
        self.ended(thread);
        if self.threads.len() >= THREADS_MAX {
            self.threads
                .retain(|_, thread| thread.purpose != Purpose::Past);
        }
        let Some(purpose) = purpose.filter(|_| self.threads.len() < THREADS_MAX) else {
            return;
        };
        if let Purpose::Request(request) = purpose {
            self.of.entry(request).or_default().push(thread);
        }
        let new = Thread {
            purpose,
            has_called: false,
            mixes: false,
        };
        self.threads.insert(thread, new);
    }

    pub fn len(&self) -> usize {
        self.threads.len()
    }

    pub fn ended(&mut self, thread: HostTid) {
        let ended = self.threads.remove(&thread);
        if let Some(Purpose::Request(request)) = ended.map(|ended| ended.purpose) {
            let others = self.of.get_mut(&request);
            others
                .into_iter()
                .for_each(|others| others.retain(|other| *other != thread));
        }
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

    /// Whether a thread that was started for some request has not ended: it may be one of a pool, and call for others.
    pub fn lives(&self, thread: HostTid) -> bool {
        self.threads.contains_key(&thread)
    }

    /// A request was answered: threads that have called nothing for it will not. `pooled`: they may for others.
    pub fn answered(&mut self, request: ExchangeId, pooled: bool) {
        let all = match self.of.is_empty() {
            true => return,
            false => self.of.get(&request).cloned().unwrap_or_default(),
        };
        for id in all {
            match self.threads.get_mut(&id) {
                Some(idle) if !idle.has_called && !pooled => idle.purpose = Purpose::Past,
                Some(idle) if !idle.has_called => self.ended(id),
                Some(busy) if pooled => busy.mixes = true,
                _ => {}
            }
        }
    }

    /// A request is over for good. Its threads that have not ended are no longer its own; they are returned.
    pub fn over(&mut self, request: ExchangeId, pooled: bool) -> Vec<HostTid> {
        let mut left = match self.of.is_empty() {
            true => return Vec::new(),
            false => self.of.remove(&request).unwrap_or_default(),
        };
        left.retain(|id| {
            let thread = self.threads.get_mut(id);
            thread.is_some_and(|thread| {
                let was = std::mem::replace(&mut thread.purpose, Purpose::Past);
                was == Purpose::Request(request)
            })
        });
        if pooled {
            left.iter().for_each(|thread| self.ended(*thread));
        }
        left
    }
}
