//! Ring-buffer bytes through capture, decode and enrich. In: [`RAW`] and records, each behind its length; or [`MADE`]
//! and a script of events that fit the types, on a few connections of a few processes. Held: nothing panics, what
//! starts finishes, every exchange has its span, nothing stays, and what is held meanwhile is bounded by what came.

use std::collections::BTreeSet;

use spanlet::attach::{Language, ProcessFacts};
use spanlet::capture::convert::convert;
use spanlet::capture::event::{
    Closed, ConnectionId, Direction, Endpoint, Event, Goroutine, HostPid, HostTid, Initiator, Io,
    Opened, Origin, Task, ThreadClock, TlsVersion, Turn,
};
use spanlet::clock::Monotonic;
use spanlet::decode::limits::MEMORY_BYTES_MAX;

use crate::bytes::Bytes;
use crate::run::{replay_events, Replay};

/// First byte of an input: records follow.
pub const RAW: u8 = 0;
/// First byte of an input: a script follows.
pub const MADE: u8 = 1;

/// What one event may make the decoder hold, besides the bytes it brings.
const HELD_PER_EVENT: usize = 4096;
/// A byte held may cost so much more while its buffer grows.
const HELD_PER_BYTE: usize = 4;

pub fn run(input: &[u8]) {
    let mut bytes = Bytes(input);
    let (events, replay) = match bytes.byte() & 1 {
        RAW => raw(&mut bytes),
        _ => made(&mut bytes),
    };
    let bound = events * HELD_PER_EVENT + input.len() * HELD_PER_BYTE;
    assert!(
        replay.held_bytes <= MEMORY_BYTES_MAX.min(bound),
        "held too much"
    );
}

fn raw(bytes: &mut Bytes<'_>) -> (usize, Replay) {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        records.push(bytes.measured());
    }
    let records = records.iter().filter_map(|record| convert(record).ok());
    let events: Vec<Event<'_>> = records.collect();
    let numbers = events.iter().filter_map(|event| match event {
        Event::Io(io) => Some(io.origin.process),
        _ => None,
    });
    (events.len(), replay_events(&processes(numbers), &events))
}

fn made(bytes: &mut Bytes<'_>) -> (usize, Replay) {
    let mut time = 1_000_000_000;
    let mut events = Vec::new();
    while !bytes.is_empty() {
        events.push(event(bytes, &mut time));
    }
    let processes = processes((1..4).map(HostPid));
    (events.len(), replay_events(&processes, &events))
}

/// One event; time passes by small steps, and now and then by any, back as well.
fn event<'a>(bytes: &mut Bytes<'a>, time: &mut u64) -> Event<'a> {
    let (kind, who, flags) = (bytes.byte(), bytes.byte(), bytes.byte());
    *time = match kind >> 6 {
        0 => *time,
        1 => time.saturating_add(1000),
        2 => time.saturating_add(60_000_000),
        _ => bytes.long(),
    };
    let origin = Origin {
        time: Monotonic(*time),
        process: HostPid(u32::from(who & 3)),
        thread: HostTid(u32::from(who >> 2 & 3)),
    };
    let connection = ConnectionId {
        socket: u64::from(who >> 4 & 7),
        generation: u64::from(who >> 7),
    };
    match kind & 15 {
        0 | 1 => Event::Opened(opened(bytes, origin, connection, flags)),
        2 => Event::Closed(Closed {
            time: origin.time,
            connection,
            reset: flags & 1 != 0,
            process_losses: (flags & 2 != 0).then_some(u32::from(flags >> 6)),
        }),
        3 => Event::Exit {
            origin,
            status: u32::from(flags),
        },
        4 => Event::Fork {
            origin,
            child: HostPid(u32::from(flags & 3)),
        },
        _ => Event::Io(io(bytes, origin, connection, flags)),
    }
}

