//! tokio: which task calls, and which answers. A task is named by the number that its runtime gave it, which no other task of the
//! process ever has.
//!
//! A connection to another server has a task of its own in most clients (hyper's), which writes what others ask it to: who asks
//! gives it the request and wakes it. So each waking is noted. What woke a task before it ran last does not count: who wakes one
//! that neither runs nor is about to begins anew. Who asked wakes it again, with each part of the answer that is read and when it is
//! let go, which may come together with another's asking: of two that wake a task, the one asks for whom it has not called lately.
//! Else it is not known who asked. A task that reads requests, or that writes to a connection to which others wrote, makes its calls
//! itself, whoever wakes it.
//!
//! Hooks: uprobes in `task::waker::wake_by_val` and `wake_by_ref`, which all wakers of tasks call, with the task in DI; in the
//! runtimes' functions that new tasks are given to, with the task in SI. Where in them: the agent's `attach/placement.rs`. First
//! kernel: 5.15, as the other uprobes. Cost: a trap on an emulated instruction (0.5 µs here, less on bare metal), four reads of the
//! process's memory, and up to three look-ups; another look-up as a request is read. Reads: `task::Header` (`repr(C)`), its `Vtable`, and the thread's
//! `context::CONTEXT.current_task_id`. Versions checked: tokio 1.32, 1.38, 1.43, 1.54.

use core::mem::replace;

use aya_ebpf::macros::uprobe;
use aya_ebpf::programs::ProbeContext;
use spanlet_abi::limit::{AT_ONCE_NS, CALLERS_MAX};
use spanlet_abi::record::{flag, Io};
use spanlet_abi::state::{initiator, process_flag, Connection, TaskName, Waker, SEVERAL};

use crate::constants::constant;
use crate::kernel::{user, Task};
use crate::maps::{TASKS, WAKERS};
use crate::select::{self, Traced};
use crate::{emit, lineage};

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
    // SAFETY: an entry of `PROCESSES`, which lives as long as the program runs.
    let is_told = unsafe { (*traced.state).flags } & process_flag::WAKERS != 0;
    let (name, by) = (lineage::name(&traced, task), current(&traced));
    let is_known = TASKS.get_ptr(&name).is_some() || WAKERS.get_ptr(&name).is_some();
    if is_told && by != 0 && !is_known {
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
                time_ns: emit::now(),
                is_crowded: u32::from(!is_idle),
                ..Waker::default()
            };
            // A map of this kind makes room.
            let _ = WAKERS.insert(&name, &waker, 0);
        }
        return;
    };
    // SAFETY: a live entry of a map.
    let waker = unsafe { &mut *waker };
    let now_ns = emit::now();
    let before_ns = replace(&mut waker.time_ns, now_ns);
    let is_alone = by == 0 || now_ns.wrapping_sub(before_ns) > AT_ONCE_NS;
    if is_idle && is_alone {
        // It has run since, and called for none of them. If one is lost that has just asked, it is not known who did.
        (waker.task, waker.other, waker.is_crowded) = (by, 0, 0);
    } else if by != 0 && by != waker.task && by != waker.other {
        join(waker, by);
    }
}

/// The target has no atomic exchange: what another processor does within these few instructions is lost.
#[inline(always)]
fn join(waker: &mut Waker, by: u64) {
    match (waker.task, waker.other) {
        (0, _) => waker.task = by,
        (_, 0) => waker.other = by,
        _ => waker.is_crowded = 1,
    }
}

