//! TLS sessions and their connections: on which connection is what a session encrypts?
//!
//! A session that reads and writes a socket itself is known by the system calls that it makes, whose bytes are TLS records.
//! One whose bytes its program carries (Python's asyncio, .NET) is known by them: what it is about to read begins as what
//! some socket received, random or encrypted bytes that no other has. Nothing is guessed from time or order.

use spanlet_abi::limit::TLS_STACK_BYTES_MAX;
use spanlet_abi::state::{carries, turn, Connection};
use spanlet_abi::tls::{call, Beginning, Bound, Call, Carrier, Layout, Session, BEGINNING_OFFSET};

use crate::kernel::user;
use crate::maps::{CONNECTIONS, TLS_CALLS, TLS_RECEIVED, TLS_SESSIONS};
use crate::observe::Moved;
use crate::registers;
use crate::select::Traced;

/// `BIO_BUF_MEM.readp` (crypto/bio/bss_mem.c): what is not read yet.
const UNREAD: u64 = 8;
/// A record's content types (RFC 8446 §5.1), from change_cipher_spec to application_data, and its version's first byte.
const CONTENT_TYPES: core::ops::RangeInclusive<u8> = 20..=23;
const VERSION: u8 = 3;

/// A call moved bytes over a socket of a process that uses OpenSSL. 1: they are those of a session, which is told itself.
#[inline(never)]
pub fn moved(traced: &Traced, moved: &Moved, state: &mut Connection) -> u32 {
    if moved.size == 0 || !state.is_sequenced() {
        return 0;
    }
    let within = TLS_CALLS.get_ptr_mut(&traced.thread);
    // SAFETY: a live entry of a map, of this thread.
    match within
        .map(|call| unsafe { &*call })
        .filter(|call| is_within(call))
    {
        Some(call) => moved_within(traced, call, moved, state),
        None if state.carries == carries::BYTES && !moved.egress => {
            received(traced, moved, state);
        }
        None => {}
    }
    if state.carries == carries::BYTES {
        return 0;
    }
    // Of records, not of what they carry.
    (state.asker, state.write_began_ns) = (0, 0);
    1
}

/// Whether the system call that this thread is in was made by the call.
#[inline(always)]
fn is_within(call: &Call) -> bool {
    call.session != 0 && call.stack.wrapping_sub(registers::stack()) < TLS_STACK_BYTES_MAX
}

#[inline(always)]
fn moved_within(traced: &Traced, call: &Call, moved: &Moved, state: &mut Connection) {
    let name = name(traced, call.session);
    let carrier = Carrier {
        socket: moved.socket,
        generation: state.generation,
    };
    // SAFETY: a live entry of a map.
    let known = TLS_SESSIONS
        .get_ptr(&name)
        .map(|known| unsafe { (*known).carrier });
    if known != Some(carrier) {
        // A call-back of the program may talk to others meanwhile.
        if !is_record(moved.source.first()) {
            return;
        }
        bind(&name, &carrier, state, call.kind == call::HANDSHAKE);
    }
    if call.kind == call::HANDSHAKE {
        state.ready_ns = 0;
    }
}

/// Keeps how a record begins that was received on a connection without a session, for the session that reads it.
#[inline(always)]
fn received(traced: &Traced, moved: &Moved, state: &Connection) {
    let first = moved.source.first();
    if moved.size < BEGINNING_OFFSET + 16 || !is_record(first) {
        return;
    }
    if let Some(beginning) = beginning(traced, first) {
        let carrier = Carrier {
            socket: moved.socket,
            generation: state.generation,
        };
        // A map of this kind makes room.
        let _ = TLS_RECEIVED.insert(&beginning, &carrier, 0);
    }
}

/// Looks for the connection of a session that is about to read, where it is not known.
#[inline(always)]
pub fn find(traced: &Traced, session: u64, layout: Layout, kind: u32) {
    let name = name(traced, session);
    if let Some(state) = connection(&name) {
        if kind == call::HANDSHAKE {
            // SAFETY: a live entry of a map.
            unsafe { (*state).ready_ns = 0 };
        }
        return;
    }
    let Some(beginning) = unread(session, layout).and_then(|first| beginning(traced, first)) else {
        return;
    };
    let Some(carrier) = TLS_RECEIVED.get_ptr(&beginning) else {
        return;
    };
    // SAFETY: live entries of maps.
    let carrier = unsafe { *carrier };
    let _ = TLS_RECEIVED.remove(&beginning);
    if let Some(state) = live(&carrier) {
        bind(
            &name,
            &carrier,
            unsafe { &mut *state },
            kind == call::HANDSHAKE,
        );
    }
}

/// What a session is about to read from memory.
#[inline(always)]
fn unread(session: u64, layout: Layout) -> Option<u64> {
    let source: u64 = user(session.wrapping_add(layout.source as u64))?;
    let kept: u64 = user(source.wrapping_add(layout.kept as u64))?;
    let unread: u64 = user(kept.wrapping_add(UNREAD))?;
    // `BUF_MEM.length` and `.data` (openssl/buffer.h)
    let [length, first]: [u64; 2] = user(unread)?;
    (length >= BEGINNING_OFFSET as u64 + 16).then_some(first)
}

#[inline(always)]
fn bind(name: &Session, carrier: &Carrier, state: &mut Connection, is_handshake: bool) {
    let bound = Bound {
        carrier: *carrier,
        ahead: 0,
    };
    // A map of this kind makes room.
    let _ = TLS_SESSIONS.insert(name, &bound, 0);
    if state.carries != carries::BYTES {
        return;
    }
    state.carries = match is_handshake {
        true => carries::TLS_FROM_START,
        false => carries::TLS,
    };
    state.turn = turn::NONE;
    (state.read_bytes, state.written_bytes) = (0, 0);
    state.ready_ns = 0;
}

/// The connection of a session. `None`: not known, or it has ended.
#[inline(always)]
fn connection(name: &Session) -> Option<*mut Connection> {
    // SAFETY: a live entry of a map.
    live(unsafe { &(*TLS_SESSIONS.get_ptr(name)?).carrier })
}

#[inline(always)]
pub fn live(carrier: &Carrier) -> Option<*mut Connection> {
    let state = CONNECTIONS.get_ptr_mut(&carrier.socket)?;
    // SAFETY: a live entry of a map.
    (unsafe { (*state).generation } == carrier.generation).then_some(state)
}

#[inline(always)]
pub fn name(traced: &Traced, session: u64) -> Session {
    Session {
        address: session,
        process: traced.process,
        padding: 0,
    }
}

#[inline(always)]
fn is_record(first: u64) -> bool {
    let header: Option<[u8; 2]> = user(first);
    header.is_some_and(|[kind, version]| CONTENT_TYPES.contains(&kind) && version == VERSION)
}

#[inline(always)]
fn beginning(traced: &Traced, first: u64) -> Option<Beginning> {
    let bytes = user(first.wrapping_add(BEGINNING_OFFSET as u64))?;
    Some(Beginning {
        bytes,
        process: traced.process,
        padding: 0,
    })
}
