//! What this kernel lets us do. In: the kernel, by trying and by its type information. Out: yes, or why not.
//! This file touches the world.

use std::fs;
use std::io;
use std::path::Path;

use crate::machine::Machine;

const TYPES: &str = "/sys/kernel/btf/vmlinux";
const BPF_MAP_CREATE: libc::c_long = 0;
const BPF_MAP_TYPE_ARRAY: u32 = 2;

/// The kernel's own description of its structures.
pub fn types(machine: &impl Machine) -> Result<String, String> {
    if machine.exists(Path::new(TYPES)) {
        return Ok(TYPES.to_owned());
    }
    Err("this kernel was built without CONFIG_DEBUG_INFO_BTF: use another kernel".to_owned())
}

/// Makes the smallest map there is, and lets it go.
pub fn bpf_allowed() -> Result<String, String> {
    // The first words of union bpf_attr for BPF_MAP_CREATE: type, key and value size in bytes, entries.
    let attributes: [u32; 4] = [BPF_MAP_TYPE_ARRAY, 4, 4, 1];
    // SAFETY: the kernel reads no more than the given size, which is the array's own.
    let descriptor = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_MAP_CREATE,
            attributes.as_ptr(),
            size_of_val(&attributes),
        )
    };
    if descriptor < 0 {
        return Err(format!(
            "bpf() says: {}; needs CAP_BPF and CAP_PERFMON",
            io::Error::last_os_error()
        ));
    }
    // SAFETY: the descriptor was made above and nothing else holds it.
    unsafe { libc::close(descriptor as libc::c_int) };
    Ok("allowed".to_owned())
}

/// Whether this kernel is without something that a test says it lacks; what is not known here is not believed.
pub fn lacks(what: &str) -> bool {
    match what {
        "kprobe back end" => !Path::new("/sys/bus/event_source/devices/kprobe").exists(),
        "socket tracepoint back end" => !types_name("btf_trace_sock_send_length"),
        _ => false,
    }
}

fn types_name(name: &str) -> bool {
    fs::read(TYPES).is_ok_and(|types| {
        types
            .windows(name.len())
            .any(|window| window == name.as_bytes())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_excuse_is_not_believed() {
        assert!(!lacks("the weather"));
    }
}
