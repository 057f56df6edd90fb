//! What the kernel side would tell of a conversation: scripted calls in, events out, as `ebpf/abi` describes
//! them (turns, copied bytes, tails, positions). And a run of the decoder over events, its steps checked.

use std::collections::HashSet;

use spanlet::capture::event::*;
use spanlet::clock::Monotonic;
use spanlet::decode::exchange::{ExchangeId, Side, Started};
use spanlet::decode::{Config, Counts, Decoder, Exchange, Step};

pub const ID: ConnectionId = ConnectionId {
    socket: 0xffff_8880_0000_1000,
    generation: 1,
};
pub const PROCESS: HostPid = HostPid(100);
pub const MS: u64 = 1_000_000;

/// An event and the bytes it borrows.
#[derive(Clone, Debug)]
pub struct Record {
    pub event: Event<'static>,
    pub data: Vec<u8>,
}

impl Record {
    pub fn apply(&self, decoder: &mut Decoder, out: &mut Vec<Step>) {
        match self.event.clone() {
            Event::Io(io) => {
                let data = &self.data[..];
                decoder.apply(&Event::Io(Io { data, ..io }), out);
            }
            other => decoder.apply(&other, out),
        }
    }

    pub fn io(&mut self) -> &mut Io<'static> {
        match &mut self.event {
            Event::Io(io) => io,
            other => panic!("not a call: {other:?}"),
        }
    }
}

/// One connection of one process, seen by the kernel. Each call takes a millisecond.
#[derive(Clone, Debug)]
pub struct Talk {
    pub side: Side,
    pub id: ConnectionId,
    pub process: HostPid,
    pub thread: HostTid,
    pub time: u64,
    pub records: Vec<Record>,
    already_open: bool,
    pub tls: Option<TlsVersion>,
    losses: u32,
    positions: [u32; 2],
    turn: Option<Direction>,
    budget: usize,
}

impl Talk {
    /// A connection whose opening is seen.
    pub fn new(side: Side) -> Self {
        let mut talk = Self::already_open(side);
        talk.already_open = false;
        talk.open(match side {
            Side::Server => Initiator::There,
            Side::Client => Initiator::Here,
        });
        talk
    }

    pub fn server() -> Self {
        Self::new(Side::Server)
    }

    pub fn client() -> Self {
        Self::new(Side::Client)
    }

    /// A connection that was open before.
    pub fn already_open(side: Side) -> Self {
        Self {
            side,
            id: ID,
            process: PROCESS,
            thread: HostTid(7),
            time: 1000 * MS,
            records: Vec::new(),
            already_open: true,
            tls: None,
            losses: 0,
            positions: [u32::MAX - 90, 5000],
            turn: None,
            budget: 0,
        }
    }

    pub fn open(&mut self, initiator: Initiator) {
        let opened = Opened {
            origin: self.origin(),
            connection: self.id,
            local: Endpoint::tcp_v4([10, 0, 0, 1], 8080),
            remote: Endpoint::tcp_v4([10, 0, 0, 2], 40000),
            initiator,
            established: Some(Monotonic(self.time)),
            accepted: Some(Monotonic(self.time + 3 * MS)),
            peer_socket: None,
            goroutine: None,
            network_namespace: 1,
        };
        self.push(Event::Opened(opened), b"");
    }

    /// A call that moves these bytes of a request.
    pub fn request(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.call(self.way(true), bytes.as_ref(), bytes.as_ref().len())
    }

    /// A call that moves these bytes of an answer.
    pub fn answer(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.call(self.way(false), bytes.as_ref(), bytes.as_ref().len())
    }

    /// A call that moves so many bytes of a request, as sendfile does: none is copied.
    pub fn request_bulk(&mut self, size: usize) -> &mut Self {
        self.call(self.way(true), b"", size)
    }

    pub fn answer_bulk(&mut self, size: usize) -> &mut Self {
        self.call(self.way(false), b"", size)
    }

    /// The other side's stream was read to its end.
    pub fn end_of_stream(&mut self) -> &mut Self {
        self.call(Direction::Ingress, b"", 0)
    }

