//! Room 2 without a kernel: bytes in, events or a reason out; and recordings as files.

use proptest::prelude::*;
use zerocopy::IntoBytes;

use spanlet::capture::convert::{convert, Skipped};
use spanlet::capture::event::*;
use spanlet::capture::recording::{Recorder, Recording, MAGIC};
use spanlet::clock::Monotonic;
use spanlet_abi::record::{self, flag, kind, Header};
use spanlet_abi::state;

const KINDS: std::ops::RangeInclusive<u16> = kind::IO..=kind::ROUTE;

/// The address families of the kernel.
const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

fn header<T>(kind: u16, flags: u16) -> Header {
    Header {
        kind,
        flags,
        length: size_of::<T>() as u32,
        time_ns: 123_456_789,
        process: 42,
        thread: 43,
    }
}

const ORIGIN: Origin = Origin {
    time: Monotonic(123_456_789),
    process: HostPid(42),
    thread: HostTid(43),
};

const CONNECTION: ConnectionId = ConnectionId {
    socket: 0xffff_8880_0000_1000,
    generation: 77,
};

fn io_record(flags: u16, captured: u16) -> record::Io {
    record::Io {
        header: header::<record::Io>(kind::IO, flags),
        socket: CONNECTION.socket,
        generation: CONNECTION.generation,
        goroutine: 7,
        parent_goroutine: 6,
        cpu_ns: 5,
        run_queue_wait_ns: 4,
        ready_ns: 3,
        position: u32::MAX,
        size: 1000,
        tail: *b"\r\n0\r\n\r\n\0",
        process_losses: 9,
        captured,
        system_call: 44,
    }
}

fn with_data(io: record::Io, data: &[u8]) -> Vec<u8> {
    [io.as_bytes(), data].concat()
}

fn opened_record(flags: u16, family: u16, local: [u8; 16], remote: [u8; 16]) -> record::Opened {
    record::Opened {
        header: header::<record::Opened>(kind::OPENED, flags),
        socket: CONNECTION.socket,
        generation: CONNECTION.generation,
        established_ns: 100,
        accepted_ns: 200,
        peer_socket: 300,
        goroutine: 7,
        parent_goroutine: 0,
        network_namespace: 400,
        family,
        local_port: 80,
        local_address: local,
        remote_address: remote,
        remote_port: 40_000,
        padding: [0; 6],
    }
}

fn opened(bytes: &[u8]) -> Opened {
    match convert(bytes) {
        Ok(Event::Opened(opened)) => opened,
        other => panic!("not an opening: {other:?}"),
    }
}

#[test]
fn a_call_comes_with_its_words_and_bytes() {
    let flags = flag::EGRESS | flag::TURN_START | flag::TAIL;
    let bytes = with_data(io_record(flags, 5), b"hello");
    let expected = Io {
        origin: ORIGIN,
        connection: CONNECTION,
        direction: Direction::Egress,
        position: u32::MAX,
        size: 1000,
        data: b"hello",
        tail: Some(*b"\r\n0\r\n\r\n\0"),
        turn_start: true,
        end_of_stream: false,
        already_open: false,
        tls: None,
        goroutine: Some(Goroutine { id: 7, parent: 6 }),
        task: None,
        turn: None,
        asked: false,
        thread_clock: Some(ThreadClock {
            cpu_ns: 5,
            run_queue_wait_ns: 4,
        }),
        ready: Some(Monotonic(3)),
        process_losses: 9,
        route: None,
        system_call: 44,
    };
    assert_eq!(convert(&bytes), Ok(Event::Io(expected)));
}

#[test]
fn a_task_is_no_goroutine() {
    let task_of = |record: record::Io| match convert(record.as_bytes()) {
        Ok(Event::Io(io)) => (io.goroutine, io.task),
        other => panic!("not a call: {other:?}"),
    };
    let flags = flag::EGRESS | flag::TURN_START | flag::TASK;
    let born = Some(Monotonic(6));
    let expected = (None, Some(Task { id: 7, born }));
    assert_eq!(task_of(io_record(flags, 0)), expected);
}

