//! epoll(7), as much as the load generator needs. In: sockets with a number each. Out: the numbers of those that can be read.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// Watches sockets for bytes to read.
#[derive(Debug)]
pub struct Poll {
    descriptor: OwnedFd,
    events: Vec<libc::epoll_event>,
}

const EVENTS_MAX: usize = 256;

impl Poll {
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointers.
        let descriptor = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        Ok(Self {
            // SAFETY: the kernel has just given this descriptor, and nobody else has it.
            descriptor: unsafe { OwnedFd::from_raw_fd(descriptor) },
            events: vec![libc::epoll_event { events: 0, u64: 0 }; EVENTS_MAX],
        })
    }

    /// Watches until the socket is closed.
    pub fn watch(&self, socket: &impl AsRawFd, number: usize) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: libc::EPOLLIN as u32,
            u64: number as u64,
        };
        // SAFETY: the pointer is to a live event.
        let result = unsafe {
            libc::epoll_ctl(
                self.descriptor.as_raw_fd(),
                libc::EPOLL_CTL_ADD,
                socket.as_raw_fd(),
                &mut event,
            )
        };
        check(result).map(drop)
    }

    /// Waits until a socket can be read, or for as long; the numbers of those that can.
    pub fn wait(&mut self, longest: Duration) -> io::Result<impl Iterator<Item = usize> + '_> {
        let timeout = libc::timespec {
            tv_sec: longest.as_secs() as libc::time_t,
            tv_nsec: longest.subsec_nanos().into(),
        };
        // SAFETY: the buffer holds EVENTS_MAX events, the timeout lives, no signal mask is given.
        let found = check(unsafe {
            libc::epoll_pwait2(
                self.descriptor.as_raw_fd(),
                self.events.as_mut_ptr(),
                EVENTS_MAX as i32,
                &timeout,
                std::ptr::null(),
            )
        })?;
        let found = &self.events[..found as usize];
        Ok(found.iter().map(|event| event.u64 as usize))
    }
}

/// Lets the calling thread's waits end on time: by default, they may end 50 µs late.
pub fn wake_on_time() -> io::Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1) }).map(drop)
}

fn check(result: i32) -> io::Result<i32> {
    if result >= 0 {
        Ok(result)
    } else {
        Err(io::Error::last_os_error())
    }
}
