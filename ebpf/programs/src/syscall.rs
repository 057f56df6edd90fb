//! Back end "sys_exit": one hook at the end of every system call. The portable fall-back: every other call pays
//! for it too.
//!
//! Hook: `raw_tp/sys_exit`, after the call, while its registers still hold the arguments. The descriptor leads to
//! the socket through the kernel's own tables. A closed descriptor leads nowhere: ends come from `life.rs`.

use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;
use spanlet_abi::state::initiator;

use crate::copy::{self, Source, MESSAGE_BYTES};
use crate::descriptor::socket_of;
use crate::kernel::user;
use crate::log::probe_log;
use crate::observe::{observe, Moved};
use crate::registers::{direction, number, SystemCall};
use crate::select::{self, Traced};
use crate::{connection, emit, process};

const MSG_ASIDE: u64 = 0x1 | 0x2 | 0x2000;
/// Offset of `msg_len` in `struct mmsghdr`.
const MESSAGE_LENGTH: u64 = 56;
/// Messages of one `sendmmsg` or `recvmmsg` whose bytes are counted. The positions tell of more.
const MESSAGES_MAX: u32 = 16;

/// `sys_exit(regs, ret)`
#[raw_tracepoint(tracepoint = "sys_exit")]
pub fn sys_exit(context: RawTracePointContext) -> i32 {
    let result: i64 = context.arg(1);
    // Many calls fail or find nothing: they are let go before anything is looked up.
    if result < 0 {
        return 0;
    }
    let Some(traced) = select::traced() else {
        return 0;
    };
    if let Some(call) = SystemCall::of(context.arg(0)) {
        probe_log!(
            &context,
            "{} call {} gave {}",
            traced.process,
            call.number,
            result
        );
        ended(&traced, &call, result);
    }
    0
}

#[inline(always)]
fn ended(traced: &Traced, call: &SystemCall, result: i64) {
    let [first, second, third, fourth] = call.arguments;
    let mut moved = Moved {
        socket: 0,
        egress: matches!(call.number, number::WRITE | number::SENDTO),
        size: result as u32,
        system_call: call.number,
        source: Source::buffer(second),
    };
    let is_plain = match call.number {
        number::READ | number::WRITE | number::SENDTO => true,
        number::RECVFROM => fourth & MSG_ASIDE == 0,
        _ => false,
    };
    if is_plain {
        // Nothing was asked for, or written: not the end of the stream.
        if result == 0 && (moved.egress || third == 0) {
            return;
        }
        match socket_of(first) {
            Some(socket) => moved.socket = socket,
            None => return,
        }
    } else if !otherwise(traced, call, result, &mut moved) {
        return;
    }
    observe(traced, &moved);
}

/// Calls other than the plain ones, which most are. False where there is nothing to observe.
#[inline(never)]
fn otherwise(traced: &Traced, call: &SystemCall, result: i64, moved: &mut Moved) -> bool {
    let [first, _, third, fourth] = call.arguments;
    match call.number {
        number::ACCEPT | number::ACCEPT4 => told_accepted(result as u64),
        number::CONNECT => told_connected(first),
        number::IO_URING_ENTER => process::tell_io_uring(traced),
        _ => {}
    }
    let aside = match call.number {
        number::RECVFROM | number::RECVMMSG => fourth & MSG_ASIDE != 0,
        number::RECVMSG => third & MSG_ASIDE != 0,
        _ => false,
    };
    let Some(egress) = direction(call.number).filter(|_| !aside) else {
        return false;
    };
    // A splice has a pipe at one end; a socket at the other end writes.
    (moved.socket, moved.egress) = match (socket_of(first), call.number) {
        (Some(socket), _) => (socket, egress),
        (None, number::SPLICE) => match socket_of(third) {
            Some(socket) => (socket, true),
            None => return false,
        },
        _ => return false,
    };
    if matches!(call.number, number::SENDMMSG | number::RECVMMSG) {
        moved.size = bytes_of_messages(call, result) as u32;
    }
    moved.source = copy::source(call);
    // Nothing was asked for, or written: not the end of the stream. `recvmsg` has its flags there.
    moved.size != 0 || !moved.egress && (third != 0 || call.number == number::RECVMSG)
}

/// `sendmmsg` and `recvmmsg` give a number of messages: their bytes count as one call, copied from the first.
#[inline(always)]
fn bytes_of_messages(call: &SystemCall, count: i64) -> i64 {
    let mut size: i64 = 0;
    for index in 0..MESSAGES_MAX {
        if index as i64 >= count {
            break;
        }
        let message = call.arguments[1] + index as u64 * MESSAGE_BYTES;
        size += user::<u32>(message + MESSAGE_LENGTH).unwrap_or(0) as i64;
    }
    size
}

#[inline(always)]
fn told_accepted(descriptor: u64) {
    let Some(socket) = socket_of(descriptor) else {
        return;
    };
    let now_ns = emit::now();
    if let Some(state) = connection::of(socket, now_ns) {
        // SAFETY: a live entry of a map.
        let state = unsafe { &mut *state };
        if state.told == 0 {
            state.accepted_ns = now_ns;
            state.initiator = initiator::ACCEPTED;
        }
    }
}

/// Unix sockets; TCP connections are known from their state since before they were established.
#[inline(always)]
fn told_connected(descriptor: u64) {
    let Some(socket) = socket_of(descriptor) else {
        return;
    };
    if let Some(state) = connection::of(socket, emit::now()) {
        // SAFETY: a live entry of a map.
        let state = unsafe { &mut *state };
        if state.told == 0 {
            state.initiator = initiator::CONNECTED;
        }
    }
}
