//! What a TLS session was given, or gave, told as an `IO` record of its connection.
//!
//! A uprobe's program can be interrupted by another on its CPU, so it has no scratch: the record is put together where it is
//! sent, in room of one of a few sizes, since the verifier wants to know it.

use core::ops::Range;

use aya_ebpf::helpers::generated::bpf_probe_read_user;
use spanlet_abi::limit::{TAIL_BYTES, TURN_BYTES_MAX};
use spanlet_abi::loss;
use spanlet_abi::record::{flag, kind, Header, Io};
use spanlet_abi::state::Connection;
use spanlet_abi::tls::{call, TLS_1_2, TLS_1_3};

use crate::constants::constant;
use crate::copy::Source;
use crate::kernel::user;
use crate::maps::{EVENTS, SCRATCH};
use crate::observe::{
    begins_request, count, flags, is_asked, routed, serves, take_turn, Moved, Who,
};
use crate::registers::number;
use crate::select::Traced;
use crate::{births, connection, emit, goroutine, python, route, thread, tokio, turn};

/// Room for bytes, smallest first.
const SMALL: usize = 256;
const MIDDLE: usize = 1024;
const ANSWER: usize = 2048;
const LARGE: usize = TURN_BYTES_MAX as usize;

/// Bytes of a session, as one of its calls has them.
pub struct Plain {
    /// See [`call`].
    pub kind: u32,
    pub buffer: u64,
    pub began_ns: u64,
    /// Go: the goroutine that makes the call; 0 for others.
    pub g: u64,
}

/// Records that a call moves these of its bytes, which are fewer than 2^32.
#[inline(always)]
pub fn told(traced: &Traced, call: &Plain, socket: u64, bytes: Range<u64>, state: &mut Connection) {
    let egress = call.kind == call::WRITE;
    let buffer = call.buffer.wrapping_add(bytes.start);
    let size = bytes.end.wrapping_sub(bytes.start) as u32;
    if state.told == 0 {
        connection::tell(traced, socket, state);
    }
    state.process = traced.process;
    let turn_start = take_turn(state, egress, size);
    if !egress {
        tokio::at_read(traced, state, turn_start);
    }
    if !egress && call.g != 0 {
        at_read(traced, call.g, socket, size, turn_start, state);
    }
    let mut io = describe(traced, call, socket, size, turn_start, state);
    let captured = captured(buffer, size, state);
    io.captured = captured as u16;
    if egress && turn_start && tokio::is_on(traced) {
        let is_answer = size >= 4 && user(buffer) == Some(*b"HTTP");
        tokio::describe(traced, state, is_answer, &mut io);
    }
    io.header.length = size_of::<Io>() as u32 + captured;
    if captured < size {
        io.header.flags |= flag::TRUNCATED;
        tail(buffer, size, &mut io);
    }
    let begins_request = is_asked(state, egress, turn_start);
    send(traced, &io, buffer, captured, begins_request);
}

/// Go: what is told ahead of the first read of a request, as `observe.rs` does.
#[inline(always)]
fn at_read(
    traced: &Traced,
    g: u64,
    socket: u64,
    size: u32,
    turn_start: bool,
    state: &mut Connection,
) {
    let is_asked = is_asked(state, false, turn_start);
    let moved = Moved {
        socket,
        egress: false,
        size,
        system_call: number::READ,
        source: Source::UNKNOWN,
    };
    route::at_read(traced, state, Some(g), is_asked);
    births::at_read(traced, state, &moved, Some(g), is_asked, turn_start);
}

#[inline(always)]
fn describe(
    traced: &Traced,
    call: &Plain,
    socket: u64,
    size: u32,
    turn_start: bool,
    state: &mut Connection,
) -> Io {
    let egress = call.kind == call::WRITE;
    let now_ns = emit::now();
    let who = who(traced, call, state, egress, turn_start);
    let (cpu_ns, run_queue_wait_ns) = clocks(state, egress, turn_start, now_ns);
    let flags = who.flags | version(state) | flags(state, egress, size, turn_start);
    Io {
        header: Header {
            kind: kind::IO,
            flags,
            length: 0,
            time_ns: now_ns,
            process: traced.process,
            thread: traced.thread,
        },
        socket,
        generation: state.generation,
        goroutine: who.id,
        parent_goroutine: who.parent,
        cpu_ns,
        run_queue_wait_ns,
        ready_ns: match (egress, turn_start) {
            (false, _) => core::mem::take(&mut state.received_ns),
            (true, true) => call.began_ns,
            (true, false) => 0,
        },
        position: count(state, egress, size),
        size,
        tail: [0; TAIL_BYTES],
        // SAFETY: a live entry of a map.
        process_losses: unsafe { (*traced.state).losses },
        captured: 0,
        system_call: match egress {
            true => number::WRITE as u16,
            false => number::READ as u16,
        },
    }
}

#[inline(always)]
fn version(state: &Connection) -> u16 {
    match state.tls_version {
        TLS_1_2 => flag::TLS_1_2,
        TLS_1_3 => flag::TLS_1_3,
        _ => 0,
    }
}

