//! A finished exchange in the words of the semantic conventions (stable HTTP spans).
//!
//! In: an exchange and what its parent is known by. Out: its status and, told to a [`Visitor`] one by one, its attributes.
//! What was not seen is left out.
//! Beside the conventions' attributes:
//!
//! | attribute | type | meaning |
//! |---|---|---|
//! | `spanlet.parent.evidence` | text | what the parent is known by: `traceparent`, `b3`, `uber-trace-id`, `x-amzn-trace-id`, `connection`, `thread`, `goroutine`, `process`; `none`: no parent |
//! | `spanlet.end` | text | how it ended, where its answer was not seen to its end: `connection_closed`, `connection_reset`, `client_gone`, `cancelled`, `process_exited`, `malformed` (errors), `end_unseen` (records were lost), `still_open` |
//! | `spanlet.end.evidence` | text | what the end is known by: `counted`, `next_request`, `close` |
//! | `spanlet.time_to_first_byte` | s | from the start to the first byte of the answer |
//! | `spanlet.cpu_time` | s | server: CPU time of the one thread that served it |
//! | `spanlet.run_queue_wait` | s | server: how long that thread was runnable and waited for a CPU |
//! | `spanlet.read_wait` | s | server: how long the first byte lay unread |
//! | `spanlet.accept_wait` | s | server, first request of a connection: how long the connection waited to be accepted (`sys-exit` back end; else that time is part of `spanlet.read_wait`) |
//! | `spanlet.head_incomplete` | true | a head was not seen whole: what is absent is unknown |
//! | `spanlet.upgraded` | true | the connection went on as something else (101, CONNECT) |

use std::net::IpAddr;

use smol_str::{format_smolstr, SmolStr};

use super::evidence::Evidence;
use super::redact::{self, Query};
use super::span::{Status, Visitor};
use super::target::{self, Server, Target};
use crate::capture::event::{Endpoint, TlsVersion};
use crate::decode::exchange::{EndEvidence, Exchange, Gateway, Outcome, Protocol, Side};

/// Bytes of a text that a peer chose; what is longer is cut.
const TEXT_BYTES_MAX: usize = 2048;

/// RFC 9110 §9 and RFC 5789.
const METHODS: [&str; 9] = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
];

/// The method and path that name a span. The method is `HTTP` where it is unknown.
pub fn naming(exchange: &Exchange) -> (&str, Option<&str>) {
    match exchange.request.method.as_deref() {
        Some(method) if METHODS.contains(&method) => (method, Target::of(&exchange.request).path),
        _ => ("HTTP", None),
    }
}

/// An error where the answer is one for this side, or where there is none.
pub fn status(exchange: &Exchange) -> Status {
    match is_error_status(exchange) || is_failure(exchange.outcome) {
        true => Status::Error(message(exchange)),
        false => Status::Unset,
    }
}

/// Tells the attributes of an exchange.
#[inline]
pub fn tell(
    exchange: &Exchange,
    route: Option<&str>,
    evidence: Option<Evidence>,
    query: Query,
    visitor: &mut impl Visitor,
) {
    let link = &exchange.link;
    let server_end = match exchange.side {
        Side::Server => &link.local,
        Side::Client => &link.remote,
    };
    request(exchange, query, server_end, visitor);
    if let Some(route) = route {
        visitor.text("http.route", route);
    }
    visitor.connection(exchange, |visitor| network(exchange, visitor));
    answer(exchange, visitor);
    own(exchange, evidence, visitor);
}