fn opened(bytes: &mut Bytes<'_>, origin: Origin, connection: ConnectionId, flags: u8) -> Opened {
    let end = |port: u8| Endpoint::tcp_v4([127, 0, 0, 1], port.into());
    // Two ends of one connection have each other's addresses.
    let (near, far) = (bytes.byte() & 3, bytes.byte() & 3);
    Opened {
        origin,
        connection,
        local: if flags & 8 == 0 {
            end(near)
        } else {
            Endpoint::Unix
        },
        remote: if flags & 8 == 0 {
            end(far)
        } else {
            Endpoint::Unix
        },
        initiator: match flags & 3 {
            0 => Initiator::Here,
            1 => Initiator::There,
            _ => Initiator::Unknown,
        },
        established: (flags & 16 != 0).then_some(Monotonic(origin.time.0 ^ u64::from(far))),
        accepted: (flags & 32 != 0).then_some(Monotonic(origin.time.0 ^ u64::from(near))),
        peer_socket: (flags & 8 != 0).then_some(u64::from(far)),
        goroutine: goroutine(flags),
        network_namespace: 1,
    }
}

fn io<'a>(bytes: &mut Bytes<'a>, origin: Origin, connection: ConnectionId, flags: u8) -> Io<'a> {
    let more = bytes.byte();
    let data = bytes.measured();
    let length = data.len() as u32;
    Io {
        origin,
        connection,
        direction: if flags & 1 == 0 {
            Direction::Ingress
        } else {
            Direction::Egress
        },
        position: bytes.word(),
        size: match more & 3 {
            0 | 1 => length,
            2 => length.saturating_add(bytes.byte().into()),
            _ => length.max(bytes.word()),
        },
        data,
        tail: (more & 4 != 0).then(|| bytes.array()),
        turn_start: flags & 2 != 0,
        end_of_stream: flags & 4 != 0,
        already_open: flags & 8 != 0,
        tls: (flags & 16 != 0).then_some(TlsVersion::V1_3),
        goroutine: goroutine(flags),
        asked: more & 32 != 0,
        task: task(flags, origin.time),
        turn: turn(flags, origin.time),
        thread_clock: (more & 8 != 0).then(|| ThreadClock {
            cpu_ns: bytes.long(),
            run_queue_wait_ns: bytes.long(),
        }),
        ready: (more & 16 != 0).then(|| Monotonic(bytes.long())),
        process_losses: u32::from(more >> 6),
        route: None,
        system_call: 0,
    }
}

fn goroutine(flags: u8) -> Option<Goroutine> {
    let id = u64::from(flags >> 6);
    (id != 0).then(|| Goroutine { id, parent: id - 1 })
}

/// Of a few records each, so that they meet.
fn turn(flags: u8, time: Monotonic) -> Option<Turn> {
    (flags & 1 << 5 != 0).then_some(Turn {
        running: Some(Monotonic(time.0 & !0xfff)),
        dialed: (flags >> 7 != 0).then_some(Monotonic(time.0 & !0xffff)),
    })
}

/// Of a few, so that they meet; half of them without a birth.
fn task(flags: u8, time: Monotonic) -> Option<Task> {
    let id = u64::from(flags >> 4 & 3);
    let born = (flags >> 7 != 0).then_some(Monotonic(time.0 & !0xff));
    (id != 0).then_some(Task { id, born })
}

/// What is known of these processes: their numbers say in which language they are written, and so how they serve.
fn processes(numbers: impl Iterator<Item = HostPid>) -> Vec<ProcessFacts> {
    const LANGUAGES: [Language; 3] = [Language::Go, Language::Python, Language::Node];
    let numbers: BTreeSet<HostPid> = numbers.collect();
    let facts = numbers.into_iter().map(|pid| ProcessFacts {
        pid,
        start_ticks: 1,
        language: LANGUAGES[pid.0 as usize % LANGUAGES.len()],
        ..ProcessFacts::default()
    });
    facts.collect()
}