#[test]
fn who_asked_is_told_apart_from_who_wrote() {
    let record = io_record(flag::EGRESS | flag::ASKED, 0);
    let Ok(Event::Io(io)) = convert(record.as_bytes()) else {
        panic!("not a call");
    };
    assert!(io.asked);
    assert_eq!(io.goroutine, Some(Goroutine { id: 7, parent: 6 }));
}

#[test]
fn what_is_not_known_of_a_call_is_absent() {
    let unknown = record::Io {
        goroutine: 0,
        cpu_ns: 0,
        ready_ns: 0,
        ..io_record(flag::END_OF_STREAM | flag::ALREADY_OPEN, 0)
    };
    let Ok(Event::Io(io)) = convert(unknown.as_bytes()) else {
        panic!("not a call");
    };
    assert_eq!(
        (io.goroutine, io.thread_clock, io.ready, io.tail),
        (None, None, None, None)
    );
    assert_eq!(io.direction, Direction::Ingress);
    assert!(io.end_of_stream && io.already_open && !io.turn_start);
}

#[test]
fn a_connection_comes_with_its_ends() {
    let mut addresses = [[0; 16]; 2];
    addresses[0][..4].copy_from_slice(&[10, 0, 0, 1]);
    addresses[1][..4].copy_from_slice(&[10, 0, 0, 2]);
    let [local, remote] = addresses;
    let accepted = opened(opened_record(flag::ACCEPTED, AF_INET, local, remote).as_bytes());
    let expected = Opened {
        origin: ORIGIN,
        connection: CONNECTION,
        local: Endpoint::tcp_v4([10, 0, 0, 1], 80),
        remote: Endpoint::tcp_v4([10, 0, 0, 2], 40_000),
        initiator: Initiator::There,
        established: Some(Monotonic(100)),
        accepted: Some(Monotonic(200)),
        peer_socket: Some(300),
        goroutine: Some(Goroutine { id: 7, parent: 0 }),
        network_namespace: 400,
    };
    assert_eq!(accepted, expected);
    let connected = opened(opened_record(flag::CONNECTED, AF_UNIX, local, remote).as_bytes());
    assert_eq!(
        (connected.initiator, connected.local),
        (Initiator::Here, Endpoint::Unix)
    );
    let before = opened(opened_record(0, 99, local, remote).as_bytes());
    assert_eq!(
        (before.initiator, before.remote),
        (Initiator::Unknown, Endpoint::Unknown)
    );
}

#[test]
fn mapped_addresses_are_ipv4() {
    let mut mapped = [0; 16];
    mapped[10..].copy_from_slice(&[0xff, 0xff, 127, 0, 0, 1]);
    let mut six = [0; 16];
    six[15] = 1;
    let opened = opened(opened_record(0, AF_INET6, mapped, six).as_bytes());
    assert_eq!(opened.local, Endpoint::tcp_v4([127, 0, 0, 1], 80));
    assert_eq!(opened.remote, Endpoint::tcp_v6(six, 40_000));
    assert_ne!(opened.remote, Endpoint::tcp_v4([0, 0, 0, 1], 40_000));
}

