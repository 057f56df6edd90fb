//! Conversations, and the exchanges that they make.

use std::net::IpAddr;

use spanlet::capture::event::{Endpoint, Event, Initiator};
use spanlet::clock::Monotonic;
use spanlet::decode::exchange::{Gateway, Protocol, Side};
use spanlet::decode::Step;

use super::records::*;
use crate::kernel::{check, run, Talk, MS};

/// What nginx's own `fastcgi_params` say, and a client's fields.
const PARAMS_OF_NGINX: &[(&str, &str)] = &[
    ("QUERY_STRING", "a=1&b=2"),
    ("REQUEST_METHOD", "POST"),
    ("CONTENT_TYPE", "text/plain"),
    ("CONTENT_LENGTH", "5"),
    ("SCRIPT_NAME", "/index.php"),
    ("REQUEST_URI", "/orders/7?a=1&b=2"),
    ("DOCUMENT_URI", "/index.php"),
    ("DOCUMENT_ROOT", "/srv"),
    ("SERVER_PROTOCOL", "HTTP/1.1"),
    ("REQUEST_SCHEME", "http"),
    ("HTTPS", "on"),
    ("GATEWAY_INTERFACE", "CGI/1.1"),
    ("REMOTE_ADDR", "192.0.2.9"),
    ("REMOTE_PORT", "4711"),
    ("SERVER_PORT", "443"),
    ("SERVER_NAME", "shop.example"),
    ("SCRIPT_FILENAME", "/srv/index.php"),
    ("HTTP_HOST", "shop.example:8443"),
    ("HTTP_USER_AGENT", "curl/8"),
    ("HTTP_AUTHORIZATION", "Bearer secret"),
    ("HTTP_COOKIE", "secret"),
    (
        "HTTP_TRACEPARENT",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    ),
    ("HTTP_X_B3_TRACEID", "1"),
    ("HTTP_CONTENT_LENGTH", "5"),
];

#[test]
fn what_nginx_says_of_a_request() {
    let mut talk = Talk::server();
    talk.request(request(1, false, PARAMS_OF_NGINX, "hello"))
        .answer(answer(1, HELLO))
        .close();
    let told = check(&talk, &["POST /orders/7?a=1&b=2 200 5/5 Complete Counted"]);
    let exchange = told.finished().next().expect("an exchange");
    assert_eq!(
        (exchange.side, exchange.protocol),
        (Side::Server, Protocol::FastCgi)
    );
    let request = &exchange.request;
    assert_eq!(request.host.as_deref(), Some("shop.example:8443"));
    assert_eq!(request.user_agent.as_deref(), Some("curl/8"));
    assert_eq!(request.content_length, Some(5));
    let names: Vec<_> = request
        .context
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(names, ["traceparent", "x-b3-traceid"]);
    let gateway = Gateway {
        is_https: Some(true),
        server_name: Some("shop.example".into()),
        server_port: Some(443),
        client_address: Some(IpAddr::from([192, 0, 2, 9])),
        client_port: Some(4711),
    };
    assert_eq!(request.gateway.as_deref(), Some(&gateway));
    assert!(
        !format!("{exchange:?}").contains("secret"),
        "more is kept than a span says"
    );
    assert_eq!(told.counts.opaque + told.counts.malformed, 0);
}

/// php-fpm reads headers and contents in calls of their own, and what is left of a request when it waits for the next one.
#[test]
fn as_php_fpm_reads() {
    let mut talk = Talk::server();
    let pairs = pairs(PARAMS_OF_NGINX);
    let params = record(PARAMS, 1, &pairs);
    for _ in 0..3 {
        let begin = begin(1, true);
        talk.request(&begin[..8]).request(&begin[8..]);
        talk.request(&params[..8]).request(&params[8..]);
        talk.request(record(PARAMS, 1, ""));
        let body = record(STDIN, 1, "hello");
        talk.request(&body[..8])
            .request(&body[8..13])
            .request(&body[13..]);
        talk.answer(answer(1, HELLO));
        talk.request(record(STDIN, 1, ""));
    }
    talk.end_of_stream().close();
    let line = "POST /orders/7?a=1&b=2 200 5/5 Complete Counted";
    let told = check(&talk, &[line; 3]);
    let firsts: Vec<_> = told
        .started()
        .map(|started| started.first_on_connection)
        .collect();
    assert_eq!(firsts, [true, false, false]);
    assert_eq!(told.counts.unread_requests, 0);
}

