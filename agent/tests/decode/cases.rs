//! Every shape of HTTP/1 exchange, at both sides: a table of scripts and the exchanges they make.

use crate::kernel::{check, Talk};
use spanlet::decode::exchange::Side;

const GET: &str = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

/// The script at both sides.
fn both(script: impl Fn(&mut Talk), expected: &[&str]) {
    for side in [Side::Server, Side::Client] {
        let mut talk = Talk::new(side);
        script(&mut talk);
        check(&talk, expected);
    }
}

/// Requests and answers in turn, one call each.
fn turns(pairs: &[(&str, &str)], expected: &[&str]) {
    both(
        |talk| {
            for (request, answer) in pairs {
                talk.request(request).answer(answer);
            }
        },
        expected,
    );
}

#[test]
fn one_call_each() {
    turns(&[(GET, OK)], &["GET /a 200 0/5 Complete Counted"]);
}

#[test]
fn keep_alive() {
    turns(
        &[
            (GET, OK),
            (
                "POST /b HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
                "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n",
            ),
            (GET, OK),
        ],
        &[
            "GET /a 200 0/5 Complete Counted",
            "POST /b 201 3/0 Complete Counted",
            "GET /a 200 0/5 Complete Counted",
        ],
    );
}

#[test]
fn answers_without_a_body() {
    turns(
        &[
            (
                "HEAD / HTTP/1.1\r\n\r\n",
                "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n",
            ),
            ("GET /1 HTTP/1.1\r\n\r\n", "HTTP/1.1 204 No Content\r\n\r\n"),
            (
                "GET /2 HTTP/1.1\r\n\r\n",
                "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
            ),
            (GET, OK),
        ],
        &[
            "HEAD / 200 0/0 Complete Counted",
            "GET /1 204 0/0 Complete Counted",
            "GET /2 304 0/0 Complete Counted",
            "GET /a 200 0/5 Complete Counted",
        ],
    );
}

#[test]
fn chunked_both_ways() {
    turns(
        &[(
            "POST /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: t\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\nA\r\n0123456789\r\n0\r\n\r\n",
        )],
        &["POST /c 200 5/10 Complete Counted"],
    );
}

