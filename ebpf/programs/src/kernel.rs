//! Reads of kernel and user memory through offsets from BTF. What cannot be read is `None`.

use aya_ebpf::helpers::{bpf_probe_read_kernel, bpf_probe_read_user};
use spanlet_abi::settings::ABSENT;

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