/// The client ends with what it read last, the server with what it wrote last; both begin with the first byte.
#[test]
fn times_are_those_of_the_first_and_the_last_byte() {
    for side in [Side::Server, Side::Client] {
        let mut talk = Talk::new(side);
        let request = get(1, false, "/");
        talk.wait(10).request(&request[..8]);
        let began = talk.time;
        talk.wait(10).request(&request[8..]);
        talk.wait(10).answer(record(STDERR, 1, "notice"));
        let head = record(STDOUT, 1, HELLO);
        talk.wait(10).answer(&head[..3]);
        let first_byte = talk.time;
        talk.wait(10).answer(&head[3..]);
        talk.wait(10).answer(end(1));
        let ended = talk.time;
        talk.wait(10).close();
        let told = check(&talk, &["GET / 200 0/5 Complete Counted"]);
        let exchange = told.finished().next().expect("an exchange");
        let times = (exchange.started, exchange.first_byte, exchange.ended);
        let expected = (
            Monotonic(began),
            Some(Monotonic(first_byte)),
            Monotonic(ended),
        );
        assert_eq!(times, expected, "{side:?}");
    }
}

#[test]
fn an_exchange_starts_with_its_parameters_and_is_answered_by_its_thread() {
    let mut talk = Talk::server();
    talk.request(get(1, false, "/")).answer(answer(1, HELLO));
    let steps = run(&talk.records).steps;
    let names: Vec<_> = steps
        .iter()
        .map(|step| match step {
            Step::Started(_) => "started",
            Step::Answering(_) => "answering",
            Step::Finished(_) => "finished",
            _ => "other",
        })
        .collect();
    assert_eq!(names, ["started", "answering", "finished"]);
}

#[test]
fn what_the_head_of_an_answer_says() {
    for (text, line) in [
        (
            "Status: 404 Not Found\r\nX: y\r\n\r\nnone",
            "GET / 404 0/4 Complete Counted",
        ),
        ("Location: /a\r\n\r\n", "GET / 302 0/0 Complete Counted"),
        ("Status: 204\n\n", "GET / 204 0/0 Complete Counted"),
        ("Status: none\r\n\r\n", "GET / ? 0/0 Malformed Counted"),
        (
            "Content-Length: 99\r\n\r\nhalf",
            "GET / 200 0/4 Complete Counted",
        ),
        ("no head at all", "GET / ? 0/0 Malformed Counted"),
        ("", "GET / ? 0/0 Malformed Counted"),
    ] {
        let mut talk = Talk::client();
        talk.request(get(1, false, "/"))
            .answer(answer(1, text))
            .close();
        let told = check(&talk, &[line]);
        let malformed = u64::from(line.contains("Malformed"));
        assert_eq!(told.counts.malformed, malformed, "{text}");
    }
}

#[test]
fn the_target_is_put_together_where_it_is_not_given() {
    for (params, target) in [
        (
            &[
                ("SCRIPT_NAME", "/a.php"),
                ("PATH_INFO", "/b"),
                ("QUERY_STRING", "c=d"),
            ][..],
            "/a.php/b?c=d",
        ),
        (&[("SCRIPT_NAME", "/a.php"), ("DOCUMENT_URI", "/b")], "/b"),
        (
            &[
                ("DOCUMENT_URI", "/b"),
                ("QUERY_STRING", ""),
                ("REQUEST_URI", "/c?d"),
            ],
            "/c?d",
        ),
        (&[("QUERY_STRING", "c=d")], "?"),
    ] {
        let mut talk = Talk::server();
        talk.request(request(1, false, params, ""))
            .answer(answer(1, HELLO));
        check(&talk, &[&format!("? {target} 200 0/5 Complete Counted")]);
    }
}

