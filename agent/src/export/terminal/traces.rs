//! Traces that are not complete yet: spans and the time in, whole traces out. Pure.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use crate::enrich::span::{Span, SpanId, TraceId};
use crate::enrich::Evidence;

/// How long, and how many, spans are held to show their trace as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// A trace that is complete is shown when no span of it came for so long: longer than a span waits until its parent
    /// is believed.
    pub quiet: Duration,
    /// A trace that lacks a span is shown when no span of it came for so long.
    pub incomplete: Duration,
    /// Spans held in all; with more, the trace that was quiet for longest is shown as it is.
    pub spans_max: usize,
}

impl Default for Held {
    fn default() -> Self {
        Self {
            quiet: Duration::from_millis(2500),
            incomplete: Duration::from_secs(10),
            spans_max: 8192,
        }
    }
}

/// The spans held, by trace.
pub struct Traces {
    limits: Held,
    traces: HashMap<TraceId, Trace>,
    spans: usize,
}

struct Trace {
    spans: Vec<Span>,
    last: Instant,
}

impl Traces {
    pub fn new(limits: Held) -> Self {
        Self {
            limits,
            traces: HashMap::new(),
            spans: 0,
        }
    }

    /// Holds a span. Gives a trace when there is no room for both.
    pub fn push(&mut self, span: Span, now: Instant) -> Option<Vec<Span>> {
        let id = span.trace_id;
        let trace = self.traces.entry(id).or_insert_with(|| Trace {
            spans: Vec::new(),
            last: now,
        });
        trace.spans.push(span);
        trace.last = now;
        self.spans += 1;
        if self.spans <= self.limits.spans_max {
            return None;
        }
        let oldest = self.traces.iter().min_by_key(|(_, trace)| trace.last);
        let oldest = *oldest?.0;
        self.remove(oldest)
    }

    /// The traces to show now, the first started first.
    pub fn due(&mut self, now: Instant) -> Vec<Vec<Span>> {
        let Held {
            quiet, incomplete, ..
        } = self.limits;
        let due = |trace: &Trace| {
            let silence = now.saturating_duration_since(trace.last);
            silence >= incomplete || (silence >= quiet && complete(&trace.spans))
        };
        let ids = self.traces.iter().filter(|(_, trace)| due(trace));
        let ids: Vec<TraceId> = ids.map(|(id, _)| *id).collect();
        self.take(ids)
    }

    /// Everything held, the first started first.
    pub fn all(&mut self) -> Vec<Vec<Span>> {
        let ids = self.traces.keys().copied().collect();
        self.take(ids)
    }

    fn take(&mut self, ids: Vec<TraceId>) -> Vec<Vec<Span>> {
        let mut traces: Vec<_> = ids.into_iter().filter_map(|id| self.remove(id)).collect();
        traces.sort_by_key(|spans| {
            spans
                .iter()
                .map(|span| (span.started(), span.trace_id))
                .min()
        });
        traces
    }

    fn remove(&mut self, id: TraceId) -> Option<Vec<Span>> {
        let trace = self.traces.remove(&id)?;
        self.spans -= trace.spans.len();
        Some(trace.spans)
    }
}

/// Every parent that this node will tell of is there. A parent named by a header may be anywhere.
fn complete(spans: &[Span]) -> bool {
    let present: HashSet<SpanId> = spans.iter().map(|span| span.span_id).collect();
    spans.iter().all(|span| match span.parent_span_id {
        None => true,
        Some(parent) => present.contains(&parent) || !local_parent(span),
    })
}

/// The parent is a span of this agent: the client end of the same connection, or in the same process.
fn local_parent(span: &Span) -> bool {
    !span.parent_is_remote || span.evidence == Some(Evidence::Connection)
}
