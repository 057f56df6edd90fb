//! A load generator of one thread: a closed loop, or requests at a fixed rate. In: where, how many connections, over TLS or not, which
//! requests. Out: how many were sent and answered (exactly), their latencies, and its own CPU time.
//!
//! At a fixed rate a request's latency counts from when it was due, not from when a connection was free for it: a server that
//! stops for a while delays all that were due meanwhile, and each of them says so (no coordinated omission).

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};

use rustls::ClientConfig;

use crate::channel::Channel;
use crate::poll::{wake_on_time, Poll};
use crate::usage::thread_cpu_ns;

/// When requests are sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// Each connection sends as soon as it has its answer.
    Saturated,
    /// So many a second, evenly, over whichever connection is free.
    PerSecond(f64),
}

/// A load over kept connections.
#[derive(Clone, Debug)]
pub struct Plan {
    pub address: SocketAddr,
    /// Over TLS, if it says whom to trust.
    pub trust: Option<Arc<ClientConfig>>,
    pub connections: usize,
    pub pace: Pace,
    pub time: Duration,
    /// The target of most requests.
    pub target: String,
    /// Another target for one request in so many.
    pub seldom: Option<(u64, String)>,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Requests sent; each was answered with 200.
    pub requests: u64,
    /// From the first request to the last answer.
    pub seconds: f64,
    pub latencies_ns: Vec<u64>,
    /// CPU time of this thread.
    pub cpu_ns: u64,
}

/// A server that is this far behind does not serve.
const PATIENCE: Duration = Duration::from_secs(20);
const HEAD_END: &[u8] = b"\r\n\r\n";

impl Plan {
    /// Sends all, and waits for every answer.
    pub fn run(&self) -> Result<Outcome> {
        wake_on_time()?;
        let mut run = Run::prepare(self)?;
        let cpu_ns = thread_cpu_ns()?;
        run.drive()?;
        Ok(Outcome {
            requests: run.sent,
            seconds: run.started.elapsed().as_secs_f64(),
            latencies_ns: run.latencies_ns,
            cpu_ns: thread_cpu_ns()? - cpu_ns,
        })
    }

    fn encoded(&self, target: &str) -> Vec<u8> {
        format!("GET {target} HTTP/1.1\r\nHost: {}\r\n\r\n", self.address).into_bytes()
    }
}

struct Run<'a> {
    plan: &'a Plan,
    poll: Poll,
    connections: Vec<Connection>,
    free: VecDeque<usize>,
    request: Vec<u8>,
    seldom: Option<(u64, Vec<u8>)>,
    started: Instant,
    sent: u64,
    latencies_ns: Vec<u64>,
}

struct Connection {
    channel: Channel,
    due: Instant,
    received: Vec<u8>,
}

impl<'a> Run<'a> {
    fn prepare(plan: &'a Plan) -> Result<Self> {
        let poll = Poll::new()?;
        let now = Instant::now();
        let connect = |number| -> Result<Connection> {
            let channel = Channel::connect(plan.address, plan.trust.as_ref())?;
            let socket = channel.tcp().context("a TCP socket")?;
            socket.set_nonblocking(true)?;
            poll.watch(socket, number)?;
            Ok(Connection {
                channel,
                due: now,
                received: Vec::with_capacity(4096),
            })
        };
        let connections = (0..plan.connections)
            .map(connect)
            .collect::<Result<_>>()
            .with_context(|| format!("connect to {}", plan.address))?;
        let seldom = plan.seldom.as_ref();
        Ok(Self {
            plan,
            poll,
            connections,
            free: (0..plan.connections).collect(),
            request: plan.encoded(&plan.target),
            seldom: seldom.map(|(each, target)| (*each, plan.encoded(target))),
            started: Instant::now(),
            sent: 0,
            latencies_ns: Vec::new(),
        })
    }

    fn drive(&mut self) -> Result<()> {
        self.started = Instant::now();
        loop {
            let next_due = self.send_what_is_due()?;
            if next_due.is_none() && self.free.len() == self.connections.len() {
                return Ok(());
            }
            let late = self.started.elapsed();
            ensure!(late < self.plan.time + PATIENCE, "no answers for {late:?}");
            // Who is due and has no connection waits for one to become free.
            let wait = match next_due {
                Some(due) if !self.free.is_empty() => due.saturating_duration_since(Instant::now()),
                _ => PATIENCE,
            };
            let ready: Vec<usize> = self.poll.wait(wait)?.collect();
            for number in ready {
                self.receive(number)?;
            }
        }
    }

