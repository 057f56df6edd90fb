//! Back end "socket tracepoints": the kernel tells of every call that moved bytes over a socket, with the socket.
//!
//! Hooks: `sock_send_length`, `sock_recv_length` (Linux 6.3 and later; seen on 6.12, 6.18, 7.2), after the call,
//! in the caller's thread; `tcp_sendmsg_locked` (6.16 and later), while a call is writing. Other system calls pay
//! nothing. Not seen: `splice` out of a socket and zero-copy reads, which leave a gap in the positions.

use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;
use spanlet_abi::record::kind;
use spanlet_abi::state::turn;

use crate::copy::{self, Source};
use crate::log::probe_log;
use crate::maps::CONNECTIONS;
use crate::observe::{observe, Moved};
use crate::process;
use crate::registers::{number, SystemCall};
use crate::select::{self, Traced};
use crate::{connection, emit};

/// recv(2) flags of calls that do not take bytes out of the stream: out-of-band, peek, error queue.
const MSG_ASIDE: i32 = 0x1 | 0x2 | 0x2000;

/// `sock_send_length(sk, ret, flags)`
#[raw_tracepoint(tracepoint = "sock_send_length")]
pub fn sock_send_length(context: RawTracePointContext) -> i32 {
    let sent: i32 = context.arg(1);
    if sent > 0 {
        if let Some(traced) = select::traced() {
            probe_log!(&context, "{} wrote {} bytes", traced.process, sent);
            moved(&traced, context.arg(0), true, sent as u32);
        }
    }
    0
}

/// `sock_recv_length(sk, ret, flags)`
#[raw_tracepoint(tracepoint = "sock_recv_length")]
pub fn sock_recv_length(context: RawTracePointContext) -> i32 {
    let received: i32 = context.arg(1);
    let flags: i32 = context.arg(2);
    // Many reads find nothing: they are let go before anything is looked up.
    if received >= 0 && flags & MSG_ASIDE == 0 {
        if let Some(traced) = select::traced() {
            probe_log!(&context, "{} read {} bytes", traced.process, received);
            moved(&traced, context.arg(0), false, received as u32);
        }
    }
    0
}

/// `tcp_sendmsg_locked(sk, msg, skb, size_goal)`: when the first write of a turn began. Calls are otherwise seen
/// when they end, which for a long blocking one is late.
#[raw_tracepoint(tracepoint = "tcp_sendmsg_locked")]
pub fn tcp_sendmsg_locked(context: RawTracePointContext) -> i32 {
    if select::traced().is_none() {
        return 0;
    }
    let socket: u64 = context.arg(0);
    if let Some(state) = CONNECTIONS.get_ptr_mut(&socket) {
        // SAFETY: a live entry of the map.
        let state = unsafe { &mut *state };
        if state.turn != turn::EGRESS && state.write_began_ns == 0 {
            state.write_began_ns = emit::now();
        }
    }
    0
}

#[inline(always)]
fn moved(traced: &Traced, socket: u64, egress: bool, size: u32) {
    let call = SystemCall::current();
    let (number, source) = match &call {
        Some(call) => (call.number, source(traced, call, socket)),
        None => (u32::MAX, Source::Unknown),
    };
    observe(
        traced,
        &Moved {
            socket,
            egress,
            size,
            system_call: number,
            source,
        },
    );
}

#[inline(always)]
fn source(traced: &Traced, call: &SystemCall, socket: u64) -> Source {
    match call.number {
        number::IO_URING_ENTER => {
            process::tell_io_uring(traced, kind::IO_URING);
            Source::Unknown
        }
        number::SENDMMSG | number::RECVMMSG => copy::source(call, message(call, socket)),
        _ => copy::source(call, 0),
    }
}

/// Which message of a `sendmmsg` or `recvmmsg` this is: the tracepoint fires for each in turn.
#[inline(always)]
fn message(call: &SystemCall, socket: u64) -> u32 {
    let Some(found) = connection::of(socket, emit::now()) else {
        return 0;
    };
    // SAFETY: a live entry of a map.
    let state = unsafe { &mut *found.state };
    let (vector, count) = (call.arguments[1], call.arguments[2] as u32);
    if state.vector != vector {
        state.vector = vector;
        state.vector_next = 0;
    }
    let index = state.vector_next;
    state.vector_next = index + 1;
    if state.vector_next >= count {
        state.vector = 0;
    }
    index
}
