//! The exchanges that spans are being made of, and the trees they stand in.
//!
//! In: exchanges as they start and end, and who called whom. Out: each one's trace, parent and place, and why a
//! parent was refused. A node lives from its exchange's start until its span is emitted.
//!
//! Invariants: a node has its parent's trace; a parent was open when its child started; no tree is deeper, no node
//! has more children and none has younger children than [`Limits`](super::Limits) allow. Once the span of a node is
//! emitted, its ancestors are sealed: their trace has been told and can no longer change.

use std::time::Duration;

use super::context::Context;
use super::counts::Counts;
use super::rhythm::Stretch;
use super::span::{SpanId, TraceId};
use super::table::Table;
use super::wire::Name;
use super::{Evidence, Limits, Refusal};
use crate::capture::event::{Endpoint, HostPid, HostTid};
use crate::clock::Monotonic;
use crate::decode::exchange::ExchangeId;
use crate::few::Few;

/// Calls are seen when they end, so a server's read may be dated before the client's write that it answers to. Both
/// are of the same bytes; this is how far their times may be reversed.
pub const WIRE_SKEW: Duration = Duration::from_millis(10);

/// An exchange that has started and whose span is not emitted.
#[derive(Debug)]
pub struct Node {
    pub process: HostPid,
    pub thread: HostTid,
    pub goroutine: Option<u64>,
    pub remote: Endpoint,
    pub first_on_connection: bool,
    pub started: Monotonic,
    pub ended: Option<Monotonic>,
    pub span: SpanId,
    pub trace: TraceId,
    /// What it is called at both ends of its connection.
    pub name: Option<Name>,
    /// The trace context of its request.
    pub context: Option<Box<Context>>,
    /// The parent that the agent found.
    pub parent: Option<Parent>,
    /// Its process served only one request then.
    pub alone: Option<Alone>,
    /// A thread that may go on by itself called: the process alone is no evidence unless it is trusted.
    pub is_doubtful: bool,
    /// What it was part of may have been missed: it is no parent of what is not seen on its own connection.
    pub unsure: bool,
    /// A call of which its task may still tell for which request it was made.
    pub waits_for_task: bool,
    /// A request that a task began to answer.
    pub is_answered: bool,
    /// The trace it has without a parent that the agent found: that of its context, else its own.
    own_trace: TraceId,
    depth: u32,
    /// How many children it has had.
    children: u32,
    /// Those of them whose spans are not emitted.
    waiting: Few<ExchangeId>,
    sealed: bool,
}

/// A parent that the agent found.
#[derive(Clone, Debug)]
pub struct Parent {
    pub exchange: ExchangeId,
    pub span: SpanId,
    pub process: HostPid,
    pub evidence: Evidence,
}

/// A call while its process served only one request.
#[derive(Clone, Copy, Debug)]
pub struct Alone {
    pub stretch: Stretch,
    /// How long the process had served nothing by then.
    pub idle: Duration,
}

/// A link that may still be taken back.
pub struct Loose<'a> {
    pub child: ExchangeId,
    pub node: &'a Node,
    pub evidence: Evidence,
}

/// What is known of an exchange when it starts.
pub struct Birth {
    pub process: HostPid,
    pub thread: HostTid,
    pub goroutine: Option<u64>,
    pub remote: Endpoint,
    /// What it is called at both ends of its connection.
    pub name: Option<Name>,
    pub first_on_connection: bool,
    pub started: Monotonic,
    pub span: SpanId,
    /// The trace it has until a parent is found.
    pub trace: TraceId,
    pub context: Option<Box<Context>>,
}

impl Node {
    fn born(birth: Birth) -> Self {
        Self {
            process: birth.process,
            thread: birth.thread,
            goroutine: birth.goroutine,
            remote: birth.remote,
            first_on_connection: birth.first_on_connection,
            started: birth.started,
            ended: None,
            span: birth.span,
            trace: birth.trace,
            name: birth.name,
            context: birth.context,
            parent: None,
            alone: None,
            is_doubtful: false,
            unsure: false,
            waits_for_task: false,
            is_answered: false,
            own_trace: birth.trace,
            depth: 1,
            children: 0,
            waiting: Few::None,
            sealed: false,
        }
    }

