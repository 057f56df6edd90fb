//! When to try again: failures so far in, the time to wait or giving up out.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use tokio::time::Instant;

/// How often and how long a request is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Tries of one request, the first included.
    pub tries_max: u32,
    /// Time from the first try to the beginning of the last.
    pub time_max: Duration,
    /// Wait before the second try; doubles with each, up to `back_off_max`.
    pub back_off: Duration,
    pub back_off_max: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            tries_max: 5,
            time_max: Duration::from_secs(60),
            back_off: Duration::from_secs(1),
            back_off_max: Duration::from_secs(30),
        }
    }
}

/// Whether a failed request may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    Never,
    /// After the policy's back-off.
    BackOff,
    /// After the time the server asked for.
    After(Duration),
}

/// Why a request failed, for people, and whether it may be sent again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub retry: Retry,
    pub message: String,
}

/// The tries of one request.
#[derive(Debug)]
pub struct Tries {
    policy: Policy,
    failed: u32,
    first: Instant,
}

impl Tries {
    /// The first try begins.
    pub fn begin(policy: Policy) -> Self {
        Self {
            policy,
            failed: 0,
            first: Instant::now(),
        }
    }

    /// A try failed. Gives the wait before the next; `None` to give up.
    pub fn failed(&mut self, retry: Retry) -> Option<Duration> {
        self.failed += 1;
        let wait = match retry {
            Retry::Never => return None,
            Retry::BackOff => self.policy.jittered(self.failed),
            Retry::After(wait) => wait,
        };
        let in_time = self.first.elapsed().checked_add(wait)? <= self.policy.time_max;
        (self.failed < self.policy.tries_max && in_time).then_some(wait)
    }
}

impl Policy {
    /// Between half of the back-off and all of it, so that agents that failed together do not come back together.
    fn jittered(&self, failed: u32) -> Duration {
        let doublings = 2u32.saturating_pow(failed.saturating_sub(1));
        let whole = self
            .back_off
            .saturating_mul(doublings)
            .min(self.back_off_max);
        whole.mul_f64(0.5 + random_fraction() / 2.0)
    }
}

/// From 0 to 1. The standard library's hash seed is random enough to spread retries, and needs no crate.
fn random_fraction() -> f64 {
    RandomState::new().build_hasher().finish() as f64 / u64::MAX as f64
}
