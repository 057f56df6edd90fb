//! The place of a span in its trace.
//!
//! In: what is known of an exchange and its parent when its span is emitted. Out: ids, and what they are known by.

use super::context::Context;
use super::evidence::Evidence;
use super::nodes::Node;
use super::span::{SpanId, TraceId};

/// Where a span stands.
#[derive(Clone, Debug)]
pub struct Place {
    pub trace: TraceId,
    pub span: SpanId,
    pub parent: Option<SpanId>,
    pub parent_is_remote: bool,
    pub trace_state: Option<Box<str>>,
    /// What the parent is known by.
    pub evidence: Option<Evidence>,
}

impl Place {
    /// By the parent that the agent found, else by the exchange's trace context, else none.
    pub fn of(node: Node) -> Self {
        let Some(parent) = node.parent else {
            return Self::by_context(node.context, node.span, node.trace);
        };
        Self {
            trace: node.trace,
            span: node.span,
            parent: Some(parent.span),
            parent_is_remote: parent.process != node.process,
            trace_state: None,
            evidence: Some(parent.evidence),
        }
    }

    /// By the trace context alone; `trace` is that of a span without one.
    pub fn by_context(context: Option<Box<Context>>, span: SpanId, trace: TraceId) -> Self {
        let (trace, parent, trace_state, evidence) = match context {
            Some(context) => (
                context.trace,
                Some(context.parent),
                context.state,
                Some(context.evidence),
            ),
            None => (trace, None, None, None),
        };
        Self {
            trace,
            span,
            parent,
            parent_is_remote: parent.is_some(),
            trace_state,
            evidence,
        }
    }

    /// Whether the parent is the one that the request's own headers name.
    pub fn is_by_context(&self) -> bool {
        self.evidence.is_some_and(Evidence::is_context)
    }
}