    /// When the next request is due; `None`: the load is over.
    fn send_what_is_due(&mut self) -> Result<Option<Instant>> {
        loop {
            let now = Instant::now();
            let due = match self.plan.pace {
                Pace::Saturated => now,
                Pace::PerSecond(rate) => {
                    self.started + Duration::from_secs_f64(self.sent as f64 / rate)
                }
            };
            if due >= self.started + self.plan.time {
                return Ok(None);
            }
            if due > now || self.free.is_empty() {
                return Ok(Some(due));
            }
            self.send(due)?;
        }
    }

    fn send(&mut self, due: Instant) -> Result<()> {
        let number = self.free.pop_front().context("no connection is free")?;
        self.sent += 1;
        let request = match &self.seldom {
            Some((each, request)) if self.sent.is_multiple_of(*each) => request,
            _ => &self.request,
        };
        let connection = &mut self.connections[number];
        connection.due = due;
        connection.received.clear();
        connection
            .channel
            .write_all(request)
            .context("send a request")
    }

    /// TLS may hold more than was asked for: it is read until the answer is whole, or nothing is there.
    fn receive(&mut self, number: usize) -> Result<()> {
        let connection = &mut self.connections[number];
        let mut piece = [0; 4096];
        loop {
            match connection.channel.read(&mut piece) {
                Ok(0) => bail!("the function closed a connection"),
                Ok(bytes) => connection.received.extend_from_slice(&piece[..bytes]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("read an answer"),
            }
            if is_whole(&connection.received)? {
                let latency = connection.due.elapsed();
                self.latencies_ns.push(latency.as_nanos() as u64);
                self.free.push_back(number);
                return Ok(());
            }
        }
    }
}

/// Whether an answer is there to its end; it must be a 200 with its length.
fn is_whole(received: &[u8]) -> Result<bool> {
    let found = received
        .windows(HEAD_END.len())
        .position(|window| window == HEAD_END);
    let Some(head) = found else { return Ok(false) };
    let text = std::str::from_utf8(&received[..head])?;
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    ensure!(status == Some("200"), "the function answered: {text}");
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.trim().parse::<usize>())
    });
    let body = length.with_context(|| format!("an answer without length: {text}"))??;
    let whole = head + HEAD_END.len() + body;
    ensure!(received.len() <= whole, "more than an answer came");
    Ok(received.len() == whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;
    use std::sync::mpsc;
    use std::thread;

    /// A server of one connection that stops for `stop` before its first answer. Tells the targets.
    fn server(stop: Duration) -> Result<(SocketAddr, mpsc::Receiver<String>)> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let (tell, told) = mpsc::channel();
        thread::spawn(move || -> Result<()> {
            let mut lines = BufReader::new(listener.accept()?.0);
            let mut line = String::new();
            while lines.read_line(&mut line)? > 0 {
                match line.trim_end() {
                    "" => {
                        thread::sleep(stop.saturating_sub(Duration::from_millis(1)));
                        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                        lines.get_mut().write_all(answer)?;
                    }
                    text if text.starts_with("GET ") => tell.send(text.to_owned())?,
                    _ => {}
                }
                line.clear();
            }
            Ok(())
        });
        Ok((address, told))
    }

    fn plan(address: SocketAddr, pace: Pace) -> Plan {
        Plan {
            address,
            trust: None,
            connections: 1,
            pace,
            time: Duration::from_millis(100),
            target: "/often".to_owned(),
            seldom: Some((5, "/seldom".to_owned())),
        }
    }

    #[test]
    fn every_request_is_answered_and_one_in_five_is_another() -> Result<()> {
        let (address, told) = server(Duration::ZERO)?;
        let outcome = plan(address, Pace::PerSecond(200.0)).run()?;
        assert_eq!((outcome.requests, outcome.latencies_ns.len()), (20, 20));
        let targets: Vec<String> = told.iter().take(20).collect();
        let seldom = targets.iter().filter(|target| target.contains("/seldom"));
        assert_eq!(seldom.count(), 4);
        Ok(())
    }

    #[test]
    fn who_waits_for_a_connection_counts_it() -> Result<()> {
        // 10 are due in 100 ms; each takes 20 ms: the last waits for those before it.
        let (address, _told) = server(Duration::from_millis(21))?;
        let outcome = plan(address, Pace::PerSecond(100.0)).run()?;
        assert_eq!(outcome.requests, 10);
        let last = outcome.latencies_ns.last().copied().unwrap_or_default();
        assert!(last > 90_000_000, "{last}");
        Ok(())
    }

    #[test]
    fn answers_are_whole_or_faults() -> Result<()> {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        for cut in 0..answer.len() {
            assert!(!is_whole(&answer[..cut])?);
        }
        assert!(is_whole(answer)?);
        assert!(is_whole(b"HTTP/1.1 503 no\r\nContent-Length: 0\r\n\r\n").is_err());
        assert!(is_whole(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
        Ok(())
    }
}
