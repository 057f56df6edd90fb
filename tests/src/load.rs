//! Requests in parallel. In: how many, how many at once, which. Out: their answers, in the order of the requests.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{anyhow, Result};

use crate::client::{Address, Connection};
use crate::message::{Answer, Request};

/// A load: closed loop, one connection for each request in flight.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub in_flight: usize,
    pub requests: usize,
    /// Otherwise each request has a connection of its own, and says `Connection: close`.
    pub keep_alive: bool,
}

impl Load {
    /// One after another over one connection.
    pub fn serial(requests: usize) -> Self {
        Self {
            in_flight: 1,
            requests,
            keep_alive: true,
        }
    }

    /// Runs it; `request` makes the request of an index. The first failure ends its connection's share and is returned.
    pub fn run(
        self,
        address: &Address,
        request: impl Fn(usize) -> Request + Sync,
    ) -> Result<Vec<Answer>> {
        let next = AtomicUsize::new(0);
        let shares: Vec<_> = thread::scope(|scope| {
            let work = || self.share(address, &next, &request);
            let workers: Vec<_> = (0..self.in_flight).map(|_| scope.spawn(work)).collect();
            workers.into_iter().map(|worker| worker.join()).collect()
        });
        let mut answers = Vec::with_capacity(self.requests);
        for share in shares {
            answers.extend(share.map_err(|_| anyhow!("a load thread panicked"))??);
        }
        answers.sort_by_key(|(index, _)| *index);
        Ok(answers.into_iter().map(|(_, answer)| answer).collect())
    }

    fn share(
        self,
        address: &Address,
        next: &AtomicUsize,
        request: &(impl Fn(usize) -> Request + Sync),
    ) -> Result<Vec<(usize, Answer)>> {
        let mut answers = Vec::new();
        let mut kept = None;
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= self.requests {
                return Ok(answers);
            }
            let mut connection = match kept.take() {
                Some(connection) => connection,
                None => Connection::open(address)?,
            };
            if self.keep_alive {
                let answer = connection.exchange(&request(index))?;
                kept = Some(connection).filter(|_| !answer.closes());
                answers.push((index, answer));
            } else {
                let request = request(index).header("Connection", "close");
                answers.push((index, connection.exchange(&request)?));
            }
        }
    }
}
