//! A span as the scorer needs it. In: what a collector received. Out: who it is of, and whom it takes for its parent.

use anyhow::Result;

use super::plan::{Hop, Names};
use crate::otlp::{self, Kind, Span};

/// What a span says of the tree.
#[derive(Clone, Debug)]
pub struct Seen {
    pub kind: Kind,
    /// What its path says; none where it is not of a tree, or was not seen.
    pub hop: Option<Hop>,
    pub trace: String,
    pub span: String,
    pub parent: Option<String>,
    /// What the parent is known by.
    pub evidence: String,
}

/// The spans of a collector's file, one line after another.
pub fn read(text: &str, names: &Names) -> Result<Vec<Seen>> {
    let mut seen = Vec::new();
    for line in text.split_inclusive('\n') {
        seen.extend(otlp::parse(line)?.into_iter().map(|span| of(span, names)));
    }
    Ok(seen)
}

fn of(span: Span, names: &Names) -> Seen {
    let path = match span.kind {
        Kind::Server => span.text("url.path"),
        Kind::Client => span.text("url.full").and_then(path_of),
    };
    Seen {
        kind: span.kind,
        hop: path.and_then(|path| names.read(path)),
        evidence: span
            .text("spanlet.parent.evidence")
            .unwrap_or_default()
            .to_owned(),
        trace: span.trace_id,
        span: span.span_id,
        parent: span.parent_span_id,
    }
}

fn path_of(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    rest.find('/').map(|at| &rest[at..])
}
