//! The scorer. In: the trees that were sent, the spans that came. Out: how many parents are right, wrong and missing.
//!
//! Two kinds of edges: a server span's parent is the client span of the same id (over the network), and a client
//! span's parent is the server span of its caller's id (within a process). A root has no parent: the driver is not traced.

use std::collections::{BTreeMap, HashMap};
use std::ops::AddAssign;

use super::plan::{Hop, Tree};
use super::spans::Seen;
use crate::otlp::Kind;

/// Edges of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Edges {
    pub sent: u64,
    pub right: u64,
}

/// What became of some trees.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Score {
    pub network: Edges,
    pub process: Edges,
    /// Wrong parents, by what they were said to be known by.
    pub wrong: BTreeMap<String, u64>,
    /// Parents that are no span that came, or one whose path was not seen: neither right nor wrong.
    pub unknown: u64,
    pub traces: u64,
    /// Traces with every span, every edge, nothing else, and one trace id.
    pub traces_whole: u64,
    pub spans_sent: u64,
    /// Those of them that came.
    pub spans_seen: u64,
    /// Spans beyond one for each end of a request.
    pub spans_double: u64,
}

/// The spans that came, to be looked up.
pub struct Index<'a> {
    by_hop: HashMap<(Kind, u64), Vec<&'a Seen>>,
    by_span: HashMap<&'a str, &'a Seen>,
}

/// What a span's parent is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Right,
    Missing,
    Wrong,
    Unknown,
}

impl<'a> Index<'a> {
    pub fn new(seen: &'a [Seen]) -> Self {
        let mut by_hop: HashMap<_, Vec<_>> = HashMap::new();
        for span in seen {
            if let Some(hop) = span.hop {
                by_hop.entry((span.kind, hop.id)).or_default().push(span);
            }
        }
        let by_span = seen.iter().map(|span| (span.span.as_str(), span)).collect();
        Self { by_hop, by_span }
    }

    /// The score of trees whose spans are all here.
    pub fn score(&self, trees: &[Tree]) -> Score {
        let mut score = Score::default();
        for tree in trees {
            score += self.tree(tree);
        }
        score
    }

    /// Calls that no request caused: they have no parent, and their other end has them for one.
    pub fn strays(&self) -> Score {
        let mut score = Score::default();
        for ((kind, id), spans) in &self.by_hop {
            let hop = Hop { id: *id, caller: 0 };
            if *kind == Kind::Client && spans.iter().any(|span| span.hop == Some(hop)) {
                self.end(Kind::Client, hop, spans, &mut score);
            }
        }
        score
    }

    fn tree(&self, tree: &Tree) -> Score {
        let mut score = Score {
            traces: 1,
            ..Score::default()
        };
        let mut traces = Vec::new();
        for hop in &tree.hops {
            let kinds: &[Kind] = match hop.caller {
                0 => &[Kind::Server],
                _ => &[Kind::Server, Kind::Client],
            };
            for kind in kinds {
                let spans = self.by_hop.get(&(*kind, hop.id)).map_or(&[][..], |all| all);
                traces.extend(spans.iter().map(|span| span.trace.as_str()));
                self.end(*kind, *hop, spans, &mut score);
            }
        }
        let is_whole = score.network.right == score.network.sent
            && score.process.right == score.process.sent
            && score.wrong.is_empty()
            && score.unknown == 0
            && traces.len() as u64 == score.spans_sent
            && traces.windows(2).all(|two| two[0] == two[1]);
        score.traces_whole = u64::from(is_whole);
        score
    }

    /// One end of a request.
    fn end(&self, kind: Kind, hop: Hop, spans: &[&Seen], score: &mut Score) {
        score.spans_sent += 1;
        score.spans_seen += u64::from(!spans.is_empty());
        score.spans_double += spans.len().saturating_sub(1) as u64;
        let verdicts: Vec<_> = spans.iter().map(|span| self.verdict(span, hop)).collect();
        for (span, verdict) in spans.iter().zip(&verdicts) {
            match verdict {
                Verdict::Wrong => *score.wrong.entry(span.evidence.clone()).or_default() += 1,
                Verdict::Unknown => score.unknown += 1,
                Verdict::Right | Verdict::Missing => {}
            }
        }
        if hop.caller != 0 {
            let edges = match kind {
                Kind::Server => &mut score.network,
                Kind::Client => &mut score.process,
            };
            edges.sent += 1;
            edges.right += u64::from(verdicts.contains(&Verdict::Right));
        }
    }

    fn verdict(&self, span: &Seen, hop: Hop) -> Verdict {
        let Some(parent) = &span.parent else {
            return Verdict::Missing;
        };
        let Some(parent) = self.by_span.get(parent.as_str()) else {
            return Verdict::Unknown;
        };
        let expected = match span.kind {
            Kind::Server => (Kind::Client, hop.id),
            Kind::Client => (Kind::Server, hop.caller),
        };
        match parent.hop {
            None => Verdict::Unknown,
            Some(above) if hop.caller != 0 && (parent.kind, above.id) == expected => Verdict::Right,
            Some(_) => Verdict::Wrong,
        }
    }
}

impl Score {
    pub fn wrong_total(&self) -> u64 {
        self.wrong.values().sum()
    }

    /// Of the parents given, how many are right.
    pub fn precision(&self) -> f64 {
        let right = self.network.right + self.process.right;
        share(right, right + self.wrong_total())
    }

    /// Of all edges, how many were found.
    pub fn recall(&self) -> f64 {
        let sent = self.network.sent + self.process.sent;
        share(self.network.right + self.process.right, sent)
    }
}

impl Edges {
    pub fn recall(self) -> f64 {
        share(self.right, self.sent)
    }
}

/// 1 where there is nothing to be right about.
fn share(part: u64, whole: u64) -> f64 {
    match whole {
        0 => 1.0,
        _ => part as f64 / whole as f64,
    }
}

impl AddAssign for Edges {
    fn add_assign(&mut self, other: Self) {
        self.sent += other.sent;
        self.right += other.right;
    }
}

impl AddAssign for Score {
    fn add_assign(&mut self, other: Self) {
        self.network += other.network;
        self.process += other.process;
        for (evidence, count) in other.wrong {
            *self.wrong.entry(evidence).or_default() += count;
        }
        self.unknown += other.unknown;
        self.traces += other.traces;
        self.traces_whole += other.traces_whole;
        self.spans_sent += other.spans_sent;
        self.spans_seen += other.spans_seen;
        self.spans_double += other.spans_double;
    }
}
