//! Back end "socket tracepoints": the kernel tells of every call that moved bytes over a socket, with the socket.
//!
//! Hooks: `sock_send_length`, `sock_recv_length` (Linux 6.3 and later; seen on 6.12, 6.18, 7.2), after the call,
//! in the caller's thread; `tcp_sendmsg_locked` (6.16 and later), while a call is writing. Other system calls pay
//! nothing. Not seen: `splice` out of a socket and zero-copy reads, which leave a gap in the positions.

use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;
use spanlet_abi::state::turn;

use crate::copy::{self, Source};
use crate::emit;
use crate::log::probe_log;
use crate::maps::CONNECTIONS;
use crate::observe::{observe, Moved};
use crate::process;
use crate::registers::{direction, number, SystemCall};
use crate::select::{self, Traced};

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
/// when they end, which for a long blocking one is late. Who writes is not asked: an unknown socket is answer enough.
#[raw_tracepoint(tracepoint = "tcp_sendmsg_locked")]
pub fn tcp_sendmsg_locked(context: RawTracePointContext) -> i32 {
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
    let plain = match call.number {
        number::READ | number::RECVFROM => !egress,
        number::WRITE | number::SENDTO => egress,
        _ => false,
    };
    // Nothing was asked for: not the end of the stream.
    if plain && size == 0 && call.arguments[2] == 0 {
        return;
    }
    let mut source = Source::buffer(call.arguments[1]);
    if !plain {
        other_source(traced, &call, egress, &mut source);
    }
    observe(
        traced,
        &Moved {
            socket,
            egress,
            size,
            system_call: call.number,
            source,
        },
    );
}

/// Calls other than the plain ones, which most are.
#[inline(never)]
fn other_source(traced: &Traced, call: &SystemCall, egress: bool, source: &mut Source) {
    *source = match (call.number, direction(call.number)) {
        (number::IO_URING_ENTER, _) => {
            process::tell_io_uring(traced);
            Source::UNKNOWN
        }
        (number::SPLICE, _) if egress => Source::FILE,
        // The tracepoint fires for each message and does not say which: only a lone one is known.
        (number::SENDMMSG | number::RECVMMSG, _) if call.arguments[2] != 1 => Source::UNKNOWN,
        (_, Some(writes)) if writes == egress => copy::source(call),
        // Work of io_uring that the kernel did within another call, or a 32-bit program.
        _ => Source::UNKNOWN,
    }
}
