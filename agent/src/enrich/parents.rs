//! Who called whom: the heart of this room. A wrong parent is worse than none.
//!
//! In: exchanges as they start and end, and what is known of their processes. Out: links between [`Nodes`], each by
//! the strongest evidence there is, and counted refusals. From the strongest:
//! 1. the request's own trace context (set when the node is born; overruled only by an exchange that carries the very
//!    same context, because that one passed it on);
//! 2. both ends of the connection on this node ([`Wire`]);
//! 3. the task that makes the call and answers the request ([`tasks`]), which may be known only when it answers; or the
//!    thread, where another read the request;
//! 4. the turn of the event loop that makes the call, and the one that answers the request ([`turns`], [`proxies`]);
//! 5. the thread (where threads wait for their calls), or for Go the goroutine, that works for exactly one open server
//!    exchange; a thread that was started for it works for it too, until it is over ([`Threads`]);
//! 6. the one open server exchange of the process.
//!
//! 3 to 6 are refused in the shadow of a loss. By thread and by process they are also refused for endpoints that the
//! process calls by itself ([`Calls`]), and taken back when the call outlives the request; from both, the process is
//! known better afterwards. What is known by the process alone is judged when its span is due, call by call ([`Trust`]).
//!
//! [`proxies`]: super::proxies
//! [`tasks`]: super::tasks
//! [`turns`]: super::turns
//! [`Calls`]: super::calls::Calls
//! [`Threads`]: super::threads::Threads
//! [`Trust`]: super::trust::Trust

use std::time::Duration;

use super::counts::Counts;
use super::goroutines::ANCESTORS_MAX;
use super::nodes::{Node, Nodes};
use super::process::Process;
use super::proxies;
use super::tasks;
use super::threads::Purpose;
use super::turns::{self, Beginning};
use super::wire::{Ends, Wire};
use super::{Evidence, Limits, Refusal};
use crate::capture::event::Goroutine;
use crate::clock::Monotonic;
use crate::decode::exchange::{ExchangeId, Side, Started};

/// A first request is sent at once by who dialled. Later: the connection may have changed hands.
const DIAL_TO_WRITE_MAX: Duration = Duration::from_millis(10);

type Candidate = Result<Option<(ExchangeId, Evidence)>, Refusal>;

/// Links a client exchange to the server exchange of its process that it works for. False: it would have helped to know since
/// when its goroutine is there.
pub fn ask(
    started: &Started,
    process: &mut Process,
    nodes: &mut Nodes,
    limits: &Limits,
    counts: &mut Counts,
) -> bool {
    process.call(started.id, started.link.id, started.origin.thread);
    let by_proxy = proxies::ask(started, process);
    let candidate = asker(started, by_proxy, process, nodes);
    let alone = by_process(started, process, nodes).ok().flatten();
    let alone = alone.map(|_| process.alone(started.origin.time));
    if let Some(alone) = alone {
        nodes.alone(started.id, alone);
    }
    if process.threads.is_left(started.origin.thread) {
        nodes.doubt(started.id);
    }
    process.threads.called(started.origin.thread);
    remember(started, process);
    if let (Some(alone), Ok(Some((_, evidence)))) = (alone, &candidate) {
        // Threads of pools may turn out to prove nothing, and turns tell of some of a request's calls only; others earn no trust
        // for what is known by the process alone.
        let is_by_process = matches!(evidence, Evidence::Process | Evidence::Turn)
            || *evidence == Evidence::Thread && process.pools_threads();
        process.nested(
            &started.link.remote,
            started.origin.time,
            alone,
            is_by_process,
        );
    }
    tasks::ask(started, process, nodes);
    turns::ask(started, process);
    let context = nodes.get(started.id).and_then(|node| node.context.as_ref());
    let linked = match candidate {
        Ok(None) => return true,
        Ok(Some((server, evidence))) if passes_on(nodes, started.id, server) => nodes
            .link(started.id, server, evidence, limits)
            .map(|()| evidence),
        // The request says itself whose child it is.
        Ok(Some(_)) => return true,
        Err(_) if context.is_some() => return true,
        Err(refusal) => Err(refusal),
    };
    counts.judged(linked);
    note_birth(started, linked, process, nodes, counts);
    linked != Err(Refusal::Birth)
}

