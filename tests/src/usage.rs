//! What processes and threads use: CPU time to the nanosecond, memory. In: a pid. Out: nanoseconds, bytes.

use std::{fs, io};

use anyhow::{Context, Result};

/// Physical memory of a process, bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    pub now: u64,
    /// The most since its start.
    pub peak: u64,
}

/// CPU time of a process so far, all its threads, those that have ended included, nanoseconds.
pub fn process_cpu_ns(pid: u32) -> io::Result<u64> {
    let mut clock = 0;
    // SAFETY: the pointer is to a live clock id.
    match unsafe { libc::clock_getcpuclockid(pid as i32, &raw mut clock) } {
        0 => read(clock),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// CPU time of the calling thread so far, nanoseconds.
pub fn thread_cpu_ns() -> io::Result<u64> {
    read(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// From `/proc/PID/status`.
pub fn memory(pid: u32) -> Result<Memory> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let bytes = |name: &str| -> Result<u64> {
        let mut lines = status.lines();
        let kib = lines
            .find_map(|line| line.strip_prefix(name)?.trim().strip_suffix(" kB"))
            .with_context(|| format!("no {name} of {pid}"))?;
        Ok(kib.parse::<u64>()? << 10)
    };
    Ok(Memory {
        now: bytes("VmRSS:")?,
        peak: bytes("VmHWM:")?,
    })
}

fn read(clock: libc::clockid_t) -> io::Result<u64> {
    let mut reading = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to a live timespec.
    match unsafe { libc::clock_gettime(clock, &mut reading) } {
        0 => Ok(reading.tv_sec as u64 * 1_000_000_000 + reading.tv_nsec as u64),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_seen_by_both_clocks() -> Result<()> {
        let (process, thread) = (process_cpu_ns(std::process::id())?, thread_cpu_ns()?);
        while thread_cpu_ns()? < thread + 2_000_000 {}
        assert!(process_cpu_ns(std::process::id())? >= process + 2_000_000);
        Ok(())
    }

    #[test]
    fn this_process_has_memory() -> Result<()> {
        let memory = memory(std::process::id())?;
        assert!(memory.now > 0 && memory.now <= memory.peak, "{memory:?}");
        Ok(())
    }
}
