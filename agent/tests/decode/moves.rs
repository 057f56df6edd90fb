//! What the event loop of a proxy does, one thing after another: told of processes that were named, and of their first thread.

use crate::kernel::{Talk, PROCESS};
use spanlet::capture::event::{HostPid, HostTid};
use spanlet::decode::exchange::{ExchangeId, Moved};
use spanlet::decode::{Config, Decoder, Step};
use Moved::{Answer, Call, Other, Request};

const GET: &str = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
const POST: &str = "POST /a HTTP/1.1\r\nContent-Length: 8\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
const UNTIL_CLOSE: &str = "HTTP/1.1 200 OK\r\n\r\nhello";
const FIRST: ExchangeId = ExchangeId(1);
const SECOND: ExchangeId = ExchangeId(2);

fn on_loop(mut talk: Talk) -> Talk {
    talk.thread = HostTid(PROCESS.0);
    talk
}

fn told(talk: &Talk, proxy: HostPid) -> Vec<Moved> {
    let mut decoder = Decoder::new(Config::default());
    decoder.is_proxy(proxy, true);
    let mut steps = Vec::new();
    for record in &talk.records {
        record.apply(&mut decoder, &mut steps);
    }
    let moved = steps.iter().filter_map(|step| match step {
        Step::Moving(moving) => Some(moving.what),
        _ => None,
    });
    moved.collect()
}

fn moved(talk: &Talk) -> Vec<Moved> {
    told(talk, PROCESS)
}

#[test]
fn a_request_is_told_when_all_of_it_was_read() {
    let mut talk = on_loop(Talk::server());
    talk.request(POST)
        .request("some")
        .request("body")
        .answer(OK);
    talk.request(&GET[..9]).request(&GET[9..]).answer(OK);
    let expected = [
        Other,
        Other,
        Request(FIRST),
        Other,
        Other,
        Request(SECOND),
        Other,
    ];
    assert_eq!(moved(&talk), expected);
}

/// Most of it is not copied: it may have been read whole, by its last bytes.
#[test]
fn a_long_request_in_chunks_is_told_when_its_end_was_read() {
    let mut talk = on_loop(Talk::server());
    talk.request("POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n");
    let chunk = format!("8000\r\n{}\r\n", "x".repeat(0x8000));
    for part in chunk.as_bytes().chunks(8192) {
        talk.request(part);
    }
    talk.request("100\r\n".to_owned() + &"x".repeat(0x100) + "\r\n0\r\n\r\n")
        .answer(OK);
    let parts = chunk.len().div_ceil(8192);
    let mut expected = vec![Other; 1 + parts];
    expected.extend([Request(FIRST), Other]);
    assert_eq!(moved(&talk), expected);
}

#[test]
fn of_pipelined_requests_none_is_told() {
    let mut talk = on_loop(Talk::server());
    talk.request(GET.repeat(2)).answer(OK);
    assert_eq!(moved(&talk), [Other, Other]);
    let mut talk = on_loop(Talk::server());
    talk.request(GET.to_owned() + &POST[..9]);
    assert_eq!(moved(&talk), [Other]);
}

#[test]
fn calls_are_told_and_their_answers_to_the_end() {
    let mut talk = on_loop(Talk::client());
    talk.request(GET).answer(&OK[..20]).answer(&OK[20..]);
    talk.request(POST).request("somebody");
    talk.answer(UNTIL_CLOSE).end_of_stream();
    let expected = [
        Call,
        Answer(FIRST),
        Answer(FIRST),
        Call,
        Call,
        Answer(SECOND),
        Answer(SECOND),
    ];
    assert_eq!(moved(&talk), expected);
}

#[test]
fn an_end_is_told_if_something_was_open() {
    let mut talk = on_loop(Talk::client());
    talk.request(GET).close();
    assert_eq!(moved(&talk), [Call, Other]);
    let mut talk = on_loop(Talk::client());
    talk.request(GET).answer(OK).close();
    assert_eq!(moved(&talk), [Call, Answer(FIRST)]);
}

#[test]
fn what_is_not_understood_is_something_else() {
    let mut talk = on_loop(Talk::server());
    talk.request([0xff, 1, 2, 3]).request([4, 5]);
    assert_eq!(moved(&talk), [Other, Other]);
}

#[test]
fn other_threads_and_processes_are_not_told() {
    let mut talk = Talk::server();
    talk.request(GET).answer(OK);
    assert_eq!(moved(&talk), []);
    let mut talk = on_loop(Talk::server());
    talk.request(GET).answer(OK);
    assert_eq!(told(&talk, HostPid(1)), []);
}

#[test]
fn a_child_is_what_its_parent_is() {
    let mut decoder = Decoder::new(Config::default());
    let mut talk = on_loop(Talk::server());
    talk.request(GET);
    let mut steps = Vec::new();
    decoder.is_proxy(HostPid(1), true);
    decoder.forked(HostPid(1), PROCESS);
    for record in &talk.records {
        record.apply(&mut decoder, &mut steps);
    }
    assert!(matches!(steps.last(), Some(Step::Moving(_))));
}
