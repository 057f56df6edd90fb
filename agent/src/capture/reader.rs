//! Touches the kernel: drains the ring buffer, by a timer or when the kernel says that it is filling, or that
//! something cannot wait.

use std::os::fd::{AsFd, OwnedFd};

use tokio::io::unix::AsyncFd;
use tokio::time::{sleep_until, Duration, Instant};

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

/// How often the ring is looked at where nothing is going on: what has to be known at once wakes the agent.
const QUIET: Duration = Duration::from_millis(100);

/// A ring buffer that can be waited on.
pub struct WaitedRing {
    ring: Ring,
    ready: AsyncFd<OwnedFd>,
}

impl WaitedRing {
    /// See [`Ring::new`]. Must be called inside a tokio runtime.
    ///
    /// Errors: it cannot be mapped, or not be waited on.
    pub fn new(descriptor: OwnedFd, size: usize) -> std::io::Result<Self> {
        let ring = Ring::new(descriptor, size)?;
        let ready = ready(&ring)?;
        Ok(Self { ring, ready })
    }
}

/// The reading end of the ring buffer.
pub struct Reader {
    source: WaitedRing,
    interval: Duration,
    /// How long it rests after a look: longer each time that there was nothing.
    pause: Duration,
    due: Instant,
    recorder: Option<Recorder>,
    counts: Counts,
}

impl Reader {
    /// Reads `source` every `interval` while there are records. They go to `recorder` too, if there is one.
    pub fn new(source: WaitedRing, interval: Duration, recorder: Option<Recorder>) -> Self {
        Self {
            source,
            interval,
            pause: interval,
            due: Instant::now(),
            recorder,
            counts: Counts::default(),
        }
    }

    /// Reads another ring from now on.
    pub fn reopen(&mut self, source: WaitedRing) {
        self.source = source;
    }

    /// Looks this often from now on.
    pub fn every(&mut self, interval: Duration) {
        self.interval = interval;
        self.pause = interval;
    }

    /// Waits until it is time to drain.
    pub async fn wait(&mut self) {
        tokio::select! {
            () = sleep_until(self.due) => {}
            guard = self.source.ready.readable() => if let Ok(mut guard) = guard {
                guard.clear_ready();
            }
        }
    }

    /// Hands each record that is there, but at most `limit`, to `take`. Gives how many there were.
    pub fn drain(&mut self, limit: usize, mut take: impl FnMut(&Event<'_>)) -> usize {
        let Self {
            source: WaitedRing { ring, .. },
            recorder,
            counts,
            ..
        } = self;
        let taken = ring.drain(limit, |record| {
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
        });
        self.pause = match taken {
            0 => (self.pause * 2).min(QUIET.max(self.interval)),
            _ => self.interval,
        };
        self.due = Instant::now() + self.pause;
        taken
    }

    /// The next look is due after this time, or sooner.
    pub fn again_in(&mut self, pause: Duration) {
        self.due = self.due.min(Instant::now() + pause);
    }

    /// What was read and skipped so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }
}

fn ready(ring: &Ring) -> std::io::Result<AsyncFd<OwnedFd>> {
    let descriptor = ring.as_fd().try_clone_to_owned()?;
    // SAFETY: an `OwnedFd` gives the same open descriptor for as long as it lives.
    Ok(unsafe { AsyncFd::register(descriptor) }?)
}
