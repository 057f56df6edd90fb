//! The seam between the back ends and the rest: a traced process moved bytes over a socket.
//!
//! In: the socket, the direction, the number of bytes and the system call, from whichever back end saw them.
//! Out: one `IO` record (after an `OPENED` one, the first time).

use core::mem::offset_of;

use spanlet_abi::record::{flag, kind, Header, Io};
use spanlet_abi::state::{carries, initiator, process_flag, turn, Connection};

use crate::constants::constant;
use crate::copy::{self, Source, LENGTH_MASK};
use crate::kernel::field;
use crate::maps::{Scratch, SCRATCH};
use crate::select::Traced;
use crate::{
    births, connection, emit, goroutine, python, route, session, thread, tokio, turn as event_loop,
};

/// The states of a TCP socket whose peer has finished its stream: TIME_WAIT, CLOSE, CLOSE_WAIT, LAST_ACK, CLOSING
/// (include/net/tcp_states.h).
const PEER_FINISHED: u32 = 1 << 6 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 11;

/// Bytes that a call moved.
pub struct Moved {
    pub socket: u64,
    pub egress: bool,
    /// 0: the end of the stream was read.
    pub size: u32,
    pub system_call: u32,
    pub source: Source,
}

/// Records what a traced process moved.
#[inline(always)]
pub fn observe(traced: &Traced, moved: &Moved) {
    let now_ns = emit::now();
    let Some(state) = connection::of(moved.socket, now_ns) else {
        connection::no_room(traced, moved.socket, !moved.egress && moved.size > 0);
        return;
    };
    // SAFETY: live entries of maps.
    if unsafe { (*traced.state).flags } & process_flag::TLS != 0
        && session::moved(traced, moved, unsafe { &mut *state }) != 0
    {
        return;
    }
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: a live entry of a map, and this CPU's scratch, which only one program at a time uses.
    let (state, scratch) = unsafe { (&mut *state, &mut *scratch) };
    if state.told == 0 {
        connection::tell(traced, moved.socket, state);
    }
    state.process = traced.process;
    let turn_start = take_turn(state, moved.egress, moved.size);
    if !moved.egress {
        tokio::at_read(traced, state, turn_start);
        let is_asked = is_asked(state, false, turn_start);
        route::at_read(traced, state, None, is_asked);
        births::at_read(traced, state, moved, None, is_asked, turn_start);
    }
    describe(traced, moved, state, now_ns, turn_start, scratch);
    let captured = copy::copy(&moved.source, moved.size, state, scratch);
    scratch.io.captured = captured as u16;
    if moved.egress && turn_start && tokio::is_on(traced) {
        let is_answer = captured >= 4 && scratch.bytes[..4] == *b"HTTP";
        tokio::describe(traced, state, is_answer, &mut scratch.io);
    }
    if captured < moved.size {
        scratch.io.header.flags |= flag::TRUNCATED;
    }
    let begins_request = is_asked(state, moved.egress, turn_start);
    if captured == 0 && begins_request {
        emit::lose_request(copy::missing(&moved.source));
    }
    send(traced, captured, begins_request && captured > 0, scratch);
}

/// Gives the word to this side; true when it was the other's.
#[inline(always)]
pub fn take_turn(state: &mut Connection, egress: bool, size: u32) -> bool {
    let mine = if egress { turn::EGRESS } else { turn::INGRESS };
    if size == 0 || state.turn == mine {
        return false;
    }
    state.is_used = u8::from(state.turn != turn::NONE);
    state.turn = mine;
    state.turn_bytes_left = constant!(SETTINGS.turn_bytes);
    true
}

/// Fills in the words of the record.
#[inline(always)]
fn describe(
    traced: &Traced,
    moved: &Moved,
    state: &mut Connection,
    now_ns: u64,
    turn_start: bool,
    scratch: &mut Scratch,
) {
    let who = who(traced, state, moved.egress, turn_start, scratch);
    let (cpu_ns, run_queue_wait_ns) = if serves(state, moved.egress, turn_start) {
        thread::clocks(now_ns, &mut scratch.clock)
    } else {
        (0, 0)
    };
    let io = &mut scratch.io;
    io.header = Header {
        kind: kind::IO,
        flags: who.flags | flags(state, moved.egress, moved.size, turn_start),
        length: 0,
        time_ns: now_ns,
        process: traced.process,
        thread: traced.thread,
    };
    io.socket = moved.socket;
    io.generation = state.generation;
    io.goroutine = who.id;
    io.parent_goroutine = who.parent;
    io.cpu_ns = cpu_ns;
    io.run_queue_wait_ns = run_queue_wait_ns;
    io.ready_ns = ready(state, moved.egress, turn_start);
    io.position = position(state, moved);
    io.size = moved.size;
    // SAFETY: a live entry of a map.
    io.process_losses = unsafe { (*traced.state).losses };
    io.system_call = moved.system_call as u16;
}

#[inline(always)]
pub fn flags(state: &Connection, egress: bool, size: u32, turn_start: bool) -> u16 {
    let mut flags = match state.carries {
        carries::BYTES => 0,
        carries::TLS_FROM_START => flag::TLS,
        _ => flag::TLS | flag::ALREADY_OPEN,
    };
    if egress {
        flags |= flag::EGRESS;
    }
    if turn_start {
        flags |= flag::TURN_START;
    }
    if size == 0 {
        flags |= flag::END_OF_STREAM;
    }
    if state.initiator == initiator::UNKNOWN {
        flags |= flag::ALREADY_OPEN;
    }
    flags
}