#[test]
fn interim_answers_do_not_count() {
    both(
        |talk| {
            talk.request("POST /e HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
                .answer("HTTP/1.1 100 Continue\r\n\r\n")
                .request("body")
                .answer("HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        },
        &["POST /e 200 4/2 Complete Counted"],
    );
}

#[test]
fn pipelining() {
    let three = "GET /1 HTTP/1.1\r\n\r\nPOST /2 HTTP/1.1\r\nContent-Length: 2\r\n\r\nxyGET /3 HTTP/1.1\r\n\r\n";
    let expected = [
        "GET /1 200 0/5 Complete Counted",
        "POST /2 200 2/5 Complete Counted",
        "GET /3 200 0/5 Complete Counted",
    ];
    both(
        |talk| {
            talk.request(three).answer([OK, OK, OK].concat());
        },
        &expected,
    );
    both(
        |talk| {
            talk.request(three).answer(OK).answer(OK).answer(OK);
        },
        &expected,
    );
    both(
        |talk| {
            let (first, second) = three.split_at(25);
            talk.request(first)
                .answer(OK)
                .request(second)
                .answer(OK)
                .answer(OK);
        },
        &expected,
    );
}

#[test]
fn ended_by_close() {
    let head = "HTTP/1.0 200 OK\r\n\r\n";
    let mut server = Talk::server();
    server
        .request("GET / HTTP/1.0\r\n\r\n")
        .answer(head)
        .answer("12345")
        .close();
    check(&server, &["GET / 200 0/5 Complete Close"]);
    let mut client = Talk::client();
    client
        .request("GET / HTTP/1.0\r\n\r\n")
        .answer(head)
        .answer("12345")
        .end_of_stream()
        .wait(9)
        .close();
    check(&client, &["GET / 200 0/5 Complete Close"]);
}

#[test]
fn upgrade_and_tunnel() {
    both(
        |talk| {
            talk.request("GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n")
                .answer("HTTP/1.1 101 Switching Protocols\r\n\r\n\x02\x05hello")
                .request("\x01\x03abc")
                .request("GET /not HTTP/1.1\r\n\r\n")
                .close();
        },
        &["GET /ws 101 0/? Complete Counted upgraded"],
    );
    both(
        |talk| {
            talk.request("CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n")
                .answer("HTTP/1.1 200 Connected\r\n\r\n")
                .request("\x16\x03\x01");
        },
        &["CONNECT h:443 200 0/? Complete Counted upgraded"],
    );
    turns(
        &[
            (
                "CONNECT h:443 HTTP/1.1\r\n\r\n",
                "HTTP/1.1 407 No\r\nContent-Length: 2\r\n\r\nno",
            ),
            (GET, OK),
        ],
        &[
            "CONNECT h:443 407 0/2 Complete Counted",
            "GET /a 200 0/5 Complete Counted",
        ],
    );
}

#[test]
fn a_gibibyte_each_way_is_counted_not_copied() {
    both(
        |talk| {
            talk.request("PUT /big HTTP/1.1\r\nContent-Length: 1073741824\r\n\r\n");
            (0..16).for_each(|_| _ = talk.request_bulk(1 << 26));
            talk.answer("HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n");
            (0..8).for_each(|_| _ = talk.answer_bulk(1 << 27));
            talk.request(GET).answer(OK);
        },
        &[
            "PUT /big 200 1073741824/1073741824 Complete Counted",
            "GET /a 200 0/5 Complete Counted",
        ],
    );
}

#[test]
fn an_early_answer_does_not_lose_the_next_request() {
    both(
        |talk| {
            talk.request("POST /up HTTP/1.1\r\nContent-Length: 45000\r\n\r\n")
                .request_bulk(40000)
                .answer("HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
                .request(vec![b'x'; 5000])
                .request(GET)
                .answer(OK);
        },
        &[
            "POST /up 413 40000/2 Complete Counted",
            "GET /a 200 0/5 Complete Counted",
        ],
    );
}

#[test]
fn one_byte_a_call() {
    both(
        |talk| {
            for byte in GET.bytes() {
                talk.request([byte]);
            }
            for byte in OK.bytes() {
                talk.answer([byte]);
            }
        },
        &["GET /a 200 0/5 Complete Counted"],
    );
}

#[test]
fn a_head_longer_than_what_is_copied() {
    let long = format!(
        "GET /l?q=1 HTTP/1.1\r\nHost: h\r\ntraceparent: 00-ab\r\nCookie: {}\r\nX: y\r\n\r\n",
        "c".repeat(65536)
    );
    let mut talk = Talk::server();
    talk.request(long).answer(OK).request(GET).answer(OK);
    let told = check(
        &talk,
        &[
            "GET /l?q=1 200 ?/5 Complete Counted",
            "GET /a 200 0/5 Complete Counted",
        ],
    );
    let exchange = told.finished().next().expect("an exchange");
    assert!(exchange.request.head_incomplete);
    assert_eq!(exchange.request.host.as_deref(), Some("h"));
    assert_eq!(
        exchange.request.context,
        [("traceparent".to_string(), "00-ab".to_string())]
    );
}

#[test]
fn a_target_longer_than_what_is_copied() {
    let long = format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "t".repeat(20000));
    let mut talk = Talk::server();
    talk.request(long).answer(OK);
    let told = crate::kernel::run(&talk.records);
    let exchange = told.finished().next().expect("an exchange");
    assert_eq!(
        exchange.request.target.as_ref().map(|target| target.len()),
        Some(8192 - 4)
    );
    assert!(exchange.request.head_incomplete);
}

#[test]
fn an_answer_head_longer_than_what_is_copied() {
    let long = format!(
        "HTTP/1.1 302 Found\r\nSet-Cookie: {}\r\nContent-Length: 0\r\n\r\n",
        "c".repeat(4000)
    );
    let mut talk = Talk::server();
    talk.request(GET)
        .answer(&long)
        .wait(200)
        .request(GET)
        .answer(OK);
    let told = check(
        &talk,
        &[
            "GET /a 302 0/? Complete NextRequest",
            "GET /a 200 0/5 Complete Counted",
        ],
    );
    assert!(told
        .finished()
        .next()
        .is_some_and(|exchange| exchange.response.head_incomplete));
}

#[test]
fn more_fields_than_usual() {
    let fields: String = (0..300).map(|n| format!("x-{n}: {n}\r\n")).collect();
    let request = format!("GET /f HTTP/1.1\r\n{fields}b3: 1\r\n\r\n");
    let mut talk = Talk::server();
    talk.request(request).answer(OK);
    let told = check(&talk, &["GET /f 200 0/5 Complete Counted"]);
    assert_eq!(
        told.started().next().map(|started| started.context.len()),
        Some(1)
    );
}

#[test]
fn context_fields_in_any_case() {
    let mut talk = Talk::server();
    talk.request("GET / HTTP/1.1\r\nTraceParent: p\r\nX-B3-TraceId: t\r\nX-Amzn-Trace-Id: a\r\nUber-Trace-Id: u\r\nOther: o\r\n\r\n");
    let told = crate::kernel::run(&talk.records);
    let started = told.started().next().expect("a start");
    let names: Vec<_> = started
        .context
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "traceparent",
            "x-b3-traceid",
            "x-amzn-trace-id",
            "uber-trace-id"
        ]
    );
    assert!(started.first_on_connection);
}

#[test]
fn chunked_answer_whose_end_is_only_in_the_tail() {
    let chunk = |bytes: usize| format!("{bytes:x}\r\n{}\r\n", "d".repeat(bytes));
    let mut talk = Talk::server();
    talk.request(GET)
        .answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    for _ in 0..100 {
        talk.answer(chunk(100));
    }
    talk.answer("0\r\n\r\n");
    let end = talk.time;
    talk.wait(500).request(GET).answer(OK);
    let told = check(
        &talk,
        &[
            "GET /a 200 0/? Complete Counted",
            "GET /a 200 0/5 Complete Counted",
        ],
    );
    assert_eq!(
        told.finished().next().map(|exchange| exchange.ended.0),
        Some(end)
    );
}

#[test]
fn a_large_chunked_body_in_one_call_is_exact() {
    let body = format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n186a0\r\n{}\r\n0\r\n\r\n",
        "d".repeat(100_000)
    );
    turns(&[(GET, &body)], &["GET /a 200 0/100000 Complete Counted"]);
}

#[test]
fn what_looks_like_the_last_chunk_can_be_data() {
    let mut talk = Talk::server();
    talk.request(GET)
        .answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    talk.answer(vec![b'x'; 10]).lose();
    talk.answer("more\r\n0\r\n\r\n")
        .answer("and more")
        .wait(10)
        .answer("x\r\n0\r\n\r\n");
    let end = talk.time;
    talk.wait(100).request(GET);
    let told = crate::kernel::run(&talk.records);
    let exchange = told.finished().next().expect("an exchange");
    assert_eq!(exchange.ended.0, end);
}
