//! Lost records: at most the exchange they belong to suffers, and it says so.

use crate::kernel::{check, run, Talk};
use spanlet::decode::exchange::Side;

const GET: &str = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
const NEXT: &str = "GET /next HTTP/1.1\r\nHost: h\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
const NEXT_LINE: &str = "GET /next 200 0/5 Complete Counted";

/// The script on a new connection and on one already used, then one more exchange, which must come out right.
fn then_next(script: impl Fn(&mut Talk), expected: &[&str]) {
    for (side, used) in [
        (Side::Server, false),
        (Side::Server, true),
        (Side::Client, false),
        (Side::Client, true),
    ] {
        let mut talk = Talk::new(side);
        let mut all = Vec::new();
        if used {
            talk.request(NEXT).answer(OK);
            all.push(NEXT_LINE);
        }
        script(&mut talk);
        talk.request(NEXT).answer(OK);
        all.extend(expected);
        all.push(NEXT_LINE);
        let told = check(&talk, &all);
        assert!(!used || told.counts.gaps >= 1);
    }
}

#[test]
fn in_a_counted_body_nothing_is_lost() {
    then_next(
        |talk| {
            talk.request("POST /b HTTP/1.1\r\nContent-Length: 30\r\n\r\n");
            talk.request(&OK[..10]).lose().request(&OK[..20]);
            talk.answer("HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n");
            talk.answer(&OK[..10]).lose().answer(&OK[..20]);
        },
        &["POST /b 200 30/30 Complete Counted"],
    );
}

#[test]
fn the_request() {
    then_next(
        |talk| {
            talk.request(GET).lose().answer(OK);
        },
        &[],
    );
}

#[test]
fn the_second_half_of_a_request_head() {
    then_next(
        |talk| {
            talk.request(&GET[..20])
                .request(&GET[20..])
                .lose()
                .answer(OK);
        },
        &["GET /a 200 ?/5 Complete Counted"],
    );
}

#[test]
fn the_answer() {
    then_next(
        |talk| {
            talk.request(GET).answer(OK).lose();
        },
        &["GET /a ? 0/? EndUnseen None"],
    );
}

#[test]
fn the_head_of_an_answer() {
    then_next(
        |talk| {
            talk.request(GET).answer(&OK[..38]).lose().answer(&OK[38..]);
        },
        &["GET /a ? 0/? EndUnseen NextRequest"],
    );
}

#[test]
fn the_end_of_an_answer() {
    then_next(
        |talk| {
            talk.request(GET).answer(&OK[..40]).answer(&OK[40..]).lose();
        },
        &["GET /a 200 0/5 EndUnseen None"],
    );
}

#[test]
fn the_answer_and_the_next_request() {
    let mut talk = Talk::server();
    talk.request(NEXT).answer(OK);
    talk.request(GET).answer(OK).lose();
    talk.request(GET).lose().answer(OK);
    talk.request(NEXT).answer(OK);
    let told = run(&talk.records);
    let lines = told.lines();
    // The answer seen is not that of the request seen.
    assert_eq!(lines, [NEXT_LINE, "GET /a ? 0/? EndUnseen None", NEXT_LINE]);
    assert_eq!(told.counts.answers_without_request, 1);
}

#[test]
fn a_pipelined_answer_is_not_given_to_another_request() {
    let mut talk = Talk::server();
    let (one, two) = (OK.replace("200", "201"), OK.replace("200", "202"));
    talk.request([GET, GET, GET].concat())
        .answer(one)
        .lose()
        .answer(two)
        .answer(OK);
    talk.request(NEXT).answer(OK);
    let unseen = "GET /a ? 0/? EndUnseen None";
    check(&talk, &[unseen, unseen, unseen, NEXT_LINE]);
}

/// Found by chance: two answers were taken for one, and the request left over got the answer of the next turn.
#[test]
fn a_request_left_over_gets_no_answer_of_a_later_turn() {
    const CHUNKED: &str =
        "HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let (head, rest) = CHUNKED.split_at(30);
    for side in [Side::Server, Side::Client] {
        let mut talk = Talk::new(side);
        talk.request([GET, GET, GET].concat());
        talk.answer(head).answer([rest, head].concat()).lose();
        talk.answer(rest).answer(CHUNKED);
        talk.request(NEXT).answer(OK);
        let told = run(&talk.records);
        assert_eq!(told.lines().last().map(String::as_str), Some(NEXT_LINE));
    }
}

#[test]
fn the_last_record_before_the_close() {
    let mut talk = Talk::client();
    talk.request(GET).answer(OK).lose().end_of_stream().close();
    check(&talk, &["GET /a ? 0/? EndUnseen None"]);
}

#[test]
fn the_last_record_of_a_process_that_only_closes_then() {
    let mut talk = Talk::server();
    talk.request(GET).answer(OK).lose().close();
    check(&talk, &["GET /a ? 0/? EndUnseen None"]);
}

#[test]
fn a_copy_that_failed() {
    for side in [Side::Server, Side::Client] {
        let mut talk = Talk::new(side);
        talk.request(GET).answer_bulk(43).request(NEXT).answer(OK);
        check(&talk, &["GET /a ? 0/? Complete NextRequest", NEXT_LINE]);
        let mut talk = Talk::new(side);
        talk.request(GET)
            .answer(OK)
            .request_bulk(40)
            .answer(OK)
            .request(NEXT)
            .answer(OK);
        let told = run(&talk.records);
        assert_eq!(told.lines(), ["GET /a 200 0/5 Complete Counted", NEXT_LINE]);
    }
}

/// Found by counting: a request was counted as unread, and had its exchange too.
#[test]
fn a_request_is_unread_or_an_exchange_and_not_both() {
    for (seen, exchanges, unread) in [(&GET[..20], 2, 0), (&GET[..1], 1, 1)] {
        let mut talk = Talk::server();
        talk.request(seen).request(&GET[seen.len()..]).lose();
        talk.answer(OK).lose();
        talk.request(NEXT).answer(OK);
        let told = run(&talk.records);
        assert_eq!(told.finished().count(), exchanges, "{seen}");
        assert_eq!(told.counts.unread_requests, unread, "{seen}");
    }
}
