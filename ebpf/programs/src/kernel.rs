//! Reads of kernel and user memory through offsets from BTF. What cannot be read is `None`.

use aya_ebpf::helpers::generated::bpf_get_current_task_btf;
use aya_ebpf::helpers::{bpf_get_current_task, bpf_probe_read_kernel, bpf_probe_read_user};
use spanlet_abi::settings::ABSENT;

use crate::constants::constant;

/// A field of a kernel structure: `None` where the kernel has no such field or the address is bad.
#[inline(always)]
pub fn field<T>(structure: u64, offset: u32) -> Option<T> {
    if offset == ABSENT || structure == 0 {
        return None;
    }
    // SAFETY: the helper checks the address and fails on a bad one.
    unsafe { bpf_probe_read_kernel((structure + offset as u64) as *const T) }.ok()
}

/// A value in the memory of the process that runs.
#[inline(always)]
pub fn user<T>(address: u64) -> Option<T> {
    // SAFETY: the helper checks the address and fails on a bad one.
    unsafe { bpf_probe_read_user(address as *const T) }.ok()
}

/// The running task (`struct task_struct`).
#[derive(Clone, Copy)]
pub struct Task(u64);

impl Task {
    #[inline(always)]
    pub fn current() -> Self {
        // SAFETY: the helpers have no precondition.
        Self(unsafe {
            if is_typed() {
                bpf_get_current_task_btf() as u64
            } else {
                bpf_get_current_task()
            }
        })
    }

    /// A field of it; a plain load where the verifier knows the task by its type.
    #[inline(always)]
    pub fn field<T: Copy>(self, offset: u32) -> Option<T> {
        if !is_typed() || offset == ABSENT {
            return field(self.0, offset);
        }
        // SAFETY: the verifier checks the offset and the size against the type.
        Some(unsafe { core::ptr::read_volatile((self.0 + offset as u64) as *const T) })
    }
}

#[inline(always)]
fn is_typed() -> bool {
    constant!(OFFSETS.task_is_typed) != 0
}
