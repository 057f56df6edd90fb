//! What holds for any stream: however it is cut, whatever of it is lost, whatever it is.

use crate::kernel::{line, run, Record, Talk, Told, MS};
use proptest::prelude::*;
use spanlet::capture::event::*;
use spanlet::clock::Monotonic;
use spanlet::decode::exchange::{Outcome, Side};
use spanlet::decode::Exchange;
use std::collections::{HashMap, HashSet};

const REQUESTS: [&str; 6] = [
    "GET /0 HTTP/1.1\r\nHost: h\r\nTraceparent: 00-01-02-03\r\n\r\n",
    "POST /1 HTTP/1.1\r\nContent-Length: 11\r\n\r\nhello world",
    "PUT /2 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n4;x\r\nabcd\r\n1\r\n\n\r\n0\r\nA: b\r\n\r\n",
    "HEAD /3 HTTP/1.0\r\nHost: h\r\n\r\n",
    "\r\nDELETE /4 HTTP/1.1\nContent-Length: 0\n\n",
    "POST /5 HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
];

const ANSWERS: [&str; 6] = [
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 500 Oops\r\nX: y\r\n fold\r\nContent-Length: 20\r\n\r\nHTTP/1.1 200 OK\r\n\r\n!",
    "HTTP/1.0 404 Not Found\r\nTransfer-Encoding: Chunked\r\n\r\n00a\r\n0\r\n\r\n12345\r\n0\r\nT: t\r\n\r\n",
];

/// Requests sent together, then their answers. A HEAD request gets an answer without a body.
type Turn = Vec<(usize, usize)>;

