//! Whether the probes work: the agent makes a request to itself and has to see it. In: time, records of its own process.
//! Out: verified, or which half was not seen. Touches the loopback interface.
//!
//! For this moment the agent's own process is traced. What it does goes through a decoder of its own and no further: none
//! of the agent's traffic becomes a span.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use spanlet_abi::state;

use crate::attach::Probes;
use crate::capture::event::HostPid;
use crate::capture::Event;
use crate::clock::Monotonic;
use crate::decode::exchange::{Exchange, Outcome, Side};
use crate::decode::{self, Decoder, Step};

/// How long the request and its records may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long each step of the request may wait.
const STEP: Duration = Duration::from_millis(400);
/// How long after a failure it is tried again.
const AGAIN: Duration = Duration::from_secs(10);
/// What the agent answers itself.
const STATUS: u16 = 204;

/// What is known of the agent's own probes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verified {
    Yes,
    NotYet,
    No(String),
    /// Tests that lose or record records on purpose do not verify.
    NotAsked,
}

/// Makes the request, and looks for it.
pub struct Verifier {
    own: HostPid,
    verified: Verified,
    running: Option<Running>,
    next: Monotonic,
}

struct Running {
    path: String,
    began: Monotonic,
    sight: Sight,
    request: std::thread::JoinHandle<io::Result<()>>,
}

/// What was seen of the request. Pure.
pub struct Sight {
    decoder: Decoder,
    steps: Vec<Step>,
    path: String,
    began: Monotonic,
    server: bool,
    client: bool,
}

impl Verifier {
    /// `is_asked`: see [`Verified::NotAsked`].
    pub fn new(is_asked: bool) -> Self {
        Self {
            own: HostPid(std::process::id()),
            verified: match is_asked {
                true => Verified::NotYet,
                false => Verified::NotAsked,
            },
            running: None,
            next: Monotonic::default(),
        }
    }

    pub fn verified(&self) -> &Verified {
        &self.verified
    }

    /// The probes are new: they are to be verified again.
    pub fn again(&mut self) {
        self.running = None;
        if self.verified != Verified::NotAsked {
            self.verified = Verified::NotYet;
            self.next = Monotonic::default();
        }
    }

    /// To be called in each turn.
    pub fn tick(&mut self, probes: &mut Probes, now: Monotonic) {
        if let Some(running) = &self.running {
            let is_over = now.since(running.began) >= PATIENCE;
            if running.sight.is_complete() || is_over {
                self.finish(probes, now);
            }
        } else if matches!(self.verified, Verified::NotYet | Verified::No(_)) && now >= self.next {
            self.begin(probes, now);
        }
    }

    /// Takes what concerns the agent's own process; false: the event is for the rooms.
    pub fn takes(&mut self, event: &Event<'_>) -> bool {
        let is_own = event.origin().map(|origin| origin.process) == Some(self.own);
        if let Some(running) = &mut self.running {
            if is_own || matches!(event, Event::Closed(_)) {
                running.sight.see(event);
            }
        }
        is_own
    }

    fn begin(&mut self, probes: &mut Probes, now: Monotonic) {
        if let Err(error) = probes.trace(self.own, state::Process::default()) {
            return self.failed(format!("cannot trace the agent itself: {error}"), now);
        }
        let path = format!("/spanlet-verifies/{:016x}", random());
        let asked = path.clone();
        self.running = Some(Running {
            sight: Sight::of(path.clone(), now),
            request: std::thread::spawn(move || ask_itself(&asked)),
            path,
            began: now,
        });
    }

    fn finish(&mut self, probes: &mut Probes, now: Monotonic) {
        probes.leave(self.own);
        probes.forget_connections(&[self.own].into());
        let Some(running) = self.running.take() else {
            return;
        };
        match running.sight.missing() {
            None => {
                tracing::info!("verified: a request of the agent to itself was seen at both ends");
                self.verified = Verified::Yes;
            }
            Some(half) => {
                let request = running.request;
                // It is not waited for: what it does ends by itself.
                let done = request.is_finished().then(|| request.join());
                let what = match done {
                    Some(Ok(Err(error))) => format!("the request to itself failed: {error}"),
                    _ => {
                        let path = running.path;
                        format!("{half} of a request to itself ({path}) was not seen")
                    }
                };
                self.failed(what, now);
            }
        }
    }

    fn failed(&mut self, what: String, now: Monotonic) {
        let verified = Verified::No(what);
        if self.verified != verified {
            tracing::warn!("not verified: {verified}");
        }
        self.verified = verified;
        self.next = now.after(AGAIN);
    }
}

impl Sight {
    pub fn of(path: String, began: Monotonic) -> Self {
        Self {
            decoder: Decoder::new(decode::Config::default()),
            steps: Vec::new(),
            path,
            began,
            server: false,
            client: false,
        }
    }

    pub fn see(&mut self, event: &Event<'_>) {
        self.decoder.apply(event, &mut self.steps);
        for step in self.steps.drain(..) {
            let Step::Finished(exchange) = step else {
                continue;
            };
            let is_it = is_whole(&exchange, &self.path, self.began);
            self.server |= is_it && exchange.side == Side::Server;
            self.client |= is_it && exchange.side == Side::Client;
        }
    }

    pub fn is_complete(&self) -> bool {
        self.missing().is_none()
    }

    /// The half that was not seen.
    pub fn missing(&self) -> Option<&'static str> {
        match (self.server, self.client) {
            (true, true) => None,
            (false, true) => Some("the server's half"),
            (true, false) => Some("the client's half"),
            (false, false) => Some("neither half"),
        }
    }
}

impl std::fmt::Display for Verified {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Yes => f.write_str("yes"),
            Self::NotYet => f.write_str("not yet"),
            Self::No(why) => write!(f, "no: {why}"),
            Self::NotAsked => f.write_str("not tried in this test"),
        }
    }
}

/// Whether it is that very request, with its answer and times that can be.
fn is_whole(exchange: &Exchange, path: &str, began: Monotonic) -> bool {
    exchange.request.target.as_deref() == Some(path)
        && exchange.response.status == Some(STATUS)
        && exchange.outcome == Outcome::Complete
        && exchange.started >= began
        && exchange.first_byte >= Some(exchange.started)
        && Some(exchange.ended) >= exchange.first_byte
}

/// A request over loopback, between two sockets of this process.
fn ask_itself(path: &str) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut client = TcpStream::connect_timeout(&listener.local_addr()?, STEP)?;
    let mut server = accept(&listener)?;
    for stream in [&client, &server] {
        stream.set_read_timeout(Some(STEP))?;
        stream.set_write_timeout(Some(STEP))?;
    }
    let asked = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    client.write_all(asked.as_bytes())?;
    let mut request = [0; 512];
    let length = server.read(&mut request)?;
    if !request[..length].ends_with(b"\r\n\r\n") {
        return Err(io::Error::other("what was read is not what was written"));
    }
    let answered = format!("HTTP/1.1 {STATUS} No Content\r\n\r\n");
    server.write_all(answered.as_bytes())?;
    let length = client.read(&mut request)?;
    match request[..length].ends_with(b"\r\n\r\n") {
        true => Ok(()),
        false => Err(io::Error::other("what was read is not what was answered")),
    }
}

/// Takes the connection that was just made.
fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
    listener.set_nonblocking(true)?;
    let deadline = Instant::now() + STEP;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                return Ok(stream);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) => return Err(error),
        }
    }
}

fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    let state = std::collections::hash_map::RandomState::new();
    state.build_hasher().finish()
}
