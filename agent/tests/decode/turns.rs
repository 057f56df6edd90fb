//! What the turns of an event loop do with exchanges: told where it is certain, and not elsewhere.

use crate::kernel::{run, Talk};
use spanlet::capture::event::Turn;
use spanlet::clock::Monotonic;
use spanlet::decode::exchange::{Turned, Turning};
use spanlet::decode::Step;
use Turned::{Answered, ReadAnswer, ReadRequest};

const GET: &str = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
const POST: &str = "POST /a HTTP/1.1\r\nContent-Length: 4\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
const UNTIL_CLOSE: &str = "HTTP/1.1 200 OK\r\n\r\nhello";

fn turn(number: u64) -> Option<Turn> {
    Some(Turn {
        running: Some(Monotonic(number)),
        dialed: None,
    })
}

/// What was done in which turn, by the exchanges' order.
fn turned(talk: &Talk) -> Vec<(usize, u64, Turned)> {
    let told = run(&talk.records);
    let ids: Vec<_> = told.started().map(|started| started.id).collect();
    let steps = told.steps.iter().filter_map(|step| match step {
        Step::Turning(Turning { id, turn, what, .. }) => {
            let place = ids.iter().position(|known| known == id);
            Some((place.expect("it started"), turn.0, *what))
        }
        _ => None,
    });
    steps.collect()
}

#[test]
fn a_request_is_read_and_answered_in_turns() {
    let mut talk = Talk::server();
    talk.request(POST).last().turn = turn(1);
    talk.request("body").last().turn = turn(2);
    talk.answer(&OK[..20]).last().turn = turn(3);
    talk.answer(&OK[20..]).last().turn = turn(4);
    talk.request(GET).last().turn = turn(5);
    talk.answer(OK).last().turn = turn(5);
    let expected = [
        (0, 1, ReadRequest),
        (0, 2, ReadRequest),
        (0, 3, Answered),
        (1, 5, ReadRequest),
        (1, 5, Answered),
    ];
    assert_eq!(turned(&talk), expected);
}

#[test]
fn an_answer_is_read_in_turns() {
    let mut talk = Talk::client();
    talk.request(GET).last().turn = turn(1);
    talk.answer(&OK[..20]).last().turn = turn(2);
    talk.answer(&OK[20..]).last().turn = turn(3);
    assert_eq!(turned(&talk), [(0, 2, ReadAnswer), (0, 3, ReadAnswer)]);
}

#[test]
fn the_end_of_the_stream_ends_an_answer_and_is_no_request() {
    let mut talk = Talk::client();
    talk.request(GET);
    talk.answer(UNTIL_CLOSE).last().turn = turn(2);
    talk.end_of_stream().last().turn = turn(3);
    assert_eq!(turned(&talk), [(0, 2, ReadAnswer), (0, 3, ReadAnswer)]);

    let mut talk = Talk::server();
    talk.request(GET).last().turn = turn(1);
    talk.end_of_stream().last().turn = turn(2);
    assert_eq!(turned(&talk), [(0, 1, ReadRequest)]);
}

#[test]
fn of_pipelined_requests_none_is_known_to_be_the_one() {
    let mut talk = Talk::server();
    talk.request([GET, GET].concat()).last().turn = turn(1);
    assert_eq!(turned(&talk), []);
}

#[test]
fn what_is_read_in_no_turn_tells_nothing() {
    let mut talk = Talk::server();
    talk.request(GET).last().turn = Some(Turn {
        running: None,
        dialed: None,
    });
    talk.answer(OK);
    assert_eq!(turned(&talk), []);
}
