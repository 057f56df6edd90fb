//! CPU time and run-queue wait of the running thread, from totals that the scheduler keeps anyway.
//!
//! `sum_exec_runtime` is brought up to date only at a tick or a switch, so what the thread has run since then is
//! added: the scheduler's clock now, minus `exec_start`. That clock cannot be read here; its offset from the
//! monotonic clock is learnt as the largest `exec_start - now` seen lately (just after a switch or a tick it is
//! nearly exact), per CPU, over two short windows because the two clocks drift.

use spanlet_abi::limit::CLOCK_WINDOW_NS;

use crate::constants::constant;
use crate::kernel::Task;
use crate::maps::ClockOffset;

/// CPU time and run-queue wait so far, nanoseconds; zeroes where the setting is off or the kernel has no such field.
#[inline(always)]
pub fn clocks(now_ns: u64, offset: &mut ClockOffset) -> (u64, u64) {
    read(now_ns, offset).unwrap_or((0, 0))
}

#[inline(always)]
fn read(now_ns: u64, offset: &mut ClockOffset) -> Option<(u64, u64)> {
    if constant!(SETTINGS.thread_clocks) == 0 {
        return None;
    }
    let task = Task::current();
    let runtime: u64 = task.field(constant!(OFFSETS.task_runtime))?;
    let waited: u64 = task.field(constant!(OFFSETS.task_run_delay))?;
    let began: u64 = task.field(constant!(OFFSETS.task_exec_start))?;
    // What the thread has run since its total was last brought up to date.
    let offset = learn(offset, began as i64 - now_ns as i64, now_ns);
    let unaccounted = (now_ns as i64 + offset - began as i64).max(0);
    // Never 0, which stands for "not known".
    Some(((runtime + unaccounted as u64).max(1), waited))
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
