//! CPU time and run-queue wait of the running thread, from totals that the scheduler keeps anyway.
//!
//! `sum_exec_runtime` is brought up to date only at a tick or a switch, so what the thread has run since then is
//! added: the scheduler's clock now, minus `exec_start`. That clock cannot be read here; its offset from the
//! monotonic clock is learnt as the largest `exec_start - now` seen lately (just after a switch or a tick it is
//! nearly exact), per CPU, over two short windows because the two clocks drift.

use aya_ebpf::helpers::bpf_get_current_task;
use spanlet_abi::limit::CLOCK_WINDOW_NS;

use crate::constants::constant;
use crate::kernel::field;
use crate::maps::{ClockOffset, CLOCK_OFFSETS};

/// CPU time and run-queue wait so far, nanoseconds; zeroes where the setting is off or the kernel has no such field.
#[inline(always)]
pub fn clocks(now_ns: u64) -> (u64, u64) {
    if constant!(SETTINGS.thread_clocks) == 0 {
        return (0, 0);
    }
    // SAFETY: the helper has no precondition.
    let task = unsafe { bpf_get_current_task() };
    let Some(runtime) = field::<u64>(task, constant!(OFFSETS.task_runtime)) else {
        return (0, 0);
    };
    let Some(waited) = field::<u64>(task, constant!(OFFSETS.task_run_delay)) else {
        return (0, 0);
    };
    // Never 0, which stands for "not known".
    ((runtime + unaccounted(task, now_ns)).max(1), waited)
}

/// What the running thread has run since its total was last brought up to date, nanoseconds.
#[inline(always)]
fn unaccounted(task: u64, now_ns: u64) -> u64 {
    let Some(began) = field::<u64>(task, constant!(OFFSETS.task_exec_start)) else {
        return 0;
    };
    let Some(offset) = CLOCK_OFFSETS.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: a value of this CPU's array; the program cannot be preempted.
    let offset = learn(
        unsafe { &mut *offset },
        began as i64 - now_ns as i64,
        now_ns,
    );
    let ran = now_ns as i64 + offset - began as i64;
    if ran > 0 {
        ran as u64
    } else {
        0
    }
}

/// Takes one more sample in and gives the present estimate of the offset.
#[inline(always)]
fn learn(offset: &mut ClockOffset, sample: i64, now_ns: u64) -> i64 {
    let age = now_ns - offset.window_began_ns;
    if age > CLOCK_WINDOW_NS {
        offset.largest_before = if age > 2 * CLOCK_WINDOW_NS {
            sample
        } else {
            offset.largest
        };
        offset.largest = sample;
        offset.window_began_ns = now_ns;
    }
    if sample > offset.largest {
        offset.largest = sample;
    }
    if offset.largest_before > offset.largest {
        offset.largest_before
    } else {
        offset.largest
    }
}
