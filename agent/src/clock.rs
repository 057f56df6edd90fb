//! Time: the kernel's monotonic clock, the wall clock, and the way from one to the other.
//!
//! In: clock readings. Out: [`Monotonic`] and [`WallClock`], both nanoseconds, never mixed up.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Nanoseconds of CLOCK_MONOTONIC: what every kernel record carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Monotonic(pub u64);

/// Nanoseconds since the Unix epoch: what leaves in spans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallClock(pub u64);

impl Monotonic {
    /// The clock now.
    pub fn now() -> Self {
        let mut reading = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: the pointer is to a live timespec; CLOCK_MONOTONIC exists on every Linux, so it cannot fail.
        unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut reading) };
        Self(reading.tv_sec as u64 * 1_000_000_000 + reading.tv_nsec as u64)
    }

    /// Time from `earlier` to this; zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// This time plus `duration`.
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration.as_nanos() as u64))
    }
}

/// How far the wall clock is ahead of the monotonic one. A plain value, so that conversion can be replayed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WallOffset(pub u64);

impl WallOffset {
    /// Reads both clocks; the closest of a few pairs is used, so that being preempted in between does not show.
    pub fn measure() -> Self {
        let pair = || {
            let before = Monotonic::now();
            let wall = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default();
            let after = Monotonic::now();
            let middle = before.0 + (after.0 - before.0) / 2;
            (
                after.since(before),
                (wall.as_nanos() as u64).saturating_sub(middle),
            )
        };
        let (_, offset) = (0..5).map(|_| pair()).min().unwrap_or_default();
        Self(offset)
    }

    /// The wall-clock time of a monotonic one.
    pub fn wall(self, time: Monotonic) -> WallClock {
        WallClock(self.0.saturating_add(time.0))
    }
}