#[test]
fn long_values_have_long_lengths() {
    let path = format!("/{}", "a".repeat(300));
    let mut talk = Talk::client();
    talk.request(get(1, false, &path)).answer(answer(1, HELLO));
    check(&talk, &[&format!("GET {path} 200 0/5 Complete Counted")]);
}

#[test]
fn requests_of_several_numbers_may_be_open_at_once() {
    let mut talk = Talk::server();
    let (one, two) = (get(1, true, "/one"), get(2, true, "/two"));
    talk.request([&one[..16], &two[..16], &one[16..]].concat());
    talk.request(&two[16..]);
    talk.answer(record(STDOUT, 2, "Status: 404 No\r\n\r\nfirst"));
    talk.answer(record(STDOUT, 1, HELLO))
        .answer(end(2))
        .answer(end(1));
    let told = check(
        &talk,
        &[
            "GET /one 200 0/5 Complete Counted",
            "GET /two 404 0/5 Complete Counted",
        ],
    );
    assert_eq!(told.counts.malformed, 0);
}

#[test]
fn an_aborted_request_is_cancelled_by_its_client() {
    for (side, outcome) in [(Side::Client, "Cancelled"), (Side::Server, "ClientGone")] {
        let mut talk = Talk::new(side);
        talk.request(get(1, true, "/"))
            .request(record(ABORT, 1, ""));
        talk.answer(end(1));
        check(&talk, &[&format!("GET / ? 0/? {outcome} None")]);
    }
}

#[test]
fn what_is_of_no_request_is_passed_over() {
    let mut talk = Talk::server();
    talk.request(record(GET_VALUES, 0, pairs(&[("FCGI_MPXS_CONNS", "")])));
    talk.answer(record(
        GET_VALUES_RESULT,
        0,
        pairs(&[("FCGI_MPXS_CONNS", "0")]),
    ));
    talk.request(get(7, false, "/"))
        .answer(answer(7, HELLO))
        .close();
    let told = check(&talk, &["GET / 200 0/5 Complete Counted"]);
    assert_eq!(told.counts.malformed + told.counts.opaque, 0);
}

/// php-fpm writes an answer of megabytes as headers of eight bytes and contents, each by a call of its own, and its end by another.
#[test]
fn a_long_answer_is_counted_by_its_headers() {
    let mut talk = Talk::server();
    talk.request(get(1, false, "/big"));
    talk.answer(record(STDOUT, 1, "Content-type: text/plain\r\n\r\n"));
    for _ in 0..100 {
        let part = record(STDOUT, 1, vec![b'x'; 65_528]);
        talk.answer(&part[..8]).answer(&part[8..]);
    }
    talk.answer(end(1)).close();
    check(&talk, &["GET /big 200 0/6552800 Complete Close"]);
}

/// What may be the end of an answer, and is not: eight zeros.
#[test]
fn a_record_of_zeros_does_not_end_an_answer() {
    let mut talk = Talk::server();
    talk.request(get(1, false, "/big"));
    talk.answer(record(STDOUT, 1, [&b"\r\n"[..], &[b'x'; 9000]].concat()));
    talk.answer(record(STDOUT, 1, [0; 8])).wait(100);
    let part = record(STDOUT, 1, [b'x'; 1000]);
    talk.answer(&part[..8]).answer(&part[8..]);
    talk.answer(end(1)).close();
    check(&talk, &["GET /big 200 0/? Complete Close"]);
}

