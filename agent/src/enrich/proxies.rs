//! For whom a proxy calls whose event loop reads a request and calls for it before it does anything else (nginx): parents while
//! many requests overlap.
//!
//! In: what the loop did over its sockets, in order; calls and requests as they start and end. Out: the request that a call was
//! made for, or that nobody knows.
//!
//! A call that directly follows the last bytes of a request is that request's, unless both were put off: a limit, a lock of a cache, a
//! name that is looked up let one call when its time comes, which may be just after another was read that has to wait as well. So
//! nobody knows for certain of whom a call is while another request is free: neither answered nor called for. It is taken for that of the
//! one that was read, so that as many stay free as are; but then the end has to tell the same. It is the same of what follows the
//! answer to a call of a request that is not answered yet (a question to another before, a second attempt). A call that connects was
//! made when it began to connect, for whatever is written later.
//!
//! The end tells as well: a request whose answer directly follows the whole answer to a call, with its status, was waiting for that. This
//! confirms a call of which its start did not tell enough, and takes back a parent that it contradicts; so does a request that is answered while
//! nothing has come of its call.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::counts::Counts;
use super::nodes::Nodes;
use super::parents::passes_on;
use super::process::Process;
use super::{Evidence, Limits, Refusal};
use crate::attach::ProcessFacts;
use crate::capture::event::ConnectionId;
use crate::clock::Monotonic;
use crate::decode::exchange::{
    Answering, Exchange, ExchangeId, Moved, Moving, Outcome, Side, Started,
};
use crate::few::Few;
use crate::hash::{WordMap, WordSet};

/// A callback that reads goes on at once. Later: the thread had to wait for a CPU, or the loop turned.
const AT_ONCE: Duration = Duration::from_millis(10);
/// What the loop of a process did last (50 bytes each), and requests that were free until lately. A connection that took so long that what
/// was before is forgotten tells nothing.
const MOMENTS_MAX: usize = 256;
/// Connections of a process that may carry requests which are not seen. More: its calls have no parent by its loop for good.
const HIDDEN_MAX: usize = 4096;

/// Whether a process is such a proxy.
pub fn is_proxy(facts: &ProcessFacts) -> bool {
    facts.executable_name() == "nginx"
}

/// A proxy's process.
#[derive(Debug, Default)]
pub struct Proxy {
    /// Those that are open.
    requests: WordMap<ExchangeId, Request>,
    /// Of them, those that are free, and since when.
    free: BTreeMap<ExchangeId, Monotonic>,
    /// From when to when others were, in the order in which that became known.
    left: VecDeque<(Monotonic, Monotonic)>,
    /// Some that were free until then are forgotten.
    forgotten: Monotonic,
    /// Open calls whose request is known.
    calls: WordMap<ExchangeId, Caller>,
    /// Open calls over kept connections of which nobody knows for certain who made them, and when that was.
    alone: WordMap<ExchangeId, Monotonic>,
    moments: VecDeque<Moment>,
    /// The call that ended last.
    ended: Option<Ended>,
    hidden: WordSet<ConnectionId>,
    hidden_full: bool,
    /// The connection whose exchange went on as something else last: it carries no more requests.
    upgraded: Option<ConnectionId>,
    /// What its TLS sessions carry is seen.
    decrypts: bool,
}

#[derive(Debug, Default)]
struct Request {
    is_answered: bool,
    /// A call that is known to be its, of whose answer nothing has come.
    asks: Option<ExchangeId>,
    /// Its calls before that, if the end has to tell whether they are its.
    before: Few<ExchangeId>,
}

/// For whom a call is made.
#[derive(Clone, Copy, Debug)]
struct Caller {
    request: ExchangeId,
    /// No other was free; else its end has to tell the same.
    is_certain: bool,
}

/// One thing that the loop did.
#[derive(Debug)]
struct Moment {
    time: Monotonic,
    what: Moved,
    /// For whom the loop runs on from there.
    caller: Option<Caller>,
    /// The first call that was made then.
    followed_by: Option<ExchangeId>,
}

#[derive(Debug)]
struct Ended {
    call: ExchangeId,
    caller: Option<Caller>,
    /// Nobody knows who made it, then.
    alone: Option<Monotonic>,
    /// Of its answer, if that is whole.
    status: Option<u16>,
}

/// What the start of an answer tells of the call whose answer was read before it.
enum Told {
    Confirmed(Few<ExchangeId>),
    /// The same, if the request was there by then.
    ConfirmedSince(ExchangeId, Monotonic),
    Contradicted(ExchangeId),
}

impl Proxy {
    /// Whether a request may be the one that calls.
    pub fn may_call(&self, request: ExchangeId) -> bool {
        self.free.contains_key(&request)
    }

