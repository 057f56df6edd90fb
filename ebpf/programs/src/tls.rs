//! OpenSSL, as a library or within a program: what a session is given to encrypt, and what it has decrypted.
//!
//! Hooks: entry and return of the function that `SSL_read` and `SSL_read_ex` share, of the one that `SSL_write` and
//! `SSL_write_ex` share (where they share none, of `SSL_read` and `SSL_write`), and of `SSL_do_handshake`, both on one
//! instruction that the kernel emulates and before which the stack is as it was; entry of `SSL_free`. Where: the agent's
//! `attach/openssl.rs`. First kernel: 5.15, as the other uprobes. Cost: two
//! traps (0.7 µs here, less on bare metal), and for what was read 0.55, for what was written 0.9 µs: look-ups, and the copy that
//! any call pays for. Reads: arguments and the bytes; of a session whose socket is not known, `SSL.rbio`, `BIO.ptr` and
//! `BIO_BUF_MEM`, or Node's `NodeBIO`. Versions checked: OpenSSL 1.1.1w, 3.0.19, 3.5.4; Node 18, 20, 22, 24, 25.

use aya_ebpf::helpers::generated::bpf_get_attach_cookie;
use aya_ebpf::macros::{uprobe, uretprobe};
use aya_ebpf::programs::{ProbeContext, RetProbeContext};
use aya_ebpf::EbpfContext;
use spanlet_abi::state::{initiator, process_flag, Connection};
use spanlet_abi::tls::{call, moved, outcome, session_flag, Bound, Call, Layout, NOT_KNOWN};

use crate::kernel::user;
use crate::maps::{TLS, TLS_CALLS, TLS_SESSIONS};
use crate::plain::{self, Plain};
use crate::select::{self, Traced};
use crate::{emit, session};

/// Bytes that a call gives or takes at most.
const SIZE_MAX: u64 = i32::MAX as u64;

/// `(SSL *, void *buffer, size_t size, size_t *moved)`; `SSL_read` itself: `int size`, and no more.
#[uprobe]
pub fn tls_read(context: ProbeContext) -> u32 {
    begin(&context, call::READ)
}

/// `(SSL *, const void *buffer, size_t size, size_t *moved)`; since OpenSSL 3.3 with flags before the last.
#[uprobe]
pub fn tls_write(context: ProbeContext) -> u32 {
    begin(&context, call::WRITE)
}

/// `SSL_do_handshake(SSL *)`
#[uprobe]
pub fn tls_handshake(context: ProbeContext) -> u32 {
    begin(&context, call::HANDSHAKE)
}

#[uretprobe]
pub fn tls_read_done(context: RetProbeContext) -> u32 {
    done(&context, call::READ)
}

#[uretprobe]
pub fn tls_write_done(context: RetProbeContext) -> u32 {
    done(&context, call::WRITE)
}

#[uretprobe]
pub fn tls_handshake_done(context: RetProbeContext) -> u32 {
    done(&context, call::HANDSHAKE)
}

/// `SSL_free(SSL *)`: its address will be another's.
#[uprobe]
pub fn tls_free(context: ProbeContext) -> u32 {
    if let (Some(traced), Some(session)) = (select::traced(), context.arg::<u64>(0)) {
        // Not an error: it was not known.
        let _ = TLS_SESSIONS.remove(&session::name(&traced, session));
    }
    0
}

#[inline(always)]
fn begin(context: &ProbeContext, kind: u32) -> u32 {
    if let Some(traced) = select::traced() {
        // SAFETY: the helper's own context.
        let layout = Layout::of_cookie(unsafe { bpf_get_attach_cookie(context.as_ptr()) });
        enter(context, &traced, kind, layout);
    }
    0
}

#[inline(always)]
fn enter(context: &ProbeContext, traced: &Traced, kind: u32, layout: Layout) {
    // SAFETY: the registers that the kernel hands in, and a live entry of a map. The verifier wants to see each register read,
    // and not one of two.
    let (registers, state) = unsafe { (&*context.regs, &mut *traced.state) };
    let (fourth, fifth) = unsafe {
        let of = |register: &u64| core::ptr::read_volatile(register);
        (of(&registers.rcx), of(&registers.r8))
    };
    if state.flags & process_flag::TLS == 0 {
        state.flags |= process_flag::TLS;
    }
    let call = Call {
        session: registers.rdi,
        buffer: registers.rsi,
        moved: match layout.moved {
            moved::RETURNED => 0,
            3 => fourth,
            _ => fifth,
        },
        began_ns: emit::now(),
        stack: registers.rsp,
        kind,
        memory: layout.memory as u32,
    };
    let size = match layout.moved {
        moved::RETURNED => registers.rdx as u32 as u64,
        _ => registers.rdx,
    };
    match TLS_CALLS.get_ptr_mut(&traced.thread) {
        // SAFETY: a live entry of a map, of this thread.
        Some(entry) => unsafe { *entry = call },
        // A map of this kind makes room.
        None => drop(TLS_CALLS.insert(&traced.thread, &call, 0)),
    }
    let name = session::name(traced, call.session);
    match session::connection(&name) {
        // A call of any kind may be the one that goes on with a handshake.
        None => session::find(traced, &name, layout, kind),
        // SAFETY: live entries of maps.
        Some((bound, state)) => unsafe {
            begun(traced, &call, size, &mut *bound, &mut *state);
        },
    }
}