fn request(exchange: &Exchange, query: Query, server_end: &Endpoint, visitor: &mut impl Visitor) {
    let request = &exchange.request;
    let target = Target::of(request);
    match request.method.as_deref() {
        Some(method) if METHODS.contains(&method) => visitor.text("http.request.method", method),
        Some(method) => {
            visitor.text("http.request.method", "_OTHER");
            visitor.text("http.request.method_original", cut(method));
        }
        None => {}
    }
    let query = target.query.and_then(|text| redact::query(text, query));
    let scheme = target.scheme.or(target::scheme(exchange));
    if let Some(scheme) = scheme {
        visitor.text("url.scheme", cut(scheme));
    }
    if let Some(path) = target.path {
        visitor.text("url.path", cut(path));
    }
    if let Some(query) = &query {
        visitor.text("url.query", cut(query));
    }
    let named = target::named_server(&target, request, scheme);
    let end = match named {
        Some(_) => None,
        None => target::end(server_end),
    };
    let of_end = end.as_ref().map(|(address, port)| Server {
        address: address.as_str(),
        port: Some(*port),
    });
    if let Some(server) = named.or(of_end) {
        if let (Side::Client, Some(scheme)) = (exchange.side, scheme) {
            target::full_url(
                &target,
                scheme,
                &server,
                query.as_deref(),
                |url| match length(url) {
                    ..=TEXT_BYTES_MAX => visitor.pieces("url.full", url),
                    _ => visitor.text("url.full", cut(&url.concat())),
                },
            );
        }
        visitor.text("server.address", cut(server.address));
        if let Some(port) = server.port {
            visitor.integer("server.port", port.into());
        }
    }
    if let Some(agent) = &request.user_agent {
        visitor.text("user_agent.original", cut(agent));
    }
    if let (Side::Server, Some(gateway)) = (exchange.side, &request.gateway) {
        client(gateway, visitor);
    }
}

/// Who asked the web server that hands the request on.
fn client(gateway: &Gateway, visitor: &mut impl Visitor) {
    let Some(address) = gateway.client_address else {
        return;
    };
    let port = gateway.client_port;
    let end = target::end(&Endpoint::Tcp {
        address,
        port: port.unwrap_or_default(),
    });
    if let Some((address, _)) = end {
        visitor.text("client.address", address.as_str());
    }
    if let Some(port) = port {
        visitor.integer("client.port", port.into());
    }
}

fn network(exchange: &Exchange, visitor: &mut impl Visitor) {
    let (protocol, version_of_it) = match exchange.protocol {
        Protocol::Http10 => ("http", Some("1.0")),
        Protocol::Http11 => ("http", Some("1.1")),
        Protocol::Http1 => ("http", None),
        Protocol::FastCgi => ("fastcgi", None),
    };
    visitor.text("network.protocol.name", protocol);
    if let Some(version) = version_of_it {
        visitor.text("network.protocol.version", version);
    }
    let link = &exchange.link;
    if let Some((address, port)) = target::end(&link.remote) {
        let address = address.as_str();
        // Behind a web server, the peer is that.
        if exchange.side == Side::Server && exchange.protocol != Protocol::FastCgi {
            visitor.text("client.address", address);
            visitor.integer("client.port", port.into());
        }
        visitor.text("network.peer.address", address);
        visitor.integer("network.peer.port", port.into());
    }
    if let Some((address, port)) = target::end(&link.local) {
        visitor.text("network.local.address", address.as_str());
        visitor.integer("network.local.port", port.into());
    }
    match (&exchange.link.local, &exchange.link.remote) {
        (Endpoint::Tcp { address, .. }, _) | (_, Endpoint::Tcp { address, .. }) => {
            match address {
                IpAddr::V4(_) => visitor.text("network.type", "ipv4"),
                IpAddr::V6(_) => visitor.text("network.type", "ipv6"),
            }
            visitor.text("network.transport", "tcp");
        }
        (Endpoint::Unix, _) | (_, Endpoint::Unix) => visitor.text("network.transport", "unix"),
        (Endpoint::Unknown, Endpoint::Unknown) => {}
    }
    if let Some(version) = link.tls.and_then(|tls| version(tls.version)) {
        visitor.text("tls.protocol.name", "tls");
        visitor.text("tls.protocol.version", version);
    }
}

fn version(version: TlsVersion) -> Option<&'static str> {
    match version {
        TlsVersion::V1_2 => Some("1.2"),
        TlsVersion::V1_3 => Some("1.3"),
        TlsVersion::Unknown => None,
    }
}

fn answer(exchange: &Exchange, visitor: &mut impl Visitor) {
    if let Some(status) = exchange.response.status {
        visitor.integer("http.response.status_code", status.into());
    }
    // What goes through a tunnel is no body.
    let size = |bytes: Option<u64>| i64::try_from(bytes.filter(|_| !exchange.upgraded)?).ok();
    if let Some(bytes) = size(exchange.request.body_bytes) {
        visitor.integer("http.request.body.size", bytes);
    }
    if let Some(bytes) = size(exchange.response.body_bytes) {
        visitor.integer("http.response.body.size", bytes);
    }
    if let Some(error) = error_type(exchange) {
        visitor.text("error.type", &error);
    }
}

