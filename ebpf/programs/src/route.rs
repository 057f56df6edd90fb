//! Go: by which pattern `net/http.ServeMux` routed a request, without a uprobe of its own.
//!
//! The goroutine that serves a connection has its `*conn` among the first words of its stack, because the first of its
//! functions was given it; its reader points back, which proves it. That is looked for as requests are read, a few times for
//! each connection; a `conn` stays where it is for as long as it serves. As an answer begins, it points to the response
//! (`curReq`, which points back too), that to the request, and that to the pattern. What does not point back is left alone.
//!
//! Cost: 4 reads of the process's memory for each answer and, where it was routed, one look-up; some 10 reads for a connection,
//! once; for servers that are not net/http's, three times. Reads: `net/http.conn`, `.connReader`, `.response`, `.Request`.
//! Versions checked: Go 1.22 to 1.26 (`attach/golang/offsets.txt`).

use aya_ebpf::helpers::generated::bpf_probe_read_user;
use spanlet_abi::golang::{RouteName, RouteOffsets};
use spanlet_abi::limit::{ROUTE_BYTES_MAX, STACK_WORDS};
use spanlet_abi::record::{kind, Route};
use spanlet_abi::state::Connection;

use crate::kernel::user;
use crate::maps::ROUTES;
use crate::select::Traced;
use crate::{emit, goroutine};

/// How often a connection's `conn` is looked for: a goroutine that reads ahead may be the one that is met.
const LOOKS_MAX: u8 = 3;

/// A request is read: looks for what serves its connection. `g`: who reads; `None`: whoever runs, as thread-local storage has it.
#[inline(always)]
pub fn at_read(traced: &Traced, state: &mut Connection, g: Option<u64>, is_asked: bool) {
    // SAFETY: an entry of `PROCESSES`, which lives as long as the program runs.
    if !is_asked
        || unsafe { (*traced.state).routes_token } == 0
        || state.server != 0
        || state.looked >= LOOKS_MAX
    {
        return;
    }
    state.looked += 1;
    if let Some(g) = g.or_else(goroutine::running) {
        state.server = look(traced, g);
    }
}

/// The address and length of the pattern of the request that is answered; zeroes where it has none, or none that is known.
#[inline(always)]
pub fn of_answer(traced: &Traced, state: &Connection) -> (u64, u64) {
    let mut name = RouteName::default();
    if state.server == 0 || !find(traced, state.server, &mut name) {
        return (0, 0);
    }
    (name.address, name.length)
}

/// The `conn` that a goroutine serves; 0: none.
#[inline(never)]
fn look(traced: &Traced, g: u64) -> u64 {
    // SAFETY: as above.
    let offsets = unsafe { &(*traced.state).routes };
    first_words(g, offsets).map_or(0, |words| {
        let mut found = 0;
        for index in 0..STACK_WORDS {
            if found == 0 && is_connection(words[index], offsets) {
                found = words[index];
            }
        }
        found
    })
}

#[inline(always)]
fn first_words(g: u64, offsets: &RouteOffsets) -> Option<[u64; STACK_WORDS]> {
    let end: u64 = user(g.wrapping_add(offsets.stack_end as u64))?;
    user(end.wrapping_sub(8 * STACK_WORDS as u64))
}

#[inline(always)]
fn is_connection(word: u64, offsets: &RouteOffsets) -> bool {
    if word == 0 || word % 8 != 0 {
        return false;
    }
    let owner = user::<u64>(word.wrapping_add(offsets.reader as u64))
        .and_then(|reader| user::<u64>(reader.wrapping_add(offsets.reader_connection as u64)));
    owner == Some(word)
}

/// Fills in the name of the pattern; true where there is one, and it was told.
#[inline(never)]
fn find(traced: &Traced, server: u64, name: &mut RouteName) -> bool {
    // SAFETY: as above.
    let (offsets, token) = unsafe { (&(*traced.state).routes, (*traced.state).routes_token) };
    let Some([address, length]) = pattern(server, offsets) else {
        return false;
    };
    if address == 0 || length == 0 || length > ROUTE_BYTES_MAX as u64 {
        return false;
    }
    *name = RouteName {
        token,
        address,
        length,
    };
    ROUTES.get_ptr(&*name).is_some() || tell(traced, name)
}

/// Where the text of the pattern is, and how long.
#[inline(always)]
fn pattern(server: u64, offsets: &RouteOffsets) -> Option<[u64; 2]> {
    let at = |address: u64, offset: u16| address.wrapping_add(offset as u64);
    let response: u64 = user(at(server, offsets.response))?;
    if response == 0 || user::<u64>(at(response, offsets.response_connection))? != server {
        return None;
    }
    let request: u64 = user(at(response, offsets.request))?;
    let pattern = at(request, offsets.pattern);
    match offsets.is_pointed_to {
        0 => user(pattern),
        _ => user(user(pattern)?),
    }
}

/// Tells the text, which is told again where that was lost. It is read to where it is sent: what writes TLS can be interrupted by
/// another program on its CPU.
#[inline(always)]
fn tell(traced: &Traced, name: &RouteName) -> bool {
    // SAFETY: a live number. The verifier is to see that it fits, which the compiler takes for known.
    let length = unsafe { core::ptr::read_volatile(&name.length) };
    if length > ROUTE_BYTES_MAX as u64 {
        return false;
    }
    let Some(mut room) = emit::room::<Route>(traced.state) else {
        return false;
    };
    let route = room.as_mut_ptr();
    let header = emit::header::<Route>(kind::ROUTE, 0, traced.process, traced.thread);
    // SAFETY: the room is that of a route; the helper checks the address, and the length is within the text.
    let read = unsafe {
        (&raw mut (*route).header).write(header);
        (&raw mut (*route).address).write(name.address);
        (&raw mut (*route).length).write(length);
        let pattern = (&raw mut (*route).pattern).cast();
        bpf_probe_read_user(pattern, length as u32, name.address as *const _)
    };
    if read != 0 {
        room.discard(0);
        return false;
    }
    emit::send(room);
    // A map of this kind makes room.
    ROUTES.insert(name, &1, 0).is_ok()
}
