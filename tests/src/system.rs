//! The few system calls that std lacks: the monotonic clock, signals, resetting a connection, asking for a BPF program,
//! ending with whoever started a process.
//! In: plain values. Out: plain values and errors.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

/// A signal that the harness sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    Interrupt,
    Terminate,
    Kill,
    /// SIGUSR1, which means what the program says.
    User,
    /// Stands still until [`Self::Continue`].
    Stop,
    Continue,
}

/// CLOCK_MONOTONIC in nanoseconds: the clock of the functions' ground truth.
pub fn monotonic_ns() -> u64 {
    let mut reading = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to a live timespec; CLOCK_MONOTONIC exists on every Linux, so it cannot fail.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut reading) };
    reading.tv_sec as u64 * 1_000_000_000 + reading.tv_nsec as u64
}

/// How far the wall clock is ahead of CLOCK_MONOTONIC, nanoseconds: the closest of a few pairs of readings, so that being
/// preempted in between does not show.
pub fn wall_ahead_ns() -> u64 {
    let pair = || {
        let before = monotonic_ns();
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let after = monotonic_ns();
        let middle = before + (after - before) / 2;
        (after - before, wall.as_nanos() as u64 - middle)
    };
    (0..9).map(|_| pair()).min().unwrap_or_default().1
}

/// Whether the kernel holds a BPF program of that number.
pub fn has_program(number: u32) -> io::Result<bool> {
    /// include/uapi/linux/bpf.h
    const BPF_PROG_GET_FD_BY_ID: libc::c_long = 13;
    let attributes = [number, 0, 0, 0];
    // SAFETY: the pointer is to live memory of the size that is given, which this command only reads.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_PROG_GET_FD_BY_ID,
            attributes.as_ptr(),
            size_of_val(&attributes),
        )
    };
    if result < 0 {
        let error = io::Error::last_os_error();
        return match error.raw_os_error() {
            Some(libc::ENOENT) => Ok(false),
            _ => Err(error),
        };
    }
    // SAFETY: the kernel has just given this descriptor, and nobody else has it.
    drop(unsafe { OwnedFd::from_raw_fd(result as i32) });
    Ok(true)
}

/// Sends a signal to every process of a group.
pub fn signal_group(group: u32, signal: Signal) -> io::Result<()> {
    send_signal(-(group as i32), signal)
}

/// Sends a signal to one process.
pub fn signal_process(pid: u32, signal: Signal) -> io::Result<()> {
    send_signal(pid as i32, signal)
}

/// The command's process gets SIGTERM, so that it ends its own children too, when the thread that starts it ends: killed
/// with its process, at the latest.
pub fn end_with_starter(command: &mut Command) {
    let starter = std::process::id();
    let arrange = move || {
        // SAFETY: prctl takes no pointers here, nor does getppid.
        let (set, parent) = unsafe {
            let set = libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM);
            (set, libc::getppid())
        };
        check(set)?;
        // It may have ended before.
        match parent as u32 == starter {
            true => Ok(()),
            false => Err(io::Error::from_raw_os_error(libc::ESRCH)),
        }
    };
    // SAFETY: between fork and exec it makes two system calls, and takes neither memory nor locks.
    unsafe { command.pre_exec(arrange) };
}

/// Makes the next close of a TCP socket a reset.
pub fn reset_on_close(socket: &impl AsRawFd) -> io::Result<()> {
    let at_once = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    // SAFETY: the option's value is a live `linger` and its size is given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const at_once).cast(),
            size_of::<libc::linger>() as libc::socklen_t,
        )
    };
    check(result)
}

/// The workspace's folder.
pub fn workspace() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The folder of everything built.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}

fn send_signal(target: i32, signal: Signal) -> io::Result<()> {
    let number = match signal {
        Signal::Interrupt => libc::SIGINT,
        Signal::Terminate => libc::SIGTERM,
        Signal::Kill => libc::SIGKILL,
        Signal::User => libc::SIGUSR1,
        Signal::Stop => libc::SIGSTOP,
        Signal::Continue => libc::SIGCONT,
    };
    // SAFETY: kill takes no pointers.
    check(unsafe { libc::kill(target, number) })
}

fn check(result: i32) -> io::Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
