//! tokio: which task calls, and which answers. A task is named by the number that its runtime gave it, which no other task of the
//! process ever has.
//!
//! A connection to another server has a task of its own in most clients (hyper's), which writes what others ask it to: who asks
//! gives it the request and wakes it. So each waking is noted. What woke a task before it ran last does not count: who wakes one
//! that neither runs nor is about to begins anew. Who asked wakes it once more, when the answer is let go, which may come together
//! with another's asking: of two that wake a task, the one asks that does not owe this. Else it is not known who asked.
//!
//! Hooks: uprobes in `task::waker::wake_by_val` and `wake_by_ref`, which all wakers of tasks call, with the task in DI; in the
//! runtimes' functions that new tasks are given to, with the task in SI. Where in them: the agent's `attach/placement.rs`. First
//! kernel: 5.15, as the other uprobes. Cost: a trap on an emulated instruction (0.5 µs here, less on bare metal), four reads of the
//! process's memory, and up to three look-ups. Reads: `task::Header` (`repr(C)`), its `Vtable`, and the thread's
//! `context::CONTEXT.current_task_id`. Versions checked: tokio 1.32, 1.38, 1.43, 1.54.

use aya_ebpf::macros::uprobe;
use aya_ebpf::programs::ProbeContext;
use spanlet_abi::limit::OWING_MAX;
use spanlet_abi::record::{flag, Io};
use spanlet_abi::state::{initiator, Connection, Waker};

use crate::constants::constant;
use crate::kernel::{user, Task};
use crate::lineage;
use crate::maps::{TASKS, WAKERS};
use crate::select::{self, Traced};

/// How a `task::Header` begins.
#[repr(C)]
#[derive(Clone, Copy)]
struct Header {
    state: u64,
    next: u64,
    vtable: u64,
}

/// Bits of its state (`task/state.rs`).
const RUNNING: u64 = 1;
const NOTIFIED: u64 = 4;
/// `Vtable.id_offset`: after seven functions and two other offsets.
const ID_OFFSET: u64 = 72;
/// A task's number is ahead of its future, which may be large; it is aligned as that is.
const ID_OFFSET_MAX: u64 = 4096;

/// `wake_by_val(DI: *const Header)`
#[uprobe]
pub fn tokio_wake_by_val(context: ProbeContext) -> u32 {
    woken(&context);
    0
}

/// `wake_by_ref(DI: *const Header)`
#[uprobe]
pub fn tokio_wake_by_ref(context: ProbeContext) -> u32 {
    woken(&context);
    0
}

/// `Handle::schedule_option_task_without_yield(DI: &Handle, SI: Option<Notified>)`: of the runtime with many threads, and of new
/// tasks only.
#[uprobe]
pub fn tokio_spawn(context: ProbeContext) -> u32 {
    if let Some((traced, new, _)) = asked(context.arg(1)) {
        lineage::remember(&traced, new, current(&traced));
    }
    0
}

/// `Handle::schedule(DI: &Arc<Handle>, SI: Notified)`: of the runtime with one thread, of new tasks and of such that were woken. A
/// new one is known by not having been woken ever.
#[uprobe]
pub fn tokio_schedule(context: ProbeContext) -> u32 {
    let Some((traced, task, _)) = asked(context.arg(1)) else {
        return 0;
    };
    let (name, by) = (lineage::name(&traced, task), current(&traced));
    let is_known = TASKS.get_ptr(&name).is_some() || WAKERS.get_ptr(&name).is_some();
    if by != 0 && !is_known {
        lineage::remember(&traced, task, by);
    }
    0
}

#[inline(always)]
fn woken(context: &ProbeContext) {
    if let Some((traced, task, state)) = asked(context.arg(0)) {
        let is_idle = state & (RUNNING | NOTIFIED) == 0;
        note(&traced, task, current(&traced), is_idle);
    }
}

/// A task is woken by another, or by none.
#[inline(always)]
fn note(traced: &Traced, task: u64, by: u64, is_idle: bool) {
    let name = lineage::name(traced, task);
    let Some(waker) = WAKERS.get_ptr_mut(&name) else {
        if by != 0 {
            let waker = Waker {
                task: by,
                ..Waker::default()
            };
            // A map of this kind makes room.
            let _ = WAKERS.insert(&name, &waker, 0);
        }
        return;
    };
    // SAFETY: a live entry of a map.
    let waker = unsafe { &mut *waker };
    if is_idle {
        // It has run since, and called for none of them.
        settle(waker, waker.task);
        settle(waker, waker.other);
        (waker.task, waker.other, waker.is_crowded) = (by, 0, 0);
    } else if waker.task == 0 {
        waker.task = by;
    } else if by == 0 || by == waker.task || by == waker.other {
    } else if waker.other == 0 {
        waker.other = by;
    } else {
        waker.is_crowded = 1;
    }
}