#[test]
fn ends_of_connections_and_lives_of_processes() {
    let closed = |flags, process_losses| record::Closed {
        header: header::<record::Closed>(kind::CLOSED, flags),
        socket: CONNECTION.socket,
        generation: CONNECTION.generation,
        process_losses,
        padding: 0,
    };
    for (flags, reset, told, process_losses) in [
        (0, false, 3, Some(3)),
        (flag::RESET, true, record::NOT_KNOWN, None),
    ] {
        let expected = Closed {
            time: ORIGIN.time,
            connection: CONNECTION,
            reset,
            process_losses,
        };
        assert_eq!(
            convert(closed(flags, told).as_bytes()),
            Ok(Event::Closed(expected))
        );
    }
    let process = |kind| record::Process {
        header: header::<record::Process>(kind, 0),
        value: 256,
        padding: 0,
    };
    let lives = [
        (
            process(kind::EXEC),
            Event::Exec {
                origin: ORIGIN,
                path: b"",
            },
        ),
        (
            process(kind::FORK),
            Event::Fork {
                origin: ORIGIN,
                child: HostPid(256),
            },
        ),
        (
            process(kind::EXIT),
            Event::Exit {
                origin: ORIGIN,
                status: 256,
            },
        ),
        (
            process(kind::THREAD_BORN),
            Event::ThreadBorn {
                origin: ORIGIN,
                child: HostTid(256),
            },
        ),
        (
            process(kind::THREAD_ENDED),
            Event::ThreadEnded { origin: ORIGIN },
        ),
    ];
    for (record, event) in lives {
        assert_eq!(convert(record.as_bytes()), Ok(event));
    }
    let mut exec = record::Exec {
        process: process(kind::EXEC),
        path: [0; _],
    };
    exec.path[..8].copy_from_slice(b"/bin/env");
    let expected = Event::Exec {
        origin: ORIGIN,
        path: b"/bin/env",
    };
    assert_eq!(convert(exec.as_bytes()), Ok(expected));
    let mut birth = record::TaskBorn {
        header: header::<record::TaskBorn>(kind::TASK_BORN, 0),
        task: 7,
        born_ns: 5,
        ancestors: [state::Ancestor::default(); _],
    };
    birth.ancestors[0] = state::Ancestor {
        task: 6,
        born_ns: 4,
    };
    birth.ancestors[1].task = 3;
    let mut ancestors = [(0, None); _];
    ancestors[..2].copy_from_slice(&[(6, Some(Monotonic(4))), (3, None)]);
    let expected = Event::TaskBorn {
        origin: ORIGIN,
        birth: TaskBirth {
            task: 7,
            born: Monotonic(5),
            ancestors,
        },
    };
    assert_eq!(convert(birth.as_bytes()), Ok(expected));
    let unborn = record::Unborn {
        header: header::<record::Unborn>(kind::UNBORN, 0),
        socket: 70,
        generation: 71,
        goroutine: 20,
        given: 64,
        position: 5,
        count: 5,
    };
    // Left over; used up; read while it changed; longer than any; above what was given.
    let numbers = [(33, 49), (49, 49), (64, 49), (33, 65), (60, 66)];
    let numbers = numbers.map(|(next, end)| record::Numbers { next, end });
    let mut bytes = unborn.as_bytes().to_vec();
    bytes.extend(numbers.as_bytes());
    let expected = Event::Unborn {
        origin: ORIGIN,
        unborn: Unborn {
            connection: ConnectionId {
                socket: 70,
                generation: 71,
            },
            goroutine: 20,
            position: 5,
            given: Some(64),
            left: std::iter::once(33..49).collect(),
        },
    };
    assert_eq!(convert(&bytes), Ok(expected));
    assert_eq!(convert(&bytes[..bytes.len() - 1]), Err(Skipped::Short));
    let mut route = record::Route {
        header: header::<record::Route>(kind::ROUTE, 0),
        address: 7000,
        length: 15,
        pattern: [0; _],
    };
    route.pattern[..15].copy_from_slice(b"GET /users/{id}");
    let expected = Event::Route {
        origin: ORIGIN,
        name: RouteName {
            address: 7000,
            length: 15,
        },
        pattern: b"GET /users/{id}",
    };
    assert_eq!(convert(route.as_bytes()), Ok(expected));
    route.length = 257;
    assert_eq!(convert(route.as_bytes()), Err(Skipped::Short));
    let listen = record::Listen {
        header: header::<record::Listen>(kind::LISTEN, 0),
        network_namespace: 400,
        port: 8080,
        family: AF_INET,
    };
    let expected = Event::Listen {
        origin: ORIGIN,
        port: 8080,
        network_namespace: 400,
    };
    assert_eq!(convert(listen.as_bytes()), Ok(expected));
    let io_uring = header::<Header>(kind::IO_URING, 0);
    assert_eq!(
        convert(io_uring.as_bytes()),
        Ok(Event::IoUring { origin: ORIGIN })
    );
}

/// Bytes of the words of a kind; a [`record::Io`] has its captured bytes after them, a [`record::Unborn`] its numbers.
fn words(kind: u16) -> usize {
    match kind {
        kind::IO => size_of::<record::Io>(),
        kind::OPENED => size_of::<record::Opened>(),
        kind::CLOSED => size_of::<record::Closed>(),
        kind::EXEC | kind::FORK | kind::EXIT | kind::THREAD_BORN => size_of::<record::Process>(),
        kind::LISTEN => size_of::<record::Listen>(),
        kind::TASK_BORN => size_of::<record::TaskBorn>(),
        kind::UNBORN => size_of::<record::Unborn>(),
        kind::ROUTE => size_of::<record::Route>(),
        // Their header says all.
        _ => size_of::<Header>(),
    }
}

