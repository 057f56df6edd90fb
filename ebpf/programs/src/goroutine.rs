//! Go: the goroutine that makes the call, without a uprobe. The runtime keeps the running `g` in thread-local
//! storage, which on amd64 is at `fsbase - 8` (runtime/tls_amd64.s).

use aya_ebpf::helpers::bpf_get_current_task;

use crate::constants::constant;
use crate::kernel::{field, user};
use crate::select::Traced;

/// The goroutine and the goroutine that started it; zeroes where it is not a Go program or not known.
#[inline(always)]
pub fn current(traced: &Traced) -> (u64, u64) {
    // SAFETY: an entry of `PROCESSES`, which lives as long as the program runs.
    let state = unsafe { &*traced.state };
    if state.goroutine_id == 0 {
        return (0, 0);
    }
    identify(state.goroutine_id, state.goroutine_parent).unwrap_or((0, 0))
}

#[inline(always)]
fn identify(id_offset: u32, parent_offset: u32) -> Option<(u64, u64)> {
    // SAFETY: the helper has no precondition.
    let task = unsafe { bpf_get_current_task() };
    let base: u64 = field(task, constant!(OFFSETS.task_fsbase))?;
    let g: u64 = user(base.wrapping_sub(8))?;
    let id: u64 = user(g.wrapping_add(id_offset as u64))?;
    let parent = if parent_offset == 0 {
        0
    } else {
        user(g.wrapping_add(parent_offset as u64))?
    };
    Some((id, parent))
}
