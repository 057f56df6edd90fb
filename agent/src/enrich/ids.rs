//! Trace and span ids from a seeded generator (SplitMix64): the same seed gives the same ids, so that a recording
//! replays to the same spans.
//!
//! A trace id is 8 bytes that name this run of the agent, and the id of the span that begins it, which comes once in the
//! agent's life: so no two runs with different seeds give the same one, the last 7 bytes are spread evenly, as W3C Trace
//! Context level 2 asks of random ids, and all of it is in the message already, so that it compresses to nothing.
//!
//! In: a seed. Out: [`TraceId`] and [`SpanId`], never all zero.

use super::span::{SpanId, TraceId};

/// The generator.
#[derive(Clone, Debug)]
pub struct Ids {
    run: u64,
    state: u64,
}

impl Ids {
    /// The pipeline seeds it from the operating system's randomness, tests from a constant.
    pub fn new(seed: u64) -> Self {
        let mut ids = Self {
            run: 0,
            state: seed,
        };
        ids.run = ids.nonzero();
        ids
    }

    /// Of the trace that this span begins.
    pub fn trace(&self, begin: SpanId) -> TraceId {
        let id = (u128::from(self.run) << 64) | u128::from(u64::from_be_bytes(begin.0));
        TraceId(id.to_be_bytes())
    }

    pub fn span(&mut self) -> SpanId {
        SpanId(self.nonzero().to_be_bytes())
    }

    fn nonzero(&mut self) -> u64 {
        // SplitMix64 gives each value once in its period, so the second try cannot give zero as well.
        match self.next() {
            0 => self.next(),
            value => value,
        }
    }

    /// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
