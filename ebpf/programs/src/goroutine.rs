//! Go: the goroutine that makes the call, without a uprobe. The runtime keeps the running `g` in thread-local
//! storage, which on amd64 is at `fsbase - 8` (runtime/tls_amd64.s).

use aya_ebpf::helpers::generated::bpf_probe_read_user;
use spanlet_abi::limit::GOROUTINE_WORDS;

use crate::constants::constant;
use crate::kernel::{user, Task};
use crate::maps::Goroutine;
use crate::select::Traced;

/// The goroutine and the goroutine that started it; zeroes where it is not a Go program or not known.
#[inline(always)]
pub fn current(traced: &Traced, scratch: &mut Goroutine) -> (u64, u64) {
    // SAFETY: an entry of `PROCESSES`, which lives as long as the program runs.
    let state = unsafe { &*traced.state };
    if state.goroutine_id == 0 {
        return (0, 0);
    }
    identify(state.goroutine_id, state.goroutine_parent_words, scratch).unwrap_or((0, 0))
}

/// The running `g`.
#[inline(always)]
pub fn running() -> Option<u64> {
    let base: u64 = Task::current().field(constant!(OFFSETS.task_fsbase))?;
    user(base.wrapping_sub(8))
}

/// The same of a `g` that is known, for a program that can be interrupted by another on its CPU, and so has no scratch: by
/// a read each. `None` where it is not known.
#[inline(always)]
pub fn of(g: u64, traced: &Traced) -> Option<(u64, u64)> {
    // SAFETY: as above.
    let state = unsafe { &*traced.state };
    if state.goroutine_id == 0 {
        return None;
    }
    let id = g.wrapping_add(state.goroutine_id as u64);
    let parent = match state.goroutine_parent_words {
        0 => 0,
        words => user(id.wrapping_add(words as u64 * 8))?,
    };
    user(id).map(|id| (id, parent))
}

/// Both numbers by one read of what lies between them: a read costs more than its bytes.
#[inline(always)]
fn identify(id_offset: u32, parent_words: u32, scratch: &mut Goroutine) -> Option<(u64, u64)> {
    let g = running()?;
    let source = g.wrapping_add(id_offset as u64) as *const _;
    let target = scratch.words.as_mut_ptr().cast();
    // SAFETY: the helper checks the address and writes no more than the scratch has.
    if unsafe { bpf_probe_read_user(target, size_of::<Goroutine>() as u32, source) } != 0 {
        return None;
    }
    let [id, ..] = scratch.words;
    let parent = match parent_words {
        0 => 0,
        words => scratch.words[words as usize % GOROUTINE_WORDS],
    };
    Some((id, parent))
}
