//! Waiting for a condition with a deadline: the only synchronisation here. In: a condition. Out: what it found.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{bail, Result};

const POLL: Duration = Duration::from_millis(2);

/// Tries `condition` until it gives a value; fails after `deadline`, naming `what` was waited for.
pub fn wait_until<T>(
    deadline: Duration,
    what: &str,
    mut condition: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let started = Instant::now();
    loop {
        if let Some(value) = condition()? {
            return Ok(value);
        }
        if started.elapsed() > deadline {
            bail!("no {what} within {deadline:?}");
        }
        thread::sleep(POLL);
    }
}