fn recording(bytes: &[u8]) -> std::io::Result<Recording> {
    Recording::of(bytes.to_vec())
}

fn encoded(records: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    for record in records {
        bytes.extend_from_slice(&(record.len() as u32).to_le_bytes());
        bytes.extend_from_slice(record);
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_an_event_or_skipped(mut bytes in prop::collection::vec(any::<u8>(), 0..300), kind in 0..14_u16) {
        if let Some(start) = bytes.first_chunk_mut::<2>() {
            *start = kind.to_ne_bytes();
        }
        let length = bytes.len();
        match convert(&bytes) {
            Ok(Event::Io(io)) => prop_assert!(length >= words(kind) + io.data.len()),
            Ok(_) => prop_assert!(KINDS.contains(&kind) && length >= words(kind)),
            Err(Skipped::UnknownKind(found)) => prop_assert!(found == kind && !KINDS.contains(&kind)),
            Err(Skipped::Short) => {
                prop_assert!(length < words(kind) || [kind::IO, kind::UNBORN, kind::ROUTE].contains(&kind))
            }
        }
    }

    #[test]
    fn a_short_record_is_refused(kind in KINDS, length in any::<prop::sample::Index>()) {
        let mut bytes = vec![0; length.index(words(kind))];
        if let Some(start) = bytes.first_chunk_mut::<2>() {
            *start = kind.to_ne_bytes();
        }
        prop_assert_eq!(convert(&bytes), Err(Skipped::Short));
    }

    #[test]
    fn a_call_with_fewer_bytes_than_it_says_is_refused(data in prop::collection::vec(any::<u8>(), 0..50), more in 1..60_u16) {
        let bytes = with_data(io_record(0, data.len() as u16 + more), &data);
        prop_assert_eq!(convert(&bytes), Err(Skipped::Short));
        let longer = with_data(io_record(0, data.len() as u16), &[&data[..], &[0; 8]].concat());
        let Ok(Event::Io(io)) = convert(&longer) else { panic!("not a call") };
        prop_assert_eq!(io.data, &data[..]);
    }

    #[test]
    fn other_kinds_are_refused(kind in prop_oneof![Just(0), kind::THREAD_ENDED + 1..u16::MAX]) {
        let bytes = header::<Header>(kind, 0);
        prop_assert_eq!(convert(bytes.as_bytes()), Err(Skipped::UnknownKind(kind)));
    }

    #[test]
    fn a_cut_recording_is_its_whole_records(records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8)) {
        let bytes = encoded(&records);
        let mut whole = 0;
        let mut boundary = MAGIC.len();
        for end in MAGIC.len()..=bytes.len() {
            if records.get(whole).is_some_and(|record| end == boundary + 4 + record.len()) {
                boundary = end;
                whole += 1;
            }
            let cut = recording(&bytes[..end])?;
            prop_assert!(cut.records().eq(records[..whole].iter().map(Vec::as_slice)), "cut at {end}");
        }
        prop_assert_eq!(whole, records.len());
    }
}

#[test]
fn a_recording_holds_what_was_written() {
    let path = std::env::temp_dir().join(format!("spanlet-recording-{}", std::process::id()));
    let records = [vec![], b"one".to_vec(), vec![0; 9000]];
    let mut recorder = Recorder::create(&path).unwrap();
    for record in &records {
        recorder.write(record).unwrap();
    }
    drop(recorder);
    let read = Recording::read(&path).map(|recording| {
        let records = recording.records().map(<[u8]>::to_vec);
        records.collect::<Vec<_>>()
    });
    std::fs::remove_file(&path).unwrap();
    assert_eq!(read.unwrap(), records);
}

#[test]
fn other_files_are_no_recordings() {
    for bytes in [
        &b""[..],
        b"spanlet-record-",
        b"spanlet-record-2",
        b"\x7fELF",
    ] {
        let error = recording(bytes).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("record it again"), "{error}");
    }
}