/// A task is called for.
#[inline(always)]
fn remember(waker: &mut Waker, task: u64) {
    waker.calls = (waker.calls + 1).min(CALLERS_MAX as u32);
    let [first, second, third, _] = waker.callers;
    waker.callers = match task {
        task if task == first => return,
        task if task == second => [task, first, third, waker.callers[3]],
        task if task == third => [task, first, second, waker.callers[3]],
        task => [task, first, second, third],
    };
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

/// A request is read: the task that does will make its calls itself. Of one that came before its connection was first seen, that is
/// known from its answer on.
#[inline(always)]
pub fn at_read(traced: &Traced, state: &Connection, turn_start: bool) {
    if turn_start && state.initiator == initiator::ACCEPTED && is_on(traced) {
        serves(traced);
    }
}

#[inline(never)]
fn serves(traced: &Traced) {
    match current(traced) {
        0 => {}
        task => is_own(traced, task),
    }
}

/// Writes into the record of a write that begins a turn for which task it is made. `is_answer`: it begins as an answer does,
/// which counts where it is not known who connected.
#[inline(never)]
pub fn describe(traced: &Traced, state: &mut Connection, is_answer: bool, io: &mut Io) {
    let task = current(traced);
    if task == 0 {
        return;
    }
    let is_served = match state.initiator {
        initiator::CONNECTED => false,
        initiator::ACCEPTED => true,
        _ => is_answer,
    };
    if is_served {
        is_own(traced, task);
    }
    let (id, born_ns) = match is_served {
        true => (task, lineage::tell(traced, task)),
        false => asker(traced, state, task),
    };
    if id != 0 {
        io.header.flags |= flag::TASK;
        (io.goroutine, io.parent_goroutine) = (id, born_ns);
    }
}

/// What a task calls, it calls for itself.
#[inline(always)]
fn is_own(traced: &Traced, task: u64) {
    let name = lineage::name(traced, task);
    match WAKERS.get_ptr_mut(&name) {
        // SAFETY: a live entry of a map.
        Some(waker) => unsafe { (*waker).is_own = 1 },
        None => {
            let waker = Waker {
                is_own: 1,
                ..Waker::default()
            };
            // A map of this kind makes room.
            let _ = WAKERS.insert(&name, &waker, 0);
        }
    }
}

/// Who asked for what a task begins to write, and when that was born; zeroes: more than one task may have.
#[inline(always)]
fn asker(traced: &Traced, state: &mut Connection, task: u64) -> (u64, u64) {
    let name = lineage::name(traced, task);
    match state.parent_asker {
        0 => state.parent_asker = task,
        writer if writer == task => {}
        _ => {
            state.parent_asker = SEVERAL;
            is_own(traced, task);
            return (task, lineage::tell(traced, task));
        }
    }
    // SAFETY: an entry of `PROCESSES`, which lives as long as the program runs.
    let is_told = unsafe { (*traced.state).flags } & process_flag::WAKERS != 0;
    if let (Some(waker), true) = (WAKERS.get_ptr_mut(&name), is_told) {
        // SAFETY: a live entry of a map.
        let waker = unsafe { &mut *waker };
        if waker.is_own == 0 && waker.task != 0 {
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
        // SAFETY: a live entry of a map.
        begin(&name, unsafe { (*birth).ancestors[0].task });
    }
    (task, lineage::tell(traced, task))
}

/// A task calls for the first time, for the one that started it.
#[inline(always)]
fn begin(name: &TaskName, by: u64) {
    if WAKERS.get_ptr(name).is_some() {
        return;
    }
    let mut waker = Waker {
        calls: CALLERS_MAX as u32,
        ..Waker::default()
    };
    waker.callers[0] = by;
    // A map of this kind makes room.
    let _ = WAKERS.insert(name, &waker, 0);
}

/// Which of those who woke a task asked it: of two, the one for whom it has not called lately, which has no other reason. 0: it is not
/// known.
#[inline(always)]
fn who(waker: &mut Waker) -> u64 {
    let (task, other) = (waker.task, waker.other);
    let is_caller = |task: u64| waker.callers.iter().any(|caller| *caller == task);
    let is_known = waker.is_crowded == 0 && waker.calls as usize == CALLERS_MAX;
    let by = match (is_caller(task), is_caller(other)) {
        _ if other == 0 && waker.is_crowded == 0 => task,
        (true, false) if is_known => other,
        (false, true) if is_known => task,
        _ => 0,
    };
    (waker.task, waker.other, waker.is_crowded) = (0, 0, 0);
    if by == 0 {
        remember(waker, other);
        remember(waker, task);
    } else {
        remember(waker, by);
    }
    by
}
