//! Which task asks, and which answers: parents in event loops whose tasks can be told apart (asyncio).
//!
//! In: calls as they start, answers as they begin, each with its task. Out: a call and the request that the same task
//! answers. That is known late, because a request is read before its task is there: a call waits until a request that was
//! open when it started is answered by its task. A task is named by an address, which another may have after it.

use std::time::Duration;

use super::counts::Counts;
use super::nodes::{Node, Nodes};
use super::parents::passes_on;
use super::process::Process;
use super::{Evidence, Limits, Refusal};
use crate::capture::event::{ConnectionId, Task};
use crate::clock::Monotonic;
use crate::decode::exchange::{Answering, ExchangeId, Started};
use crate::few::Few;
use crate::hash::WordMap;

/// Tasks of a process whose last answer is remembered (about 50 bytes each). Full: those of old are forgotten, and what
/// a task calls after the start of its answer is known by weaker evidence.
const ANSWERED_MAX: usize = 4096;
/// An answer is remembered for this time where there is no room for all.
const ANSWER_MEMORY: Duration = Duration::from_secs(10);
/// A task that answered two requests which were open at once proves nothing for this time.
const MIXED_MEMORY: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug)]
struct Answered {
    request: ExchangeId,
    connection: ConnectionId,
    time: Monotonic,
    /// It serves many at once: nobody knows for which it calls.
    mixed: Option<Monotonic>,
}

/// The tasks of one process.
#[derive(Debug, Default)]
pub struct Tasks {
    /// Calls whose request is not known by their task.
    calls: WordMap<u64, Few<ExchangeId>>,
    /// The task of each of them.
    by: WordMap<ExchangeId, Task>,
    answered: WordMap<u64, Answered>,
}

impl Tasks {
    /// A call of which it is not known yet whose it is.
    fn wait(&mut self, task: Task, call: ExchangeId) {
        self.by.insert(call, task);
        for task in both(task) {
            self.calls.entry(task).or_default().push(call);
        }
    }

    /// A call waits no longer.
    pub fn forget(&mut self, call: ExchangeId) {
        let task = self.by.remove(&call);
        for task in task.into_iter().flat_map(both) {
            if let Some(calls) = self.calls.get_mut(&task) {
                calls.remove(call);
                if calls.is_empty() {
                    self.calls.remove(&task);
                }
            }
        }
    }

    fn waiting(&self, task: u64) -> Few<ExchangeId> {
        self.calls.get(&task).cloned().unwrap_or_default()
    }

    /// The request that a task answers, if it began to.
    fn answers(&self, task: Task, now: Monotonic) -> Option<ExchangeId> {
        let answered = both(task).find_map(|task| self.answered.get(&task))?;
        (!answered.is_mixed(now)).then_some(answered.request)
    }

    /// Remembers an answer, and gives what the task answered before.
    fn answer(&mut self, answering: &Answering, mixed: Option<Monotonic>) {
        if self.answered.len() >= ANSWERED_MAX {
            let is_recent = |time| answering.time.since(time) < ANSWER_MEMORY;
            self.answered.retain(|_, answered| is_recent(answered.time));
        }
        if self.answered.len() >= ANSWERED_MAX {
            return;
        }
        let answered = Answered {
            request: answering.id,
            connection: answering.connection,
            time: answering.time,
            mixed,
        };
        self.answered.insert(answering.task.id, answered);
    }
}

impl Answered {
    fn is_mixed(&self, now: Monotonic) -> bool {
        self.mixed
            .is_some_and(|mixed| now.since(mixed) < MIXED_MEMORY)
    }
}

/// The request that the task of a call has begun to answer: what it calls meanwhile, it calls for it.
pub fn answered(started: &Started, process: &Process, nodes: &Nodes) -> Option<ExchangeId> {
    let request = process.tasks.answers(started.task?, started.origin.time)?;
    let node = nodes.get(request)?;
    (node.open_at(started.origin.time, Evidence::Task) && !node.unsure).then_some(request)
}

/// A call whose request its task may still tell.
pub fn ask(started: &Started, process: &mut Process, nodes: &mut Nodes) {
    if let Some(task) = started.task {
        process.is_event_loop();
        process.tasks.wait(task, started.id);
        nodes.wait_for_task(started.id, true);
    }
}

/// A task begins to answer a request: what it called since the request came, it called for it.
pub fn answer(
    answering: &Answering,
    process: &mut Process,
    nodes: &mut Nodes,
    limits: &Limits,
    counts: &mut Counts,
) {
    let Some(request) = nodes.answered(answering.id) else {
        return;
    };
    let (started, is_unsure) = (request.started, request.unsure);
    let before = process.tasks.answered.get(&answering.task.id).copied();
    let mixed = before.and_then(|before| mixed(&before, started, answering));
    process.tasks.answer(answering, mixed);
    if let Some(before) = before.filter(|_| mixed == Some(answering.time)) {
        let is_of_both = |call: &Node| call.started >= started;
        counts.undone += nodes.undo_by_task(before.request, is_of_both);
    }
    for call in process.tasks.waiting(answering.task.id).as_slice() {
        let Some(node) = nodes.get(*call) else {
            continue;
        };
        if node.started < started || node.started > answering.time {
            continue;
        }
        let linked = match () {
            () if is_unsure || process.in_shadow(node.started) => Err(Refusal::Loss),
            () if mixed.is_some() => Err(Refusal::Ambiguous),
            // The request says itself whose child it is.
            () if !passes_on(nodes, *call, answering.id) => continue,
            () => adopt(*call, answering.id, nodes, limits, counts),
        };
        counts.judged(linked.map(|()| Evidence::Task));
        if linked.is_ok() {
            nodes.wait_for_task(*call, false);
            process.tasks.forget(*call);
        }
    }
}

/// Since when a task is known to serve several requests at once, if it does: one on another connection was open when it
/// answered the one before.
fn mixed(before: &Answered, started: Monotonic, answering: &Answering) -> Option<Monotonic> {
    let overlaps = before.request != answering.id
        && before.connection != answering.connection
        && started < before.time;
    let known = before.mixed.filter(|_| before.is_mixed(answering.time));
    overlaps.then_some(answering.time).or(known)
}

/// Whether it may still be told by its task whose a call is: a request is open that was there before it, and nobody has
/// begun to answer that.
pub fn may_be_told(call: &Node, process: &Process, nodes: &Nodes) -> bool {
    let may_be_its = |request: &Node| !request.is_answered && request.started <= call.started;
    let mut open = process.serving().filter_map(|open| nodes.get(open));
    call.waits_for_task && open.any(may_be_its)
}

/// Links a call to its request, in the place of what was believed by weaker evidence.
fn adopt(
    call: ExchangeId,
    request: ExchangeId,
    nodes: &mut Nodes,
    limits: &Limits,
    counts: &mut Counts,
) -> Result<(), Refusal> {
    let parent = nodes.get(call).and_then(|node| node.parent.as_ref());
    match parent.map(|parent| parent.exchange) {
        Some(parent) if parent == request => {
            nodes.strengthen(call, Evidence::Task);
            counts.undone += 1;
            return Ok(());
        }
        Some(_) if !nodes.orphan(call) => return Err(Refusal::Sealed),
        Some(_) => counts.undone += 1,
        None => {}
    }
    nodes.link(call, request, Evidence::Task, limits)
}

fn both(task: Task) -> impl Iterator<Item = u64> {
    std::iter::once(task.id).chain(task.within)
}