    pub fn close(&mut self) -> &mut Self {
        self.closed(false)
    }

    pub fn reset(&mut self) -> &mut Self {
        self.closed(true)
    }

    pub fn exit(&mut self, status: u32) -> &mut Self {
        self.time += MS;
        let origin = self.origin();
        self.push(Event::Exit { origin, status }, b"")
    }

    pub fn wait(&mut self, milliseconds: u64) -> &mut Self {
        self.time += milliseconds * MS;
        self
    }

    /// From here on, what TLS carries is seen: whether from its first byte on.
    pub fn decrypted(&mut self, from_start: bool) -> &mut Self {
        (self.tls, self.already_open) = (Some(TlsVersion::V1_3), !from_start);
        self.positions = [0; 2];
        self.turn = None;
        self
    }

    /// A call that moves bytes of a request as TLS encrypts it, told late.
    pub fn encrypted(&mut self, bytes: &[u8]) -> &mut Self {
        let (positions, turn) = (self.positions, self.turn);
        self.request(bytes).last().tls = None;
        (self.positions, self.turn) = (positions, turn);
        self
    }

    /// The last call's record.
    pub fn last(&mut self) -> &mut Io<'static> {
        self.records.last_mut().expect("a record").io()
    }

    /// The last call's record is lost.
    pub fn lose(&mut self) -> &mut Self {
        self.records.pop();
        self.losses += 1;
        self
    }

    /// The kernel uses the socket again, for another connection.
    pub fn reopen(&mut self) {
        self.id.generation += 1;
        self.turn = None;
        self.open(Initiator::There);
    }

    pub fn way(&self, request: bool) -> Direction {
        match request == (self.side == Side::Server) {
            true => Direction::Ingress,
            false => Direction::Egress,
        }
    }

    fn closed(&mut self, reset: bool) -> &mut Self {
        self.time += MS;
        let closed = Closed {
            time: Monotonic(self.time),
            connection: self.id,
            reset,
            process_losses: Some(self.losses),
        };
        self.push(Event::Closed(closed), b"")
    }

    fn origin(&self) -> Origin {
        Origin {
            time: Monotonic(self.time),
            process: self.process,
            thread: self.thread,
        }
    }

    fn push(&mut self, event: Event<'static>, data: &[u8]) -> &mut Self {
        self.records.push(Record {
            event,
            data: data.to_vec(),
        });
        self
    }

    /// `bytes` are those that can be copied: all of the `size`, or none.
    fn call(&mut self, direction: Direction, bytes: &[u8], size: usize) -> &mut Self {
        self.time += MS;
        let turn_start = size > 0 && self.turn != Some(direction);
        if turn_start {
            self.turn = Some(direction);
            self.budget = match bytes.starts_with(b"HTTP/") {
                true => 2048,
                false => 8192,
            };
        }
        let data = &bytes[..bytes.len().min(self.budget)];
        self.budget -= data.len();
        let way = usize::from(direction == Direction::Egress);
        let io = Io {
            origin: self.origin(),
            connection: self.id,
            direction,
            position: self.positions[way],
            size: size as u32,
            data: &[],
            tail: (data.len() < bytes.len()).then(|| tail(bytes)),
            turn_start,
            end_of_stream: size == 0,
            already_open: self.already_open,
            tls: self.tls,
            goroutine: None,
            task: None,
            turn: None,
            asked: false,
            thread_clock: None,
            ready: None,
            process_losses: self.losses,
            route: None,
            system_call: 0,
        };
        self.positions[way] = self.positions[way].wrapping_add(size as u32);
        let data = data.to_vec();
        self.push(Event::Io(io), &data)
    }
}

fn tail(bytes: &[u8]) -> [u8; 8] {
    let last = &bytes[bytes.len().saturating_sub(8)..];
    let mut tail = [0; 8];
    tail[..last.len()].copy_from_slice(last);
    tail
}

/// What the decoder told.
#[derive(Debug, Default)]
pub struct Told {
    pub steps: Vec<Step>,
    pub counts: Counts,
}

