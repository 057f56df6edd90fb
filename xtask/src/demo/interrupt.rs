//! What ends the demo: time, a signal, a closed output. Touches signals and standard output.

use std::io::{stdout, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;

/// How soon a condition is seen; a signal is seen at once.
const TICK_MILLISECONDS: i32 = 100;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From now on, neither signals nor a closed output end this process: it is to end what it started.
pub struct Interrupts(());

/// Why a wait is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    Time,
    /// Ctrl-C, a polite kill, or the terminal was closed.
    Interrupted,
    /// Nobody reads any more (`| head`).
    OutputClosed,
    Condition,
}

extern "C" fn note(_signal: libc::c_int) {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

impl Interrupts {
    pub fn watch() -> Self {
        let handler = note as extern "C" fn(libc::c_int) as libc::sighandler_t;
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
            // SAFETY: the handler only stores to an atomic, which is safe in a signal handler.
            unsafe { libc::signal(signal, handler) };
        }
        // SAFETY: ignoring a signal runs no code.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
        Self(())
    }

    /// Writes to standard output; false when nobody reads it.
    pub fn say(&self, text: &str) -> bool {
        let mut out = stdout();
        out.write_all(text.as_bytes())
            .and_then(|()| out.flush())
            .is_ok()
    }

    /// Waits for the end of `length` (never, without), a signal, a closed output, or a condition.
    pub fn wait(
        &self,
        length: Option<Duration>,
        mut condition: impl FnMut() -> Result<bool>,
    ) -> Result<Over> {
        let started = Instant::now();
        loop {
            if INTERRUPTED.load(Ordering::Relaxed) {
                return Ok(Over::Interrupted);
            }
            if length.is_some_and(|length| started.elapsed() >= length) {
                return Ok(Over::Time);
            }
            if condition()? {
                return Ok(Over::Condition);
            }
            if output_closes() {
                return Ok(Over::OutputClosed);
            }
        }
    }
}

/// Waits for a tick, or until the reader of standard output is gone.
fn output_closes() -> bool {
    let mut output = libc::pollfd {
        fd: libc::STDOUT_FILENO,
        events: 0,
        revents: 0,
    };
    // SAFETY: the pointer is to one live pollfd, and one is announced.
    let ready = unsafe { libc::poll(&mut output, 1, TICK_MILLISECONDS) };
    ready > 0
}
