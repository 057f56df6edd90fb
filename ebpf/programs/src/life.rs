//! Births, readiness and deaths of TCP sockets, for both back ends.
//!
//! Hooks: `inet_sock_set_state` and `tcp_destroy_sock` (every supported kernel), `sk_data_ready` (6.3 and later).
//! They run in interrupts too, where there is no process to ask about: the question is whether the socket is known.

use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;
use spanlet_abi::loss;
use spanlet_abi::record::{flag, kind, Closed, Listen, NOT_KNOWN};
use spanlet_abi::state::{initiator, Connection, Process};

use crate::connection::{self, network_namespace};
use crate::constants::constant;
use crate::kernel::field;
use crate::maps::{CONNECTIONS, LISTENERS, PLACES, PORTS, PROCESSES, SCRATCH};
use crate::select::{self, Traced};
use crate::{emit, goroutine, turn};

/// include/net/tcp_states.h
const ESTABLISHED: i32 = 1;
const SYN_SENT: i32 = 2;
const SYN_RECV: i32 = 3;
const FIN_WAIT1: i32 = 4;
const FIN_WAIT2: i32 = 5;
const CLOSE: i32 = 7;
const CLOSE_WAIT: i32 = 8;
const LAST_ACK: i32 = 9;
const LISTEN: i32 = 10;

/// `sk_err` of a connection that the other side reset (`tcp_reset`).
const EPIPE: i32 = 32;
const ECONNRESET: i32 = 104;

/// Holds the listeners of services that are started by their first connection: never traced for a port.
const INIT: u32 = 1;

/// `SHUTDOWN_MASK`: neither reads nor writes any more.
const SHUT_BOTH_WAYS: u8 = 3;

/// `inet_sock_set_state(sk, oldstate, newstate)`
#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
pub fn inet_sock_set_state(context: RawTracePointContext) -> i32 {
    let socket: u64 = context.arg(0);
    let (old, new): (i32, i32) = (context.arg(1), context.arg(2));
    match new {
        SYN_SENT => connecting(socket),
        ESTABLISHED => established(socket, old),
        LISTEN => listening(socket),
        FIN_WAIT1 | LAST_ACK => closing(socket),
        CLOSE if old == LISTEN => no_longer_listening(socket),
        CLOSE if matches!(old, FIN_WAIT1 | FIN_WAIT2) => cut_off(socket),
        CLOSE if matches!(old, ESTABLISHED | CLOSE_WAIT | SYN_SENT | SYN_RECV) => {
            cut_off(socket);
            closing(socket)
        }
        _ => {}
    }
    0
}

/// `tcp_destroy_sock(sk)`
#[raw_tracepoint(tracepoint = "tcp_destroy_sock")]
pub fn tcp_destroy_sock(context: RawTracePointContext) -> i32 {
    let socket: u64 = context.arg(0);
    if let Some(state) = CONNECTIONS.get_ptr_mut(&socket) {
        // SAFETY: a live entry of the map.
        closed(socket, unsafe { &*state });
    }
    0
}

/// `sk_data_ready(sk)`: bytes arrived. The first arrival since the last read is kept.
#[raw_tracepoint(tracepoint = "sk_data_ready")]
pub fn sk_data_ready(context: RawTracePointContext) -> i32 {
    let socket: u64 = context.arg(0);
    if let Some(state) = CONNECTIONS.get_ptr_mut(&socket) {
        // SAFETY: a live entry of the map.
        let state = unsafe { &mut *state };
        if state.ready_ns == 0 {
            state.ready_ns = emit::now();
        }
    }
    0
}

/// In the thread that connects.
#[inline(always)]
fn connecting(socket: u64) {
    let Some(traced) = select::traced() else {
        return;
    };
    if !connection::is_tcp(socket) {
        return;
    }
    let mut fresh = connection::first_sight(emit::now(), initiator::CONNECTED);
    if let Some(scratch) = SCRATCH.get_ptr_mut(0) {
        // SAFETY: this CPU's, which only one program at a time uses.
        let scratch = unsafe { &mut (*scratch).goroutine };
        (fresh.goroutine, fresh.parent_goroutine) = goroutine::current(&traced, scratch);
    }
    fresh.asker = turn::dialing(&traced);
    connection::insert(socket, &fresh);
}

