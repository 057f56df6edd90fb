//! A client on the node, outside of every pod, that sends requests at fixed times and knows what became of each. In: where to. Out: the
//! requests with their ids, answers and times. It is not traced, so that server spans begin a trace here.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{anyhow, ensure, Result};
use spanlet_e2e::client::{Address, Connection};
use spanlet_e2e::message::Request;
use spanlet_e2e::wait::wait_until;

use crate::api::PATIENCE;
use crate::spans::now_ns;

/// One request.
#[derive(Clone, Debug)]
pub struct Sent {
    pub id: String,
    /// Nanoseconds since the Unix epoch.
    pub at_ns: u64,
    /// From its first byte to the last of the answer.
    pub took: Duration,
    /// Its status; else what went wrong.
    pub answer: Result<u16, String>,
}

/// Sends until it is finished.
#[derive(Debug)]
pub struct Driver {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Sent>>,
}

/// What to send.
#[derive(Clone, Debug)]
pub struct Plan {
    pub to: SocketAddr,
    /// Ids are this and a number.
    pub name: String,
    pub every: Duration,
    /// What follows the id; `ID` in it is the id.
    pub route: String,
    /// Over one connection as long as it lasts; else each over its own.
    pub keep_alive: bool,
}

impl Plan {
    pub fn new(to: SocketAddr, name: &str, route: &str) -> Self {
        Self {
            to,
            name: name.to_owned(),
            every: Duration::from_millis(10),
            route: route.to_owned(),
            keep_alive: false,
        }
    }

    pub fn every_ms(mut self, milliseconds: u64) -> Self {
        self.every = Duration::from_millis(milliseconds);
        self
    }

    pub fn keep_alive(mut self) -> Self {
        self.keep_alive = true;
        self
    }

    /// Sends so many, and fails if one is not answered with 200.
    pub fn send(&self, count: usize) -> Result<Vec<Sent>> {
        let mut kept = None;
        let mut sent = Vec::with_capacity(count);
        for index in 0..count {
            let one = self.one(index, &mut kept);
            ensure!(one.answer == Ok(200), "{one:?}");
            sent.push(one);
        }
        Ok(sent)
    }

    /// Sends until the driver is finished.
    pub fn start(self) -> Driver {
        let over = Arc::new(AtomicBool::new(false));
        let ends = over.clone();
        let thread = thread::spawn(move || {
            let (started, mut sent, mut kept) = (Instant::now(), Vec::new(), None);
            while !ends.load(Ordering::Relaxed) {
                let due = self.every * sent.len() as u32;
                thread::sleep(due.saturating_sub(started.elapsed()));
                sent.push(self.one(sent.len(), &mut kept));
            }
            sent
        });
        Driver { over, thread }
    }

    fn one(&self, index: usize, kept: &mut Option<Connection>) -> Sent {
        let id = format!("{}-{index}", self.name);
        let target = format!("/t/{id}{}", self.route.replace("ID", &id));
        let (at_ns, began) = (now_ns(), Instant::now());
        let answer = self
            .exchange(&target, kept)
            .map_err(|fault| format!("{fault:#}"));
        Sent {
            id,
            at_ns,
            took: began.elapsed(),
            answer,
        }
    }

    fn exchange(&self, target: &str, kept: &mut Option<Connection>) -> Result<u16> {
        let mut connection = match kept.take() {
            Some(connection) => connection,
            None => Connection::open(&Address::Tcp(self.to))?,
        };
        let request = Request::get(target);
        let request = match self.keep_alive {
            true => request,
            false => request.header("Connection", "close"),
        };
        let answer = connection.exchange(&request)?;
        *kept = Some(connection).filter(|_| self.keep_alive && !answer.closes());
        Ok(answer.status)
    }
}

impl Driver {
    /// Stops it.
    pub fn finish(self) -> Result<Vec<Sent>> {
        self.over.store(true, Ordering::Relaxed);
        self.thread
            .join()
            .map_err(|_| anyhow!("the driver panicked"))
    }

    /// The same; fails if a request was not answered with 200.
    pub fn finish_all_answered(self) -> Result<Vec<Sent>> {
        let sent = self.finish()?;
        let bad: Vec<_> = sent.iter().filter(|one| one.answer != Ok(200)).collect();
        ensure!(
            bad.is_empty(),
            "{} of {} requests failed: {bad:?}",
            bad.len(),
            sent.len()
        );
        Ok(sent)
    }
}

/// Waits until an address answers: a Service's rules come a moment after its pods.
pub fn reachable(to: SocketAddr) -> Result<()> {
    wait_until(PATIENCE, &format!("answer of {to}"), || {
        Ok(Plan::new(to, "reachable", "/hello").send(1).ok().map(drop))
    })
}