/// Records that are not seen: a length that is said counts, if so many bytes came.
#[test]
fn a_long_answer_whose_records_are_not_seen() {
    for (said, line) in [
        ("", "GET /page 200 0/? Complete Close"),
        (
            "Content-Length: 30000\r\n",
            "GET /page 200 0/30000 Complete Counted",
        ),
        (
            "Content-Length: 40000\r\n",
            "GET /page 200 0/? Complete Close",
        ),
    ] {
        for side in [Side::Client, Side::Server] {
            let mut talk = Talk::new(side);
            talk.request(get(1, false, "/page"));
            let mut all = record(STDOUT, 1, format!("{said}\r\n"));
            for _ in 0..30 {
                all.extend(record(STDOUT, 1, [b'y'; 1000]));
            }
            all.extend(end(1));
            for part in all.chunks(4096) {
                talk.answer(part);
            }
            let ended = talk.time;
            talk.wait(30).close();
            let told = check(&talk, &[line]);
            let exchange = told.finished().next().expect("an exchange");
            assert_eq!(exchange.ended, Monotonic(ended));
        }
    }
}

/// A client that knows how long the body is does not wait for the end of the request.
#[test]
fn a_client_may_read_no_more_than_the_body() {
    let said = "Content-Length: 5\r\n\r\nhello";
    for (text, line) in [
        (said, "GET / 200 0/5 Complete Counted"),
        (&said[..said.len() - 1], "GET / 200 0/4 Cancelled None"),
        ("Status: 304\r\n\r\n", "GET / 304 0/0 Complete Counted"),
    ] {
        let mut talk = Talk::client();
        talk.request(get(1, false, "/"))
            .answer(record(STDOUT, 1, text));
        let ended = talk.time;
        let is_cancelled = line.contains("Cancelled");
        talk.wait(30).close();
        let told = check(&talk, &[line]);
        let exchange = told.finished().next().expect("an exchange");
        assert_eq!(exchange.ended == Monotonic(ended), !is_cancelled);
    }
}

/// The same over a Unix socket, whose end nobody tells.
fn unix(side: Side) -> Talk {
    let mut talk = Talk::already_open(side);
    talk.open(Initiator::Unknown);
    if let Event::Opened(opened) = &mut talk.records[0].event {
        (opened.local, opened.remote) = (Endpoint::Unix, Endpoint::Unix);
    }
    talk
}

#[test]
fn over_a_unix_socket_silence_or_the_end_of_the_stream_tells() {
    let mut talk = unix(Side::Client);
    talk.request(get(1, false, "/"))
        .answer(record(STDOUT, 1, "Content-Length: 5\r\n\r\nhello"));
    check(&talk, &["GET / 200 0/5 Complete Counted"]);
    let mut talk = unix(Side::Server);
    talk.request(get(1, false, "/"))
        .answer(record(STDOUT, 1, HELLO));
    let last = talk.time;
    talk.wait(30).end_of_stream();
    let told = check(&talk, &["GET / 200 0/5 ClientGone None"]);
    let exchange = told.finished().next().expect("an exchange");
    assert_eq!(exchange.ended, Monotonic(last));
}

/// On a connection that is kept, the silence after what looks like the end tells, or the next request.
#[test]
fn a_long_answer_on_a_kept_connection() {
    let mut talk = Talk::server();
    for wait in [0, 100] {
        talk.request(get(1, true, "/page"));
        let content = vec![b'y'; 20_000];
        let all = [
            record(STDOUT, 1, "\r\n"),
            record(STDOUT, 1, content),
            end(1),
        ]
        .concat();
        // The end is in a call of which only the last bytes are copied.
        talk.answer(&all[..20_000])
            .answer(&all[20_000..])
            .wait(wait);
    }
    talk.request(get(1, true, "/next")).answer(answer(1, HELLO));
    check(
        &talk,
        &[
            "GET /page 200 0/? Complete Counted",
            "GET /page 200 0/? Complete Counted",
            "GET /next 200 0/5 Complete Counted",
        ],
    );
}

#[test]
fn a_long_answer_that_breaks_off_is_not_complete() {
    for side in [Side::Client, Side::Server] {
        let mut talk = Talk::new(side);
        talk.request(get(1, false, "/page"));
        talk.answer(record(STDOUT, 1, "\r\n"));
        for _ in 0..3 {
            talk.answer(
                [
                    record(STDOUT, 1, [b'y'; 5000]),
                    record(STDOUT, 1, [b'y'; 1000]),
                ]
                .concat(),
            );
        }
        talk.reset();
        check(&talk, &["GET /page 200 0/? ConnectionReset None"]);
    }
}

