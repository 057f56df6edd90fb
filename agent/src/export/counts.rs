//! What became of spans: each output adds here; the agent's metrics and `spanlet probes` read.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::Arc;

use crate::enrich::Span;

/// Why a span was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The output's queue had no room.
    QueueFull,
    /// The collector could not be reached, or asked to try again, until tries or time ran out.
    RetriesExhausted,
    /// The collector refused the request for good.
    Rejected,
    /// The collector took the request but refused some of its spans.
    PartialSuccess,
    /// Standard output was closed by its reader.
    OutputClosed,
    /// Not delivered when the agent had to stop.
    Shutdown,
}

impl Reason {
    pub const ALL: [Self; 6] = [
        Self::QueueFull,
        Self::RetriesExhausted,
        Self::Rejected,
        Self::PartialSuccess,
        Self::OutputClosed,
        Self::Shutdown,
    ];

    /// As metrics and `spanlet probes` spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::RetriesExhausted => "retries_exhausted",
            Self::Rejected => "rejected",
            Self::PartialSuccess => "partial_success",
            Self::OutputClosed => "output_closed",
            Self::Shutdown => "shutdown",
        }
    }
}

/// What became of the spans of each output that is on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub otlp: Option<OutputCounts>,
    pub terminal: Option<OutputCounts>,
}

impl Counts {
    /// The outputs that are on, by name.
    pub fn outputs(&self) -> impl Iterator<Item = (&'static str, OutputCounts)> {
        let outputs = [("otlp", self.otlp), ("terminal", self.terminal)];
        outputs
            .into_iter()
            .filter_map(|(name, counts)| Some((name, counts?)))
    }
}

/// What became of one output's spans: accepted = delivered + dropped + waiting; nothing waits after the shutdown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputCounts {
    /// Spans handed to the output, also those that its queue had no room for.
    pub accepted: u64,
    /// Spans acknowledged by the collector, or written.
    pub delivered: u64,
    dropped: [u64; Reason::ALL.len()],
}

impl OutputCounts {
    pub fn dropped(&self, reason: Reason) -> u64 {
        self.dropped[reason as usize]
    }

    pub fn dropped_total(&self) -> u64 {
        self.dropped.iter().sum()
    }

    fn add(&mut self, other: &Self) {
        self.accepted += other.accepted;
        self.delivered += other.delivered;
        for (dropped, more) in self.dropped.iter_mut().zip(other.dropped) {
            *dropped += more;
        }
    }

    /// Spans that are queued or on their way.
    pub fn waiting(&self) -> u64 {
        self.accepted
            .saturating_sub(self.delivered + self.dropped_total())
    }
}

/// What became of the spans of outputs that were replaced by another of their kind.
#[derive(Debug, Default)]
pub(super) struct Gone {
    ended: OutputCounts,
    /// Those that may still deliver.
    ending: Vec<Arc<Tally>>,
}

impl Gone {
    pub fn add(&mut self, tally: Arc<Tally>) {
        for over in self
            .ending
            .extract_if(.., |tally| tally.read().waiting() == 0)
        {
            self.ended.add(&over.read());
        }
        self.ending.push(tally);
    }

    /// Together with those of the output that is there now. `None`: there never was one.
    pub fn with(&self, now: Option<OutputCounts>) -> Option<OutputCounts> {
        if self.ending.is_empty() {
            return now;
        }
        let mut sum = self.ended;
        let ending = self.ending.iter().map(|tally| tally.read());
        ending.chain(now).for_each(|counts| sum.add(&counts));
        Some(sum)
    }
}

/// The counters of one output, shared by the pipeline and the output's worker.
#[derive(Debug)]
pub(super) struct Tally {
    /// Spans that the queue has room for.
    room: AtomicUsize,
    accepted: AtomicU64,
    delivered: AtomicU64,
    dropped: [AtomicU64; Reason::ALL.len()],
}

impl Tally {
    pub fn new(queue_spans: usize) -> Self {
        Self {
            room: queue_spans.into(),
            accepted: 0.into(),
            delivered: 0.into(),
            dropped: Default::default(),
        }
    }

    /// Queues spans by `send`. Those that there is no room for are dropped, the last first, and all if the queue is closed.
    pub fn queue(
        &self,
        mut spans: Vec<Span>,
        send: impl FnOnce(Vec<Span>) -> Result<(), Vec<Span>>,
    ) {
        self.admit(&mut spans);
        if spans.is_empty() {
            return;
        }
        if let Err(refused) = send(spans) {
            self.lose(Reason::QueueFull, refused.len());
        }
    }

    fn admit(&self, spans: &mut Vec<Span>) {
        self.accepted.fetch_add(spans.len() as u64, Relaxed);
        let room = self.room.load(Relaxed);
        self.lose(Reason::QueueFull, spans.len().saturating_sub(room));
        spans.truncate(room);
        self.room.fetch_sub(spans.len(), Relaxed);
    }

    /// Spans have left the queue.
    pub fn took(&self, spans: usize) {
        self.room.fetch_add(spans, Relaxed);
    }

    pub fn deliver(&self, spans: usize) {
        self.delivered.fetch_add(spans as u64, Relaxed);
    }

    pub fn lose(&self, reason: Reason, spans: usize) {
        self.dropped[reason as usize].fetch_add(spans as u64, Relaxed);
    }

    pub fn read(&self) -> OutputCounts {
        OutputCounts {
            delivered: self.delivered.load(Relaxed),
            dropped: std::array::from_fn(|reason| self.dropped[reason].load(Relaxed)),
            accepted: self.accepted.load(Relaxed),
        }
    }
}
