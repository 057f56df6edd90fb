//! What a process has called lately: what tells work of its own from work that requests cause.
//!
//! In: client exchanges as they start. Out: whether an endpoint is one that the process calls by itself (a loop, a
//! poll, an exporter), and whether a dialled connection can have gone to another asker.

use std::time::Duration;

use super::trust::{Case, Trust, Verdict};
use crate::capture::event::{Endpoint, HostTid};
use crate::clock::Monotonic;
use crate::hash::WordMap;

/// Endpoints of a process that are remembered (200 bytes each, 3 KiB where their calls are irregular). Full: those not called for
/// [`CALL_MEMORY`] are forgotten; if there are none, calls to new endpoints have no parent by thread, process or
/// dial.
const ENDPOINTS_MAX: usize = 512;
/// Threads calling one endpoint in the background that are remembered. Full: the first is forgotten.
const THREADS_MAX: usize = 16;
/// A thread that called an endpoint while the process served nothing calls it in the background, for this time from
/// the last such call.
const BACKGROUND_MEMORY: Duration = Duration::from_secs(600);
/// Endpoints not called for this time, and not in the background, make room.
const CALL_MEMORY: Duration = Duration::from_secs(60);
/// A connection that became free up to this time before a dial was done may have displaced its asker.
const DISPLACED: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
struct Called {
    last: Option<Monotonic>,
    last_reused: Option<Monotonic>,
    idle: Vec<Idle>,
    trust: Trust,
}

/// Calls that a thread made while the process served nothing, or that outlived the request they seemed to be for.
#[derive(Debug)]
struct Idle {
    thread: HostTid,
    last: Monotonic,
    repeated: bool,
}

impl Called {
    fn is_remembered(&self, time: Monotonic) -> bool {
        self.last
            .is_some_and(|last| time.since(last) <= CALL_MEMORY)
            || self.idle.iter().any(|idle| idle.is_recent(time))
    }
}

impl Idle {
    fn is_recent(&self, time: Monotonic) -> bool {
        time.since(self.last) <= BACKGROUND_MEMORY
    }
}

/// The calls of one process.
#[derive(Debug, Default)]
pub struct Calls {
    endpoints: WordMap<Endpoint, Called>,
}

impl Calls {
    /// A call started; `reused`: not at once on a connection just dialled.
    pub fn record(&mut self, endpoint: &Endpoint, time: Monotonic, reused: bool) {
        if self.is_full() && !self.endpoints.contains_key(endpoint) {
            self.endpoints
                .retain(|_, called| called.is_remembered(time));
            if self.is_full() {
                return;
            }
        }
        let called = self.endpoints.entry(endpoint.clone()).or_default();
        called.last = called.last.max(Some(time));
        if reused {
            called.last_reused = called.last_reused.max(Some(time));
        }
    }

    /// Whether a connection established then went to who dialled it: no call to the endpoint has started since,
    /// and none on a connection that had become free shortly before.
    pub fn dial_is_own(&self, endpoint: &Endpoint, established: Monotonic) -> bool {
        let Some(called) = self.endpoints.get(endpoint) else {
            return !self.is_full();
        };
        called.last.is_none_or(|last| last < established)
            && called
                .last_reused
                .is_none_or(|last| established.since(last) > DISPLACED)
    }

    /// The call was not, or not surely, made for a request: the process served nothing, or did not wait for it.
    pub fn idle(&mut self, endpoint: &Endpoint, thread: HostTid, time: Monotonic) {
        let Some(called) = self.endpoints.get_mut(endpoint) else {
            return;
        };
        called.trust.doubt(time);
        if let Some(idle) = called.idle.iter_mut().find(|idle| idle.thread == thread) {
            idle.repeated = idle.is_recent(time);
            idle.last = time;
            return;
        }
        if called.idle.len() >= THREADS_MAX {
            called.idle.remove(0);
        }
        called.idle.push(Idle {
            thread,
            last: time,
            repeated: false,
        });
    }

    /// A second request is open in that stretch of serving.
    pub fn crowd(&mut self, stretch: u64) {
        let all = self.endpoints.values_mut();
        all.for_each(|called| called.trust.crowd(stretch));
    }

    /// What is known of the calls to an endpoint that only the process tells of.
    pub fn trust(&mut self, endpoint: &Endpoint) -> Option<&mut Trust> {
        let called = self.endpoints.get_mut(endpoint)?;
        Some(&mut called.trust)
    }

    /// Whether a call to the endpoint that is known by the process alone was made for a request.
    pub fn verdict(&self, endpoint: &Endpoint, time: Monotonic, case: &Case) -> Verdict {
        let called = self.endpoints.get(endpoint);
        called.map_or(Verdict::No, |called| called.trust.verdict(time, case))
    }

    /// Whether the endpoint is called in the background: by that thread, more than once, because a thread that waits
    /// for its calls can hardly mix them up; or (`None`) by the process, again and again.
    pub fn is_background(
        &self,
        endpoint: &Endpoint,
        thread: Option<HostTid>,
        time: Monotonic,
    ) -> bool {
        let Some(called) = self.endpoints.get(endpoint) else {
            return self.is_full();
        };
        let mut idle = called.idle.iter().filter(|idle| idle.is_recent(time));
        match thread {
            Some(thread) => idle.any(|idle| idle.thread == thread && idle.repeated),
            None => called.trust.is_lost(time),
        }
    }

    fn is_full(&self) -> bool {
        self.endpoints.len() >= ENDPOINTS_MAX
    }
}
