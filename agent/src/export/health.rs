//! Whether the collector takes what it is sent: outcomes in, few and clear log lines out.

use std::time::Duration;

use tokio::time::Instant;

use super::counts::{OutputCounts, Reason};
use super::retry::{Failure, Retry};

/// A collector that comes and goes is reported once in this time.
const QUIET: Duration = Duration::from_secs(60);

/// Remembers what was already said about one collector.
pub(super) struct Health {
    endpoint: String,
    queue_spans: usize,
    /// Since when it fails, and what had been dropped until then. `None`: all is well, or nothing was said.
    failing: Option<(Instant, u64)>,
    warned: Option<Instant>,
    overflow_warned: Option<Instant>,
    overflow_seen: u64,
}

impl Health {
    pub fn new(endpoint: String, queue_spans: usize) -> Self {
        Self {
            endpoint,
            queue_spans,
            failing: None,
            warned: None,
            overflow_warned: None,
            overflow_seen: 0,
        }
    }

    /// A try failed.
    pub fn failed(&mut self, failure: &Failure, counts: OutputCounts) {
        if self.failing.is_some() || !due(&mut self.warned) {
            return;
        }
        self.failing = Some((Instant::now(), counts.dropped_total()));
        let Self {
            endpoint,
            queue_spans,
            ..
        } = self;
        let reason = &failure.message;
        match failure.retry {
            Retry::Never => tracing::warn!(
                "the collector at {endpoint} refuses spans: {reason}; they are dropped and counted until it takes \
                 them (said once)"
            ),
            _ => tracing::warn!(
                "cannot deliver spans to {endpoint}: {reason}; retrying, up to {queue_spans} spans are kept \
                 meanwhile and more are dropped and counted (said once)"
            ),
        }
    }

    /// A request was taken.
    pub fn delivered(&mut self, counts: OutputCounts) {
        let overflow = counts.dropped(Reason::QueueFull);
        if let Some((since, dropped_before)) = self.failing.take() {
            let dropped = counts.dropped_total().saturating_sub(dropped_before);
            tracing::info!(
                "delivering spans to {} again after {:.1} s; {dropped} spans were dropped meanwhile",
                self.endpoint,
                since.elapsed().as_secs_f64(),
            );
        } else if overflow > self.overflow_seen && due(&mut self.overflow_warned) {
            tracing::warn!(
                "the collector at {} is slower than the spans come: {} were dropped; raise queue_spans or \
                 batch_spans, or trace less",
                self.endpoint,
                overflow - self.overflow_seen,
            );
        }
        self.overflow_seen = overflow;
    }

    /// The collector said something about a request that it took.
    pub fn remarked(&mut self, rejected: usize, message: &str) {
        if due(&mut self.warned) {
            tracing::warn!(
                "the collector at {} rejected {rejected} spans of a batch: {message}",
                self.endpoint
            );
        }
    }
}

/// Whether enough time has passed since the last line; if so, this is the last line now.
fn due(last: &mut Option<Instant>) -> bool {
    let due = last.is_none_or(|last| last.elapsed() >= QUIET);
    if due {
        *last = Some(Instant::now());
    }
    due
}