/// Runs the decoder over the records and stops it a second after the last.
pub fn run(records: &[Record]) -> Told {
    let mut decoder = Decoder::new(Config::default());
    let mut steps = Vec::new();
    let mut last = 0;
    for record in records {
        record.apply(&mut decoder, &mut steps);
        last = last.max(time(record));
    }
    decoder.tick(Monotonic(last.saturating_add(1000 * MS)), &mut steps);
    decoder.stop(Monotonic(last.saturating_add(1000 * MS)), &mut steps);
    let told = Told {
        steps,
        counts: decoder.counts(),
    };
    told.assert_balanced();
    told
}

fn time(record: &Record) -> u64 {
    match &record.event {
        Event::Io(io) => io.origin.time.0,
        Event::Closed(closed) => closed.time.0,
        _ => 0,
    }
}

impl Told {
    pub fn finished(&self) -> impl Iterator<Item = &Exchange> {
        self.steps.iter().filter_map(|step| match step {
            Step::Finished(exchange) => Some(&**exchange),
            _ => None,
        })
    }

    pub fn started(&self) -> impl Iterator<Item = &Started> {
        self.steps.iter().filter_map(|step| match step {
            Step::Started(started) => Some(started),
            _ => None,
        })
    }

    /// One line for each exchange, in the order of the requests.
    pub fn lines(&self) -> Vec<String> {
        let mut exchanges: Vec<_> = self.finished().collect();
        exchanges.sort_by_key(|exchange| exchange.id);
        exchanges.into_iter().map(line).collect()
    }

    /// Opaque connections begun and ended.
    pub fn opaque(&self) -> (usize, usize) {
        let count = |of: fn(&Step) -> bool| self.steps.iter().filter(|step| of(step)).count();
        (
            count(|step| matches!(step, Step::Opaque { .. })),
            count(|step| matches!(step, Step::OpaqueEnded { .. })),
        )
    }

    /// Every start has one end, after it.
    pub fn assert_balanced(&self) {
        let begun: HashSet<ExchangeId> = self.started().map(|started| started.id).collect();
        let mut open: HashSet<ExchangeId> = HashSet::new();
        let mut opaque = HashSet::new();
        for step in &self.steps {
            match step {
                Step::Started(started) => assert!(open.insert(started.id), "{started:?}"),
                Step::Answering(answering) => assert!(open.contains(&answering.id)),
                // What a call reads last may end its exchange.
                Step::Turning(turning) => assert!(begun.contains(&turning.id)),
                Step::Moving(_) => {}
                Step::Finished(exchange) => assert!(open.remove(&exchange.id), "{exchange:?}"),
                Step::Opaque { connection, .. } => assert!(opaque.insert(*connection)),
                Step::OpaqueEnded { connection, .. } => assert!(opaque.remove(connection)),
            }
        }
        assert!(open.is_empty() && opaque.is_empty(), "left open");
        assert_eq!(self.counts.exchanges, self.counts.finished);
    }
}

/// Method, target, status, body bytes of the request and of the answer, outcome and evidence of the end.
pub fn line(exchange: &Exchange) -> String {
    let bytes = |bytes: Option<u64>| bytes.map_or("?".into(), |bytes| bytes.to_string());
    let status = exchange.response.status;
    let upgraded = if exchange.upgraded { " upgraded" } else { "" };
    format!(
        "{} {} {} {}/{} {:?} {:?}{upgraded}",
        exchange.request.method.as_deref().unwrap_or("?"),
        exchange.request.target.as_deref().unwrap_or("?"),
        status.map_or("?".into(), |status| status.to_string()),
        bytes(exchange.request.body_bytes),
        bytes(exchange.response.body_bytes),
        exchange.outcome,
        exchange.end_evidence,
    )
}

/// The exchanges that the talk makes.
pub fn check(talk: &Talk, expected: &[&str]) -> Told {
    let told = run(&talk.records);
    assert_eq!(told.lines(), expected);
    told
}
