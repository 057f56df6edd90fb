//! The semantic conventions: representative exchanges and their exact names, statuses and attributes.

use std::sync::Arc;

use std::time::Duration;

use crate::steps::{client, ms, server, tcp, told, World};
use spanlet::attach::ProcessFacts;
use spanlet::capture::event::{Endpoint, HostPid, RouteName};
use spanlet::decode::exchange::{EndEvidence, Exchange, Gateway, Outcome, Protocol, Serving};
use spanlet::decode::Step;
use spanlet::enrich::span::{Kind, Status};
use spanlet::enrich::Span;
use spanlet::pods::Peer;

fn span_of(exchange: Exchange) -> Span {
    let mut world = World::new();
    world.enricher.apply(Step::Finished(Box::new(exchange)));
    world.end(0);
    world.spans.remove(0)
}

fn assert_attributes(span: &Span, expected: &[&str]) {
    let found: Vec<String> = span
        .attributes()
        .iter()
        .map(|attribute| format!("{} {:?}", attribute.key, attribute.value))
        .collect();
    assert_eq!(found, expected);
}

/// Its names are few, whatever its paths are.
#[test]
fn a_request_that_was_routed_is_named_by_its_route() {
    let mut world = World::new();
    let name = RouteName {
        address: 7000,
        length: 15,
    };
    let routed = |id: u64, name: RouteName| {
        let mut exchange = server(id, 0).exchange(5);
        exchange.request.target = Some("/users/ada/orders/17".into());
        exchange.route = Some(name);
        Step::Finished(Box::new(exchange))
    };
    world.enricher.process(ProcessFacts {
        pid: HostPid(1),
        ..ProcessFacts::default()
    });
    world
        .enricher
        .route(HostPid(1), name, b"GET shop.example/users/{name}/{rest...}");
    world.enricher.apply(routed(1, name));
    let below = RouteName { length: 7, ..name };
    world.enricher.route(HostPid(1), below, b"/users/");
    world.enricher.apply(routed(3, below));
    // Of which nothing was told, or which another process has.
    world
        .enricher
        .apply(routed(2, RouteName { length: 16, ..name }));
    world.enricher.route(HostPid(2), name, b"/other");
    world.end(9);
    let span = world.span(1);
    assert_eq!(span.name, "GET /users/{name}/{rest...}");
    let said = span.text("http.route");
    assert_eq!(said.as_deref(), Some("/users/{name}/{rest...}"));
    // Another router may go on below it.
    let span = world.span(3);
    assert_eq!(span.name, "GET /users/ada/*");
    assert_eq!(span.text("http.route").as_deref(), Some("/users/"));
    assert_eq!(world.span(2).name, "GET /users/ada/*");
    assert_eq!(world.span(2).value("http.route"), None);
}

