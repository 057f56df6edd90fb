//! Gentle traffic for the demo. In: the address of the first function. Out: a few requests a second until it is
//! stopped.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{anyhow, Error, Result};
use spanlet_e2e::client::{Address, Connection};
use spanlet_e2e::message::Request;

/// What the last function of the chain, or the one before it, is asked for; each round once.
const LAST: [&str; 6] = [
    "/chain /chain /delay?ms=12",
    "/chain /fan?n=3 /delay?ms=40",
    "/chain /chain /delay?ms=25",
    "/chain /chain /error?status=503",
    "/hello",
    "/chain /chain /delay?ms=600",
];
const PAUSE: Duration = Duration::from_millis(330);

/// Running traffic.
pub struct Traffic {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Option<Error>>,
}

impl Traffic {
    pub fn start(entrance: Address) -> Self {
        let over = Arc::<AtomicBool>::default();
        let stop = over.clone();
        let thread = std::thread::spawn(move || run(&entrance, &stop).err());
        Self { over, thread }
    }

    /// Ends it. Why it ended before, if it did.
    pub fn stop(self) -> Option<Error> {
        self.over.store(true, Ordering::Relaxed);
        let panicked = |_| Some(anyhow!("the traffic's thread panicked"));
        self.thread.join().unwrap_or_else(panicked)
    }
}

fn run(entrance: &Address, over: &AtomicBool) -> Result<()> {
    let mut connection = Connection::open(entrance)?;
    for path in LAST.iter().cycle() {
        if over.load(Ordering::Relaxed) {
            break;
        }
        connection.exchange(&Request::get(target(path)))?;
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// `/a /b` is `/a?path=%2Fb`: what each function asks the next for.
fn target(path: &str) -> String {
    let Some((own, next)) = path.split_once(' ') else {
        return path.to_owned();
    };
    let separator = if own.contains('?') { '&' } else { '?' };
    let next: String = target(next).bytes().map(encoded).collect();
    format!("{own}{separator}path={next}")
}

fn encoded(byte: u8) -> String {
    match byte.is_ascii_alphanumeric() {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_function_is_told_what_to_ask_the_next_for() {
        assert_eq!(target("/hello"), "/hello");
        assert_eq!(
            target("/chain /fan?n=3 /delay?ms=4"),
            "/chain?path=%2Ffan%3Fn%3D3%26path%3D%252Fdelay%253Fms%253D4"
        );
    }
}
