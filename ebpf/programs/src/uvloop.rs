//! uvloop: which task asks for what the loop writes later. Its streams queue what is written, and the loop sends it outside
//! of tasks; the task is kept for the connection's next turn (see `observe.rs`).
//!
//! Hook: uprobe in `UVStream._initiate_write(UVStream)`, which runs in the task, with the stream in DI. Where in it: the
//! agent's `attach/placement.rs`. First kernel: 5.15, as the other uprobes. Cost: a trap on an emulated instruction (0.5 µs here,
//! less on bare metal), nine reads of the process's memory, the walk from a descriptor to its socket, two look-ups.
//! Reads: as `python.rs`; `UVHandle._handle`, `uv_handle_t`, `uv_stream_t`. Version checked: uvloop 0.23.0, whose libuv is
//! its own.

use aya_ebpf::macros::uprobe;
use aya_ebpf::programs::ProbeContext;

use crate::kernel::user;
use crate::select::{self, Traced};
use crate::{connection, descriptor, emit, python};

/// `UVHandle._handle`: behind what every object begins with, and the table of its methods.
const HANDLE: u64 = 24;
/// `uv_handle_t.type` (uv.h): TCP and named pipe.
const TYPE: u64 = 16;
const NAMED_PIPE: u32 = 7;
const TCP: u32 = 12;
/// `uv_stream_t.io_watcher.fd`
const DESCRIPTOR: u64 = 184;

/// `UVStream._initiate_write(DI: UVStream)`
#[uprobe]
pub fn uvloop_write(context: ProbeContext) -> u32 {
    if let (Some(traced), Some(stream)) = (select::traced(), context.arg::<u64>(0)) {
        let _ = keep(&traced, stream);
    }
    0
}

/// `None`: no task, or memory that does not look as it should.
#[inline(always)]
fn keep(traced: &Traced, stream: u64) -> Option<()> {
    let (task, born_ns) = python::asking(traced);
    if task == 0 {
        return None;
    }
    let socket = descriptor::socket_of(descriptor(stream)?)?;
    let state = connection::of(socket, emit::now())?;
    // SAFETY: a live entry of a map.
    let state = unsafe { &mut *state };
    (state.asker, state.parent_asker) = (task, born_ns);
    Some(())
}

/// The handle says of itself whose it is, and what.
#[inline(always)]
fn descriptor(stream: u64) -> Option<u64> {
    let handle: u64 = user(stream.wrapping_add(HANDLE))?;
    let owner: u64 = user(handle)?;
    let kind: u32 = user(handle.wrapping_add(TYPE))?;
    if owner != stream || (kind != TCP && kind != NAMED_PIPE) {
        return None;
    }
    user::<u32>(handle.wrapping_add(DESCRIPTOR)).map(u64::from)
}
