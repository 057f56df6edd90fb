//! libuv, in Node.js: the turn of the event loop. A turn is what runs from one call of the loop to a callback until the next, and
//! what it writes it writes for what it read. Connections are told by the turn that made their handle: they connect, and write, in later ones.
//!
//! Hooks: a uprobe in `uv__metrics_update_idle_time`, which the loop calls ahead of each callback for what it polled (libuv
//! 1.40 and later), and a return probe on `uv__io_poll`, after which it calls back for other reasons (timers, errors that were put off),
//! so that no turn is known; uprobes in `uv_tcp_init` and `uv_tcp_connect`, which have the handle in SI. Where in them: the agent's
//! `attach/placement.rs`. First kernel: 5.15, as the other uprobes. Cost: a trap on an emulated instruction (0.5 µs here, less on bare metal) for
//! each callback, one more and the return's for each round of the loop, two for a connection that is made; two look-ups each. Reads: nothing of the
//! process's memory. Only a process's first thread: others have loops of their own. Versions checked: Node.js 18, 20, 22, 24 and 25
//! (libuv 1.44 to 1.52).

use aya_ebpf::macros::{uprobe, uretprobe};
use aya_ebpf::programs::{ProbeContext, RetProbeContext};
use spanlet_abi::record::flag;
use spanlet_abi::state::{process_flag, Connection, Handle, Loop};

use crate::emit;
use crate::maps::{HANDLES, LOOPS};
use crate::observe::Who;
use crate::select::{self, Traced};

/// `uv__metrics_update_idle_time(uv_loop_t*)`
#[uprobe]
pub fn uv_turn(_: ProbeContext) -> u32 {
    if let Some(state) = running().and_then(|traced| of(&traced)) {
        state.turn = emit::now();
    }
    0
}

/// `uv__io_poll(uv_loop_t*, int)`. Only what returns from it has both probes: the other alone would take many turns for one.
#[uretprobe]
pub fn uv_polled(_: RetProbeContext) -> u32 {
    let Some(traced) = running() else {
        return 0;
    };
    match of(&traced) {
        Some(state) => state.turn = 0,
        // A map of this kind makes room.
        None => {
            let _ = LOOPS.insert(&traced.process, &Loop::default(), 0);
        }
    }
    0
}

/// `uv_tcp_init(uv_loop_t*, SI: uv_tcp_t*)`
#[uprobe]
pub fn uv_tcp_init(context: ProbeContext) -> u32 {
    if let (Some(traced), Some(address)) = (running(), context.arg::<u64>(1)) {
        let turn = of(&traced).map_or(0, |state| state.turn);
        let handle = handle(&traced, address);
        // Whatever becomes of it: a map of this kind makes room, and another may have had the address.
        let _ = match turn {
            0 => HANDLES.remove(&handle),
            turn => HANDLES.insert(&handle, &turn, 0),
        };
    }
    0
}

/// `uv_tcp_connect(uv_connect_t*, SI: uv_tcp_t*, …)`: the system call follows, in the same thread.
#[uprobe]
pub fn uv_tcp_connect(context: ProbeContext) -> u32 {
    if let (Some(traced), Some(address)) = (running(), context.arg::<u64>(1)) {
        if let Some(state) = of(&traced) {
            let turn = HANDLES.get_ptr(&handle(&traced, address));
            // SAFETY: a live entry of the map.
            state.dialing = turn.map_or(0, |turn| unsafe { *turn });
        }
    }
    0
}

/// The turn that made the handle which connects now; 0 where not known.
#[inline(always)]
pub fn dialing(traced: &Traced) -> u64 {
    match is_loop(traced) {
        true => of(traced).map_or(0, |state| core::mem::take(&mut state.dialing)),
        false => 0,
    }
}

/// The turn of the loop that runs, and the one that made a connection.
#[inline(always)]
pub fn who(traced: &Traced, state: &Connection) -> Who {
    Who {
        flags: flag::TURN,
        id: of(traced).map_or(0, |state| state.turn),
        parent: state.asker,
    }
}

/// Whether the running thread has the loop that turns are told of.
#[inline(always)]
pub fn is_loop(traced: &Traced) -> bool {
    // SAFETY: an entry of `PROCESSES`, which lives as long as the program runs.
    let flags = unsafe { (*traced.state).flags };
    flags & process_flag::LOOP != 0 && traced.thread == traced.process
}

/// The running thread, if its loop is of interest.
#[inline(always)]
fn running() -> Option<Traced> {
    select::traced().filter(is_loop)
}

#[inline(always)]
fn of<'a>(traced: &Traced) -> Option<&'a mut Loop> {
    let state = LOOPS.get_ptr_mut(&traced.process)?;
    // SAFETY: a live entry of the map, which only this thread uses.
    Some(unsafe { &mut *state })
}

#[inline(always)]
fn handle(traced: &Traced, address: u64) -> Handle {
    Handle {
        address,
        process: traced.process,
        padding: 0,
    }
}
