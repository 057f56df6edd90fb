//! How likely it is that calls to an endpoint, each seen while its process served one request, are made for requests.
//!
//! In: such calls, where nothing but the process tells whose they are, and calls that none can have been for. Out: a
//! verdict on each. A poll that falls into a request looks like the request's own call. But it would as likely fall
//! into the time when nothing is served, or across the end of a request, and the request that it falls into calls once
//! more than others do: a call is believed where others called as often, request by request, or where a poll would
//! hardly have hit a request.

use std::time::Duration;

use super::rhythm::{Rhythm, Stretch};
use crate::clock::Monotonic;

/// Trust that is enough: stretches in a row that called as often; or bits, a bit being what a poll does by chance every
/// other time.
const ENOUGH: u32 = 16;
/// Stretches in a row that are enough where nothing was found to speak against them until it must be told.
const ENOUGH_TOLD_LATE: u64 = 4;
/// Of fewer stretches nothing can be asked yet.
const YOUNG: u64 = 8;
/// Calls for one poll among them: the time that nothing was served tells of a poll, not of each call.
const CALLS_A_POLL: u32 = 8;
/// Bits that one call can earn by that time, before they are shared out.
const BITS_A_CALL_MAX: u32 = 3;
/// More are not counted.
const BITS_MAX: u32 = 1 << 16;
/// Of the time since a call, what must have been without anything served for those bits to hold for it.
const IDLE_SHARE_MIN: f64 = 0.5;
/// The same for a call that nothing else speaks for: a poll would rather have come then.
const IDLE_SHARE_ALONE: f64 = 0.75;
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

/// A call, and what came of the time since.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// The stretch of serving in which it was made.
    pub stretch: Stretch,
    /// The last stretch that is over.
    pub over: u64,
    /// The share of the time since that nothing was served.
    pub idle_share: f64,
}

/// What is known of the calls to one endpoint.
#[derive(Debug, Default)]
pub struct Trust {
    rhythm: Rhythm,
    /// When the last call was, and how long the process had served nothing by then.
    last: Option<(Monotonic, Duration)>,
    /// Bits earned by the time that nothing was served.
    exposed: u32,
    doubts: u32,
    doubted: Option<Monotonic>,
}

impl Trust {
    /// A call in that stretch. `counts`: nothing but the process tells whose it is.
    pub fn call(&mut self, stretch: Stretch, counts: bool) {
        self.rhythm.call(stretch, counts);
    }

    /// A call of which nothing but the process tells whose it is, while it served only one request, having served
    /// nothing for `idle` so far.
    pub fn nested(&mut self, time: Monotonic, idle: Duration) {
        if let Some((last, idle_then)) = self.last.replace((time, idle)) {
            let passed = time.since(last).as_secs_f64();
            let served = passed - idle.saturating_sub(idle_then).as_secs_f64();
            let bits = (passed / served.max(f64::EPSILON)).log2();
            self.exposed =
                (self.exposed + (bits.max(0.0) as u32).min(BITS_A_CALL_MAX)).min(BITS_MAX);
        }
    }

    /// A second request is open in that stretch.
    pub fn crowd(&mut self, stretch: u64) {
        self.rhythm.crowd(stretch);
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
        self.rhythm = Rhythm::default();
        self.exposed = 0;
    }

    /// Whether the process calls by itself for certain.
    pub fn is_lost(&self, time: Monotonic) -> bool {
        self.doubts(time) >= DOUBTS_MAX
    }

    pub fn verdict(&self, time: Monotonic, case: &Case) -> Verdict {
        let doubts = self.doubts(time);
        let enough = ENOUGH << doubts.min(DOUBTS_MAX);
        let alike = self.rhythm.run_length(case.stretch, case.over);
        let is_over = case.stretch.number <= case.over;
        let is_regular = alike >= u64::from(enough);
        let is_young = alike > 0 && self.rhythm.age(case.over) < YOUNG;
        let is_exposed = self.exposed / CALLS_A_POLL >= enough && case.idle_share >= IDLE_SHARE_MIN;
        if doubts >= DOUBTS_MAX {
            Verdict::No
        } else if (is_regular && is_over) || is_exposed {
            Verdict::Yes
        } else if doubts > 0 {
            Verdict::No
        } else if alike >= ENOUGH_TOLD_LATE || is_young || case.idle_share >= IDLE_SHARE_ALONE {
            Verdict::Open
        } else {
            Verdict::No
        }
    }

    /// Those that are remembered.
    fn doubts(&self, time: Monotonic) -> u32 {
        let is_recent = |doubted| time.since(doubted) <= DOUBT_MEMORY;
        match self.doubted.is_some_and(is_recent) {
            true => self.doubts,
            false => 0,
        }
    }
}