#[inline(always)]
fn established(socket: u64, old: i32) {
    let now_ns = emit::now();
    if old == SYN_RECV {
        if LISTENERS.get_ptr(&place(socket)).is_some() {
            let mut fresh = connection::first_sight(now_ns, initiator::ACCEPTED);
            fresh.established_ns = now_ns;
            connection::insert(socket, &fresh);
        }
    } else if let Some(state) = CONNECTIONS.get_ptr_mut(&socket) {
        // SAFETY: a live entry of the map.
        unsafe { (*state).established_ns = now_ns };
    }
}

/// Where a socket listens: network namespace and port.
#[inline(always)]
pub fn place(socket: u64) -> u64 {
    (network_namespace(socket) as u64) << 16 | port(socket) as u64
}

#[inline(always)]
fn port(socket: u64) -> u16 {
    field(socket, constant!(OFFSETS.sock_local_port)).unwrap_or(0)
}

/// In the thread that listens: a traced process, or one whose port was named.
#[inline(always)]
fn listening(socket: u64) {
    if !connection::is_tcp(socket) {
        return;
    }
    let Some(traced) = select::traced().or_else(|| chosen_by_port(port(socket))) else {
        return;
    };
    enter(socket);
    let told = Listen {
        header: emit::header::<Listen>(kind::LISTEN, 0, traced.process, traced.thread),
        network_namespace: network_namespace(socket),
        port: port(socket),
        family: field(socket, constant!(OFFSETS.sock_family)).unwrap_or(0),
    };
    emit::record(traced.state, &told);
}

#[inline(always)]
fn chosen_by_port(port: u16) -> Option<Traced> {
    if constant!(SETTINGS.select_ports) == 0 {
        return None;
    }
    PORTS.get_ptr(&port)?;
    let process = (aya_ebpf::helpers::bpf_get_current_pid_tgid() >> 32) as u32;
    if process == INIT {
        return None;
    }
    crate::process::trace(process, &Process::default());
    PROCESSES.get_ptr_mut(&process)?;
    select::traced()
}

/// Counts one more listener in its place.
#[inline(always)]
fn enter(socket: u64) {
    let place = place(socket);
    let count = match LISTENERS.get_ptr(&place) {
        // SAFETY: a live entry of the map.
        Some(count) => unsafe { *count },
        None => 0,
    };
    let entered = LISTENERS.insert(&place, &(count + 1), 0).is_ok();
    if !entered || PLACES.insert(&socket, &place, 0).is_err() {
        emit::lose(loss::LISTENERS_FULL);
    }
}

#[inline(always)]
fn no_longer_listening(socket: u64) {
    let Some(place) = PLACES.get_ptr(&socket) else {
        return;
    };
    // SAFETY: a live entry of the map.
    let place = unsafe { *place };
    let _ = PLACES.remove(&socket);
    if let Some(count) = LISTENERS.get_ptr_mut(&place) {
        // SAFETY: as above.
        let count = unsafe { &mut *count };
        *count = count.saturating_sub(1);
        if *count == 0 {
            let _ = LISTENERS.remove(&place);
        }
    }
}

/// The other side reset the connection. Bytes that came before may still be read, so that the end is told when the
/// process closes.
#[inline(always)]
fn cut_off(socket: u64) {
    let error: i32 = field(socket, constant!(OFFSETS.sock_error)).unwrap_or(0);
    if error == ECONNRESET || error == EPIPE {
        if let Some(state) = CONNECTIONS.get_ptr_mut(&socket) {
            // SAFETY: a live entry of the map.
            unsafe { (*state).reset = 1 };
        }
    }
}

/// The process closed its end, unless it only shut its writing side and goes on reading.
#[inline(always)]
fn closing(socket: u64) {
    let Some(state) = CONNECTIONS.get_ptr(&socket) else {
        return;
    };
    let shut: u8 = field(socket, constant!(OFFSETS.sock_shutdown)).unwrap_or(SHUT_BOTH_WAYS);
    if shut == SHUT_BOTH_WAYS {
        // SAFETY: a live entry of the map.
        closed(socket, unsafe { &*state });
    }
}

#[inline(always)]
fn closed(socket: u64, state: &Connection) {
    if state.told != 0 {
        let flags = if state.reset != 0 { flag::RESET } else { 0 };
        let process_losses = match PROCESSES.get_ptr(&state.process) {
            // SAFETY: a live entry of the map.
            Some(process) => unsafe { (*process).losses },
            None => NOT_KNOWN,
        };
        let told = Closed {
            header: emit::header::<Closed>(kind::CLOSED, flags, state.process, 0),
            socket,
            generation: state.generation,
            process_losses,
            padding: 0,
        };
        emit::write(&told);
    }
    let _ = CONNECTIONS.remove(&socket);
}