/// As of a system call, but that a session is given its bytes by who has them: on an event loop, by the task that asks.
#[inline(always)]
fn who(
    traced: &Traced,
    call: &Plain,
    state: &mut Connection,
    egress: bool,
    turn_start: bool,
) -> Who {
    if turn::is_loop(traced) {
        return turn::who(traced, state);
    }
    let nobody = Who {
        flags: 0,
        id: 0,
        parent: 0,
    };
    if call.g != 0 {
        return by_goroutine(traced, call.g, state, egress, turn_start).unwrap_or(nobody);
    }
    match egress && turn_start {
        true => match python::asking(traced) {
            (0, _) => nobody,
            (id, parent) => Who {
                flags: flag::TASK,
                id,
                parent,
            },
        },
        false => nobody,
    }
}

#[inline(always)]
fn by_goroutine(
    traced: &Traced,
    g: u64,
    state: &mut Connection,
    egress: bool,
    turn_start: bool,
) -> Option<Who> {
    let asker = match egress {
        true => core::mem::take(&mut state.asker),
        false => 0,
    };
    if asker != 0 && turn_start {
        return Some(Who {
            flags: flag::ASKED,
            id: asker,
            parent: state.parent_asker,
        });
    }
    if egress && state.server != 0 {
        return turn_start.then(|| routed(traced, state));
    }
    if !begins_request(state, egress, turn_start) {
        return None;
    }
    let (id, parent) = goroutine::of(g, traced)?;
    Some(Who {
        flags: 0,
        id,
        parent,
    })
}

/// What is learnt of the CPU's clock may be another's that came between: it is an estimate, good to some microseconds.
#[inline(always)]
fn clocks(state: &Connection, egress: bool, turn_start: bool, now_ns: u64) -> (u64, u64) {
    match SCRATCH.get_ptr_mut(0) {
        Some(scratch) if serves(state, egress, turn_start) => {
            // SAFETY: this CPU's.
            thread::clocks(now_ns, unsafe { &mut (*scratch).clock })
        }
        _ => (0, 0),
    }
}

/// How many bytes the turn's budget allows, as `copy.rs` has it.
#[inline(always)]
fn captured(buffer: u64, size: u32, state: &mut Connection) -> u32 {
    let mut left = state.turn_bytes_left;
    if left == constant!(SETTINGS.turn_bytes) && size >= 4 && user(buffer) == Some(*b"HTTP") {
        left = constant!(SETTINGS.answer_bytes);
    }
    let captured = size.min(left).min(TURN_BYTES_MAX);
    state.turn_bytes_left = left - captured;
    captured
}

#[inline(always)]
fn tail(buffer: u64, size: u32, io: &mut Io) {
    if (size as usize) < TAIL_BYTES {
        return;
    }
    let end = buffer.wrapping_add(size as u64);
    if let Some(bytes) = user::<[u8; TAIL_BYTES]>(end - TAIL_BYTES as u64) {
        io.tail = bytes;
        io.header.flags |= flag::TAIL;
    }
}

#[inline(always)]
fn send(traced: &Traced, io: &Io, buffer: u64, captured: u32, begins_request: bool) {
    let result = if emit::forced_loss() {
        Err(loss::FORCED)
    } else if captured as usize <= SMALL {
        place::<SMALL>(io, buffer, captured)
    } else if captured as usize <= MIDDLE {
        place::<MIDDLE>(io, buffer, captured)
    } else if captured as usize <= ANSWER {
        place::<ANSWER>(io, buffer, captured)
    } else {
        place::<LARGE>(io, buffer, captured)
    };
    if let Err(reason) = result {
        emit::lose(reason);
        if begins_request {
            emit::lose_request(reason);
        }
    }
    emit::counted(
        traced.state,
        result.is_ok() || result == Err(loss::COPY_FAILED),
    );
}

/// Errors: the bytes could not be read, and the record has none; or it is lost.
#[inline(always)]
fn place<const ROOM: usize>(io: &Io, buffer: u64, captured: u32) -> Result<(), u32> {
    let Some(mut room) = EVENTS.reserve_bytes(size_of::<Io>() + ROOM, 0) else {
        return Err(loss::RING_FULL);
    };
    // SAFETY: a live number. The verifier is to see that it fits, which the compiler takes for known.
    let length = unsafe { core::ptr::read_volatile(&u64::from(captured)) };
    if length > ROOM as u64 {
        room.discard(0);
        return Err(loss::RING_FULL);
    }
    let start = room.as_mut_ptr();
    // SAFETY: the room is that of an `Io` and of more bytes than are copied; the kernel aligns it to 8 bytes.
    let read = unsafe {
        start.cast::<Io>().write(*io);
        let bytes = start.add(size_of::<Io>());
        bpf_probe_read_user(bytes.cast(), length as u32, buffer as *const _)
    };
    if read != 0 {
        // SAFETY: as above.
        let io = unsafe { &mut *start.cast::<Io>() };
        io.captured = 0;
        io.header.length = size_of::<Io>() as u32;
        io.header.flags |= flag::TRUNCATED;
    }
    let flags = emit::wake_up((size_of::<Io>() + ROOM) as u64);
    room.submit(flags);
    match read {
        0 => Ok(()),
        _ => Err(loss::COPY_FAILED),
    }
}
