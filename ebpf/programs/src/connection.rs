//! The state of a connection: found by its socket, made at first sight, told to the agent once.

use spanlet_abi::record::{flag, kind, Opened};
use spanlet_abi::state::{initiator, Connection};
use spanlet_abi::{loss, state};

use crate::constants::constant;
use crate::kernel::field;
use crate::maps::{CONNECTIONS, UNIX_CONNECTIONS};
use crate::select::Traced;
use crate::{emit, kernel};

pub const AF_UNIX: u16 = 1;
pub const AF_INET: u16 = 2;
pub const AF_INET6: u16 = 10;
const SOCK_STREAM: u16 = 1;
const IPPROTO_TCP: u16 = 6;

/// The connection of a stream socket that a traced process uses; made if it was not known. `None` for other
/// sockets, and where there is no room.
#[inline(always)]
pub fn of(socket: u64, now_ns: u64) -> Option<*mut Connection> {
    if let Some(state) = CONNECTIONS.get_ptr_mut(&socket) {
        return Some(state);
    }
    let state = other(socket, now_ns);
    if state.is_null() {
        return None;
    }
    Some(state)
}

/// Null: none.
#[inline(never)]
fn other(socket: u64, now_ns: u64) -> *mut Connection {
    find(socket, now_ns).unwrap_or(core::ptr::null_mut())
}

#[inline(always)]
fn find(socket: u64, now_ns: u64) -> Option<*mut Connection> {
    if field::<u16>(socket, constant!(OFFSETS.sock_type))? != SOCK_STREAM {
        return None;
    }
    let family: u16 = field(socket, constant!(OFFSETS.sock_family))?;
    let internet = family == AF_INET || family == AF_INET6;
    if internet && is_tcp(socket) {
        insert(socket, &first_sight(now_ns, initiator::UNKNOWN))
    } else if internet || family == AF_UNIX {
        unsequenced(socket, now_ns)
    } else {
        None
    }
}

/// Whether it is a TCP socket. A socket of Multipath TCP has no sequence numbers of its own.
#[inline(always)]
pub fn is_tcp(socket: u64) -> bool {
    field::<u16>(socket, constant!(OFFSETS.sock_protocol)) == Some(IPPROTO_TCP)
}

/// A connection that is seen for the first time.
#[inline(always)]
pub fn first_sight(now_ns: u64, initiator: u8) -> Connection {
    Connection {
        generation: now_ns,
        initiator,
        ..Connection::default()
    }
}

/// Enters a TCP connection. `None` where there is no room: it is tried again, and counted, at its first call.
#[inline(always)]
pub fn insert(socket: u64, fresh: &Connection) -> Option<*mut Connection> {
    CONNECTIONS.insert(&socket, fresh, 0).ok()?;
    CONNECTIONS.get_ptr_mut(&socket)
}

/// A call on a socket that has no entry is not seen: counted, where it is a socket that should have one.
/// `reads`: it may be the start of a request.
#[inline(never)]
pub fn no_room(traced: &Traced, socket: u64, reads: bool) {
    let kind: Option<u16> = field(socket, constant!(OFFSETS.sock_type));
    let family: Option<u16> = field(socket, constant!(OFFSETS.sock_family));
    let is_followed = matches!(family, Some(AF_INET | AF_INET6 | AF_UNIX));
    if kind != Some(SOCK_STREAM) || !is_followed {
        return;
    }
    emit::lose(loss::CONNECTIONS_FULL);
    if reads {
        emit::lose_request(loss::CONNECTIONS_FULL);
    }
    // SAFETY: a live entry of the map. What the process does meanwhile is not known.
    unsafe { (*traced.state).losses += 1 };
}

/// Unix sockets (and Multipath TCP): nothing tells their end, so the inode tells one from the next.
#[inline(always)]
fn unsequenced(socket: u64, now_ns: u64) -> Option<*mut Connection> {
    let inode = inode(socket)?;
    if let Some(state) = UNIX_CONNECTIONS.get_ptr_mut(&socket) {
        // SAFETY: a live entry of the map.
        if unsafe { (*state).inode } == inode {
            return Some(state);
        }
    }
    let mut fresh = first_sight(now_ns, initiator::UNKNOWN);
    fresh.inode = inode;
    UNIX_CONNECTIONS.insert(&socket, &fresh, 0).ok()?;
    UNIX_CONNECTIONS.get_ptr_mut(&socket)
}

#[inline(always)]
fn inode(socket: u64) -> Option<u32> {
    let file: u64 = field(socket, constant!(OFFSETS.sock_socket))?;
    let inode = file + constant!(OFFSETS.socket_inode) as u64;
    field::<u64>(inode, constant!(OFFSETS.inode_number)).map(|number| (number as u32).max(1))
}

/// Inode number of the socket's network namespace; 0 where it cannot be read.
#[inline(always)]
pub fn network_namespace(socket: u64) -> u32 {
    field::<u64>(socket, constant!(OFFSETS.sock_net))
        .and_then(|net| field(net, constant!(OFFSETS.net_inode)))
        .unwrap_or(0)
}

/// Tells the agent of a connection, once. Told again at the next call if the record is lost.
#[inline(never)]
pub fn tell(traced: &Traced, socket: u64, state: &mut state::Connection) {
    let flags = match state.initiator {
        initiator::CONNECTED => flag::CONNECTED,
        initiator::ACCEPTED => flag::ACCEPTED,
        _ => 0,
    };
    let family = field(socket, constant!(OFFSETS.sock_family)).unwrap_or(0);
    let mut opened = Opened {
        header: emit::header::<Opened>(kind::OPENED, flags, traced.process, traced.thread),
        socket,
        generation: state.generation,
        established_ns: state.established_ns,
        accepted_ns: state.accepted_ns,
        peer_socket: 0,
        goroutine: state.goroutine,
        parent_goroutine: state.parent_goroutine,
        network_namespace: network_namespace(socket),
        family,
        local_port: 0,
        local_address: [0; 16],
        remote_address: [0; 16],
        remote_port: 0,
        padding: [0; 6],
    };
    addresses(socket, &mut opened);
    if emit::record(traced.state, &opened) {
        state.told = 1;
    }
}

#[inline(always)]
fn addresses(socket: u64, opened: &mut Opened) {
    if opened.family == AF_UNIX {
        opened.peer_socket = field(socket, constant!(OFFSETS.unix_peer)).unwrap_or(0);
        return;
    }
    opened.local_port = field(socket, constant!(OFFSETS.sock_local_port)).unwrap_or(0);
    opened.remote_port =
        u16::from_be(field(socket, constant!(OFFSETS.sock_remote_port)).unwrap_or(0));
    if opened.family == AF_INET {
        let local: [u8; 4] = address(socket, constant!(OFFSETS.sock_local_address));
        let remote: [u8; 4] = address(socket, constant!(OFFSETS.sock_remote_address));
        opened.local_address[..4].copy_from_slice(&local);
        opened.remote_address[..4].copy_from_slice(&remote);
    } else {
        opened.local_address = address(socket, constant!(OFFSETS.sock_local_address_6));
        opened.remote_address = address(socket, constant!(OFFSETS.sock_remote_address_6));
    }
}

#[inline(always)]
fn address<const N: usize>(socket: u64, offset: u32) -> [u8; N] {
    kernel::field(socket, offset).unwrap_or([0; N])
}
