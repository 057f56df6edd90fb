//! Whether the collector takes what it is sent: outcomes in, few and clear log lines and how it goes now out.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::Url;
use tokio::time::Instant;

use super::counts::{OutputCounts, Reason};
use super::retry::{Failure, Retry};

/// A collector that comes and goes is reported once in this time.
const QUIET: Duration = Duration::from_secs(60);

/// How delivering to one collector goes now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Scheme, host and port: a path may hold a token.
    pub endpoint: String,
    pub state: State,
}

/// What the last try said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum State {
    #[default]
    NothingSent,
    Delivers,
    Failing {
        since: Instant,
        error: String,
    },
}

/// What the worker writes and others read.
#[derive(Clone, Debug)]
pub(super) struct Shared(Arc<Mutex<Condition>>);

impl Shared {
    pub fn new(endpoint: &str) -> Self {
        Self(Arc::new(Mutex::new(Condition {
            endpoint: origin(endpoint),
            state: State::default(),
        })))
    }

    pub fn read(&self) -> Condition {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn failed(&self, error: &str) {
        let mut condition = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = match condition.state {
            State::Failing { since, .. } => since,
            _ => Instant::now(),
        };
        let error = error.to_owned();
        condition.state = State::Failing { since, error };
    }

    fn delivered(&self) {
        let mut condition = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        condition.state = State::Delivers;
    }
}

/// Nothing else of it is told.
fn origin(endpoint: &str) -> String {
    match Url::parse(endpoint) {
        Ok(url) => url.origin().ascii_serialization(),
        Err(_) => String::new(),
    }
}

/// Remembers what was already said about one collector.
pub(super) struct Health {
    shared: Shared,
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
            shared: Shared::new(&endpoint),
            endpoint,
            queue_spans,
            failing: None,
            warned: None,
            overflow_warned: None,
            overflow_seen: 0,
        }
    }

    /// Where it is written how it goes now.
    pub fn shared(&self) -> Shared {
        self.shared.clone()
    }

    /// A try failed.
    pub fn failed(&mut self, failure: &Failure, counts: OutputCounts) {
        self.shared.failed(&failure.message);
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
        self.shared.delivered();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_known_since_when_it_fails_and_why() {
        let mut health = Health::new("http://collector:4318/t0ken/v1/traces".to_owned(), 10);
        let shared = health.shared();
        assert_eq!(shared.read().endpoint, "http://collector:4318");
        assert_eq!(shared.read().state, State::NothingSent);
        let since = Instant::now();
        for error in ["connection refused", "no such host"] {
            let failure = Failure {
                retry: Retry::BackOff,
                message: error.to_owned(),
            };
            health.failed(&failure, OutputCounts::default());
            let error = error.to_owned();
            assert_eq!(shared.read().state, State::Failing { since, error });
            tokio::time::advance(QUIET / 2).await;
        }
        health.delivered(OutputCounts::default());
        assert_eq!(shared.read().state, State::Delivers);
    }
}
