//! CPython: the `contextvars` Context that a call is made in, without a uprobe. An asyncio task has one of its own, so it
//! names the task.
//!
//! glibc keeps the first 32 thread-local values within the thread's own block (nptl `struct pthread`), and CPython keeps
//! each thread's `PyThreadState` as one of them (`_PyRuntime.autoTSSkey`). The current Context is a field of it. Each
//! step is checked, because the offsets are those of a release that the process says to be: the state must be of this
//! very thread, the Context of the type of Contexts. What does not fit is 0, and told once for a process.
//!
//! Reads: 5 times of the process's memory, for the first call of an outbound request and of an answer. Checked with CPython 3.9
//! to 3.14 and glibc, amd64.

use spanlet_abi::state::{process_flag, Python};

use crate::constants::constant;
use crate::kernel::{user, Task};
use crate::lineage;
use crate::select::Traced;

/// `struct pthread.specific_1stblock`: pairs of a sequence number and a value (nptl/descr.h, amd64).
const VALUES: u64 = 0x310;
/// Of such values (`PTHREAD_KEY_2NDLEVEL_SIZE`).
const VALUES_MAX: u32 = 32;
/// `PyContext` from its type on (Include/internal/pycore_context.h).
#[repr(C)]
#[derive(Clone, Copy)]
struct Context {
    kind: u64,
    /// The one that ran when this one was entered.
    previous: u64,
    variables: u64,
    weak_references: u64,
    is_entered: u32,
}

/// `PyObject.ob_type`
const KIND: u64 = 8;

/// The Context of the running task, and when that was born, both as a record has them; zeroes outside of tasks, and where it
/// is not CPython or not known. What the task descends from is told.
#[inline(always)]
pub fn current(traced: &Traced) -> (u64, u64) {
    // SAFETY: an entry of `PROCESSES`, which lives as long as the program runs.
    if unsafe { (*traced.state).flags } & process_flag::LOOP_WRITES != 0 {
        return (0, 0);
    }
    asking(traced)
}

/// The same in a process whose loop writes: who asks for it.
#[inline(always)]
pub fn asking(traced: &Traced) -> (u64, u64) {
    match in_thread(traced) {
        0 => (0, 0),
        task => (task, lineage::tell(traced, task)),
    }
}

/// The same, of which nobody is told.
#[inline(always)]
pub fn in_thread(traced: &Traced) -> u64 {
    // SAFETY: an entry of `PROCESSES`, which lives as long as the program runs.
    let state = unsafe { &mut *traced.state };
    if state.python.key == 0 || state.flags & process_flag::TASKS_UNFIT != 0 {
        return 0;
    }
    let in_contexts = state.flags & process_flag::THREADS_IN_CONTEXTS != 0;
    match running(&state.python, in_contexts) {
        Ok(task) => task.unwrap_or(0),
        Err(Unfit) => {
            state.flags |= process_flag::TASKS_UNFIT;
            0
        }
    }
}

/// The process's memory does not look as it should.
struct Unfit;

/// `None`: no Python thread, or no task in it.
#[inline(always)]
fn running(python: &Python, in_contexts: bool) -> Result<Option<u64>, Unfit> {
    let Some(current) = of_thread(python)? else {
        return Ok(None);
    };
    let Some(context) = user::<Context>(current.wrapping_add(KIND)) else {
        return Ok(None);
    };
    if context.kind != python.context_type {
        return Err(Unfit);
    }
    // One that was not entered is the thread's own, which its callbacks may share; so is the outermost where each thread
    // enters one.
    let is_threads = context.is_entered == 0 || (in_contexts && context.previous == 0);
    Ok((!is_threads).then_some(current))
}

/// The Context of the running thread.
#[inline(always)]
fn of_thread(python: &Python) -> Result<Option<u64>, Unfit> {
    let base: Option<u64> = Task::current().field(constant!(OFFSETS.task_fsbase));
    let (Some(base), Some(key)) = (base, user::<u32>(python.key)) else {
        return Ok(None);
    };
    if key >= VALUES_MAX {
        return Err(Unfit);
    }
    let value: Option<u64> = user(base.wrapping_add(VALUES + 16 * key as u64 + 8));
    let Some(thread) = value.filter(|thread| *thread != 0) else {
        return Ok(None);
    };
    match user::<u64>(thread.wrapping_add(python.thread as u64)) {
        Some(owner) if owner == base => {}
        Some(_) => return Err(Unfit),
        // It cannot be read now.
        None => return Ok(None),
    }
    let context: Option<u64> = user(thread.wrapping_add(python.context as u64));
    Ok(context.filter(|context| *context != 0))
}
