//! The first question of every probe: is the running process traced?

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use spanlet_abi::state;

use crate::maps::PROCESSES;

/// The running thread of a traced process.
#[derive(Clone, Copy)]
pub struct Traced {
    pub process: u32,
    pub thread: u32,
    /// Its entry in `PROCESSES`.
    pub state: *mut state::Process,
}

/// The running thread, if its process is traced.
#[inline(always)]
pub fn traced() -> Option<Traced> {
    let both = bpf_get_current_pid_tgid();
    let process = (both >> 32) as u32;
    let state = PROCESSES.get_ptr_mut(&process)?;
    Some(Traced {
        process,
        thread: both as u32,
        state,
    })
}
