//! Which task asks, and which answers: parents in event loops whose tasks can be told apart (asyncio, tokio); and which thread, where
//! one reads the requests of all connections and hands each to another (Puma's reactor).
//!
//! In: calls as they start, answers as they begin, each with its task; tasks as they are born. Out: a call and the request
//! that its task answers, or one that it descends from since the request came. That is known late, because a request is
//! read before its task is there: a call waits until a request that was open when it started is answered by its task. A
//! task is named by an address, which another may have after it, or by a number.

use std::time::Duration;

use super::counts::Counts;
use super::lineage::{Ancestor, Lineage};
use super::nodes::{Node, Nodes};
use super::parents::passes_on;
use super::process::Process;
use super::{Evidence, Limits, Refusal};
use crate::capture::event::{ConnectionId, HostTid, Task};
use crate::clock::Monotonic;
use crate::decode::exchange::{Answerer, Answering, ExchangeId, Started};
use crate::few::Few;
use crate::hash::WordMap;

/// Tasks of a process whose last answer is remembered (about 50 bytes each). Full: those of old are forgotten, and what
/// a task calls after the start of its answer is known by weaker evidence.
const ANSWERED_MAX: usize = 4096;
/// An answer is remembered for this time where there is no room for all.
const ANSWER_MEMORY: Duration = Duration::from_secs(10);
/// A task that answered two requests which were open at once proves nothing for this time.
const MIXED_MEMORY: Duration = Duration::from_secs(10);

/// Added to the number of a thread, it is the address of no task.
const THREADS: u64 = 1 << 63;

#[derive(Clone, Copy, Debug)]
struct Answered {
    request: ExchangeId,
    connection: ConnectionId,
    time: Monotonic,
    /// When the task was born, where that is known.
    born: Option<Monotonic>,
    /// It serves many at once: nobody knows for which it calls.
    mixed: Option<Monotonic>,
}

/// A call as a task knows it from which its own descends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Waiting {
    call: ExchangeId,
    /// When its own task branched off; where it is that task, when it called.
    since: Monotonic,
}

/// The tasks of one process.
#[derive(Debug, Default)]
pub struct Tasks {
    pub lineage: Lineage,
    /// Calls whose request is not known by their task, by all from which that descends.
    calls: WordMap<u64, Few<Waiting>>,
    /// The task of each of them, and those from which it descends.
    by: WordMap<ExchangeId, Few<(u64, Waiting)>>,
    answered: WordMap<u64, Answered>,
}

impl Tasks {
    /// A thread as the tasks are, if it has answered: what it does from one answer to the next is for the request that it
    /// answers.
    fn of_thread(&self, thread: HostTid) -> Option<Task> {
        let task = of_thread(thread);
        self.answered.contains_key(&task.id).then_some(task)
    }

    /// A call of which it is not known yet whose it is.
    fn wait(&mut self, task: Task, call: ExchangeId, time: Monotonic) {
        let ancestors = self.lineage.of(task);
        let all: Few<(u64, Waiting)> = ancestors
            .map(|ancestor| {
                let since = ancestor.branched.unwrap_or(time);
                (ancestor.task, Waiting { call, since })
            })
            .collect();
        for (task, waiting) in all.as_slice() {
            self.calls.entry(*task).or_default().push(*waiting);
        }
        self.by.insert(call, all);
    }

    /// A call waits no longer.
    pub fn forget(&mut self, call: ExchangeId) {
        let all = self.by.remove(&call).unwrap_or_default();
        for (task, waiting) in all.as_slice() {
            if let Some(calls) = self.calls.get_mut(task) {
                calls.remove(*waiting);
                if calls.is_empty() {
                    self.calls.remove(task);
                }
            }
        }
    }