/// Links the two ends of a connection that is on this node at both ends, whichever started first.
pub fn meet(
    started: &Started,
    wire: &mut Wire,
    nodes: &mut Nodes,
    limits: &Limits,
    counts: &mut Counts,
) {
    let Some(name) = nodes.get(started.id).and_then(|node| node.name) else {
        return;
    };
    let ends = wire.insert(started.id, started.side, name);
    let pair = match started.side {
        Side::Server => {
            the_client(nodes, ends.clients(), started.id).map(|client| (started.id, client))
        }
        Side::Client => the_server(nodes, ends, started.id),
    };
    let (server, client) = match pair {
        Ok(pair) => pair,
        Err(None) => return,
        Err(Some(refusal)) => return counts.judged(Err(refusal)),
    };
    let linked = same_context(nodes, client, server)
        .and_then(|()| nodes.link(server, client, Evidence::Connection, limits));
    wire.remove(server, name);
    wire.remove(client, name);
    counts.judged(linked.map(|()| Evidence::Connection));
}

/// The server exchange that a client exchange works for, if that is certain.
/// `by_proxy`: the one that a proxy's event loop runs for.
fn asker(
    started: &Started,
    by_proxy: Option<ExchangeId>,
    process: &Process,
    nodes: &Nodes,
) -> Candidate {
    if process.serves_nothing() {
        return Ok(None);
    }
    let time = started.origin.time;
    if process.in_shadow(time) {
        return Err(Refusal::Loss);
    }
    if let Some(server) = tasks::answered(started, process, nodes) {
        let by_task = started.task.map(|_| Evidence::Task);
        return Ok(Some((server, by_task.unwrap_or(Evidence::Thread))));
    }
    let beginning = turns::beginning(started, process);
    let beginning = by_proxy.map_or(beginning, Beginning::Known);
    let found = match (beginning, started.goroutine) {
        (Beginning::Known(request), _) => Some((request, Evidence::Turn)),
        (_, Some(goroutine)) => by_goroutine(goroutine, started, process, nodes)?,
        _ if process.threads_wait() && started.task.is_none() => by_thread(started, process)?,
        _ => None,
    };
    let found = match found {
        Some(found) => found,
        None => match by_process(started, process, nodes)? {
            Some(found) => found,
            None => return Ok(None),
        },
    };
    match nodes.get(found.0) {
        Some(server) if server.unsure => Err(Refusal::Loss),
        Some(_) => Ok(Some(found)),
        None => Err(Refusal::Closed),
    }
}

fn by_thread(started: &Started, process: &Process) -> Candidate {
    let thread = started.origin.thread;
    let server = match (process.on_thread(thread)?, process.threads.purpose(thread)) {
        (Some(server), _) | (None, Some(Purpose::Request(server))) => server,
        (None, Some(Purpose::Past)) => return Err(Refusal::Background),
        (None, None) => return Ok(None),
    };
    background(started, process, true)?;
    Ok(Some((server, Evidence::Thread)))
}

fn by_process(started: &Started, process: &Process, nodes: &Nodes) -> Candidate {
    let Some(server) = process.in_process()? else {
        return Ok(None);
    };
    let proxy = process.proxy.as_ref();
    if proxy.is_some_and(|proxy| !proxy.may_call(server)) {
        return Err(Refusal::Ambiguous);
    }
    let request = started.task.zip(nodes.get(server));
    if request.is_some_and(|(task, request)| tasks::is_older(task, request)) {
        return Ok(None);
    }
    // A thread that called while nothing was served is none that a request waits for.
    if process.threads_wait() && !process.pools_threads() && started.task.is_none() {
        background(started, process, true)?;
    }
    background(started, process, false)?;
    Ok(Some((server, Evidence::Process)))
}

