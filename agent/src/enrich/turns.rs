//! In which turn of an event loop a request is read, a call made, its answer read and the request answered: parents where one
//! thread serves many at once and runs each callback to its end (Node.js).
//!
//! In: calls as they start, turns as they read and answer. Out: a call and the request that it was made for, or that nobody knows.
//! What runs in the turn that reads a request, and no other request, runs for it: a call that is made then, or whose
//! connection is, is the request's. What runs in the turn that reads the answer to a call is as a rule for that call's request; but
//! it may be another's, which waited in a queue for the connection, or for a lock, that came free. So a call that is made
//! then has to be confirmed: by the request's answer, which begins in the turn that reads the call's own. A turn
//! that read neither (timers, files, names, what is not understood) tells nothing.

use std::collections::VecDeque;

use super::counts::Counts;
use super::nodes::Nodes;
use super::parents::passes_on;
use super::process::Process;
use super::{Evidence, Limits, Refusal};
use crate::clock::Monotonic;
use crate::decode::exchange::{ExchangeId, Started, Turned, Turning};
use crate::few::Few;
use crate::hash::WordMap;

/// Turns of a process whose cause is remembered (about 50 bytes each). Full: the oldest is forgotten, and for whom a connection
/// was made in it is not known.
const TURNS_MAX: usize = 4096;

/// What a turn runs for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Request(ExchangeId),
    /// The answer to this call, which was made for that request as far as was known then: its span may be told before a
    /// connection is there that is made in this turn.
    Answer(ExchangeId, Option<ExchangeId>),
    /// It read of more than one exchange, which it does not where the loop is as it is thought to be.
    Many,
}

impl Cause {
    /// What the turn read of, if only one.
    fn exchange(self) -> Option<ExchangeId> {
        match self {
            Self::Request(exchange) | Self::Answer(exchange, _) => Some(exchange),
            Self::Many => None,
        }
    }
}

/// For whom a call was made, as far as its start tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beginning {
    Unknown,
    Known(ExchangeId),
    /// As a rule for this request: to be confirmed by its end.
    Likely(ExchangeId),
}

/// The event loop of a process.
#[derive(Debug, Default)]
pub struct Turns {
    causes: WordMap<u64, Cause>,
    /// The same turns, in order.
    order: VecDeque<u64>,
    /// Calls that are to be confirmed, and for which request.
    likely: WordMap<ExchangeId, ExchangeId>,
    /// The latest turn that began to answer a request, and which.
    answered: Option<(Monotonic, Few<ExchangeId>)>,
}

impl Turns {
    /// A turn read of an exchange.
    fn read(&mut self, turn: Monotonic, cause: Cause) {
        match self.causes.get_mut(&turn.0) {
            Some(known) if known.exchange() == cause.exchange() => {}
            Some(known) => *known = Cause::Many,
            None => {
                if self.order.len() >= TURNS_MAX {
                    let oldest = self.order.pop_front();
                    oldest.and_then(|oldest| self.causes.remove(&oldest));
                }
                self.causes.insert(turn.0, cause);
                self.order.push_back(turn.0);
            }
        }
    }

    fn cause(&self, turn: Option<Monotonic>) -> Option<Cause> {
        self.causes.get(&turn?.0).copied()
    }

    /// What a call was made for. A new connection is made in one turn and written to in a later one, which as a rule
    /// reads nothing; a connection that was made for one may be handed to another.
    fn cause_of(&self, started: &Started) -> Option<Cause> {
        let turn = started.turn?;
        let running = self.cause(turn.running);
        if !started.first_on_connection {
            return running;
        }
        let dialed = self.cause(turn.dialed)?;
        match running {
            None => Some(dialed),
            Some(running) => (running == dialed).then_some(dialed),
        }
    }

    /// A call will not be confirmed any more.
    pub fn forget(&mut self, call: ExchangeId) {
        self.likely.remove(&call);
    }

    /// Which other request this turn began to answer, too.
    fn answered_too(&mut self, turn: Monotonic, request: ExchangeId) -> Option<ExchangeId> {
        match &mut self.answered {
            Some((latest, requests)) if *latest == turn => {
                let other = requests.as_slice().iter().find(|other| **other != request);
                let other = other.copied();
                requests.push(request);
                other
            }
            latest => {
                *latest = Some((turn, Few::One(request)));
                None
            }
        }
    }
}

/// For which request a call was made.
pub fn beginning(started: &Started, process: &Process) -> Beginning {
    match process.turns.cause_of(started) {
        Some(Cause::Request(request)) => Beginning::Known(request),
        Some(Cause::Answer(_, Some(request))) => Beginning::Likely(request),
        Some(Cause::Answer(_, None) | Cause::Many) | None => Beginning::Unknown,
    }
}

/// The parent that turns told of.
fn by_turn(call: ExchangeId, nodes: &Nodes) -> Option<ExchangeId> {
    let parent = nodes.get(call)?.parent.as_ref()?;
    (parent.evidence == Evidence::Turn).then_some(parent.exchange)
}

/// A call whose end is to confirm whose it is.
pub fn ask(started: &Started, process: &mut Process) {
    if let Beginning::Likely(request) = beginning(started, process) {
        process.turns.likely.insert(started.id, request);
    }
}

/// A turn read of an exchange, or began to answer one.
pub fn turned(
    turning: &Turning,
    process: &mut Process,
    nodes: &mut Nodes,
    limits: &Limits,
    counts: &mut Counts,
) {
    match turning.what {
        Turned::ReadRequest => process.turns.read(turning.turn, Cause::Request(turning.id)),
        Turned::ReadAnswer => {
            let likely = process.turns.likely.get(&turning.id).copied();
            let request = by_turn(turning.id, nodes).or(likely);
            let cause = Cause::Answer(turning.id, request);
            process.turns.read(turning.turn, cause);
        }
        Turned::Answered => answered(turning, process, nodes, limits, counts),
    }
}

/// A request is answered in this turn: for the call whose answer was read in it, if for any.
fn answered(
    turning: &Turning,
    process: &mut Process,
    nodes: &mut Nodes,
    limits: &Limits,
    counts: &mut Counts,
) {
    let request = turning.id;
    let other = process.turns.answered_too(turning.turn, request);
    let Some(Cause::Answer(call, _)) = process.turns.cause(Some(turning.turn)) else {
        return;
    };
    let Some(node) = nodes.get(call) else {
        return;
    };
    let parent = by_turn(call, nodes);
    let is_in_shadow = process.in_shadow(turning.time) || process.in_shadow(node.started);
    let likely = process.turns.likely.remove(&call);
    let told = match likely {
        // Its end tells of another than its beginning, or of two.
        _ if parent.is_some_and(|parent| parent != request) || other.is_some() => {
            counts.undone += u64::from(parent.is_some() && nodes.orphan(call));
            Err(Refusal::Ambiguous)
        }
        Some(likely) if likely != request => Err(Refusal::Ambiguous),
        Some(_) if is_in_shadow || nodes.get(request).is_none_or(|node| node.unsure) => {
            Err(Refusal::Loss)
        }
        // The request says itself whose child it is.
        Some(_) if !passes_on(nodes, call, request) => return,
        Some(_) => nodes.adopt(call, request, Evidence::Turn, limits, counts),
        None => return,
    };
    counts.judged(told.map(|()| Evidence::Turn));
}
