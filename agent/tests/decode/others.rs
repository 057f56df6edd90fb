//! Connections that are not HTTP/1, or not from the start; records out of order; bounds on memory.

use crate::kernel::{check, run, Talk, ID};
use spanlet::capture::event::ConnectionId;
use spanlet::clock::Monotonic;
use spanlet::decode::exchange::Side;
use spanlet::decode::{Config, Decoder, Step};

const GET: &str = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

#[test]
fn not_http() {
    let starts: [&[u8]; 6] = [
        b"\x16\x03\x01\x02\x00\x01",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"*1\r\n$4\r\nPING\r\n",
        b"get key\r\n",
        b"GET /\r\n",
        b"SSH-2.0-x\r\n",
    ];
    for start in starts {
        let mut talk = Talk::server();
        talk.request(start)
            .answer("x")
            .request(GET)
            .answer(OK)
            .close();
        let told = check(&talk, &[]);
        assert_eq!(told.opaque(), (1, 1), "{}", start.escape_ascii());
        assert!(matches!(told.steps[0], Step::Opaque { inbound: true, .. }));
    }
    let mut talk = Talk::client();
    talk.request(b"\0\0\0\x08").close();
    let told = check(&talk, &[]);
    assert!(matches!(told.steps[0], Step::Opaque { inbound: false, .. }));
}

#[test]
fn deliveries_of_an_agent_are_not_followed() {
    let post =
        "POST /v1/traces HTTP/1.1\r\nUser-Agent: spanlet/0.1.0\r\nContent-Length: 1\r\n\r\nx";
    let mut talk = Talk::server();
    talk.request(post).answer(OK).request(post).answer(OK);
    assert_eq!(check(talk.close(), &[]).opaque(), (1, 1));
}

#[test]
fn not_http_by_single_bytes() {
    let mut talk = Talk::server();
    for byte in b"set key 0 0 1\r\n" {
        talk.request([*byte]);
    }
    assert_eq!(check(&talk, &[]).opaque(), (1, 1));
}

#[test]
fn open_before_in_the_middle_of_a_body() {
    for side in [Side::Server, Side::Client] {
        let mut talk = Talk::already_open(side);
        talk.request("rest of a body")
            .answer(OK)
            .request(GET)
            .answer(OK);
        let told = check(&talk, &["GET /a 200 0/5 Complete Counted"]);
        assert_eq!(told.opaque(), (1, 1));
        assert!(told.started().all(|started| !started.first_on_connection));
    }
}

#[test]
fn open_before_in_the_middle_of_an_answer() {
    for side in [Side::Server, Side::Client] {
        for first in [OK, "rest of an answer"] {
            let mut talk = Talk::already_open(side);
            talk.answer(first).answer("more").request(GET).answer(OK);
            check(&talk, &["GET /a 200 0/5 Complete Counted"]);
        }
    }
}

#[test]
fn an_answer_told_before_its_request() {
    for earlier in [0, 1] {
        let mut talk = Talk::client();
        for _ in 0..earlier {
            talk.request(GET).answer(OK);
        }
        talk.request("GET /late HTTP/1.1\r\n\r\n").answer(OK);
        let last = talk.records.len() - 1;
        talk.records.swap(last, last - 1);
        talk.request(GET).answer(OK);
        let told = run(&talk.records);
        let lines = told.lines();
        assert_eq!(lines.len(), earlier + 2);
        assert_eq!(lines[earlier], "GET /late 200 0/5 Complete Counted");
        assert_eq!(lines[earlier + 1], "GET /a 200 0/5 Complete Counted");
    }
}

#[test]
fn answers_without_a_request_are_counted() {
    let mut talk = Talk::server();
    talk.request(GET)
        .answer(OK)
        .answer("HTTP/1.1 408 Request Timeout\r\n\r\n")
        .close();
    let told = check(&talk, &["GET /a 200 0/5 Complete Counted"]);
    assert_eq!(told.counts.answers_without_request, 1);
}

#[test]
fn connections_are_bounded() {
    let mut decoder = Decoder::new(Config::default());
    let mut steps = Vec::new();
    for socket in 0..70_000 {
        let mut talk = Talk::already_open(Side::Server);
        talk.id = ConnectionId { socket, ..ID };
        talk.time += socket;
        talk.request(GET);
        talk.records
            .iter()
            .for_each(|record| record.apply(&mut decoder, &mut steps));
        assert!(decoder.held().0 <= 65_536);
    }
    let counts = decoder.counts();
    assert!(counts.evicted >= 70_000 - 65_536);
    assert_eq!(counts.evicted, counts.finished);
    decoder.stop(Monotonic(u64::MAX), &mut steps);
    assert_eq!((decoder.held().1, decoder.counts().finished), (0, 70_000));
}

#[test]
fn memory_is_bounded() {
    let target = "t".repeat(8000);
    let mut decoder = Decoder::new(Config::default());
    let mut steps = Vec::new();
    for socket in 0..12_000 {
        let mut talk = Talk::already_open(Side::Server);
        talk.id = ConnectionId { socket, ..ID };
        talk.request(format!("GET /{target} HTTP/1.1\r\n\r\n"));
        talk.records
            .iter()
            .for_each(|record| record.apply(&mut decoder, &mut steps));
        steps.clear();
        assert!(decoder.held().1 <= 64 << 20);
    }
    assert!(decoder.counts().evicted > 0);
}

#[test]
fn a_connection_that_is_kept_for_ever_costs_no_more_than_at_first() {
    let mut decoder = Decoder::new(Config::default());
    let mut steps = Vec::new();
    let mut talk = Talk::server();
    let mut held = Vec::new();
    for _ in 0..100_000 {
        talk.request(GET).answer(OK).wait(36);
        for record in talk.records.drain(..) {
            record.apply(&mut decoder, &mut steps);
        }
        steps.clear();
        held.push(decoder.held());
    }
    assert!(
        held.iter().max() <= held[..10].iter().max(),
        "{:?}",
        held.last()
    );
}

#[test]
fn pipelining_is_bounded() {
    let mut talk = Talk::server();
    talk.request("GET / HTTP/1.1\r\n\r\n".repeat(300));
    for _ in 0..300 {
        talk.answer(OK);
    }
    talk.request(GET).answer(OK);
    let told = run(&talk.records);
    assert_eq!((told.counts.exchanges, told.counts.pipeline_full), (129, 1));
    let lines = told.lines();
    assert_eq!(
        lines.last().map(String::as_str),
        Some("GET /a 200 0/5 Complete Counted")
    );
}
