//! Exchanges that do not end well, or that are not valid: what their outcome is, and that the next come out right.

use crate::kernel::{check, run, Talk, MS};
use spanlet::decode::exchange::Side;

const GET: &str = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
const HALF: &str = "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello";

#[test]
fn a_server_whose_client_goes_away() {
    let mut talk = Talk::server();
    talk.request(GET).end_of_stream().close();
    check(&talk, &["GET /a ? 0/? ClientGone None"]);
    let mut talk = Talk::server();
    talk.request(GET).answer(HALF).reset();
    check(&talk, &["GET /a 200 0/5 ConnectionReset None"]);
    let mut talk = Talk::server();
    talk.request(GET).end_of_stream().answer(OK).close();
    check(&talk, &["GET /a 200 0/5 Complete Counted"]);
    let mut talk = Talk::server();
    talk.request(GET).close();
    check(&talk, &["GET /a ? 0/? ConnectionClosed None"]);
}

#[test]
fn a_client_without_its_answer() {
    let mut talk = Talk::client();
    talk.request(GET).wait(30).close();
    let told = check(&talk, &["GET /a ? 0/? Cancelled None"]);
    let exchange = told.finished().next().expect("an exchange");
    assert_eq!(exchange.ended.since(exchange.started).as_millis(), 31);
    let mut talk = Talk::client();
    talk.request(GET)
        .answer(HALF)
        .end_of_stream()
        .wait(9)
        .close();
    check(&talk, &["GET /a 200 0/5 ConnectionClosed None"]);
    let mut talk = Talk::client();
    talk.request(GET).reset();
    check(&talk, &["GET /a ? 0/? ConnectionReset None"]);
}

#[test]
fn the_process_ends() {
    let until_close = "HTTP/1.0 200 OK\r\n\r\nabc";
    let mut talk = Talk::server();
    talk.request(GET).answer(HALF).exit(9).close();
    check(&talk, &["GET /a 200 0/5 ProcessExited None"]);
    let mut talk = Talk::server();
    talk.request(GET).answer(until_close).exit(9).close();
    check(&talk, &["GET /a 200 0/3 ProcessExited None"]);
    let mut talk = Talk::server();
    talk.request(GET).answer(until_close).exit(0).close();
    check(&talk, &["GET /a 200 0/3 Complete Close"]);
}

#[test]
fn the_agent_stops() {
    let mut talk = Talk::client();
    talk.request(GET).answer(HALF);
    check(&talk, &["GET /a 200 0/5 StillOpen None"]);
}

#[test]
fn the_socket_is_used_again() {
    let mut talk = Talk::server();
    talk.request(GET);
    talk.reopen();
    talk.request(GET).answer(OK);
    check(
        &talk,
        &[
            "GET /a ? 0/? ConnectionClosed None",
            "GET /a 200 0/5 Complete Counted",
        ],
    );
}

#[test]
fn malformed_requests() {
    let heads = [
        "GET /a b HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /a HTTP/1.1\r\nbad header\r\n\r\n",
        "GET /a HTTP/1.1\r\nA: b\r\n folded\r\n\r\n",
        "GET /a HTTP/1.1\r\nA: \0\r\n\r\n",
        "GET /a HTTP/1.7\r\n\r\n",
        "POST /a HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        "POST /a HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        "POST /a HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "POST /a HTTP/1.1\r\nContent-Length: 1, 2\r\n\r\n",
        "POST /a HTTP/1.1\r\nTransfer-Encoding: chunked, gzip\r\n\r\n",
        "POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nnot a size\r\n",
    ];
    for head in heads {
        let mut talk = Talk::server();
        talk.request(head)
            .answer("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        talk.request(GET).answer(OK);
        let told = run(&talk.records);
        let outcomes: Vec<_> = told
            .finished()
            .map(|exchange| (exchange.outcome, exchange.response.status))
            .collect();
        use spanlet::decode::exchange::Outcome::{Complete, Malformed};
        assert_eq!(
            outcomes,
            [(Malformed, Some(400)), (Complete, Some(200))],
            "{head}"
        );
        assert_eq!(told.counts.malformed, 1, "{head}");
    }
}

#[test]
fn unusual_but_valid_requests() {
    let heads = [
        "\r\n\r\nGET /a HTTP/1.1\r\n\r\n",
        "GET /a HTTP/1.1\nHost: h\n\n",
        "GET /a HTTP/1.1\r\nContent-Length: 0, 0\r\n\r\n",
        "GET /a HTTP/1.1\r\nEmpty:\r\nX:y\r\n\r\n",
    ];
    for head in heads {
        let mut talk = Talk::server();
        talk.request(head).answer(OK);
        check(&talk, &["GET /a 200 0/5 Complete Counted"]);
    }
}

#[test]
fn both_lengths_the_transfer_coding_wins() {
    let mut talk = Talk::server();
    talk.request("POST /s HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nGET /\r\n0\r\n\r\n");
    talk.answer(OK).request(GET).answer(OK);
    check(
        &talk,
        &[
            "POST /s 200 5/5 Malformed Counted",
            "GET /a 200 0/5 Complete Counted",
        ],
    );
}

#[test]
fn malformed_answers() {
    let answers = [
        "nonsense\r\n\r\n",
        "HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
    ];
    for answer in answers {
        let mut talk = Talk::client();
        talk.request(GET).answer(answer).request(GET).answer(OK);
        let told = run(&talk.records);
        let outcomes: Vec<_> = told.finished().map(|exchange| exchange.outcome).collect();
        use spanlet::decode::exchange::Outcome::{Complete, Malformed};
        assert_eq!(outcomes, [Malformed, Complete], "{answer}");
    }
}

#[test]
fn noise_between_requests() {
    let mut talk = Talk::server();
    talk.request(GET)
        .answer(OK)
        .request([0, 1, 2, 255])
        .answer("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    talk.request(GET).answer(OK);
    let told = check(
        &talk,
        &[
            "GET /a 200 0/5 Complete Counted",
            "GET /a 200 0/5 Complete Counted",
        ],
    );
    assert_eq!((told.opaque(), told.counts.malformed), ((1, 1), 1));
}

#[test]
fn an_exchange_that_outlives_its_bound() {
    let mut talk = Talk::server();
    talk.request(GET).answer(HALF).wait(2 * 3_600_000);
    let mut decoder = spanlet::decode::Decoder::new(Default::default());
    let mut steps = Vec::new();
    talk.records
        .iter()
        .for_each(|record| record.apply(&mut decoder, &mut steps));
    decoder.tick(spanlet::clock::Monotonic(talk.time), &mut steps);
    assert_eq!(decoder.counts().finished, 1);
    let sent = talk.records.len();
    talk.answer_bulk(45).request(GET).answer(OK);
    talk.records[sent..]
        .iter()
        .for_each(|record| record.apply(&mut decoder, &mut steps));
    let counts = decoder.counts();
    assert_eq!((counts.exchanges, counts.finished), (2, 2));
}

#[test]
fn a_body_cut_short_then_silence() {
    let mut talk = Talk::new(Side::Client);
    talk.request(GET).answer(HALF).wait(5000).close();
    let told = check(&talk, &["GET /a 200 0/5 Cancelled None"]);
    let exchange = told.finished().next().expect("an exchange");
    assert_eq!(exchange.ended.0, talk.time);
    assert!(exchange.ended.0 - exchange.started.0 > 5000 * MS);
}
