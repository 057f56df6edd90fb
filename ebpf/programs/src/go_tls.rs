//! Go: what `crypto/tls` is given to encrypt, and what it hands out decrypted, each told as its connection's bytes (see
//! `plain.rs`). A session itself says which connection it is over.
//!
//! What is written is told as it is given, before the handshake that the call itself may make: what a handshake that is refused
//! keeps from leaving is told all the same.
//!
//! Hooks: uprobes in `crypto/tls.(*Conn).Write` before its arguments leave their registers (AX the session, BX the bytes, CX
//! how many), and in `crypto/tls.(*Conn).Read` on the call that copies what was decrypted to whoever asked for it (SI the
//! session, BX the bytes, CX how many; the agent's `attach/golang/tls.rs`); R14 has the running `g`, as everywhere in compiled
//! Go. A return probe is none of Go's, whose stacks move. First kernel: 5.15 (an attachment's cookie). Cost: a trap on an
//! emulated instruction (0.5 µs here, less on bare metal), one read of the process's memory, two look-ups, and the copy that
//! any call pays for; at the first call of a session six reads more and the walk from a descriptor to its socket; besides, what
//! `births.rs` and `route.rs` say. Reads: `tls.Conn.conn`, `.vers`, `.input`, `.in.seq`, `.out.seq`; `netFD`; `runtime.g`. Versions
//! checked: Go 1.19 and 1.21 to 1.26 (`attach/golang/offsets.txt`).

use aya_ebpf::helpers::generated::bpf_get_attach_cookie;
use aya_ebpf::macros::uprobe;
use aya_ebpf::programs::ProbeContext;
use aya_ebpf::EbpfContext;
use spanlet_abi::golang::{TlsOffsets, TLS_CONNECTION};
use spanlet_abi::state::{process_flag, Connection};
use spanlet_abi::tls::{call, outcome, session_flag, Carrier, Session, TLS_1_3};

use crate::asker::{network_descriptor, INTERFACE_VALUE};
use crate::kernel::user;
use crate::maps::{TLS, TLS_SESSIONS};
use crate::plain::{self, Plain};
use crate::select::{self, Traced};
use crate::{connection, descriptor, emit, session};

/// Bytes that a call gives or takes at most.
const SIZE_MAX: u64 = i32::MAX as u64;
/// `(*Conn).Write(AX: *Conn, BX: bytes, CX: length)`
#[uprobe]
pub fn go_tls_write(context: ProbeContext) -> u32 {
    if let Some(traced) = select::traced() {
        // SAFETY: the registers that the kernel hands in.
        let registers = unsafe { &*context.regs };
        let (session, bytes, size) = (registers.rax, registers.rbx, registers.rcx);
        told(&context, &traced, call::WRITE, session, bytes, size);
    }
    0
}

/// Within `(*Conn).Read(SI: *Conn)`: `memmove(AX: target, BX: bytes, CX: length)`
#[uprobe]
pub fn go_tls_read(context: ProbeContext) -> u32 {
    if let Some(traced) = select::traced() {
        // SAFETY: the registers that the kernel hands in.
        let registers = unsafe { &*context.regs };
        let (session, bytes, size) = (registers.rsi, registers.rbx, registers.rcx);
        told(&context, &traced, call::READ, session, bytes, size);
    }
    0
}

#[inline(always)]
fn told(context: &ProbeContext, traced: &Traced, kind: u32, session: u64, buffer: u64, size: u64) {
    if size == 0 || size > SIZE_MAX {
        return;
    }
    // SAFETY: the registers that the kernel hands in, the helper's own context, and a live entry of a map.
    let (g, cookie, state) = unsafe {
        let cookie = bpf_get_attach_cookie(context.as_ptr());
        ((*context.regs).r14, cookie, &mut *traced.state)
    };
    const USES: u32 = process_flag::TLS | process_flag::GO;
    if state.flags & USES != USES {
        state.flags |= USES;
    }
    let bytes = Plain {
        kind,
        buffer,
        began_ns: emit::now(),
        g,
    };
    let offsets = TlsOffsets::of_cookie(cookie);
    let outcome = match carried(traced, kind, session, offsets) {
        Ok((socket, state)) => {
            // SAFETY: a live entry of a map.
            let state = unsafe { &mut *state };
            let version = session.wrapping_add(offsets.version as u64);
            session::learn_version(state, version);
            plain::told(traced, &bytes, socket, 0..size, state);
            outcome::FOUND
        }
        Err(outcome) => outcome,
    };
    emit::add_one(TLS.get_ptr_mut(outcome));
}

/// The socket that a session is over, and its connection. It was found before, unless the session's address was another's.
#[inline(always)]
fn carried(
    traced: &Traced,
    kind: u32,
    session: u64,
    offsets: TlsOffsets,
) -> Result<(u64, *mut Connection), u32> {
    let over: u64 =
        user(session.wrapping_add(TLS_CONNECTION + INTERFACE_VALUE)).ok_or(outcome::UNREADABLE)?;
    let name = session::name(traced, session);
    if let Some(bound) = TLS_SESSIONS.get_ptr(&name) {
        // SAFETY: a live entry of a map.
        let bound = unsafe { &*bound };
        match session::live(&bound.carrier) {
            Some(state) if bound.over == over => return Ok((bound.carrier.socket, state)),
            _ => {}
        }
    }
    let (socket, state) = find(over, offsets)?;
    let flags = match is_begun(kind, session, offsets) {
        true => session_flag::BEGUN,
        false => 0,
    };
    bind(&name, socket, state, flags, over);
    Ok((socket, state))
}

#[inline(always)]
fn bind(name: &Session, socket: u64, state: *mut Connection, flags: u32, over: u64) {
    // SAFETY: a live entry of a map.
    let state = unsafe { &mut *state };
    let carrier = Carrier {
        socket,
        generation: state.generation,
    };
    session::bind(name, &carrier, state, flags, over);
}

#[inline(always)]
fn find(over: u64, offsets: TlsOffsets) -> Result<(u64, *mut Connection), u32> {
    let network: u64 = user(over).ok_or(outcome::UNREADABLE)?;
    let number = network_descriptor(
        network,
        offsets.descriptor.into(),
        offsets.family.into(),
        offsets.socket_type.into(),
    );
    let socket = number.and_then(descriptor::socket_of);
    let socket = socket.ok_or(outcome::NO_SOCKET)?;
    let state = connection::of(socket, emit::now()).ok_or(outcome::NO_CONNECTION)?;
    // SAFETY: a live entry of a map.
    match unsafe { (*state).is_sequenced() } {
        true => Ok((socket, state)),
        false => Err(outcome::NO_SOCKET),
    }
}

/// Whether these are the session's first bytes: no record of its own has been written, or one has been read, and none of that
/// was handed out. Before TLS 1.3, the last record of the handshake counts as one; where the call itself makes the handshake,
/// there is no version yet.
#[inline(always)]
fn is_begun(kind: u32, session: u64, offsets: TlsOffsets) -> bool {
    let field = |offset: u16| user::<u64>(session.wrapping_add(offset as u64));
    let version: Option<u16> = user(session.wrapping_add(offsets.version as u64));
    let handshake = match version {
        Some(0 | TLS_1_3) => 0,
        Some(_) => 1,
        None => return false,
    };
    match kind {
        call::WRITE => field(offsets.records_out).map(u64::from_be) == Some(handshake),
        _ => {
            field(offsets.records_in).map(u64::from_be) == Some(handshake + 1)
                && field(offsets.index) == Some(0)
        }
    }
}
