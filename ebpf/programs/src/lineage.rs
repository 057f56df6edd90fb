//! CPython: which task started which. An asyncio task is given a copy of the Context of whoever starts it.
//!
//! Hook: the return of `PyContext_CopyCurrent`, by a return probe on an instruction at its start that the kernel emulates and
//! before which the stack is as it was (the agent's `attach/placement.rs`). First kernel: 5.15, as the other uprobes. Cost: two
//! traps (0.75 µs here, less on bare metal), six reads of the process's memory, one insertion, for each task and each callback
//! that is put off. Reads: as `python.rs`. Versions checked: CPython 3.9 to 3.14.

use aya_ebpf::macros::uretprobe;
use aya_ebpf::programs::RetProbeContext;
use spanlet_abi::limit::TASK_ANCESTORS_MAX;
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
        remember(&traced, copy);
    }
    0
}

#[inline(always)]
fn remember(traced: &Traced, task: u64) {
    let (parent, _) = python::in_thread(traced);
    let name = name(traced, task);
    if parent == 0 {
        // Whose address it has is gone. Nothing is wrong where there was none.
        let _ = TASKS.remove(&name);
        return;
    }
    let birth = TaskBirth {
        parent,
        born_ns: emit::now(),
        told: 0,
        padding: 0,
    };
    // A map of this kind makes room.
    let _ = TASKS.insert(&name, &birth, 0);
}

/// Tells of the births of a task and of those that it descends from, each once.
#[inline(never)]
pub fn tell(traced: &Traced, task: u64) {
    let mut child = task;
    let mut before = u64::MAX;
    for _ in 0..TASK_ANCESTORS_MAX {
        let Some(birth) = TASKS.get_ptr_mut(&name(traced, child)) else {
            return;
        };
        // SAFETY: a live entry of a map.
        let birth = unsafe { &mut *birth };
        // Another has the address by now.
        if birth.born_ns > before {
            return;
        }
        if birth.told == 0 {
            let told = TaskBorn {
                header: emit::header::<TaskBorn>(kind::TASK_BORN, 0, traced.process, traced.thread),
                task: child,
                parent: birth.parent,
                born_ns: birth.born_ns,
            };
            birth.told = u32::from(emit::record(traced.state, &told));
        }
        (child, before) = (birth.parent, birth.born_ns);
    }
}

#[inline(always)]
fn name(traced: &Traced, task: u64) -> TaskName {
    TaskName {
        task,
        process: traced.process,
        padding: 0,
    }
}
