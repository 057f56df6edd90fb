//! What can go wrong at the edge of this room. Each says what the user can do.

use std::path::PathBuf;

/// A failure to read the kernel or a process, or to load and attach a probe.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "cannot read kernel types from {path}: {reason} (the kernel needs CONFIG_DEBUG_INFO_BTF)"
    )]
    Btf { path: PathBuf, reason: String },
    #[error("the kernel's types lack {0:?}: this kernel is not supported")]
    Fields(Vec<&'static str>),
    #[error(
        "this spanlet was built without its kernel programs: build it with `cargo xtask build`"
    )]
    NoPrograms,
    #[error("the kernel refused the programs: {reason} (spanlet needs root, or CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE)")]
    Load { reason: String },
    #[error("the kernel refused the probe {probe}: {reason}")]
    Probe { probe: &'static str, reason: String },
    #[error("no I/O back end works here: {}", .0.join("; "))]
    NoBackEnd(Vec<String>),
    #[error("map {map}: {reason}")]
    Map { map: &'static str, reason: String },
    #[error("this is not the node's PID namespace: the kernel would take its process numbers for others (run with hostPID: true, or --pid=host)")]
    PidNamespace,
    #[error("process {pid}: {reason}")]
    Process { pid: u32, reason: String },
}
