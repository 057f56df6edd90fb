//! What holds for any stream: however it is cut, whatever record of it is lost.

use std::collections::HashMap;

use proptest::prelude::*;
use spanlet::clock::Monotonic;
use spanlet::decode::exchange::{Outcome, Side};
use spanlet::decode::Exchange;

use super::records::*;
use crate::kernel::{line, run, Talk, Told};

const ANSWERS: [&str; 4] = [
    HELLO,
    "Status: 404 Not Found\r\nContent-Length: 3\r\n\r\nnot",
    "Location: /elsewhere\n\n",
    "X: y\r\nStatus: 503\r\n\r\n\x01\x06\0\x01 is no record here",
];

/// A request and its answer: a body, how the parameters are split, what the answer is and how that is split.
type Turn = (String, usize, usize, usize);

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let turn = ("[a-z]{0,40}", 1..80_usize, 0..ANSWERS.len(), 1..80_usize);
    prop::collection::vec(turn, 1..5)
}

fn side() -> impl Strategy<Value = Side> {
    prop_oneof![Just(Side::Server), Just(Side::Client)]
}

/// Content in records of so many bytes.
fn records(kind: u8, content: &[u8], size: usize) -> Vec<u8> {
    content
        .chunks(size)
        .flat_map(|part| record(kind, 1, part))
        .collect()
}

/// One after another on a kept connection, in calls of these sizes (used again from the first). `left`: the server reads what ends a
/// body only ahead of the next request.
fn talk(side: Side, turns: &[Turn], left: bool, sizes: &[usize]) -> Talk {
    let mut talk = Talk::new(side);
    let mut sizes = sizes.iter().copied().cycle();
    let mut cut = |talk: &mut Talk, mut bytes: &[u8], request: bool| {
        while !bytes.is_empty() {
            let size = sizes.next().unwrap_or(1).clamp(1, bytes.len());
            let (now, rest) = bytes.split_at(size);
            match request {
                true => talk.request(now),
                false => talk.answer(now),
            };
            bytes = rest;
        }
    };
    let mut before = Vec::new();
    for (number, (body, params, answer, parts)) in turns.iter().enumerate() {
        let path = format!("/{number}");
        let said = pairs(&[("REQUEST_METHOD", "PUT"), ("REQUEST_URI", &path)]);
        let mut request = std::mem::take(&mut before);
        request.extend(begin(1, true));
        request.extend(records(PARAMS, &said, *params));
        request.extend(record(PARAMS, 1, ""));
        request.extend(records(STDIN, body.as_bytes(), 7));
        let end_of_body = record(STDIN, 1, "");
        match left {
            true => before = end_of_body,
            false => request.extend(end_of_body),
        }
        cut(&mut talk, &request, true);
        let mut answer = records(STDOUT, ANSWERS[*answer].as_bytes(), *parts);
        answer.splice(0..0, record(STDERR, 1, "a notice"));
        answer.extend(end(1));
        cut(&mut talk, &answer, false);
    }
    talk
}

/// By the position of their requests, in their order.
fn by_position(told: &Told) -> Vec<(u32, Exchange)> {
    let mut exchanges: Vec<_> = told.finished().cloned().collect();
    exchanges.sort_by_key(|exchange| exchange.id);
    told.started()
        .map(|started| started.position)
        .zip(exchanges)
        .collect()
}

fn essence(exchange: &Exchange) -> (String, Monotonic, Option<Monotonic>, Monotonic) {
    let times = (exchange.started, exchange.first_byte, exchange.ended);
    (line(exchange), times.0, times.1, times.2)
}

/// Positions, and what is said of them but for the times.
fn said(told: &Told) -> Vec<(u32, String)> {
    let exchanges = by_position(told);
    exchanges
        .iter()
        .map(|(position, exchange)| (*position, line(exchange)))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_cut_gives_the_same_exchanges(
        side in side(),
        turns in turns(),
        left in any::<bool>(),
        sizes in prop::collection::vec(1..60_usize, 1..20),
    ) {
        let whole = run(&talk(side, &turns, left, &[usize::MAX]).records);
        prop_assert_eq!(whole.finished().count(), turns.len());
        let complete = whole.finished().filter(|exchange| exchange.outcome == Outcome::Complete);
        prop_assert_eq!(complete.count(), turns.len());
        let mut cut = talk(side, &turns, left, &sizes);
        let told = run(&cut.records);
        prop_assert_eq!(said(&told), said(&whole));
        let ways = [cut.way(true), cut.way(false)];
        let calls: Vec<_> = cut.records.iter_mut().skip(1).map(|record| record.io().clone()).collect();
        for (started, exchange) in told.started().zip(told.finished()) {
            let first = calls.iter().find(|io| {
                io.direction == ways[0] && started.position.wrapping_sub(io.position) < io.size
            });
            prop_assert_eq!(Some(exchange.started), first.map(|io| io.origin.time));
            let last = calls.iter().filter(|io| io.direction == ways[1]);
            let last = last.filter(|io| io.origin.time > exchange.started).map(|io| io.origin.time);
            let times: Vec<_> = last.collect();
            prop_assert!(exchange.first_byte.is_some_and(|time| times.contains(&time)));
            prop_assert!(times.contains(&exchange.ended));
            prop_assert!(exchange.first_byte <= Some(exchange.ended));
        }
    }

    #[test]
    fn a_lost_record_loses_at_most_its_own_request(
        side in side(),
        turns in turns(),
        left in any::<bool>(),
        sizes in prop::collection::vec(16..80_usize, 1..20),
        lost in any::<prop::sample::Index>(),
    ) {
        let mut talk = talk(side, &turns, left, &sizes);
        let whole = by_position(&run(&talk.records));
        let lost = 1 + lost.index(talk.records.len() - 1);
        let time = talk.records.remove(lost).io().origin.time;
        talk.records[lost..].iter_mut().for_each(|record| record.io().process_losses += 1);
        let told = run(&talk.records);
        let found: HashMap<u32, Exchange> = by_position(&told).into_iter().collect();
        let mut before = Monotonic(0);
        for (position, expected) in &whole {
            // What a request leaves is read ahead of the next.
            let is_its_own = before < time && time <= expected.ended;
            before = expected.ended;
            if !is_its_own {
                prop_assert_eq!(found.get(position).map(essence), Some(essence(expected)));
            }
        }
        prop_assert!(found.len() <= whole.len());
        let ends = [Outcome::Complete, Outcome::EndUnseen, Outcome::StillOpen];
        let wrong = told.finished().filter(|exchange| !ends.contains(&exchange.outcome));
        prop_assert_eq!(wrong.count(), 0);
    }

    /// Whatever bytes follow a sound start, each exchange that begins ends, and malformed ones are counted.
    #[test]
    fn any_bytes_end_what_begins(
        side in side(),
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        sizes in prop::collection::vec(1..60_usize, 1..5),
    ) {
        let mut all = [get(1, true, "/"), get(2, false, "/"), bytes].concat();
        for (place, byte) in changes {
            let place = place.index(all.len());
            all[place] = byte;
        }
        let mut talk = Talk::new(side);
        let mut rest = &all[..];
        for size in sizes.iter().cycle() {
            let (now, after) = rest.split_at((*size).min(rest.len()));
            talk.request(now).answer(now);
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        talk.close();
        let told = run(&talk.records);
        let malformed = told.finished().filter(|exchange| exchange.outcome == Outcome::Malformed);
        prop_assert!(malformed.count() == 0 || told.counts.malformed > 0);
    }
}
