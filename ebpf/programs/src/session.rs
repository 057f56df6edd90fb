//! TLS sessions and their connections: on which connection is what a session encrypts?
//!
//! A session that reads and writes a socket itself is known by the system calls that it makes, whose bytes are TLS records.
//! One whose bytes its program carries (Node, Python's asyncio, .NET) is known by them: what it is about to read begins as what
//! some socket received, random or encrypted bytes that no other has. Nothing is guessed from time or order.

use spanlet_abi::limit::TLS_STACK_BYTES_MAX;
use spanlet_abi::state::{carries, initiator, process_flag, turn, Connection};
use spanlet_abi::tls::{
    call, memory, session_flag, Beginning, Bound, Call, Carrier, Layout, Session, BEGINNING_OFFSET,
    HELLO_BYTES, VERSIONS,
};

use crate::kernel::user;
use crate::maps::{CONNECTIONS, TLS_CALLS, TLS_RECEIVED, TLS_SESSIONS};
use crate::observe::Moved;
use crate::registers;
use crate::select::Traced;
use crate::turn as event_loop;

/// `BIO_BUF_MEM.readp` (crypto/bio/bss_mem.c): what is not read yet.
const UNREAD: u64 = 8;
/// `NodeBIO.read_head_` and, of that `Buffer`, `read_pos_` before `write_pos_`, and `data_` (node's src/crypto/crypto_bio.h).
const NODE_HEAD: u64 = 48;
const NODE_POSITIONS: u64 = 8;
const NODE_DATA: u64 = 40;
/// A record's content types (RFC 8446 §5.1), from change_cipher_spec to application_data, and its version's first byte.
const CONTENT_TYPES: core::ops::RangeInclusive<u8> = 20..=23;
const HANDSHAKE: u8 = 22;
const VERSION: u8 = 3;
/// Types of a handshake's messages (RFC 8446 §4): client_hello, server_hello.
const HELLOS: core::ops::RangeInclusive<u8> = 1..=2;

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
        None if state.carries == carries::BYTES && !moved.egress && !is_go(traced) => {
            received(traced, moved, state);
        }
        None => {}
    }
    if state.carries == carries::BYTES {
        return 0;
    }
    if moved.egress {
        // Of records, not of what they carry; a loop's is of the connection.
        state.write_began_ns = 0;
        if !event_loop::is_loop(traced) {
            state.asker = 0;
        }
    } else if state.ready_ns != 0 {
        // What no session hands out is its own: a handshake's messages, tickets.
        state.received_ns = core::mem::take(&mut state.ready_ns);
    }
    1
}

/// Whether the system call that this thread is in was made by the call. Node's make none: what is seen within them is what the
/// program does in a call-back, for whichever connection.
#[inline(always)]
fn is_within(call: &Call) -> bool {
    call.session != 0
        && call.memory != memory::NODE as u32
        && call.stack.wrapping_sub(registers::stack()) < TLS_STACK_BYTES_MAX
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
        let flags = begun_by(call.kind) | begun_since(moved.source.first(), state);
        bind(&name, &carrier, state, flags, 0);
    }
}

/// A session may begin within the first read or write: its first record is of a handshake then, on a connection that was seen
/// from its own beginning.
#[inline(always)]
fn begun_since(first: u64, state: &Connection) -> u32 {
    match state.initiator != initiator::UNKNOWN && user(first) == Some(HANDSHAKE) {
        true => session_flag::BEGUN,
        false => 0,
    }
}

