//! Go: which goroutine asks for a request, where another writes it. `net/http` hands a request to the goroutine that writes
//! for its connection; the one that asks is kept for the connection's next turn (see `observe.rs`).
//!
//! Hook: uprobe in `net/http.(*persistConn).roundTrip`, which runs once for each request, in the goroutine that asks, with
//! the connection in AX and its own `g` in R14, as everywhere in compiled Go. Where in it: the agent's `attach/placement.rs`. First kernel: 5.15 (an attachment's cookie). Cost:
//! a trap on an emulated instruction (0.5 µs here, less on bare metal), five reads of the process's memory, the walk from a
//! descriptor to its socket, two look-ups. Reads: `runtime.g`, `persistConn.conn`, `tls.Conn.conn`, `netFD`. Versions checked: Go 1.19 and
//! 1.21 to 1.26 (`attach/golang/offsets.txt`).

use aya_ebpf::helpers::generated::bpf_get_attach_cookie;
use aya_ebpf::macros::uprobe;
use aya_ebpf::programs::ProbeContext;
use aya_ebpf::EbpfContext;
use spanlet_abi::golang::{asker, ClientOffsets, TLS_CONNECTION};
use spanlet_abi::limit::NETWORK_WORDS;
use spanlet_abi::state::initiator;

use crate::connection::{self, AF_INET, AF_INET6};
use crate::kernel::user;
use crate::maps::ASKERS;
use crate::select::{self, Traced};
use crate::{descriptor, emit, goroutine};

const SOCK_STREAM: u64 = 1;
/// Of an interface, its value is the second word.
pub const INTERFACE_VALUE: u64 = 8;

/// `(*persistConn).roundTrip(AX: *persistConn, BX: *transportRequest)`
#[uprobe]
pub fn go_client_request(context: ProbeContext) -> u32 {
    if let Some(traced) = select::traced() {
        let outcome = match keep(&context, &traced) {
            Ok(()) => asker::FOUND,
            Err(outcome) => outcome,
        };
        if let Some(count) = ASKERS.get_ptr_mut(outcome) {
            // SAFETY: this CPU's.
            unsafe { *count += 1 };
        }
    }
    0
}

/// Keeps the running goroutine for the connection. This program can be interrupted by another: it uses no scratch.
#[inline(always)]
fn keep(context: &ProbeContext, traced: &Traced) -> Result<(), u32> {
    // SAFETY: the registers that the kernel hands in, and the helper's own context.
    let (client, g, cookie) = unsafe {
        let registers = &*context.regs;
        let cookie = bpf_get_attach_cookie(context.as_ptr());
        (registers.rax, registers.r14, cookie)
    };
    let (id, parent) = goroutine::of(g, traced).ok_or(asker::NO_GOROUTINE)?;
    let descriptor = descriptor(client, ClientOffsets::of_cookie(cookie))?;
    let socket = descriptor::socket_of(descriptor).ok_or(asker::NO_SOCKET)?;
    let state = connection::of(socket, emit::now()).ok_or(asker::CONNECTIONS_FULL)?;
    // SAFETY: a live entry of a map.
    let state = unsafe { &mut *state };
    if state.initiator == initiator::ACCEPTED || !state.is_sequenced() {
        return Err(asker::NO_SOCKET);
    }
    (state.asker, state.parent_asker) = (id, parent);
    Ok(())
}

/// From the client's connection to its descriptor: `persistConn.conn` holds a `*net.TCPConn`, which begins with its
/// `*netFD`, or a `*tls.Conn` that is over one. Anything else in its place does not say of itself that it is a TCP socket.
#[inline(always)]
fn descriptor(client: u64, offsets: ClientOffsets) -> Result<u64, u32> {
    let value = client.wrapping_add(offsets.connection as u64 + INTERFACE_VALUE);
    let connection: u64 = user(value).ok_or(asker::UNREADABLE)?;
    let of = |connection: u64| {
        let network: u64 = user(connection)?;
        network_descriptor(
            network,
            offsets.descriptor,
            offsets.family,
            offsets.socket_type,
        )
    };
    let over = || user(connection.wrapping_add(TLS_CONNECTION + INTERFACE_VALUE));
    of(connection).or_else(|| of(over()?)).ok_or(asker::WRAPPED)
}

/// The descriptor of a `netFD`, if it is one of a TCP socket; by the offsets of its fields.
#[inline(always)]
pub fn network_descriptor(
    network: u64,
    descriptor: u16,
    family: u16,
    socket_type: u16,
) -> Option<u64> {
    let words: [u64; NETWORK_WORDS] = user(network.wrapping_add(descriptor as u64))?;
    let word = |offset: u16| {
        let index = offset.wrapping_sub(descriptor) / 8;
        words[index as usize % NETWORK_WORDS]
    };
    let family = word(family);
    let is_internet = family == AF_INET as u64 || family == AF_INET6 as u64;
    (is_internet && word(socket_type) == SOCK_STREAM).then_some(words[0])
}