    /// The calls that are of a request which came at `started`, if a task answers it that is, or descends from, `of`.
    fn of(&self, of: &Ancestor, started: Monotonic) -> impl Iterator<Item = ExchangeId> + '_ {
        let calls = self.calls.get(&of.task).map_or(&[][..], Few::as_slice);
        let since = of.born.map_or(started, |born| born.max(started));
        let its = calls.iter().filter(move |waiting| waiting.since >= since);
        its.map(|waiting| waiting.call)
    }

    /// Remembers an answer.
    fn answer(&mut self, answering: &Answering, task: Task, mixed: Option<Monotonic>) {
        let is_new = !self.answered.contains_key(&task.id);
        if is_new && self.answered.len() >= ANSWERED_MAX {
            let is_recent = |time| answering.time.since(time) < ANSWER_MEMORY;
            self.answered.retain(|_, answered| is_recent(answered.time));
        }
        if is_new && self.answered.len() >= ANSWERED_MAX {
            return;
        }
        let answered = Answered {
            request: answering.id,
            connection: answering.connection,
            time: answering.time,
            born: task.born,
            mixed,
        };
        self.answered.insert(task.id, answered);
    }
}

impl Answered {
    fn is_mixed(&self, now: Monotonic) -> bool {
        self.mixed
            .is_some_and(|mixed| now.since(mixed) < MIXED_MEMORY)
    }
}

/// Whether a task was there before a request came: unless it answers that, it does not work for it.
pub fn is_older(task: Task, request: &Node) -> bool {
    task.born.is_some_and(|born| born < request.started)
}

/// The request that the task or thread of a call, or a task it descends from, has begun to answer: what it calls meanwhile, it
/// calls for it. Of tasks only where births are known: another may have the address of one that has ended. Of threads only
/// while no other request waits: one may have given the rest of its answer to another thread, and serve that one.
pub fn answered(started: &Started, process: &Process, nodes: &Nodes) -> Option<ExchangeId> {
    let time = started.origin.time;
    let Some(task) = started.task else {
        let is_certain = process.hands_on() && !waits_any(process, nodes);
        return is_certain.then(|| answering(started, process, nodes))?;
    };
    let tasks = &process.tasks;
    let answers = |ancestor: Ancestor| {
        let answered = tasks.answered.get(&ancestor.task)?;
        let node = nodes.get(answered.request)?;
        let is_the_same = ancestor.born.is_some() && ancestor.born == answered.born;
        let is_its = ancestor.branched.unwrap_or(time) >= node.started;
        let is_open = node.open_at(time, Evidence::Task) && !node.unsure;
        (is_the_same && is_its && is_open && !answered.is_mixed(time)).then_some(answered.request)
    };
    tasks.lineage.of(task).find_map(answers)
}

/// The open request that the thread of a call began to answer last.
fn answering(started: &Started, process: &Process, nodes: &Nodes) -> Option<ExchangeId> {
    let thread = of_thread(started.origin.thread);
    let answered = process.tasks.answered.get(&thread.id)?;
    let node = nodes.get(answered.request)?;
    let is_open = node.open_at(started.origin.time, Evidence::Thread) && !node.unsure;
    is_open.then_some(answered.request)
}

fn of_thread(thread: HostTid) -> Task {
    Task {
        id: THREADS | u64::from(thread.0),
        born: None,
    }
}

/// Whether a request is open that nobody has begun to answer.
fn waits_any(process: &Process, nodes: &Nodes) -> bool {
    let mut open = process.serving().filter_map(|open| nodes.get(open));
    open.any(|request| !request.is_answered)
}

/// Who makes a call.
fn caller(started: &Started, process: &Process) -> Option<Task> {
    let thread = || process.tasks.of_thread(started.origin.thread);
    started
        .task
        .or_else(|| process.hands_on().then(thread).flatten())
}