fn turns(together: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Turn>> {
    let pair = (0..REQUESTS.len(), 0..ANSWERS.len());
    let pair = pair.prop_map(|(request, answer)| (request, if request == 3 { 3 } else { answer }));
    prop::collection::vec(prop::collection::vec(pair, together), 1..5)
}

fn side() -> impl Strategy<Value = Side> {
    prop_oneof![Just(Side::Server), Just(Side::Client)]
}

/// The turns, in calls of these sizes (used again from the first).
fn talk(side: Side, turns: &[Turn], sizes: &[usize]) -> Talk {
    let mut talk = Talk::new(side);
    let mut sizes = sizes.iter().copied().cycle();
    for turn in turns {
        let requests: Vec<&str> = turn.iter().map(|(request, _)| REQUESTS[*request]).collect();
        let answers: Vec<&str> = turn.iter().map(|(_, answer)| ANSWERS[*answer]).collect();
        let mut cut = |bytes: String, request: bool| {
            let mut bytes = bytes.as_bytes();
            while !bytes.is_empty() {
                let (now, rest) = bytes.split_at(sizes.next().unwrap_or(1).clamp(1, bytes.len()));
                match request {
                    true => talk.request(now),
                    false => talk.answer(now),
                };
                bytes = rest;
            }
        };
        cut(requests.concat(), true);
        cut(answers.concat(), false);
    }
    talk
}

/// Found by fuzzing: whole, such a head was taken for a request's.
#[test]
fn a_word_too_long_for_a_method_is_none_however_it_is_cut() {
    let long = format!("{} /long HTTP/1.1\r\nHost: h\r\n\r\n", "M".repeat(33));
    for size in [usize::MAX, 20, 40] {
        let mut talk = Talk::new(Side::Server);
        talk.request(REQUESTS[0]).answer(ANSWERS[0]);
        for part in long.as_bytes().chunks(size.min(long.len())) {
            talk.request(part);
        }
        talk.answer(ANSWERS[0]).close();
        assert_eq!(run(&talk.records).lines().len(), 1, "in pieces of {size}");
    }
}

/// When the calls that moved the bytes at these positions took place must be what the exchange says.
fn assert_times(talk: &mut Talk, whole: &[String]) -> Result<(), TestCaseError> {
    let told = run(&talk.records);
    prop_assert_eq!(told.lines(), whole);
    let calls: Vec<Io<'static>> = talk
        .records
        .iter_mut()
        .skip(1)
        .map(|record| record.io().clone())
        .collect();
    for (started, exchange) in told.started().zip(told.finished()) {
        let holds = |io: &&Io<'static>| {
            io.direction == talk.way(true) && started.position.wrapping_sub(io.position) < io.size
        };
        let first = calls.iter().find(holds).map(|io| io.origin.time);
        prop_assert_eq!(Some(exchange.started), first);
        let answer = calls.iter().filter(|io| io.direction == talk.way(false));
        let times: Vec<_> = answer.map(|io| io.origin.time).collect();
        prop_assert!(exchange
            .first_byte
            .is_some_and(|time| times.contains(&time)));
        prop_assert!(times.contains(&exchange.ended));
        prop_assert!(exchange.first_byte <= Some(exchange.ended));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_cut_gives_the_same_exchanges(
        side in side(),
        turns in turns(1..4),
        sizes in prop::collection::vec(1..60_usize, 1..20),
    ) {
        let whole = run(&talk(side, &turns, &[usize::MAX]).records).lines();
        prop_assert_eq!(whole.len(), turns.iter().map(Vec::len).sum::<usize>());
        assert_times(&mut talk(side, &turns, &sizes), &whole)?;
    }

    /// One request at a time: the others come out as if nothing had been lost. Together: those of other turns do.
    #[test]
    fn a_lost_record_loses_at_most_its_own_turn(
        side in side(),
        turns in prop_oneof![turns(1..2), turns(1..4)],
        sizes in prop::collection::vec(1..60_usize, 1..20),
        lost in any::<prop::sample::Index>(),
    ) {
        let mut talk = talk(side, &turns, &sizes);
        let whole = by_request(&run(&talk.records));
        let lost = 1 + lost.index(talk.records.len() - 1);
        let time = talk.records.remove(lost).io().origin.time;
        talk.records[lost..].iter_mut().for_each(|record| record.io().process_losses += 1);
        let told = run(&talk.records);
        let found = by_position(&told);
        let mut rest = &whole[..];
        for turn in &turns {
            let (exchanges, after) = rest.split_at(turn.len());
            rest = after;
            // The empty line before a request is its own: up to two calls.
            let begin = |exchange: &Exchange| exchange.started.0 - 2 * MS;
            let began = exchanges.iter().any(|(_, exchange)| begin(exchange) <= time.0);
            let ended = exchanges.iter().all(|(_, exchange)| exchange.ended < time);
            if began && !ended {
                continue;
            }
            for (position, expected) in exchanges {
                let found = found.get(position).map(essence);
                prop_assert_eq!(found, Some(essence(expected)));
            }
        }
        prop_assert!(found.len() <= whole.len());
        let wrong = told.finished().filter(|exchange| exchange.outcome == Outcome::ConnectionClosed);
        prop_assert_eq!(wrong.count(), 0);
    }

    /// Whatever is lost: of a turn whose first bytes came there is an exchange, or it is counted; of others there is none.
    #[test]
    fn turns_are_read_or_counted(
        turns in turns(1..2),
        sizes in prop::collection::vec(1..60_usize, 1..20),
        lost in prop::collection::vec(any::<prop::sample::Index>(), 1..20),
    ) {
        let mut talk = talk(Side::Server, &turns, &sizes);
        talk.close();
        let count = talk.records.len();
        // An opening that is lost is told again.
        let lost: HashSet<usize> = lost.iter().map(|index| 1 + index.index(count - 1)).collect();
        let mut losses = 0;
        let mut left = Vec::new();
        let mut begun = 0;
        for (index, mut record) in talk.records.into_iter().enumerate() {
            if lost.contains(&index) {
                losses += 1;
                continue;
            }
            if let Event::Io(io) = &mut record.event {
                io.process_losses = losses;
                begun += u64::from(io.turn_start && io.direction == Direction::Ingress);
            }
            left.push(record);
        }
        let told = run(&left);
        prop_assert_eq!(told.finished().count() as u64 + told.counts.unread_requests, begun);
    }

    #[test]
    fn nothing_panics_or_grows(records in prop::collection::vec(record(), 0..200)) {
        run(&records);
    }
}

/// By the position of their requests, in the order of the requests.
fn by_request(told: &Told) -> Vec<(u32, Exchange)> {
    let mut exchanges: Vec<_> = told.finished().cloned().collect();
    exchanges.sort_by_key(|exchange| exchange.id);
    let positions = told.started().map(|started| started.position);
    positions.zip(exchanges).collect()
}

fn by_position(told: &Told) -> HashMap<u32, Exchange> {
    by_request(told).into_iter().collect()
}

fn essence(exchange: &Exchange) -> (String, Monotonic, Option<Monotonic>, Monotonic) {
    (
        line(exchange),
        exchange.started,
        exchange.first_byte,
        exchange.ended,
    )
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let text =
        (0..REQUESTS.len(), 0..200_usize, any::<bool>()).prop_map(|(index, end, request)| {
            let text = if request {
                REQUESTS[index]
            } else {
                ANSWERS[index]
            };
            text.as_bytes()[..end.min(text.len())].to_vec()
        });
    let pieces = prop::sample::select(vec![
        "\r\n",
        "0\r\n\r\n",
        "\r\n0\r\n\r\n",
        "ffffffffffffffff\r\n",
        "GET ",
        " HTTP/1.1\r\n",
        "HTTP/1.1 101 \r\n\r\n",
    ]);
    let records = prop::sample::select(vec![
        &b"\x01\x01\0\x01\0\x08\0\0\0\x01\x01\0\0\0\0\0"[..],
        b"\x01\x01\0\x02\0\x08\0\0",
        b"\x01\x04\0\x01\0\x04\x04\0\x01\x01ab....\x01\x04\0\x01\0\0\0\0",
        b"\x01\x05\0\x01\0\0\0\0",
        b"\x01\x06\0\x01\0\x02\0\0\n\n\x01\x06\0\x01\xff\xff\xff\0",
        b"\x01\x03\0\x01\0\x08\0\0\0\0\0\0\0\0\0\0",
        b"\0\0\0\0\0\0\0\0",
    ]);
    prop_oneof![
        text,
        records.prop_map(<[u8]>::to_vec),
        pieces.prop_map(|piece| piece.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..40),
    ]
}

/// Anything at all on a few connections.
fn record() -> impl Strategy<Value = Record> {
    let place = (
        0..3_u64,
        1..3_u64,
        0..3_u32,
        prop_oneof![0..300_u64, Just(u64::MAX / MS)],
    );
    let io = (
        bytes(),
        any::<bool>(),
        prop_oneof![0..600_u32, any::<u32>()],
        prop_oneof![
            Just(None),
            (0..70_u32).prop_map(Some),
            any::<u32>().prop_map(Some)
        ],
    );
    let flags = (any::<[bool; 4]>(), any::<[u8; 8]>(), 0..3_u32, any::<u64>());
    (place, io, flags, 0..12_u8).prop_map(
        |(
            (socket, generation, process, time),
            (data, egress, position, size),
            (flags, tail, losses, word),
            kind,
        )| {
            let connection = ConnectionId { socket, generation };
            let origin = Origin {
                time: Monotonic(time * MS),
                process: HostPid(process),
                thread: HostTid(process),
            };
            let event = match kind {
                0 => Event::Closed(Closed {
                    time: origin.time,
                    connection,
                    reset: flags[0],
                    process_losses: flags[0].then_some(losses),
                }),
                1 => Event::Exit {
                    origin,
                    status: losses,
                },
                2 => Event::Opened(Opened {
                    origin,
                    connection,
                    local: Endpoint::Unix,
                    remote: Endpoint::Unknown,
                    initiator: if flags[0] {
                        Initiator::Here
                    } else {
                        Initiator::There
                    },
                    established: None,
                    accepted: None,
                    peer_socket: None,
                    goroutine: None,
                    network_namespace: 0,
                }),
                _ => Event::Io(Io {
                    origin,
                    connection,
                    direction: if egress {
                        Direction::Egress
                    } else {
                        Direction::Ingress
                    },
                    position,
                    size: size.unwrap_or(data.len() as u32),
                    data: &[],
                    tail: flags[0].then_some(tail),
                    turn_start: flags[1],
                    end_of_stream: flags[2],
                    already_open: flags[3],
                    tls: None,
                    goroutine: None,
                    task: None,
                    turn: None,
                    asked: false,
                    thread_clock: Some(ThreadClock {
                        cpu_ns: word,
                        run_queue_wait_ns: word / 2,
                    }),
                    ready: Some(Monotonic(word)),
                    process_losses: losses,
                    route: None,
                    system_call: 0,
                }),
            };
            Record { event, data }
        },
    )
}
