//! Durations, and what a thread spent: scripted calls with clocks in, the exchange's times compared.

use crate::kernel::{run, Talk, MS};
use spanlet::capture::event::{Goroutine, HostTid, ThreadClock};
use spanlet::clock::Monotonic;
use spanlet::decode::Exchange;
use std::time::Duration;

const GET: &str = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

fn exchanges(talk: &Talk) -> Vec<Exchange> {
    run(&talk.records).finished().cloned().collect()
}

fn clock(milliseconds: u64) -> Option<ThreadClock> {
    Some(ThreadClock {
        cpu_ns: milliseconds * MS,
        run_queue_wait_ns: 2 * milliseconds * MS,
    })
}

/// From the start: when the answer began and when it ended, milliseconds.
fn spans(exchange: &Exchange) -> (Option<u64>, u64) {
    let since = |time: Monotonic| time.since(exchange.started).as_millis() as u64;
    (exchange.first_byte.map(since), since(exchange.ended))
}

#[test]
fn first_request_byte_to_last_answer_byte() {
    for mut talk in [Talk::server(), Talk::client()] {
        let (first, rest) = GET.split_at(9);
        talk.request(first).wait(10).request(rest).wait(20);
        talk.answer("HTTP/1.1 100 Continue\r\n\r\n").wait(5);
        talk.answer(&OK[..4])
            .answer(&OK[4..20])
            .wait(30)
            .answer(&OK[20..]);
        assert_eq!(spans(&exchanges(&talk)[0]), (Some(38), 70));
    }
}

#[test]
fn writes_are_timed_from_their_call() {
    let mut talk = Talk::client();
    talk.wait(100).request(GET);
    talk.last().ready = Some(Monotonic(talk.time - 40 * MS));
    talk.answer(OK);
    assert_eq!(spans(&exchanges(&talk)[0]), (Some(41), 41));

    let mut talk = Talk::server();
    talk.request(GET).wait(100).answer(OK);
    talk.last().ready = Some(Monotonic(talk.time - 60 * MS));
    assert_eq!(spans(&exchanges(&talk)[0]), (Some(41), 101));
}

#[test]
fn how_long_a_request_lay_unread() {
    let mut talk = Talk::server();
    talk.request([GET, GET].concat());
    talk.last().ready = Some(Monotonic(talk.time - 3 * MS));
    talk.answer([OK, OK].concat());
    let waits: Vec<_> = exchanges(&talk)
        .iter()
        .map(|exchange| exchange.read_wait)
        .collect();
    assert_eq!(waits, [Some(Duration::from_millis(3)), None]);
}

/// A request and its answer by this thread, with its clock before and after.
fn serve(talk: &mut Talk, threads: [u32; 2], clocks: [u64; 2]) {
    talk.thread = HostTid(threads[0]);
    talk.request(GET);
    talk.last().thread_clock = clock(clocks[0]);
    // No less than the clocks go on.
    talk.wait(25);
    talk.thread = HostTid(threads[1]);
    talk.answer(OK);
    talk.last().thread_clock = clock(clocks[1]);
}

#[test]
fn what_the_serving_thread_spent() {
    let mut talk = Talk::server();
    serve(&mut talk, [7, 7], [10, 15]);
    serve(&mut talk, [7, 8], [20, 25]);
    serve(&mut talk, [8, 8], [30, 37]);
    let cpu: Vec<_> = exchanges(&talk)
        .iter()
        .map(|exchange| exchange.serving.map(|serving| serving.cpu.as_millis()))
        .collect();
    assert_eq!(cpu, [Some(5), None, Some(7)]);
    let wait = exchanges(&talk)[0]
        .serving
        .map(|serving| serving.run_queue_wait.as_millis());
    assert_eq!(wait, Some(10));
}

#[test]
fn an_event_loop_serves_none_alone() {
    let mut first = Talk::server();
    serve(&mut first, [7, 7], [10, 15]);
    let mut second = first.clone();
    second.id.socket += 1;
    second
        .records
        .iter_mut()
        .skip(1)
        .for_each(|record| record.io().connection.socket += 1);
    second.records.remove(0);
    let records = [
        &first.records[..2],
        &second.records[..1],
        &first.records[2..],
        &second.records[1..],
    ]
    .concat();
    let told = run(&records);
    assert_eq!(
        told.finished()
            .filter(|exchange| exchange.serving.is_none())
            .count(),
        2
    );
}

#[test]
fn goroutines_move_between_threads() {
    let mut talk = Talk::server();
    serve(&mut talk, [7, 7], [10, 15]);
    talk.last().goroutine = Some(Goroutine { id: 5, parent: 1 });
    assert_eq!(exchanges(&talk)[0].serving, None);
}

#[test]
fn the_wait_to_be_accepted_is_that_of_the_first_request() {
    let mut talk = Talk::server();
    talk.request(GET).answer(OK).request(GET).answer(OK);
    let waits: Vec<_> = exchanges(&talk)
        .iter()
        .map(|exchange| exchange.accept_wait)
        .collect();
    assert_eq!(waits, [Some(Duration::from_millis(3)), None]);

    let mut talk = Talk::client();
    talk.request(GET).answer(OK);
    assert_eq!(exchanges(&talk)[0].accept_wait, None);
}