/// A task has woken the one that called for it once more.
#[inline(always)]
fn settle(waker: &mut Waker, task: u64) {
    for owing in &mut waker.owing {
        if *owing == task {
            *owing = 0;
        }
    }
}

/// A task is called for: it will wake the one that calls once more.
#[inline(always)]
fn owe(waker: &mut Waker, task: u64) {
    settle(waker, task);
    waker.calls = (waker.calls + 1).min(OWING_MAX as u32);
    let [first, second, third, _] = waker.owing;
    waker.owing = [task, first, second, third];
}

/// The running thread, if its process is one of tokio's, the task's number, and its state.
#[inline(always)]
fn asked(header: Option<u64>) -> Option<(Traced, u64, u64)> {
    let traced = select::traced()?;
    if !is_on(&traced) {
        return None;
    }
    let address = header.filter(|address| *address != 0)?;
    let header: Header = user(address)?;
    let offset: u64 = user(header.vtable.wrapping_add(ID_OFFSET))?;
    if offset > ID_OFFSET_MAX {
        return None;
    }
    let task: u64 = user(address.wrapping_add(offset))?;
    (task != 0).then_some((traced, task, header.state))
}

/// Whether it is known of the process where its tasks are found.
#[inline(always)]
pub fn is_on(traced: &Traced) -> bool {
    // SAFETY: an entry of `PROCESSES`, which lives as long as the program runs.
    unsafe { (*traced.state).tokio.words != 0 }
}

/// The task that the thread runs; 0: none.
#[inline(always)]
fn current(traced: &Traced) -> u64 {
    // SAFETY: as above.
    let tokio = unsafe { (*traced.state).tokio };
    let base: Option<u64> = Task::current().field(constant!(OFFSETS.task_fsbase));
    let address = base.unwrap_or(0).wrapping_add(tokio.offset as u64);
    match tokio.words {
        1 => user(address).unwrap_or(0),
        _ => match user::<[u64; 2]>(address) {
            Some([0, _]) | None => 0,
            Some([_, task]) => task,
        },
    }
}

/// Writes into the record of a write that begins a turn for which task it is made. `is_answer`: it begins as an answer does,
/// which counts where it is not known who connected.
#[inline(never)]
pub fn describe(traced: &Traced, state: &Connection, is_answer: bool, io: &mut Io) {
    let calls = match state.initiator {
        initiator::CONNECTED => true,
        initiator::ACCEPTED => false,
        _ => !is_answer,
    };
    let task = match current(traced) {
        0 => return,
        task if calls => asker(traced, state, task),
        task => (task, lineage::tell(traced, task)),
    };
    if task.0 != 0 {
        io.header.flags |= flag::TASK;
        (io.goroutine, io.parent_goroutine) = task;
    }
}

/// Who asked for what a task begins to write, and when that was born; zeroes: more than one task may have.
#[inline(always)]
fn asker(traced: &Traced, state: &Connection, task: u64) -> (u64, u64) {
    let name = lineage::name(traced, task);
    if let Some(waker) = WAKERS.get_ptr_mut(&name) {
        // SAFETY: a live entry of a map.
        let waker = unsafe { &mut *waker };
        if waker.task != 0 {
            return match who(waker) {
                0 => (0, 0),
                by => (by, lineage::tell(traced, by)),
            };
        }
    }
    // The task asked itself; or it was started with the request, which only its connection's first can be.
    let is_first = state.is_used == 0 && state.initiator != initiator::UNKNOWN;
    if !is_first {
        return (task, 0);
    }
    if let Some(birth) = TASKS.get_ptr(&name) {
        let mut waker = Waker {
            calls: OWING_MAX as u32,
            ..Waker::default()
        };
        // SAFETY: a live entry of a map.
        waker.owing[0] = unsafe { (*birth).ancestors[0].task };
        // A map of this kind makes room.
        let _ = WAKERS.insert(&name, &waker, 0);
    }
    (task, lineage::tell(traced, task))
}

/// Which of those who woke a task asked it: of two, the one that had nothing else to wake it for. 0: it is not known.
#[inline(always)]
fn who(waker: &mut Waker) -> u64 {
    let (task, other) = (waker.task, waker.other);
    let owes = |task: u64| waker.owing.iter().any(|owing| *owing == task);
    let is_known = waker.is_crowded == 0 && waker.calls as usize == OWING_MAX;
    let by = match (owes(task), owes(other)) {
        _ if other == 0 => task,
        (true, false) if is_known => other,
        (false, true) if is_known => task,
        _ => 0,
    };
    (waker.task, waker.other, waker.is_crowded) = (0, 0, 0);
    if by == 0 {
        owe(waker, other);
        owe(waker, task);
        return 0;
    }
    settle(waker, task);
    settle(waker, other);
    owe(waker, by);
    by
}