    /// A connection may carry requests that are not seen, unless it went on as something else, or does so until its TLS is seen.
    pub fn hide(&mut self, connection: ConnectionId, is_tls: bool) {
        if self.upgraded == Some(connection) || is_tls && self.decrypts {
            return;
        }
        match self.hidden.len() < HIDDEN_MAX {
            true => _ = self.hidden.insert(connection),
            false => self.hidden_full = true,
        }
    }

    pub fn reveal(&mut self, connection: ConnectionId, is_decrypted: bool) {
        self.hidden.remove(&connection);
        self.decrypts |= is_decrypted;
    }

    pub fn is_hidden(&self) -> bool {
        self.hidden_full || !self.hidden.is_empty()
    }

    /// Records were lost: what happened meanwhile is not known.
    pub fn lost(&mut self) {
        self.moments.clear();
    }

    pub fn served(&mut self, request: ExchangeId, time: Monotonic) {
        self.requests.insert(request, Request::default());
        self.free.insert(request, time);
    }

    pub fn finished(&mut self, exchange: &Exchange) {
        if exchange.upgraded {
            self.upgraded = Some(exchange.link.id);
        }
        if exchange.side == Side::Server {
            self.requests.remove(&exchange.id);
            self.leave(exchange.id, exchange.ended);
            return;
        }
        self.heard(exchange.id);
        let caller = self.calls.remove(&exchange.id);
        if let Some(caller) = caller.filter(|caller| self.waits(caller.request)) {
            self.free.insert(caller.request, exchange.ended);
        }
        let is_whole = exchange.outcome == Outcome::Complete;
        self.ended = Some(Ended {
            call: exchange.id,
            caller,
            alone: self.alone.remove(&exchange.id),
            status: exchange.response.status.filter(|_| is_whole),
        });
    }

    /// The loop did something.
    pub fn moved(&mut self, moving: &Moving) {
        let caller = match moving.what {
            Moved::Request(request) => Some(Caller {
                request,
                is_certain: true,
            }),
            Moved::Answer(call) => self.answer(call),
            Moved::Call | Moved::Other => None,
        };
        if self.moments.len() >= MOMENTS_MAX {
            self.moments.pop_front();
        }
        self.moments.push_back(Moment {
            time: moving.time,
            what: moving.what,
            caller,
            followed_by: None,
        });
    }

    /// Whether a request is not being answered.
    fn waits(&self, request: ExchangeId) -> bool {
        let request = self.requests.get(&request);
        request.is_some_and(|request| !request.is_answered)
    }

    /// A request is free no more from then on. Gives whether it was.
    fn leave(&mut self, request: ExchangeId, time: Monotonic) -> bool {
        let Some(since) = self.free.remove(&request) else {
            return false;
        };
        if self.left.len() >= MOMENTS_MAX {
            let oldest = self.left.pop_front();
            let until = oldest.map_or(Monotonic(0), |(_, until)| until);
            self.forgotten = self.forgotten.max(until);
        }
        self.left.push_back((since, time));
        true
    }

    /// Something came of a call.
    fn heard(&mut self, call: ExchangeId) {
        let caller = self.calls.get(&call);
        if let Some(request) = caller.and_then(|caller| self.requests.get_mut(&caller.request)) {
            request.asks.take_if(|asks| *asks == call);
        }
    }

    /// Some of the answer to a call was read: for whom that was made.
    fn answer(&mut self, call: ExchangeId) -> Option<Caller> {
        self.heard(call);
        let ended = self.ended.as_ref().filter(|ended| ended.call == call);
        let ended = ended.and_then(|ended| ended.caller);
        self.calls.get(&call).copied().or(ended)
    }

    /// A call began: the request that it was made for, if its start tells.
    fn called(&mut self, started: &Started) -> Option<ExchangeId> {
        let since = began(started);
        let place = match started.first_on_connection {
            true => {
                let mut moments = self.moments.iter();
                moments.rposition(|moment| moment.time <= since)?
            }
            false => self.moments.len().checked_sub(1)?,
        };
        let moment = self.moments.get_mut(place)?;
        let first = *moment.followed_by.get_or_insert(started.id);
        let (what, time, caller) = (moment.what, moment.time, moment.caller);
        if what == Moved::Call || first != started.id {
            // Both may be of one request (a mirror, parts of a page), which is not free then.
            self.alone.remove(&first);
            return None;
        }
        let caller = caller.filter(|_| since.since(time) <= AT_ONCE);
        let before = match (what, caller) {
            (Moved::Answer(before), Some(caller)) if !caller.is_certain => Some(before),
            _ => None,
        };
        let caller = match caller {
            Some(caller) if !self.leave(caller.request, since) => return None,
            Some(caller) => Some(Caller {
                is_certain: caller.is_certain && !self.others(time),
                ..caller
            }),
            None => None,
        };
        let certain = caller.filter(|caller| caller.is_certain);
        if certain.is_none() && !started.first_on_connection {
            self.alone.insert(started.id, since);
        }
        if let Some(caller) = caller {
            self.asks(started.id, caller, before);
        }
        certain.map(|certain| certain.request)
    }

