//! How likely it is that calls to an endpoint, each seen while its process served one request, are made for requests.
//!
//! In: such calls, and calls that none can have been for. Out: a verdict. A poll that falls into a request looks like
//! the request's own call. But it would as likely fall into the time when nothing is served, or across the end of a
//! request, and would not come equally often in each: what does none of this earns trust, a bit at a time.

use std::time::Duration;

use crate::clock::Monotonic;

/// Trust that is enough: by chance, it comes once in 2^9 times.
const BITS_ENOUGH: u32 = 9;
/// Bits that one call can earn by the time that nothing was served: more than one call is needed in any case.
const BITS_A_CALL_MAX: u32 = 3;
/// Doubts after which the process is taken to call by itself.
const DOUBTS_MAX: u32 = 3;
/// Doubts within this time are one: an agent that starts under load sees calls whose requests it missed.
const DOUBT_APART: Duration = Duration::from_secs(1);
/// A doubt is forgotten after this time from the last.
const DOUBT_MEMORY: Duration = Duration::from_secs(600);

/// What is to be thought of a link by process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is one.
    Yes,
    /// Nothing speaks against it, and little for it.
    Open,
    /// Something speaks against it.
    No,
}

/// What is known of the calls to one endpoint.
#[derive(Debug, Default)]
pub struct Trust {
    /// The request that called last, as the process counts them, and how often it has called.
    request: Option<(u64, u32)>,
    /// How often the one before called.
    usual: Option<u32>,
    /// Requests in a row that called as often as the one before.
    regular: u32,
    /// When the last call was, and how long the process had served nothing by then.
    last: Option<(Monotonic, Duration)>,
    /// Bits earned by the time that nothing was served.
    exposed: u32,
    doubts: u32,
    doubted: Option<Monotonic>,
}

impl Trust {
    /// A call while the process served only its nth request, having served nothing for `idle` so far.
    pub fn nested(&mut self, time: Monotonic, nth: u64, idle: Duration) {
        self.count(nth);
        if let Some((last, idle_then)) = self.last.replace((time, idle)) {
            let passed = time.since(last).as_secs_f64();
            let served = passed - idle.saturating_sub(idle_then).as_secs_f64();
            let bits = (passed / served.max(f64::EPSILON)).log2();
            self.exposed += (bits.max(0.0) as u32).min(BITS_A_CALL_MAX);
        }
    }

    /// A call that no request was waiting for.
    pub fn doubt(&mut self, time: Monotonic) {
        let is_old = |than| {
            self.doubted
                .is_none_or(|doubted| time.since(doubted) > than)
        };
        if is_old(DOUBT_MEMORY) {
            self.doubts = 0;
        }
        if self.doubts == 0 || is_old(DOUBT_APART) {
            self.doubts += 1;
            self.doubted = Some(time);
        }
        (self.regular, self.exposed) = (0, 0);
    }

    /// Whether the process calls by itself for certain.
    pub fn is_lost(&self, time: Monotonic) -> bool {
        self.doubts >= DOUBTS_MAX && self.is_doubted(time)
    }

    pub fn verdict(&self, time: Monotonic) -> Verdict {
        let doubts = if self.is_doubted(time) {
            self.doubts
        } else {
            0
        };
        let enough = BITS_ENOUGH << doubts.min(DOUBTS_MAX);
        match self.regular + self.exposed {
            _ if doubts >= DOUBTS_MAX => Verdict::No,
            bits if bits >= enough => Verdict::Yes,
            _ if doubts > 0 => Verdict::No,
            _ => Verdict::Open,
        }
    }

    fn is_doubted(&self, time: Monotonic) -> bool {
        self.doubted
            .is_some_and(|doubted| time.since(doubted) <= DOUBT_MEMORY)
    }

    /// Compares how often requests call.
    fn count(&mut self, nth: u64) {
        let Some((request, calls)) = &mut self.request else {
            self.request = Some((nth, 1));
            return;
        };
        if *request == nth {
            *calls += 1;
            return;
        }
        let is_next = *request + 1 == nth;
        let is_usual = self.usual.is_none_or(|usual| usual == *calls);
        self.usual = Some(*calls);
        self.request = Some((nth, 1));
        if is_next && is_usual {
            self.regular = (self.regular + 1).min(1 << 16);
        } else {
            self.regular = 0;
        }
    }
}