/// The goroutine that asked, where that is known; or the one that wrote, if the connection is its own; else the one that
/// dialled, for its first request.
fn by_goroutine(
    writer: Goroutine,
    started: &Started,
    process: &Process,
    nodes: &Nodes,
) -> Candidate {
    let from = match started.link.dialer {
        _ if started.asked => writer.id,
        Some(dialer) if writer.id != dialer.id && writer.parent == dialer.id => {
            if !is_own_dial(started, process) {
                return Ok(None);
            }
            dialer.parent
        }
        _ => writer.id,
    };
    match descent(from, started.origin.time, process, nodes)? {
        // What the process tells is weaker, and does not contradict it.
        Lineage::MayServe if is_handed_on(started, process) => Ok(None),
        Lineage::MayServe => Err(Refusal::Birth),
        Lineage::Serves(server) => Ok(Some((server, Evidence::Goroutine))),
        // Without its dialer, the writer may be a goroutine of the connection that writes for all.
        Lineage::Known(since) if started.asked || started.link.dialer.is_some() => {
            let began = |id| nodes.get(id).map(|node| node.started);
            let is_older = |id| began(id).is_some_and(|began| since < began);
            match process.serving().all(is_older) {
                true => Err(Refusal::Lineage),
                false => Ok(None),
            }
        }
        Lineage::Known(_) | Lineage::Unknown => Ok(None),
    }
}

/// net/http writes by a goroutine of the connection, a child of the one that dialled, itself a child of the one that
/// asked. The connection may be handed to another asker, unless nothing else was going on.
fn is_own_dial(started: &Started, process: &Process) -> bool {
    let Some(established) = started.link.established else {
        return false;
    };
    is_fresh(started) && process.calls.dial_is_own(&started.link.remote, established)
}

fn is_fresh(started: &Started) -> bool {
    let time = started.origin.time;
    started.first_on_connection
        && started.link.established.is_some_and(|established| {
            established <= time && time.since(established) <= DIAL_TO_WRITE_MAX
        })
}

/// Whether a goroutine that a request may have started asks over a connection of the pool while nothing else is served.
fn is_handed_on(started: &Started, process: &Process) -> bool {
    started.asked && !is_own_dial(started, process) && matches!(process.in_process(), Ok(Some(_)))
}

/// Where a goroutine comes from.
enum Lineage {
    Serves(ExchangeId),
    /// From one that serves; but an earlier request on the same connection may have started it.
    MayServe,
    /// From none that serves; it, or an ancestor, is known since then.
    Known(Monotonic),
    Unknown,
}

/// Walks from a goroutine to its ancestors until one serves. A descendant may be left over from an earlier request on the same
/// connection. It is not where the child of the one that serves, by which it descends from that, is known to be born since
/// ([`Births`]); nor of a connection's first request, unless it is known from before (a worker that serves many connections).
///
/// [`Births`]: super::births::Births
fn descent(
    from: u64,
    time: Monotonic,
    process: &Process,
    nodes: &Nodes,
) -> Result<Lineage, Refusal> {
    let mut goroutine = from;
    let mut child = None;
    let mut oldest: Option<Monotonic> = None;
    for _ in 0..ANCESTORS_MAX {
        if let Some(server) = process.on_goroutine(goroutine)? {
            let is_since = child.is_some_and(|child| process.births.is_since(server, child));
            let is_its_own = |node: &Node| {
                let is_first = |oldest| node.first_on_connection && oldest >= node.started;
                let may_be_its = |oldest| is_since || is_first(oldest);
                oldest.is_none_or(|oldest| may_be_its(oldest) && !process.births.has_pools(time))
            };
            return match nodes.get(server) {
                Some(node) if !is_its_own(node) => Ok(Lineage::MayServe),
                _ => Ok(Lineage::Serves(server)),
            };
        }
        let Some(known) = process.goroutines.get(goroutine) else {
            break;
        };
        // What it does after its answer is for none that is open.
        if known.serves {
            return Err(Refusal::Lineage);
        }
        oldest = Some(oldest.map_or(known.seen, |oldest| oldest.min(known.seen)));
        child = Some(goroutine);
        goroutine = known.parent;
    }
    Ok(oldest.map_or(Lineage::Unknown, Lineage::Known))
}

