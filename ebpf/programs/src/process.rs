//! Births and deaths of processes and their threads: children of a traced process are traced from their first
//! instruction.
//!
//! Hooks: `sched_process_exec`, `sched_process_fork`, `sched_process_exit` (every supported kernel).

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_probe_read_kernel_str_bytes};
use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;
use spanlet_abi::limit::PATH_BYTES_MAX;
use spanlet_abi::loss;
use spanlet_abi::record::{kind, Exec, Header, Process as Told};
use spanlet_abi::state::{process_flag, Process};

use crate::constants::constant;
use crate::emit;
use crate::kernel::field;
use crate::maps::{LOOPS, PROCESSES};
use crate::select::{self, Traced};

/// `sched_process_exec(p, old_pid, bprm)`
#[raw_tracepoint(tracepoint = "sched_process_exec")]
pub fn sched_process_exec(context: RawTracePointContext) -> i32 {
    let program: u64 = context.arg(2);
    if let Some(traced) = select::traced() {
        // SAFETY: a live entry of the map. A new program has other offsets.
        let state = unsafe { &mut *traced.state };
        *state = Process {
            losses: state.losses,
            ..Process::default()
        };
        // Not an error: most have none.
        let _ = LOOPS.remove(&traced.process);
        tell_exec(&traced, program);
    } else if constant!(SETTINGS.provisional_exec) != 0 {
        provisional(program);
    }
    0
}

/// Traces a new program until the agent has decided, so that nothing of it is missed.
#[inline(always)]
fn provisional(program: u64) {
    let process = (bpf_get_current_pid_tgid() >> 32) as u32;
    if process == constant!(SETTINGS.agent_process) {
        return;
    }
    trace(process, &Process::default());
    if let Some(traced) = select::traced() {
        tell_exec(&traced, program);
    }
}

/// `sched_process_fork(parent, child)`: for threads too.
#[raw_tracepoint(tracepoint = "sched_process_fork")]
pub fn sched_process_fork(context: RawTracePointContext) -> i32 {
    let Some(traced) = select::traced() else {
        return 0;
    };
    let Some(child) = field::<u32>(context.arg(1), constant!(OFFSETS.task_tgid)) else {
        return 0;
    };
    if child != traced.process {
        // SAFETY: a live entry of the map.
        let mut state = unsafe { *traced.state };
        state.losses = 0;
        trace(child, &state);
        tell(&traced, kind::FORK, child);
    } else if let Some(thread) = field(context.arg(1), constant!(OFFSETS.task_pid)) {
        tell(&traced, kind::THREAD_BORN, thread);
    }
    0
}

/// `sched_process_exit(p, …)`: for each thread; a process ends with its last.
#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub fn sched_process_exit(context: RawTracePointContext) -> i32 {
    let Some(traced) = select::traced() else {
        return 0;
    };
    let task: u64 = context.arg(0);
    let live = field::<u64>(task, constant!(OFFSETS.task_signal))
        .and_then(|signal| field::<u32>(signal, constant!(OFFSETS.signal_live)))
        .unwrap_or(0);
    if live == 0 {
        let status = field(task, constant!(OFFSETS.task_exit_code)).unwrap_or(0);
        tell(&traced, kind::EXIT, status);
        let _ = PROCESSES.remove(&traced.process);
        // Another process may have its number.
        let _ = LOOPS.remove(&traced.process);
    } else {
        tell(&traced, kind::THREAD_ENDED, 0);
    }
    0
}

/// Tells, once for a process, that it uses io_uring.
#[inline(never)]
pub fn tell_io_uring(traced: &Traced) {
    // SAFETY: a live entry of the map.
    let state = unsafe { &mut *traced.state };
    if state.flags & process_flag::IO_URING == 0 {
        let header: Header =
            emit::header::<Header>(kind::IO_URING, 0, traced.process, traced.thread);
        if emit::record(traced.state, &header) {
            state.flags |= process_flag::IO_URING;
        }
    }
}

/// Enters a process into the traced ones; counted where there is no room.
#[inline(always)]
pub fn trace(process: u32, state: &Process) {
    if PROCESSES.insert(&process, state, 0).is_err() {
        emit::lose(loss::PROCESSES_FULL);
    }
}

#[inline(always)]
fn tell(traced: &Traced, kind: u16, value: u32) {
    let told = Told {
        header: emit::header::<Told>(kind, 0, traced.process, traced.thread),
        value,
        padding: 0,
    };
    emit::record(traced.state, &told);
}

/// Tells of a new program: at once, because who it is is best read while it lives, and by its path in case it does not
/// live so long.
#[inline(never)]
fn tell_exec(traced: &Traced, program: u64) {
    let mut told = Exec {
        process: Told {
            header: emit::header::<Exec>(kind::EXEC, 0, traced.process, traced.thread),
            value: 0,
            padding: 0,
        },
        path: [0; PATH_BYTES_MAX],
    };
    if let Some(path) = field::<u64>(program, constant!(OFFSETS.program_path)) {
        // SAFETY: the helper checks the address, and ends what it writes with a zero.
        let read = unsafe { bpf_probe_read_kernel_str_bytes(path as *const u8, &mut told.path) };
        // As long as there is room: it may have been cut.
        if !read.is_ok_and(|path| path.len() + 1 < PATH_BYTES_MAX) {
            told.path = [0; PATH_BYTES_MAX];
        }
    }
    emit::record_at_once(traced.state, &told);
}