#[test]
fn a_long_body_is_as_long_as_it_was_said_to_be() {
    let mut talk = Talk::client();
    let params = [
        ("REQUEST_METHOD", "PUT"),
        ("REQUEST_URI", "/"),
        ("CONTENT_LENGTH", "60000"),
    ];
    let mut all = request(1, false, &params, "");
    all.truncate(all.len() - 8);
    for _ in 0..2 {
        all.extend(record(STDIN, 1, [b'y'; 30_000]));
    }
    all.extend(record(STDIN, 1, ""));
    talk.request(&all[..20_000]).request(&all[20_000..]);
    talk.answer(answer(1, HELLO)).close();
    check(&talk, &["PUT / 200 60000/5 Complete Counted"]);
}

#[test]
fn parameters_longer_than_what_is_copied_are_understood_as_far_as_they_go() {
    let long = "z".repeat(9000);
    let params = [
        ("REQUEST_METHOD", "GET"),
        ("HTTP_COOKIE", &long),
        ("REQUEST_URI", "/"),
    ];
    for side in [Side::Client, Side::Server] {
        let mut talk = Talk::new(side);
        talk.request(request(1, false, &params, ""))
            .answer(answer(1, HELLO))
            .close();
        let told = check(&talk, &["GET ? 200 ?/5 Complete Counted"]);
        let exchange = told.finished().next().expect("an exchange");
        assert!(exchange.request.head_incomplete);
        assert_eq!(told.counts.incomplete_heads, 1);
    }
}

#[test]
fn what_ends_a_connection_in_the_middle_of_an_answer() {
    type Ends = fn(&mut Talk);
    let cases: [(Side, Ends, &str); 6] = [
        (Side::Server, |talk| _ = talk.close(), "ConnectionClosed"),
        (
            Side::Server,
            |talk| _ = talk.end_of_stream().close(),
            "ClientGone",
        ),
        (Side::Server, |talk| _ = talk.reset(), "ConnectionReset"),
        (Side::Server, |talk| _ = talk.exit(9), "ProcessExited"),
        (Side::Client, |talk| _ = talk.close(), "Cancelled"),
        (
            Side::Client,
            |talk| _ = talk.end_of_stream(),
            "ConnectionClosed",
        ),
    ];
    for (side, ends, outcome) in cases {
        let mut talk = Talk::new(side);
        talk.request(get(1, false, "/"))
            .answer(record(STDOUT, 1, HELLO));
        ends(&mut talk);
        check(&talk, &[&format!("GET / 200 0/5 {outcome} None")]);
    }
}

#[test]
fn what_is_not_valid_is_malformed_and_counted() {
    let sound = get(1, false, "/");
    for broken in [
        &[2, 5, 0, 1, 0, 0, 0, 0][..],
        &[1, 6, 0, 1, 0, 0, 0, 0],
        &[1, 0, 0, 1, 0, 0, 0, 0],
        &[1, 5, 0, 0, 0, 1, 0, 0],
    ] {
        let mut talk = Talk::server();
        let before = &sound[..sound.len() - 8];
        talk.request([before, broken].concat())
            .answer(answer(1, HELLO))
            .close();
        let told = check(&talk, &["GET / 200 ?/5 Malformed Counted"]);
        assert_eq!(told.counts.malformed, 1, "{broken:?}");
    }
    let mut talk = Talk::server();
    let pair = record(PARAMS, 1, [1, 9, b'a']);
    talk.request([begin(1, false), pair, record(PARAMS, 1, "")].concat());
    talk.answer(answer(1, HELLO)).close();
    check(&talk, &["? ? 200 0/5 Malformed Counted"]);
}