#[test]
fn a_server_span() {
    let mut exchange = server(1, 0).on_connection(5, 7).exchange(50);
    exchange.request.method = Some("POST".into());
    exchange.request.target = Some("/orders/17/items?token=secret&page=2".into());
    exchange.request.host = Some("shop.example:8080".into());
    exchange.request.body_bytes = Some(12);
    exchange.response.status = Some(503);
    exchange.response.body_bytes = Some(3);
    exchange.first_byte = Some(ms(40));
    exchange.serving = Some(Serving {
        cpu: Duration::from_millis(8),
        run_queue_wait: Duration::from_millis(2),
    });
    exchange.read_wait = Some(Duration::from_millis(1));
    let span = span_of(exchange);
    assert_eq!(span.kind(), Kind::Server);
    assert_eq!(span.name, "POST");
    assert_eq!(span.status(), Status::Error(None));
    assert_attributes(
        &span,
        &[
            r#"http.request.method Text("POST")"#,
            r#"url.scheme Text("http")"#,
            r#"url.path Text("/orders/17/items")"#,
            r#"url.query Text("token=REDACTED&page=REDACTED")"#,
            r#"server.address Text("shop.example")"#,
            "server.port Integer(8080)",
            r#"user_agent.original Text("1")"#,
            r#"network.protocol.name Text("http")"#,
            r#"network.protocol.version Text("1.1")"#,
            r#"client.address Text("10.0.0.1")"#,
            "client.port Integer(5)",
            r#"network.peer.address Text("10.0.0.1")"#,
            "network.peer.port Integer(5)",
            r#"network.local.address Text("10.0.0.2")"#,
            "network.local.port Integer(80)",
            r#"network.type Text("ipv4")"#,
            r#"network.transport Text("tcp")"#,
            "http.response.status_code Integer(503)",
            "http.request.body.size Integer(12)",
            "http.response.body.size Integer(3)",
            r#"error.type Text("503")"#,
            r#"spanlet.parent.evidence Text("none")"#,
            r#"spanlet.end.evidence Text("counted")"#,
            "spanlet.time_to_first_byte Seconds(40ms)",
            "spanlet.cpu_time Seconds(8ms)",
            "spanlet.run_queue_wait Seconds(2ms)",
            "spanlet.read_wait Seconds(1ms)",
        ],
    );
}

#[test]
fn a_client_span() {
    let mut exchange = client(1, 0).on_connection(5, 7).exchange(50);
    Arc::make_mut(&mut exchange.link).remote = tcp("2001:db8::7", 9000);
    Arc::make_mut(&mut exchange.link).local = tcp("2001:db8::1", 5);
    exchange.protocol = Protocol::Http10;
    exchange.request.user_agent = None;
    exchange.response.status = Some(404);
    exchange.end_evidence = EndEvidence::Close;
    let span = span_of(exchange);
    assert_eq!(span.kind(), Kind::Client);
    assert_attributes(
        &span,
        &[
            r#"http.request.method Text("GET")"#,
            r#"url.scheme Text("http")"#,
            r#"url.path Text("/")"#,
            r#"url.full Text("http://[2001:db8::7]:9000/")"#,
            r#"server.address Text("2001:db8::7")"#,
            "server.port Integer(9000)",
            r#"network.protocol.name Text("http")"#,
            r#"network.protocol.version Text("1.0")"#,
            r#"network.peer.address Text("2001:db8::7")"#,
            "network.peer.port Integer(9000)",
            r#"network.local.address Text("2001:db8::1")"#,
            "network.local.port Integer(5)",
            r#"network.type Text("ipv6")"#,
            r#"network.transport Text("tcp")"#,
            "http.response.status_code Integer(404)",
            r#"error.type Text("404")"#,
            r#"spanlet.parent.evidence Text("none")"#,
            r#"spanlet.end.evidence Text("close")"#,
        ],
    );
}

/// The client is the web server's, the peer is that.
#[test]
fn a_fastcgi_server_span() {
    let mut exchange = server(1, 0).on_connection(5, 7).fastcgi().exchange(50);
    exchange.request.target = Some("/orders?id=17".into());
    exchange.request.host = Some("shop.example".into());
    exchange.request.gateway = Some(Box::new(Gateway {
        is_https: Some(true),
        server_name: Some("default.example".into()),
        server_port: Some(8443),
        client_address: Some([192, 0, 2, 9].into()),
        client_port: Some(4711),
    }));
    assert_attributes(
        &span_of(exchange),
        &[
            r#"http.request.method Text("GET")"#,
            r#"url.scheme Text("https")"#,
            r#"url.path Text("/orders")"#,
            r#"url.query Text("id=REDACTED")"#,
            r#"server.address Text("shop.example")"#,
            "server.port Integer(8443)",
            r#"user_agent.original Text("1")"#,
            r#"client.address Text("192.0.2.9")"#,
            "client.port Integer(4711)",
            r#"network.protocol.name Text("fastcgi")"#,
            r#"network.peer.address Text("10.0.0.1")"#,
            "network.peer.port Integer(5)",
            r#"network.local.address Text("10.0.0.2")"#,
            "network.local.port Integer(80)",
            r#"network.type Text("ipv4")"#,
            r#"network.transport Text("tcp")"#,
            "http.response.status_code Integer(200)",
            r#"spanlet.parent.evidence Text("none")"#,
            r#"spanlet.end.evidence Text("counted")"#,
        ],
    );
}