/// A goroutine, a task, a route or a turn, see [`Io`].
pub struct Who {
    pub flags: u16,
    pub id: u64,
    pub parent: u64,
}

/// Who asks, where that was kept for this turn; else who makes the call; or what an answer is of.
#[inline(always)]
fn who(
    traced: &Traced,
    state: &mut Connection,
    egress: bool,
    turn_start: bool,
    scratch: &mut Scratch,
) -> Who {
    if event_loop::is_loop(traced) {
        return event_loop::who(traced, state);
    }
    // Kept for this call, whether or not it begins a turn.
    let asker = match egress {
        true => core::mem::take(&mut state.asker),
        false => 0,
    };
    // SAFETY: an entry of `PROCESSES`, which lives as long as the program runs.
    let has_tasks = unsafe { (*traced.state).python.key } != 0;
    let mut who = (0, 0);
    if asker != 0 && turn_start {
        who = (asker, state.parent_asker);
    } else if has_tasks && egress && turn_start {
        // By whom a request is read says nothing of the task that will serve it.
        who = python::current(traced);
    }
    let is_answer = egress && state.server != 0;
    if !has_tasks && who.0 == 0 && !is_answer && begins_request(state, egress, turn_start) {
        let (id, parent) = goroutine::current(traced, &mut scratch.goroutine);
        return Who {
            flags: 0,
            id,
            parent,
        };
    }
    let (id, parent) = who;
    if id == 0 && egress && turn_start {
        return routed(traced, state);
    }
    let flags = match (id, has_tasks) {
        (0, _) => 0,
        (_, true) => flag::TASK,
        (_, false) => flag::ASKED,
    };
    Who { flags, id, parent }
}

/// By which route the request was served whose answer begins.
#[inline(always)]
pub fn routed(traced: &Traced, state: &Connection) -> Who {
    let (id, parent) = route::of_answer(traced, state);
    let flags = if id == 0 { 0 } else { flag::ROUTED };
    Who { flags, id, parent }
}

/// This may be the start of a request: the one who connected speaks first.
#[inline(always)]
pub fn begins_request(state: &Connection, egress: bool, turn_start: bool) -> bool {
    turn_start
        && match state.initiator {
            initiator::CONNECTED => egress,
            initiator::ACCEPTED => !egress,
            _ => true,
        }
}

/// This is the first read of a request to this process, or may be where it is not known who connected.
#[inline(always)]
pub fn is_asked(state: &Connection, egress: bool, turn_start: bool) -> bool {
    turn_start && !egress && state.initiator != initiator::CONNECTED
}

/// This may be the first read or the last write of a request that is served here.
#[inline(always)]
pub fn serves(state: &Connection, egress: bool, turn_start: bool) -> bool {
    state.initiator != initiator::CONNECTED && (egress || turn_start)
}

/// When the bytes became readable, or when the write of this turn began; 0 where not known.
#[inline(always)]
fn ready(state: &mut Connection, egress: bool, turn_start: bool) -> u64 {
    if !egress {
        return core::mem::take(&mut state.ready_ns);
    }
    let began = core::mem::take(&mut state.write_began_ns);
    if turn_start {
        began
    } else {
        0
    }
}

/// Where the call's first byte stands in its stream. The kernel's own counters are past the call by now.
#[inline(always)]
fn position(state: &mut Connection, moved: &Moved) -> u32 {
    match sequence(state, moved) {
        Some(position) => position,
        None => count(state, moved.egress, moved.size),
    }
}

/// The same where the kernel counts.
#[inline(always)]
pub fn sequence(state: &Connection, moved: &Moved) -> Option<u32> {
    let offset = if moved.egress {
        constant!(OFFSETS.tcp_written)
    } else {
        constant!(OFFSETS.tcp_copied)
    };
    if state.is_sequenced() && state.carries == carries::BYTES {
        if let Some(end) = field::<u32>(moved.socket, offset) {
            let end = end.wrapping_sub(took_end(moved, state.reset, end) as u32);
            return Some(end.wrapping_sub(moved.size));
        }
    }
    None
}

/// The same from first sight on.
#[inline(always)]
pub fn count(state: &mut Connection, egress: bool, size: u32) -> u32 {
    let count = if egress {
        &mut state.written_bytes
    } else {
        &mut state.read_bytes
    };
    let begin = *count;
    *count = begin.wrapping_add(size);
    begin
}

/// Whether a read that moved bytes also took the end of the stream, which has a sequence number of its own.
#[inline(always)]
fn took_end(moved: &Moved, reset: u8, end: u32) -> bool {
    if moved.egress || moved.size == 0 || reset != 0 {
        return false;
    }
    let state: u8 = field(moved.socket, constant!(OFFSETS.sock_state)).unwrap_or(0);
    PEER_FINISHED & (1 << (state & 15) as u32) != 0
        && field(moved.socket, constant!(OFFSETS.tcp_received)) == Some(end)
}

#[inline(always)]
fn send(traced: &Traced, captured: u32, begins_request: bool, scratch: &mut Scratch) {
    let length = size_of::<Io>() + (captured & LENGTH_MASK) as usize;
    scratch.io.header.length = length as u32;
    // SAFETY: in the scratch, an `Io` and more than LENGTH_MASK bytes are in one piece.
    let bytes = unsafe {
        let start = (&raw const *scratch).cast::<u8>();
        core::slice::from_raw_parts(start.add(offset_of!(Scratch, io)), length)
    };
    emit::call(traced.state, bytes, begins_request);
}