/// Where this side connected, what it writes is told before it is sent: who it is for may have answered when the call is over.
/// Not what leaves after the call, which may have failed.
#[inline(always)]
fn begun(traced: &Traced, call: &Call, size: u64, bound: &mut Bound, state: &mut Connection) {
    let asks = call.kind == call::WRITE
        && state.initiator == initiator::CONNECTED
        && bound.flags & session_flag::CARRIED == 0;
    let ahead = bound.ahead as u64;
    if asks && size > ahead && size <= SIZE_MAX {
        bound.ahead = size as u32;
        let bytes = bytes_of(call);
        plain::told(traced, &bytes, bound.carrier.socket, ahead..size, state);
    }
}

/// Of a session of which a call has succeeded: its handshake is over. Before the other side's hello, the version is what this
/// side would speak at most.
#[inline(always)]
fn learn_version(call: &Call, layout: Layout, state: &mut Connection) {
    if layout.version != NOT_KNOWN {
        session::learn_version(state, call.session.wrapping_add(layout.version as u64));
    }
}

#[inline(always)]
fn bytes_of(call: &Call) -> Plain {
    Plain {
        kind: call.kind,
        buffer: call.buffer,
        began_ns: call.began_ns,
        g: 0,
    }
}

#[inline(always)]
fn done(context: &RetProbeContext, kind: u32) -> u32 {
    if let Some(traced) = select::traced() {
        // SAFETY: the registers that the kernel hands in.
        let registers = unsafe { &*context.regs };
        // SAFETY: the helper's own context.
        let layout = Layout::of_cookie(unsafe { bpf_get_attach_cookie(context.as_ptr()) });
        let given = registers.rax as i32;
        let call = take(&traced, kind, registers.rsp);
        if kind == call::HANDSHAKE {
            if let (Some(call), 1) = (call, given) {
                shaken(&traced, &call, layout);
            }
        } else if given > 0 {
            let outcome = match call
                .ok_or(outcome::NO_CALL)
                .and_then(|call| tell(&traced, &call, given as u64, layout))
            {
                Ok(()) => outcome::FOUND,
                Err(outcome) => outcome,
            };
            emit::add_one(TLS.get_ptr_mut(outcome));
        }
    }
    0
}

/// A handshake has succeeded: what is written next is told with the version.
#[inline(always)]
fn shaken(traced: &Traced, call: &Call, layout: Layout) {
    if let Some((_, state)) = session::connection(&session::name(traced, call.session)) {
        // SAFETY: a live entry of a map.
        learn_version(call, layout, unsafe { &mut *state });
    }
}

/// The call that is over. `None`: another one began on this thread within it.
#[inline(always)]
fn take(traced: &Traced, kind: u32, stack: u64) -> Option<Call> {
    // SAFETY: a live entry of a map, of this thread.
    let entry = unsafe { &mut *TLS_CALLS.get_ptr_mut(&traced.thread)? };
    let call = *entry;
    // The return address is off the stack by now.
    if call.session == 0 || call.kind != kind || call.stack.wrapping_add(8) != stack {
        return None;
    }
    entry.session = 0;
    Some(call)
}

/// `given`: what the call gave back.
#[inline(always)]
fn tell(traced: &Traced, call: &Call, given: u64, layout: Layout) -> Result<(), u32> {
    let size: u64 = match call.moved {
        0 => given,
        moved => user(moved).ok_or(outcome::UNREADABLE)?,
    };
    let name = session::name(traced, call.session);
    let bound = TLS_SESSIONS.get_ptr_mut(&name).ok_or(outcome::NO_SOCKET)?;
    // SAFETY: live entries of maps.
    let bound = unsafe { &mut *bound };
    if bound.carrier.socket == 0 {
        return Err(outcome::NO_SOCKET);
    }
    let state = session::live(&bound.carrier).ok_or(outcome::NO_CONNECTION)?;
    let ahead = match call.kind {
        call::WRITE => bound.ahead as u64,
        _ => 0,
    };
    bound.ahead -= ahead.min(size) as u32;
    let state = unsafe { &mut *state };
    learn_version(call, layout, state);
    if size > ahead && size <= SIZE_MAX {
        let bytes = bytes_of(call);
        plain::told(traced, &bytes, bound.carrier.socket, ahead..size, state);
    }
    Ok(())
}