/// What the web server does not say is not known: neither the scheme, nor a port that follows from it.
#[test]
fn a_fastcgi_client_span_over_a_unix_socket() {
    for (host, port, facts) in [
        (
            Some("shop.example"),
            None,
            &[r#"server.address Text("shop.example")"#][..],
        ),
        (
            Some("shop.example:81"),
            Some(8080),
            &[
                r#"server.address Text("shop.example")"#,
                "server.port Integer(81)",
            ],
        ),
        (
            None,
            Some(8080),
            &[
                r#"server.address Text("default")"#,
                "server.port Integer(8080)",
            ],
        ),
    ] {
        let mut exchange = client(1, 0).on_unix(5, 7).fastcgi().exchange(50);
        exchange.request.host = host.map(Into::into);
        exchange.request.gateway = Some(Box::new(Gateway {
            server_name: Some("default".into()),
            server_port: port,
            ..Gateway::default()
        }));
        let before = [
            r#"http.request.method Text("GET")"#,
            r#"url.path Text("/")"#,
        ];
        let after = [
            r#"user_agent.original Text("1")"#,
            r#"network.protocol.name Text("fastcgi")"#,
            r#"network.transport Text("unix")"#,
            "http.response.status_code Integer(200)",
            r#"spanlet.parent.evidence Text("none")"#,
            r#"spanlet.end.evidence Text("counted")"#,
        ];
        let expected = [&before[..], facts, &after[..]].concat();
        assert_attributes(&span_of(exchange), &expected);
    }
}

#[test]
fn what_was_not_seen_is_left_out() {
    let mut exchange = server(1, 0).exchange(50);
    exchange.protocol = Protocol::Http1;
    Arc::make_mut(&mut exchange.link).local = Endpoint::Unix;
    Arc::make_mut(&mut exchange.link).remote = Endpoint::Unix;
    exchange.request = Default::default();
    exchange.request.head_incomplete = true;
    exchange.response = Default::default();
    exchange.outcome = Outcome::StillOpen;
    exchange.end_evidence = EndEvidence::None;
    let span = span_of(exchange);
    assert_eq!(span.name, "HTTP");
    assert_eq!(span.status(), Status::Unset);
    assert_attributes(
        &span,
        &[
            r#"url.scheme Text("http")"#,
            r#"network.protocol.name Text("http")"#,
            r#"network.transport Text("unix")"#,
            r#"spanlet.parent.evidence Text("none")"#,
            r#"spanlet.end Text("still_open")"#,
            "spanlet.head_incomplete Boolean(true)",
        ],
    );
}

#[test]
fn a_tunnel() {
    let mut exchange = client(1, 0).exchange(50);
    exchange.request.method = Some("CONNECT".into());
    exchange.request.target = Some("far.example:443".into());
    exchange.request.body_bytes = Some(1000);
    exchange.upgraded = true;
    let span = span_of(exchange);
    assert_eq!(span.name, "CONNECT");
    assert_eq!(span.text("server.address").as_deref(), Some("far.example"));
    assert_eq!(span.value("url.full"), None);
    assert_eq!(span.value("url.path"), None);
    assert_eq!(span.value("http.request.body.size"), None);
    assert!(span.value("spanlet.upgraded").is_some());
}

#[test]
fn statuses_are_errors_by_side() {
    let cases = [
        (200, None, None),
        (399, None, None),
        (404, None, Some("404")),
        (500, Some("500"), Some("500")),
    ];
    for (status, at_server, at_client) in cases {
        for (start, expected) in [(server(1, 0), at_server), (client(1, 0), at_client)] {
            let mut exchange = start.exchange(5);
            exchange.response.status = Some(status);
            let span = span_of(exchange);
            assert_eq!(span.text("error.type").as_deref(), expected);
            assert_eq!(span.status() == Status::Unset, expected.is_none());
        }
    }
}

#[test]
fn outcomes_are_errors_that_say_so() {
    let cases = [
        (Outcome::ConnectionClosed, "connection_closed", true),
        (Outcome::ConnectionReset, "connection_reset", true),
        (Outcome::ClientGone, "client_gone", true),
        (Outcome::Cancelled, "cancelled", true),
        (Outcome::ProcessExited, "process_exited", true),
        (Outcome::Malformed, "malformed", true),
        (Outcome::EndUnseen, "end_unseen", false),
        (Outcome::StillOpen, "still_open", false),
    ];
    for (outcome, name, is_error) in cases {
        let mut exchange = server(1, 0).exchange(5);
        exchange.outcome = outcome;
        let span = span_of(exchange);
        assert_eq!(span.text("spanlet.end").as_deref(), Some(name));
        assert_eq!(span.text("error.type").as_deref(), is_error.then_some(name));
        assert_eq!(matches!(span.status(), Status::Error(Some(_))), is_error);
    }
}

#[test]
fn methods_that_are_not_known_are_other() {
    for (method, kept, name) in [
        ("GET", Some("GET"), "GET /a"),
        ("get", Some("_OTHER"), "HTTP"),
        ("BREW", Some("_OTHER"), "HTTP"),
    ] {
        let mut world = World::new();
        let start = server(1, 0);
        world.enricher.apply(Step::Started(start.0.clone()));
        let mut exchange = start.exchange(5);
        exchange.request.method = Some(method.into());
        exchange.request.target = Some("/a".into());
        world.enricher.apply(Step::Finished(Box::new(exchange)));
        world.end(5);
        let span = world.span(1);
        assert_eq!(span.text("http.request.method").as_deref(), kept);
        assert_eq!(span.name, name);
        let original = (kept == Some("_OTHER")).then_some(method);
        assert_eq!(
            span.text("http.request.method_original").as_deref(),
            original
        );
    }
}

#[test]
fn names_are_short_and_few() {
    let cases = [
        ("/", "GET /"),
        ("//", "GET /"),
        ("/hello", "GET /hello"),
        ("/hello/?q=1", "GET /hello"),
        ("/api/v1", "GET /api/v1"),
        ("/api/v1/orders/7", "GET /api/v1/*"),
        ("/orders/7", "GET /orders/{id}"),
        ("/orders/7f3a", "GET /orders/{id}"),
        (
            "/orders/2f1b9c1e-8d0a-4f0e-9a3c-1f2e3d4c5b6a",
            "GET /orders/{id}",
        ),
        ("/orders/deadbeef", "GET /orders/{id}"),
        ("/orders/ORD-2024", "GET /orders/{id}"),
        ("/orders/a%20b", "GET /orders/{id}"),
        ("/static/app.js", "GET /static/app.js"),
        ("/a-name-that-is-longer-than-any-word-is", "GET /{id}"),
        ("http://shop.example/orders/7", "GET /orders/{id}"),
        ("*", "GET"),
    ];
    for (target, name) in cases {
        let mut world = World::new();
        let start = server(1, 0);
        world.enricher.apply(Step::Started(start.0.clone()));
        let mut exchange = start.exchange(5);
        exchange.request.target = Some(target.into());
        world.enricher.apply(Step::Finished(Box::new(exchange)));
        world.end(5);
        assert_eq!(world.span(1).name, name, "{target}");
    }
}

#[test]
fn servers_are_named_as_the_client_named_them() {
    let cases = [
        (
            Some("shop.example"),
            "/",
            "shop.example",
            Some(80),
            "http://shop.example/",
        ),
        (
            Some("shop.example:81"),
            "/a",
            "shop.example",
            Some(81),
            "http://shop.example:81/a",
        ),
        (Some("[::1]:81"), "/", "::1", Some(81), "http://[::1]:81/"),
        (Some("[::1]"), "/", "::1", Some(80), "http://[::1]/"),
        (Some("host:nonsense"), "/", "host", None, "http://host/"),
        (None, "/", "10.0.0.2", Some(80), "http://10.0.0.2/"),
        (
            Some("proxy"),
            "http://far.example:81/b?c=d#e",
            "far.example",
            Some(81),
            "http://far.example:81/b?c=REDACTED",
        ),
        (
            Some("proxy"),
            "http://far.example?c",
            "far.example",
            Some(80),
            "http://far.example/?REDACTED",
        ),
    ];
    for (host, target, address, port, url) in cases {
        let mut exchange = client(1, 0).exchange(5);
        exchange.request.host = host.map(Into::into);
        exchange.request.target = Some(target.into());
        let span = span_of(exchange);
        assert_eq!(span.text("server.address").as_deref(), Some(address));
        let found = span.value("server.port").map(|port| format!("{port:?}"));
        assert_eq!(found, port.map(|port: u16| format!("Integer({port})")));
        assert_eq!(span.text("url.full").as_deref(), Some(url));
    }
}

#[test]
fn foreign_text_is_bounded() {
    let mut exchange = client(1, 0).exchange(5);
    exchange.request.method = Some("é".repeat(5000).into());
    exchange.request.target =
        Some(format!("/{}?{}", "é".repeat(50_000), "a=b&".repeat(50_000)).into());
    exchange.request.host = Some("h".repeat(50_000).into());
    exchange.request.user_agent = Some("é".repeat(50_000).into());
    let span = span_of(exchange);
    assert!(told(&span).len() < 30_000);
}

/// Told last, where it was known when the exchange ended; else not at all.
#[test]
fn the_service_at_the_other_end() {
    let exchange = || Box::new(client(1, 0).on_connection(5, 7).exchange(50));
    let span = span_of(*exchange());
    assert!(span.value("service.peer.name").is_none());
    assert_eq!(
        span.exchange.link.remote.address().unwrap().to_string(),
        "10.0.0.2"
    );
    let mut world = World::new();
    let peer = Arc::new(Peer {
        name: "cart".into(),
        namespace: "shop".into(),
    });
    world.enricher.finished(exchange(), Some(peer));
    world.end(0);
    let attributes = world.spans[0].attributes();
    let last = attributes[attributes.len() - 2..].iter();
    let last: Vec<_> = last.map(|a| format!("{} {:?}", a.key, a.value)).collect();
    let expected = [
        r#"service.peer.name Text("cart")"#,
        r#"service.peer.namespace Text("shop")"#,
    ];
    assert_eq!(last, expected);
}

#[test]
fn what_tls_carries_is_https() {
    for (host, port, url) in [
        ("shop.example", 443, "https://shop.example/a"),
        ("shop.example:80", 80, "https://shop.example:80/a"),
        ("shop.example:8443", 8443, "https://shop.example:8443/a"),
    ] {
        let mut exchange = client(1, 0).over_tls(Some(false)).exchange(5);
        exchange.request.host = Some(host.into());
        exchange.request.target = Some("/a".into());
        let span = span_of(exchange);
        assert_eq!(span.text("url.scheme").as_deref(), Some("https"));
        let found = span.value("server.port").map(|port| format!("{port:?}"));
        assert_eq!(found, Some(format!("Integer({port})")));
        assert_eq!(span.text("url.full").as_deref(), Some(url));
        let version = span.text("tls.protocol.version");
        assert_eq!(version.as_deref(), Some("1.2"));
    }
}