    /// A call is probably a request's. `before`: so is this one, whose answer it follows.
    fn asks(&mut self, call: ExchangeId, caller: Caller, before: Option<ExchangeId>) {
        self.calls.insert(call, caller);
        if let Some(request) = self.requests.get_mut(&caller.request) {
            request.asks = Some(call);
            before
                .into_iter()
                .for_each(|before| request.before.push(before));
        }
    }

    /// Whether others than who called directly after that time may have been free then.
    fn others(&self, time: Monotonic) -> bool {
        let was_free = |(since, until): &(Monotonic, Monotonic)| *since <= time && *until > time;
        let called = self.left.len().saturating_sub(1);
        self.forgotten > time
            || self.free.values().any(|since| *since <= time)
            || self.left.iter().take(called).any(was_free)
    }

    /// A request begins to be answered.
    fn answering(&mut self, answering: &Answering) -> Option<Told> {
        let request = answering.id;
        let known = self.requests.get_mut(&request)?;
        known.is_answered = true;
        let mut calls = std::mem::take(&mut known.before);
        // What it is answered with is not that call's.
        let asks = known.asks.take();
        let asked = asks.and_then(|asks| self.calls.get(&asks)).copied();
        if asked.is_some_and(|asked| asked.is_certain) {
            return asks.map(Told::Contradicted);
        }
        let was_free = self.leave(request, answering.time) || asked.is_some();
        let moment = self.moments.back()?;
        let ended = self.ended.as_ref()?;
        let follows = moment.what == Moved::Answer(ended.call)
            && answering.time.since(moment.time) <= AT_ONCE
            && ended.status.is_some()
            && ended.status == answering.status;
        if !follows {
            return None;
        }
        match ended.caller {
            Some(caller) if caller.request == request => {
                calls.push(ended.call);
                (!caller.is_certain).then_some(Told::Confirmed(calls))
            }
            Some(caller) if caller.is_certain => {
                let waits = self.waits(caller.request);
                waits.then_some(Told::Contradicted(ended.call))
            }
            _ => {
                let since = ended.alone.filter(|_| was_free)?;
                Some(Told::ConfirmedSince(ended.call, since))
            }
        }
    }
}

/// When a call was made: one that connected, when that began.
fn began(started: &Started) -> Monotonic {
    match started.first_on_connection {
        true => Monotonic(started.link.id.generation),
        false => started.origin.time,
    }
}

/// The request that a call of a proxy was made for, as far as its start tells.
pub fn ask(started: &Started, process: &mut Process) -> Option<ExchangeId> {
    let proxy = process.proxy.as_mut()?;
    if proxy.is_hidden() {
        return None;
    }
    proxy.called(started)
}

/// A request begins to be answered: what that tells of calls.
pub fn answer(
    answering: &Answering,
    process: &mut Process,
    nodes: &mut Nodes,
    limits: &Limits,
    counts: &mut Counts,
) {
    let proxy = process.proxy.as_mut();
    let (calls, since) = match proxy.and_then(|proxy| proxy.answering(answering)) {
        Some(Told::Confirmed(calls)) => (calls, None),
        Some(Told::ConfirmedSince(call, since)) => (Few::One(call), Some(since)),
        Some(Told::Contradicted(call)) => {
            counts.undone += u64::from(nodes.orphan(call));
            return;
        }
        None => return,
    };
    for call in calls.as_slice() {
        if let Some(told) = confirmed(*call, since, answering, process, nodes) {
            let told = told
                .and_then(|()| nodes.adopt(*call, answering.id, Evidence::Turn, limits, counts));
            counts.judged(told.map(|()| Evidence::Turn));
        }
    }
}

/// Whether a call may have the request for its parent; `None`: it says itself whose child it is.
fn confirmed(
    call: ExchangeId,
    since: Option<Monotonic>,
    answering: &Answering,
    process: &Process,
    nodes: &Nodes,
) -> Option<Result<(), Refusal>> {
    let (node, request) = nodes.get(call).zip(nodes.get(answering.id))?;
    if !passes_on(nodes, call, answering.id) {
        return None;
    }
    let is_in_shadow = process.in_shadow(answering.time) || process.in_shadow(node.started);
    let is_hidden = process
        .proxy
        .as_ref()
        .is_some_and(|proxy| proxy.is_hidden());
    Some(match () {
        () if is_in_shadow || request.unsure => Err(Refusal::Loss),
        () if is_hidden => Err(Refusal::Opaque),
        // It came later than the call.
        () if since.is_some_and(|since| request.started > since) => Err(Refusal::Ambiguous),
        () => Ok(()),
    })
}