/// A call whose request its task may still tell.
pub fn ask(started: &Started, process: &mut Process, nodes: &mut Nodes) {
    let Some(task) = caller(started, process) else {
        return;
    };
    if started.task.is_some() {
        process.is_event_loop();
    }
    // One that has not ended its answer may serve another request by now.
    let is_unknown = started.task.is_none() && answering(started, process, nodes).is_some();
    if is_unknown || answered(started, process, nodes).is_some() {
        return;
    }
    // One that says itself whose child it is waits only for a request that says the same.
    let may_be_its = |request| passes_on(nodes, started.id, request);
    if process.serving().any(may_be_its) {
        process.tasks.wait(task, started.id, started.origin.time);
        nodes.wait_for_task(started.id, true);
    }
}

/// A task begins to answer a request: what it called since the request came, or a task that it started since, it called
/// for it; and so did those that started it, if they were born for the request.
pub fn answer(
    answering: &Answering,
    process: &mut Process,
    nodes: &mut Nodes,
    limits: &Limits,
    counts: &mut Counts,
) {
    // Most processes: by their threads nothing would be told.
    if matches!(answering.by, Answerer::Thread(_)) && !process.may_hand_on() {
        return;
    }
    let Some(request) = nodes.answered(answering.id) else {
        return;
    };
    let (started, is_unsure) = (request.started, request.unsure);
    let (task, evidence) = match answering.by {
        Answerer::Task(task) => (task, Evidence::Task),
        Answerer::Thread(thread) => {
            process.answered_by(thread, request.thread);
            if !process.hands_on() {
                return;
            }
            (of_thread(thread), Evidence::Thread)
        }
    };
    let before = process.tasks.answered.get(&task.id).copied();
    // A thread answers one after another, and reads of none.
    let before_as_task = before.filter(|_| evidence == Evidence::Task);
    let mixed = before_as_task.and_then(|before| mixed(&before, started, answering));
    process.tasks.answer(answering, task, mixed);
    if let Some(before) = before.filter(|_| mixed == Some(answering.time)) {
        let is_of_both = |call: &Node| call.started >= started;
        counts.undone += nodes.undo_by_task(before.request, is_of_both);
    }
    let since = match before.filter(|_| evidence == Evidence::Thread) {
        Some(before) => started.max(before.time),
        None => started,
    };
    for call in calls_of(task, started, since, process) {
        let Some(node) = nodes.get(call) else {
            continue;
        };
        if node.started > answering.time {
            continue;
        }
        let linked = match () {
            () if is_unsure || process.in_shadow(node.started) => Err(Refusal::Loss),
            () if mixed.is_some() => Err(Refusal::Ambiguous),
            () if evidence == Evidence::Thread && is_background(node, process) => {
                Err(Refusal::Background)
            }
            // The request says itself whose child it is.
            () if !passes_on(nodes, call, answering.id) => continue,
            () => nodes.adopt(call, answering.id, evidence, limits, counts),
        };
        counts.judged(linked.map(|()| evidence));
        if linked.is_ok() {
            nodes.wait_for_task(call, false);
            process.tasks.forget(call);
        }
    }
}

/// Whether the process makes such calls by itself.
fn is_background(call: &Node, process: &Process) -> bool {
    let thread = Some(call.thread);
    process
        .calls
        .is_background(&call.remote, thread, call.started)
}

/// The calls that were made, `since` then, for a request which came at `started` and which a task answers; once each.
fn calls_of(
    task: Task,
    started: Monotonic,
    since: Monotonic,
    process: &Process,
) -> Vec<ExchangeId> {
    let next = process.served_after(started);
    // A task above the one that answers is this request's own if it was born for it: before another came.
    let is_its = |ancestor: &Ancestor| match (ancestor.branched, ancestor.born) {
        (None, _) => true,
        (Some(_), Some(born)) => born >= started && next.is_none_or(|next| born < next),
        (Some(_), None) => false,
    };
    let path = process.tasks.lineage.of(task);
    let mut calls: Vec<_> = path
        .filter(is_its)
        .flat_map(|ancestor| process.tasks.of(&ancestor, since))
        .collect();
    calls.sort_unstable();
    calls.dedup();
    calls
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
