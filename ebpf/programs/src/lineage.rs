//! Which task started which: of CPython here, of tokio by `tokio.rs`. An asyncio task is given a copy of the Context of whoever
//! starts it.
//!
//! Hook: the return of `PyContext_CopyCurrent`, by a return probe on an instruction at its start that the kernel emulates and
//! before which the stack is as it was (the agent's `attach/placement.rs`). First kernel: 5.15, as the other uprobes. Cost: two
//! traps (0.75 µs here, less on bare metal) and 1.0 µs: five reads of the process's memory and one insertion; for each task and
//! each callback that is put off. Reads: as `python.rs`. Versions checked: CPython 3.9 to 3.14.

use aya_ebpf::macros::uretprobe;
use aya_ebpf::programs::RetProbeContext;
use spanlet_abi::limit::TASK_ANCESTORS;
use spanlet_abi::record::{kind, TaskBorn};
use spanlet_abi::state::{TaskBirth, TaskName};

use crate::maps::TASKS;
use crate::select::{self, Traced};
use crate::{emit, python};

/// `PyObject *PyContext_CopyCurrent(void)`
#[uretprobe]
pub fn python_task_born(context: RetProbeContext) -> u32 {
    let copy: u64 = context.ret();
    if let (Some(traced), true) = (select::traced(), copy != 0) {
        match python::in_thread(&traced) {
            // Whose address it has is gone. Nothing is wrong where there was none.
            0 => drop(TASKS.remove(&name(&traced, copy))),
            parent => remember(&traced, copy, parent),
        }
    }
    0
}

/// A task is started by another; by none, 0.
#[inline(always)]
pub fn remember(traced: &Traced, task: u64, parent: u64) {
    let task = name(traced, task);
    let mut birth = TaskBirth {
        born_ns: emit::now(),
        ..TaskBirth::default()
    };
    birth.ancestors[0].task = parent;
    // Of 0 none is remembered.
    if let Some(above) = TASKS.get_ptr(&name(traced, parent)) {
        // SAFETY: a live entry of a map.
        let above = unsafe { &*above };
        birth.ancestors[0].born_ns = above.born_ns;
        birth.ancestors[1..].copy_from_slice(&above.ancestors[..TASK_ANCESTORS - 1]);
    }
    // A map of this kind makes room.
    let _ = TASKS.insert(&task, &birth, 0);
}

/// Tells, once, of the birth of a task and of those that it descends from. Gives when it was born, 0 where not known.
#[inline(never)]
pub fn tell(traced: &Traced, task: u64) -> u64 {
    let Some(birth) = TASKS.get_ptr_mut(&name(traced, task)) else {
        return 0;
    };
    // SAFETY: a live entry of a map.
    let birth = unsafe { &mut *birth };
    if birth.told != 0 {
        return birth.born_ns;
    }
    let told = TaskBorn {
        header: emit::header::<TaskBorn>(kind::TASK_BORN, 0, traced.process, traced.thread),
        task,
        born_ns: birth.born_ns,
        ancestors: birth.ancestors,
    };
    birth.told = u32::from(emit::record(traced.state, &told));
    birth.born_ns
}

#[inline(always)]
pub fn name(traced: &Traced, task: u64) -> TaskName {
    TaskName {
        task,
        process: traced.process,
        padding: 0,
    }
}