fn own(exchange: &Exchange, evidence: Option<Evidence>, visitor: &mut impl Visitor) {
    let evidence = evidence.map_or(Evidence::NONE, Evidence::name);
    visitor.text("spanlet.parent.evidence", evidence);
    if let Some(end) = outcome_name(exchange.outcome) {
        visitor.text("spanlet.end", end);
    }
    match exchange.end_evidence {
        EndEvidence::Counted => visitor.text("spanlet.end.evidence", "counted"),
        EndEvidence::NextRequest => visitor.text("spanlet.end.evidence", "next_request"),
        EndEvidence::Close => visitor.text("spanlet.end.evidence", "close"),
        EndEvidence::None => {}
    }
    if let Some(first) = exchange.first_byte {
        let time = first.since(exchange.started);
        visitor.seconds("spanlet.time_to_first_byte", time);
    }
    if let Some(serving) = exchange.serving {
        visitor.seconds("spanlet.cpu_time", serving.cpu);
        visitor.seconds("spanlet.run_queue_wait", serving.run_queue_wait);
    }
    if let Some(wait) = exchange.read_wait {
        visitor.seconds("spanlet.read_wait", wait);
    }
    if let Some(wait) = exchange.accept_wait {
        visitor.seconds("spanlet.accept_wait", wait);
    }
    if exchange.request.head_incomplete || exchange.response.head_incomplete {
        visitor.boolean("spanlet.head_incomplete", true);
    }
    if exchange.upgraded {
        visitor.boolean("spanlet.upgraded", true);
    }
}

/// The status code where it is an error for this side, else the outcome where it is one.
fn error_type(exchange: &Exchange) -> Option<SmolStr> {
    match is_error_status(exchange) {
        true => exchange
            .response
            .status
            .map(|status| format_smolstr!("{status}")),
        false if is_failure(exchange.outcome) => {
            outcome_name(exchange.outcome).map(SmolStr::new_static)
        }
        false => None,
    }
}

fn is_error_status(exchange: &Exchange) -> bool {
    let lowest = match exchange.side {
        Side::Server => 500,
        Side::Client => 400,
    };
    exchange
        .response
        .status
        .is_some_and(|status| status >= lowest)
}

fn is_failure(outcome: Outcome) -> bool {
    !matches!(
        outcome,
        Outcome::Complete | Outcome::EndUnseen | Outcome::StillOpen
    )
}

fn outcome_name(outcome: Outcome) -> Option<&'static str> {
    match outcome {
        Outcome::Complete => None,
        Outcome::ConnectionClosed => Some("connection_closed"),
        Outcome::ConnectionReset => Some("connection_reset"),
        Outcome::ClientGone => Some("client_gone"),
        Outcome::Cancelled => Some("cancelled"),
        Outcome::ProcessExited => Some("process_exited"),
        Outcome::EndUnseen => Some("end_unseen"),
        Outcome::StillOpen => Some("still_open"),
        Outcome::Malformed => Some("malformed"),
    }
}

/// What went wrong, where the status code does not say it.
fn message(exchange: &Exchange) -> Option<&'static str> {
    Some(match exchange.outcome {
        Outcome::Complete | Outcome::EndUnseen | Outcome::StillOpen => return None,
        Outcome::ConnectionClosed => "the connection was closed before the answer was complete",
        Outcome::ConnectionReset => "the connection was reset before the answer was complete",
        Outcome::ClientGone => "the client went away before the answer was complete",
        Outcome::Cancelled => "the client closed the connection before the answer was complete",
        Outcome::ProcessExited => "the process ended before the answer was complete",
        Outcome::Malformed => "the request or the answer is not valid",
    })
}

fn length(pieces: &[&str]) -> usize {
    pieces.iter().map(|piece| piece.len()).sum()
}

fn cut(text: &str) -> &str {
    let mut end = text.len().min(TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}
