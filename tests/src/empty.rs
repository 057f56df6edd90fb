//! Programs that do nothing, on hooks of others: what any agent pays that uses them. In: hooks. Out: attached programs.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::kernel::{bpf, descriptor};

/// Where an empty program is attached.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hook {
    RawTracepoint(String),
    Uprobe(Place),
    /// Of the function of which this is an instruction.
    Uretprobe(Place),
}

/// An instruction of a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub file: PathBuf,
    /// Bytes from the start of the file.
    pub offset: u64,
}

/// Attached until dropped.
#[derive(Debug)]
pub struct EmptyProbes(
    #[expect(dead_code, reason = "held so that they stay attached")] Vec<OwnedFd>,
);

/// include/uapi/linux/bpf.h and perf_event.h
mod uapi {
    pub const PROG_LOAD: i64 = 5;
    pub const RAW_TRACEPOINT_OPEN: i64 = 17;
    /// Uprobes run programs of this type.
    pub const PROG_TYPE_KPROBE: u32 = 2;
    pub const PROG_TYPE_RAW_TRACEPOINT: u32 = 17;
    /// `r0 = 0; exit`
    pub const EMPTY: [u64; 2] = [0xb7, 0x95];
    /// `PERF_FLAG_FD_CLOEXEC`
    pub const CLOSE_ON_EXEC: u64 = 8;
    pub const PERF_EVENT_IOC_ENABLE: u64 = 0x2400;
    pub const PERF_EVENT_IOC_SET_BPF: u64 = 0x4004_2408;
    /// `PERF_ATTR_SIZE_VER1`
    pub const ATTRIBUTE_BYTES: u32 = 72;
}

#[repr(C)]
struct ProgramLoad {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
}

#[repr(C)]
struct TracepointOpen {
    name: u64,
    program: u32,
    padding: u32,
}

/// The start of `struct perf_event_attr`, for a uprobe.
#[repr(C)]
struct PerfEvent {
    kind: u32,
    size: u32,
    /// 1: at the return of the function.
    config: u64,
    unused: [u64; 5],
    path: u64,
    offset: u64,
}

impl EmptyProbes {
    /// Attaches an empty program to each hook.
    pub fn attach<'a>(hooks: impl IntoIterator<Item = &'a Hook>) -> Result<Self> {
        let attached = hooks.into_iter().map(|hook| {
            let attached = match hook {
                Hook::RawTracepoint(name) => tracepoint(name),
                Hook::Uprobe(place) => uprobe(place, false),
                Hook::Uretprobe(place) => uprobe(place, true),
            };
            attached.with_context(|| format!("an empty program: {hook:?}"))
        });
        attached.collect::<Result<_>>().map(Self)
    }
}

fn program(kind: u32) -> io::Result<OwnedFd> {
    let mut load = ProgramLoad {
        kind,
        count: uapi::EMPTY.len() as u32,
        instructions: uapi::EMPTY.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
    };
    // SAFETY: the pointers are to statics.
    Ok(descriptor(unsafe { bpf(uapi::PROG_LOAD, &mut load) }?))
}

fn tracepoint(name: &str) -> io::Result<OwnedFd> {
    let program = program(uapi::PROG_TYPE_RAW_TRACEPOINT)?;
    let name = CString::new(name)?;
    let mut open = TracepointOpen {
        name: name.as_ptr() as u64,
        program: program.as_raw_fd() as u32,
        padding: 0,
    };
    // SAFETY: the pointer is to `name`, which lives on. The link keeps the program.
    Ok(descriptor(unsafe {
        bpf(uapi::RAW_TRACEPOINT_OPEN, &mut open)
    }?))
}

/// In every process that maps the file, as the agent's.
fn uprobe(place: &Place, at_return: bool) -> io::Result<OwnedFd> {
    let kind = fs::read_to_string("/sys/bus/event_source/devices/uprobe/type")?;
    let path = CString::new(place.file.as_os_str().as_bytes())?;
    let event = PerfEvent {
        kind: kind.trim().parse().map_err(io::Error::other)?,
        size: uapi::ATTRIBUTE_BYTES,
        config: at_return.into(),
        unused: [0; 5],
        path: path.as_ptr() as u64,
        offset: place.offset,
    };
    let (all, any, none) = (-1, 0, -1);
    // SAFETY: the kernel reads `size` bytes of the event, which has them, and the path, which lives on.
    let opened = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            &raw const event,
            all,
            any,
            none,
            uapi::CLOSE_ON_EXEC,
        )
    };
    let event = match opened {
        0.. => descriptor(opened as i32),
        _ => return Err(io::Error::last_os_error()),
    };
    let program = program(uapi::PROG_TYPE_KPROBE)?;
    ask(&event, uapi::PERF_EVENT_IOC_SET_BPF, program.as_raw_fd())?;
    ask(&event, uapi::PERF_EVENT_IOC_ENABLE, 0)?;
    Ok(event)
}

fn ask(event: &OwnedFd, request: u64, argument: i32) -> io::Result<()> {
    // SAFETY: these requests take numbers, no pointers.
    match unsafe { libc::ioctl(event.as_raw_fd(), request, argument) } {
        0.. => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
