//! Touches the kernel: drains the ring buffer, by a timer or when the kernel says that it is filling.

use std::os::fd::{AsFd, OwnedFd};

use tokio::io::unix::AsyncFd;
use tokio::time::{Duration, Interval, MissedTickBehavior};

use super::convert::{convert, Skipped};
use super::recording::Recorder;
use super::ring::Ring;
use super::Event;

/// What this room has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub records: u64,
    pub bytes: u64,
    pub skipped_short: u64,
    pub skipped_unknown_kind: u64,
    /// Records that could not be written to the recording that was asked for.
    pub recording_failed: u64,
}

/// The reading end of the ring buffer.
pub struct Reader {
    ring: Ring,
    ready: AsyncFd<OwnedFd>,
    timer: Interval,
    recorder: Option<Recorder>,
    counts: Counts,
}

impl Reader {
    /// Reads `ring` every `interval`. Records go to `recorder` too, if there is one.
    ///
    /// Errors: the descriptor cannot be waited on.
    pub fn new(
        ring: Ring,
        interval: Duration,
        recorder: Option<Recorder>,
    ) -> std::io::Result<Self> {
        // SAFETY: an `OwnedFd` gives the same open descriptor for as long as it lives.
        let ready = unsafe { AsyncFd::register(ring.as_fd().try_clone_to_owned()?) }?;
        let mut timer = tokio::time::interval(interval);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self {
            ring,
            ready,
            timer,
            recorder,
            counts: Counts::default(),
        })
    }

    /// Waits until it is time to drain.
    pub async fn wait(&mut self) {
        tokio::select! {
            _ = self.timer.tick() => {}
            guard = self.ready.readable() => if let Ok(mut guard) = guard {
                guard.clear_ready();
            }
        }
    }

    /// Hands each record that is there, but at most `limit`, to `take`. Gives how many there were.
    pub fn drain(&mut self, limit: usize, mut take: impl FnMut(&Event<'_>)) -> usize {
        let Self {
            ring,
            recorder,
            counts,
            ..
        } = self;
        ring.drain(limit, |record| {
            counts.records += 1;
            counts.bytes += record.len() as u64;
            if let Some(recorder) = recorder {
                counts.recording_failed += u64::from(recorder.write(record).is_err());
            }
            match convert(record) {
                Ok(event) => take(&event),
                Err(Skipped::Short) => counts.skipped_short += 1,
                Err(Skipped::UnknownKind(_)) => counts.skipped_unknown_kind += 1,
            }
        })
    }

    /// What was read and skipped so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }
}