    /// Whether it was open at that time, as far as can be told by this kind of evidence.
    pub fn open_at(&self, time: Monotonic, evidence: Evidence) -> bool {
        let latest_start = match evidence {
            Evidence::Connection => time.after(WIRE_SKEW),
            _ => time,
        };
        self.started <= latest_start && self.ended.is_none_or(|ended| ended >= time)
    }
}

/// All of them.
#[derive(Debug, Default)]
pub struct Nodes {
    nodes: Table<Node>,
}

impl Nodes {
    pub fn get(&self, id: ExchangeId) -> Option<&Node> {
        self.nodes.get(&id)
    }

    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Adds an exchange; false if it is there already.
    pub fn insert(&mut self, id: ExchangeId, birth: Birth) -> bool {
        self.nodes.insert(id, Node::born(birth))
    }

    pub fn alone(&mut self, id: ExchangeId, alone: Alone) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.alone = Some(alone);
        }
    }

    /// A goroutine serves it.
    pub fn served_by(&mut self, id: ExchangeId, goroutine: u64) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.goroutine = Some(goroutine);
        }
    }

    pub fn doubt(&mut self, id: ExchangeId) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.is_doubtful = true;
        }
    }

    pub fn unsure(&mut self, id: ExchangeId) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.unsure = true;
        }
    }

    pub fn wait_for_task(&mut self, call: ExchangeId, waits: bool) {
        if let Some(node) = self.nodes.get_mut(&call) {
            node.waits_for_task = waits;
        }
    }

    /// A task began to answer a request.
    pub fn answered(&mut self, request: ExchangeId) -> Option<&Node> {
        let node = self.nodes.get_mut(&request)?;
        node.is_answered = true;
        Some(node)
    }

    /// Makes `parent` the parent of `child`, in the place of what was believed by weaker evidence.
    pub fn adopt(
        &mut self,
        child: ExchangeId,
        parent: ExchangeId,
        evidence: Evidence,
        limits: &Limits,
        counts: &mut Counts,
    ) -> Result<(), Refusal> {
        let node = self.nodes.get_mut(&child);
        let link = node.and_then(|node| node.parent.as_mut());
        let believed = link.as_ref().map(|link| link.exchange);
        if let Some(link) = link.filter(|link| link.exchange == parent) {
            link.evidence = evidence;
        } else if believed.is_some() && !self.orphan(child) {
            return Err(Refusal::Sealed);
        }
        counts.undone += u64::from(believed.is_some());
        if believed == Some(parent) {
            return Ok(());
        }
        self.link(child, parent, evidence, limits)
    }

    /// Makes `parent` the parent of `child`, with all that hangs below it.
    pub fn link(
        &mut self,
        child: ExchangeId,
        parent: ExchangeId,
        evidence: Evidence,
        limits: &Limits,
    ) -> Result<(), Refusal> {
        let (trace, depth, link) = self.check(child, parent, evidence, limits)?;
        if let Some(node) = self.nodes.get_mut(&parent) {
            node.children += 1;
            node.waiting.push(child);
        }
        if let Some(node) = self.nodes.get_mut(&child) {
            node.parent = Some(link);
        }
        self.settle(child, trace, depth);
        Ok(())
    }

    /// The children that an exchange has by thread or process, and that are not over at its end: it did not wait for
    /// them, so they are not its work.
    pub fn outliving<'a>(
        &'a self,
        node: &'a Node,
        ended: Monotonic,
    ) -> impl Iterator<Item = &'a Node> {
        let children = node.waiting.as_slice().iter();
        children
            .filter_map(|child| self.nodes.get(child))
            .filter(move |child| outlives(child, ended))
    }

    /// Ends an exchange. Children that turn out to have started after its end, or that outlive it, lose it as their
    /// parent, unless that has been told; their number is returned.
    pub fn end(&mut self, id: ExchangeId, ended: Monotonic) -> u64 {
        let Some(node) = self.nodes.get_mut(&id) else {
            return 0;
        };
        node.ended = Some(ended);
        let is_not_of_it = |child: &Node| child.started > ended || outlives(child, ended);
        self.unlink_children(id, is_not_of_it)
    }

    /// Undoes the links to a parent of those children; their number is returned.
    fn unlink_children(&mut self, parent: ExchangeId, which: impl Fn(&Node) -> bool) -> u64 {
        let children = match self.nodes.get(&parent) {
            Some(node) if !node.waiting.is_empty() => node.waiting.clone(),
            _ => return 0,
        };
        let is_one = |child: &&ExchangeId| self.nodes.get(child).is_some_and(&which);
        let chosen: Few<ExchangeId> = children.as_slice().iter().filter(is_one).copied().collect();
        let undone = chosen.as_slice().iter();
        undone.filter(|child| self.unlink(**child, parent)).count() as u64
    }

    /// Undoes the links by process to `parents` of what started at that time or later: records may come out of order,
    /// and another server exchange turned out to be open by then. Their number is returned.
    pub fn undo_by_process(
        &mut self,
        parents: impl Iterator<Item = ExchangeId>,
        since: Monotonic,
    ) -> u64 {
        let is_by_process = |child: &Node| {
            let link = child.parent.as_ref();
            child.started >= since && link.is_some_and(|link| link.evidence == Evidence::Process)
        };
        let undone = parents.map(|parent| self.unlink_children(parent, is_by_process));
        undone.sum()
    }

    /// Undoes the links by task to a request of those calls; their number is returned.
    pub fn undo_by_task(&mut self, request: ExchangeId, which: impl Fn(&Node) -> bool) -> u64 {
        let is_by_task = |child: &Node| {
            let link = child.parent.as_ref();
            link.is_some_and(|link| link.evidence == Evidence::Task) && which(child)
        };
        self.unlink_children(request, is_by_task)
    }

    /// Calls by these threads, which outlived `parent`, are known by their thread no longer: at most by the process.
    /// The number of links undone is returned.
    pub fn undo_by_threads(&mut self, parent: ExchangeId, threads: &[HostTid]) -> u64 {
        if threads.is_empty() {
            return 0;
        }
        let children = self.nodes.get(&parent).map(|node| node.waiting.clone());
        let children = children.unwrap_or_default();
        let mut undone = 0;
        for child in children.as_slice().iter().copied() {
            let Some(node) = self.nodes.get_mut(&child) else {
                continue;
            };
            let link = node
                .parent
                .as_mut()
                .filter(|link| link.evidence == Evidence::Thread);
            let Some(link) = link.filter(|_| threads.contains(&node.thread)) else {
                continue;
            };
            if node.alone.is_some() {
                link.evidence = Evidence::Process;
            } else {
                undone += u64::from(self.unlink(child, parent));
            }
        }
        undone
    }

    /// The links from an exchange upwards that may still be taken back: child, parent.
    pub fn loose(&self, id: ExchangeId) -> impl Iterator<Item = Loose<'_>> {
        self.upwards(id).filter_map(move |(child, node)| {
            let link = node.parent.as_ref()?;
            let above = self.nodes.get(&link.exchange);
            let is_of_other_thread = || above.is_some_and(|above| above.thread != node.thread);
            let is_loose = match link.evidence {
                Evidence::Process => !node.sealed,
                Evidence::Thread => !node.sealed && is_of_other_thread(),
                _ => false,
            };
            let evidence = link.evidence;
            is_loose.then_some(Loose {
                child,
                node,
                evidence,
            })
        })
    }

    /// The exchanges of a process that have not ended.
    pub fn unfinished_of(&self, process: HostPid) -> Vec<ExchangeId> {
        let unfinished = |node: &Node| node.process == process && node.ended.is_none();
        let found = self.nodes.iter().filter(|(_, node)| unfinished(node));
        found.map(|(id, _)| *id).collect()
    }

    /// Takes an exchange out because its span is emitted now: what stands above it is sealed.
    pub fn emit(&mut self, id: ExchangeId) -> Option<Node> {
        let node = self.nodes.remove(&id)?;
        let parent = node.parent.as_ref().map(|parent| parent.exchange);
        if let Some(parent) = parent.and_then(|parent| self.nodes.get_mut(&parent)) {
            parent.waiting.remove(id);
        }
        self.seal(parent);
        Some(node)
    }

    /// All exchanges of a process.
    pub fn of(&self, is_meant: impl Fn(&Node) -> bool) -> Vec<ExchangeId> {
        let its = self.nodes.iter();
        let its = its.filter(|(_, node)| is_meant(node));
        its.map(|(id, _)| *id).collect()
    }

    /// An exchange, its parent, its parent's parent, and so on.
    pub fn upwards(&self, id: ExchangeId) -> impl Iterator<Item = (ExchangeId, &Node)> {
        let first = self.nodes.get(&id).map(|node| (id, node));
        std::iter::successors(first, |(_, node)| {
            let above = node.parent.as_ref()?.exchange;
            self.nodes.get(&above).map(|node| (above, node))
        })
    }

    /// Takes its children from an exchange, but those of which something has been emitted; their number is returned.
    pub fn orphan_children(&mut self, parent: ExchangeId) -> u64 {
        self.unlink_children(parent, |_| true)
    }

    fn check(
        &self,
        child: ExchangeId,
        parent: ExchangeId,
        evidence: Evidence,
        limits: &Limits,
    ) -> Result<(TraceId, u32, Parent), Refusal> {
        let (Some(below), Some(above)) = (self.nodes.get(&child), self.nodes.get(&parent)) else {
            return Err(Refusal::Closed);
        };
        if below.parent.is_some() || (below.sealed && below.trace != above.trace) {
            return Err(Refusal::Sealed);
        }
        if !above.open_at(below.started, evidence) {
            return Err(Refusal::Closed);
        }
        if below.started.since(above.started) > limits.parent_age {
            return Err(Refusal::Age);
        }
        if above.children >= limits.children {
            return Err(Refusal::Children);
        }
        if above.depth + self.height(child) > limits.depth || self.is_below(parent, child) {
            return Err(Refusal::Depth);
        }
        let link = Parent {
            exchange: parent,
            span: above.span,
            process: above.process,
            evidence,
        };
        Ok((above.trace, above.depth + 1, link))
    }

    /// Takes its parent from an exchange, unless a span below it has been emitted.
    pub fn orphan(&mut self, child: ExchangeId) -> bool {
        let parent = self.parent_of(child);
        parent.is_some_and(|parent| self.unlink(child, parent))
    }

    /// Undoes a link, unless a span below it has been emitted.
    fn unlink(&mut self, child: ExchangeId, parent: ExchangeId) -> bool {
        let trace = match self.nodes.get_mut(&child) {
            Some(node) if !node.sealed => {
                node.parent = None;
                node.own_trace
            }
            _ => return false,
        };
        if let Some(node) = self.nodes.get_mut(&parent) {
            node.waiting.remove(child);
        }
        self.settle(child, trace, 1);
        true
    }

    /// Gives a node and all below it their trace and depth.
    fn settle(&mut self, id: ExchangeId, trace: TraceId, depth: u32) {
        let mut next = vec![(id, depth)];
        while let Some((id, depth)) = next.pop() {
            if let Some(node) = self.nodes.get_mut(&id) {
                node.trace = trace;
                node.depth = depth;
                next.extend(
                    node.waiting
                        .as_slice()
                        .iter()
                        .map(|child| (*child, depth + 1)),
                );
            }
        }
    }

    /// Levels from a node down to the lowest below it; 1 for a node alone.
    fn height(&self, id: ExchangeId) -> u32 {
        let mut highest = 1;
        let mut next = vec![(id, 1)];
        while let Some((id, level)) = next.pop() {
            highest = highest.max(level);
            if let Some(node) = self.nodes.get(&id) {
                next.extend(
                    node.waiting
                        .as_slice()
                        .iter()
                        .map(|child| (*child, level + 1)),
                );
            }
        }
        highest
    }

    fn is_below(&self, id: ExchangeId, above: ExchangeId) -> bool {
        let mut next = Some(id);
        while let Some(id) = next {
            if id == above {
                return true;
            }
            next = self.parent_of(id);
        }
        false
    }

    fn seal(&mut self, from: Option<ExchangeId>) {
        let mut next = from;
        while let Some(node) = next.and_then(|id| self.nodes.get_mut(&id)) {
            if node.sealed {
                return;
            }
            node.sealed = true;
            next = node.parent.as_ref().map(|parent| parent.exchange);
        }
    }

    fn parent_of(&self, id: ExchangeId) -> Option<ExchangeId> {
        let parent = self.nodes.get(&id)?.parent.as_ref()?;
        Some(parent.exchange)
    }
}

fn outlives(child: &Node, time: Monotonic) -> bool {
    let evidence = child.parent.as_ref().map(|parent| parent.evidence);
    matches!(evidence, Some(Evidence::Thread | Evidence::Process))
        && child.started <= time
        && child.ended.is_none_or(|ended| ended > time)
}