/// Remembers for which request a goroutine calls that another which serves has started; one that works on when that is over is
/// of a pool, and nobody knows for whom it called before.
fn note_birth(
    started: &Started,
    linked: Result<Evidence, Refusal>,
    process: &mut Process,
    nodes: &mut Nodes,
    counts: &mut Counts,
) {
    let asker = started.goroutine.filter(|_| started.asked);
    let child = asker.and_then(|asker| process.goroutines.child_of_server(asker.id));
    let Some(child) = child else {
        return;
    };
    match linked {
        Ok(Evidence::Goroutine) => {
            let node = nodes.get(started.id);
            if let Some(parent) = node.and_then(|node| node.parent.as_ref()) {
                process.births.calls(child, parent.exchange, started.id);
            }
        }
        Ok(Evidence::Process) | Err(Refusal::Birth | Refusal::Lineage) => {
            let time = started.origin.time;
            let before = process.births.calls_on(child, time, nodes);
            for call in before.as_slice() {
                counts.undone += u64::from(nodes.orphan(*call));
            }
        }
        _ => {}
    }
}

fn background(started: &Started, process: &Process, own_thread: bool) -> Result<(), Refusal> {
    let thread = own_thread.then_some(started.origin.thread);
    let remote = &started.link.remote;
    if process
        .calls
        .is_background(remote, thread, started.origin.time)
    {
        return Err(Refusal::Background);
    }
    Ok(())
}

fn remember(started: &Started, process: &mut Process) {
    let (remote, origin) = (&started.link.remote, started.origin);
    process
        .calls
        .record(remote, origin.time, !is_fresh(started));
    if process.in_shadow(origin.time) {
        return;
    }
    if process.serves_nothing() {
        process.calls.idle(remote, origin.thread, origin.time);
    }
}

/// Whether the client exchange carries no context, or the very one that the server exchange came with.
pub fn passes_on(nodes: &Nodes, client: ExchangeId, server: ExchangeId) -> bool {
    let context = |id| nodes.get(id).and_then(|node| node.context.as_ref());
    match (context(client), context(server)) {
        (None, _) => true,
        (Some(sent), Some(came)) => sent.same(came),
        (Some(_), None) => false,
    }
}

/// The same bytes carry the same context: what came with one that was not sent came from elsewhere.
fn same_context(nodes: &Nodes, client: ExchangeId, server: ExchangeId) -> Result<(), Refusal> {
    let context = |id| nodes.get(id).and_then(|node| node.context.as_ref());
    match (context(client), context(server)) {
        (_, None) => Ok(()),
        (Some(sent), Some(came)) if sent.same(came) => Ok(()),
        _ => Err(Refusal::Context),
    }
}

/// The one client exchange that was open when the server exchange started.
fn the_client(
    nodes: &Nodes,
    clients: &[ExchangeId],
    server: ExchangeId,
) -> Result<ExchangeId, Option<Refusal>> {
    let Some(server) = nodes.get(server) else {
        return Err(None);
    };
    let mut open = clients.iter().filter(|client| {
        nodes
            .get(**client)
            .is_some_and(|client| can_be_ends(client, server))
    });
    match (open.next(), open.next()) {
        (Some(client), None) => Ok(*client),
        (None, _) => Err(None),
        _ => Err(Some(Refusal::Ambiguous)),
    }
}

/// The one server exchange that is open and started while this client exchange, and no other, was open.
fn the_server(
    nodes: &Nodes,
    ends: &Ends,
    client: ExchangeId,
) -> Result<(ExchangeId, ExchangeId), Option<Refusal>> {
    let Some(node) = nodes.get(client) else {
        return Err(None);
    };
    let mut open = ends.servers().iter().filter(|server| {
        nodes
            .get(**server)
            .is_some_and(|server| server.ended.is_none() && can_be_ends(node, server))
    });
    match (open.next(), open.next()) {
        (Some(server), None) => {
            the_client(nodes, ends.clients(), *server).map(|client| (*server, client))
        }
        (None, _) => Err(None),
        _ => Err(Some(Refusal::Ambiguous)),
    }
}

/// Whether a server exchange started while the client exchange was open, as far as clocks can tell.
fn can_be_ends(client: &Node, server: &Node) -> bool {
    client.open_at(server.started, Evidence::Connection)
}