/// Its sessions say themselves which connection they are over.
#[inline(always)]
fn is_go(traced: &Traced) -> bool {
    // SAFETY: an entry of `PROCESSES`, which lives as long as the program runs.
    let flags = unsafe { (*traced.state).flags };
    flags & process_flag::GO != 0
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
pub fn find(traced: &Traced, name: &Session, layout: Layout, kind: u32) {
    let Some(first) = unread(name.address, layout) else {
        return;
    };
    let Some(beginning) = beginning(traced, first) else {
        return;
    };
    let flags = begun_by(kind) | begun(name, first);
    let Some(carrier) = TLS_RECEIVED.get_ptr(&beginning) else {
        if flags & session_flag::BEGUN != 0 {
            remember(name, &Carrier::default(), flags, 0);
        }
        return;
    };
    // SAFETY: live entries of maps.
    let carrier = unsafe { *carrier };
    let _ = TLS_RECEIVED.remove(&beginning);
    if let Some(state) = live(&carrier) {
        let state = unsafe { &mut *state };
        bind(name, &carrier, state, flags | session_flag::CARRIED, 0);
    }
}

#[inline(always)]
fn begun_by(kind: u32) -> u32 {
    match kind {
        call::HANDSHAKE => session_flag::BEGUN,
        _ => 0,
    }
}

/// Whether a session begins, or was seen to: not every program begins it by a call of its own.
#[inline(always)]
fn begun(name: &Session, first: u64) -> u32 {
    if is_hello(first) {
        return session_flag::BEGUN;
    }
    match TLS_SESSIONS.get_ptr(name) {
        // SAFETY: a live entry of a map.
        Some(known) if unsafe { (*known).carrier.socket } == 0 => unsafe { (*known).flags },
        _ => 0,
    }
}

/// What a session is about to read from memory.
#[inline(always)]
fn unread(session: u64, layout: Layout) -> Option<u64> {
    let source: u64 = user(session.wrapping_add(layout.source as u64))?;
    let kept: u64 = user(source.wrapping_add(layout.kept as u64))?;
    let (length, first) = match layout.memory {
        memory::NODE => unread_of_node(kept)?,
        _ => {
            let unread: u64 = user(kept.wrapping_add(UNREAD))?;
            // `BUF_MEM.length` and `.data` (openssl/buffer.h)
            let [length, first]: [u64; 2] = user(unread)?;
            (length, first)
        }
    };
    (length >= BEGINNING_OFFSET as u64 + 16).then_some(first)
}

#[inline(always)]
fn unread_of_node(kept: u64) -> Option<(u64, u64)> {
    let head: u64 = user(kept.wrapping_add(NODE_HEAD))?;
    let [read, written]: [u64; 2] = user(head.wrapping_add(NODE_POSITIONS))?;
    let data: u64 = user(head.wrapping_add(NODE_DATA))?;
    Some((written.checked_sub(read)?, data.wrapping_add(read)))
}

#[inline(always)]
fn remember(name: &Session, carrier: &Carrier, flags: u32, over: u64) {
    let bound = Bound {
        carrier: *carrier,
        ahead: 0,
        flags,
        over,
    };
    // A map of this kind makes room.
    let _ = TLS_SESSIONS.insert(name, &bound, 0);
}

#[inline(always)]
pub fn bind(name: &Session, carrier: &Carrier, state: &mut Connection, flags: u32, over: u64) {
    remember(name, carrier, flags, over);
    if state.carries != carries::BYTES {
        return;
    }
    state.carries = match flags & session_flag::BEGUN {
        0 => carries::TLS,
        _ => carries::TLS_FROM_START,
    };
    state.turn = turn::NONE;
    (state.read_bytes, state.written_bytes) = (0, 0);
    (state.ready_ns, state.received_ns) = (0, 0);
    state.tls_version = 0;
    // Go: who serves was looked for while it made the handshake, and had nothing to serve yet.
    (state.looked, state.is_begun) = (0, 0);
}

/// Keeps the version that a session whose handshake is over says to be of. Not a number that there is none of: it is none.
#[inline(always)]
pub fn learn_version(state: &mut Connection, field: u64) {
    if state.tls_version == 0 {
        let version = user(field).filter(|version| VERSIONS.contains(version));
        state.tls_version = version.unwrap_or(0);
    }
}

/// What is known of a session, and its connection. `None`: not known, or it has ended.
#[inline(always)]
pub fn connection(name: &Session) -> Option<(*mut Bound, *mut Connection)> {
    let bound = TLS_SESSIONS.get_ptr_mut(name)?;
    // SAFETY: a live entry of a map.
    let state = live(unsafe { &(*bound).carrier })?;
    Some((bound, state))
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

/// A hello in the clear: a record of a handshake that holds a message of that kind whole or in part, with a version. What is
/// encrypted is no such record, or is one whose first bytes are random.
#[inline(always)]
fn is_hello(first: u64) -> bool {
    let Some(bytes) = user::<[u8; HELLO_BYTES]>(first) else {
        return false;
    };
    bytes[0] == HANDSHAKE
        && bytes[1] == VERSION
        && HELLOS.contains(&bytes[5])
        && bytes[6] == 0
        && bytes[9] == VERSION
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