#[test]
fn what_only_begins_like_it_is_opaque() {
    let begins: [&[u8]; 4] = [
        b"\x01\x01\0\x01\0\x08\0\0\0\x01\x01\0\0\0\0\x01",
        b"\x01\x02\0\x01",
        b"\x01\x01\0\0\0\x08\0\0\0\x01\x01\0\0\0\0\0",
        b"\x01\x09\0\0\0\x02\0\0..\x02",
    ];
    for bytes in begins {
        let mut talk = Talk::server();
        talk.request(bytes)
            .answer("whatever")
            .request(bytes)
            .close();
        let told = check(&talk, &[]);
        assert_eq!(
            (told.opaque(), told.counts.malformed),
            ((1, 1), 0),
            "{bytes:?}"
        );
    }
}

/// Of a connection that was open before, requests are seen from the next on.
#[test]
fn a_connection_that_was_open_before() {
    for side in [Side::Client, Side::Server] {
        let mut talk = Talk::already_open(side);
        talk.open(Initiator::Unknown);
        talk.answer(answer(1, HELLO));
        if side == Side::Server {
            talk.request(record(STDIN, 1, ""));
        }
        talk.request(get(1, true, "/seen")).answer(answer(1, HELLO));
        let told = check(&talk, &["GET /seen 200 0/5 Complete Counted"]);
        assert!(told.started().all(|started| !started.first_on_connection));
    }
}

/// A client that gives each request another number, and answers of which only their length tells: one seems to have ended.
#[test]
fn an_answer_that_seems_to_have_ended_has_by_the_next_request_of_any_number() {
    for wait in [10, 100] {
        let mut talk = Talk::server();
        for number in 1..=200 {
            talk.request(get(number, true, "/page"));
            let mut all = record(STDOUT, number, "\r\n");
            for _ in 0..30 {
                all.extend(record(STDOUT, number, [b'y'; 1000]));
            }
            all.extend(end(number));
            for part in all.chunks(4096) {
                talk.answer(part);
            }
            talk.wait(wait);
        }
        talk.request(get(1, true, "/small"))
            .answer(answer(1, HELLO))
            .close();
        let mut lines = vec!["GET /page 200 0/? Complete Counted"; 200];
        lines.push("GET /small 200 0/5 Complete Counted");
        let told = check(&talk, &lines);
        assert_eq!(told.counts.pipeline_full, 0);
    }
}

/// The smallest records that an answer's head can come in.
#[test]
fn a_head_may_come_in_records_of_a_byte() {
    let mut talk = Talk::client();
    talk.request(get(1, false, "/"));
    for byte in "Status: 404 No\r\nX: y\r\n\r\nnone".bytes() {
        talk.answer(record(STDOUT, 1, [byte]));
    }
    talk.answer(end(1)).close();
    check(&talk, &["GET / 404 0/4 Complete Counted"]);
}

/// What an agent delivers through it would be delivered again; others that share the connection, behind a web server, are told.
#[test]
fn an_agents_delivery_is_not_told_and_hides_no_other() {
    let mut talk = Talk::server();
    let params = [
        ("REQUEST_METHOD", "POST"),
        ("HTTP_USER_AGENT", "spanlet/0.1.0"),
    ];
    talk.request(request(1, true, &params, "spans"))
        .answer(answer(1, HELLO));
    talk.request(get(1, true, "/"))
        .answer(answer(1, HELLO))
        .close();
    let told = check(&talk, &["GET / 200 0/5 Complete Counted"]);
    let counts = told.counts;
    assert_eq!(counts.opaque + counts.answers_without_request, 0);
}

#[test]
fn one_that_is_open_for_too_long_is_given_up() {
    let mut talk = Talk::server();
    talk.request(get(1, true, "/long")).wait(2 * 3_600_000);
    talk.request(record(STDIN, 1, ""));
    let mut steps = Vec::new();
    let mut decoder = spanlet::decode::Decoder::new(spanlet::decode::Config::default());
    for record in &talk.records {
        record.apply(&mut decoder, &mut steps);
    }
    decoder.tick(Monotonic(talk.time + MS), &mut steps);
    assert!(matches!(steps.last(), Some(Step::Finished(_))), "{steps:?}");
}
