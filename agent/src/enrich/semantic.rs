//! A finished exchange in the words of the semantic conventions (stable HTTP spans).
//!
//! In: an exchange, its place in its trace, its name and resource. Out: a [`Span`]. What was not seen is left out.
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
use std::sync::Arc;
use std::time::Duration;

use smol_str::{format_smolstr, SmolStr};

use super::evidence::Evidence;
use super::place::Place;
use super::redact::{self, Query};
use super::span::{Attribute, Kind, Resource, Span, Status};
use super::target::{self, Target};
use crate::capture::event::Endpoint;
use crate::clock::WallOffset;
use crate::decode::exchange::{EndEvidence, Exchange, Outcome, Protocol, Side};

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

/// The span of an exchange.
pub fn span(
    exchange: &Exchange,
    place: Place,
    name: SmolStr,
    resource: Arc<Resource>,
    query: Query,
    offset: WallOffset,
) -> Span {
    let error = error_type(exchange);
    let mut attributes = Vec::with_capacity(24);
    request(exchange, query, &mut attributes);
    network(exchange, &mut attributes);
    answer(exchange, error.as_deref(), &mut attributes);
    own(exchange, place.evidence, &mut attributes);
    Span {
        trace_id: place.trace,
        span_id: place.span,
        parent_span_id: place.parent,
        parent_is_remote: place.parent_is_remote,
        trace_state: place.trace_state,
        kind: match exchange.side {
            Side::Server => Kind::Server,
            Side::Client => Kind::Client,
        },
        name,
        started: offset.wall(exchange.started),
        ended: offset.wall(exchange.ended.max(exchange.started)),
        status: match error {
            Some(_) => Status::Error(message(exchange)),
            None => Status::Unset,
        },
        attributes,
        resource,
    }
}

fn request(exchange: &Exchange, query: Query, attributes: &mut Vec<Attribute>) {
    let request = &exchange.request;
    let target = Target::of(request);
    match request.method.as_deref() {
        Some(method) if METHODS.contains(&method) => {
            attributes.push(Attribute::text("http.request.method", method));
        }
        Some(method) => {
            attributes.push(Attribute::text("http.request.method", "_OTHER"));
            attributes.push(cut("http.request.method_original", method));
        }
        None => {}
    }
    let query = target.query.and_then(|text| redact::query(text, query));
    attributes.push(cut("url.scheme", target.scheme.unwrap_or("http")));
    attributes.extend(target.path.map(|path| cut("url.path", path)));
    attributes.extend(query.as_deref().map(|query| cut("url.query", query)));
    let link = &exchange.link;
    let server_end = match exchange.side {
        Side::Server => &link.local,
        Side::Client => &link.remote,
    };
    if let Some(server) = target::server(&target, request, server_end) {
        if exchange.side == Side::Client {
            let url = target::full_url(&target, &server, query.as_deref());
            attributes.extend(url.map(|url| cut("url.full", &url)));
        }
        attributes.push(cut("server.address", &server.address));
        attributes.extend(
            server
                .port
                .map(|port| Attribute::integer("server.port", port)),
        );
    }
    let agent = request.user_agent.as_deref();
    attributes.extend(agent.map(|agent| cut("user_agent.original", agent)));
}

fn network(exchange: &Exchange, attributes: &mut Vec<Attribute>) {
    let link = &exchange.link;
    attributes.push(Attribute::text("network.protocol.name", "http"));
    let version = match exchange.protocol {
        Protocol::Http10 => Some("1.0"),
        Protocol::Http11 => Some("1.1"),
        Protocol::Http1 => None,
    };
    attributes.extend(version.map(|version| Attribute::text("network.protocol.version", version)));
    let peer = ("network.peer.address", "network.peer.port");
    let names = match exchange.side {
        Side::Server => &[("client.address", "client.port"), peer][..],
        Side::Client => &[peer][..],
    };
    endpoint(&link.remote, names, attributes);
    let local = ("network.local.address", "network.local.port");
    endpoint(&link.local, &[local], attributes);
    let transport = match (&link.local, &link.remote) {
        (Endpoint::Tcp { address, .. }, _) | (_, Endpoint::Tcp { address, .. }) => {
            let family = if matches!(address, IpAddr::V4(_)) {
                "ipv4"
            } else {
                "ipv6"
            };
            attributes.push(Attribute::text("network.type", family));
            Some("tcp")
        }
        (Endpoint::Unix, _) | (_, Endpoint::Unix) => Some("unix"),
        (Endpoint::Unknown, Endpoint::Unknown) => None,
    };
    attributes.extend(transport.map(|name| Attribute::text("network.transport", name)));
}

fn endpoint(
    end: &Endpoint,
    names: &[(&'static str, &'static str)],
    attributes: &mut Vec<Attribute>,
) {
    let Endpoint::Tcp { address, port } = end else {
        return;
    };
    let text = target::address(*address);
    for (address, port_name) in names {
        attributes.push(Attribute::text(*address, text.clone()));
        attributes.push(Attribute::integer(*port_name, *port));
    }
}

fn answer(exchange: &Exchange, error: Option<&str>, attributes: &mut Vec<Attribute>) {
    let status = exchange.response.status;
    attributes.extend(status.map(|status| Attribute::integer("http.response.status_code", status)));
    // What goes through a tunnel is no body.
    if !exchange.upgraded {
        let sizes = [
            ("http.request.body.size", exchange.request.body_bytes),
            ("http.response.body.size", exchange.response.body_bytes),
        ];
        attributes.extend(
            sizes.into_iter().filter_map(|(key, bytes)| {
                Some(Attribute::integer(key, i64::try_from(bytes?).ok()?))
            }),
        );
    }
    attributes.extend(error.map(|error| Attribute::text("error.type", error)));
}

fn own(exchange: &Exchange, evidence: Option<Evidence>, attributes: &mut Vec<Attribute>) {
    let evidence = evidence.map_or(Evidence::NONE, Evidence::name);
    attributes.push(Attribute::text("spanlet.parent.evidence", evidence));
    let end = outcome_name(exchange.outcome);
    attributes.extend(end.map(|end| Attribute::text("spanlet.end", end)));
    let known_by = match exchange.end_evidence {
        EndEvidence::Counted => Some("counted"),
        EndEvidence::NextRequest => Some("next_request"),
        EndEvidence::Close => Some("close"),
        EndEvidence::None => None,
    };
    attributes.extend(known_by.map(|name| Attribute::text("spanlet.end.evidence", name)));
    let first_byte = exchange
        .first_byte
        .map(|first| first.since(exchange.started));
    let times = [
        ("spanlet.time_to_first_byte", first_byte),
        (
            "spanlet.cpu_time",
            exchange.serving.map(|serving| serving.cpu),
        ),
        (
            "spanlet.run_queue_wait",
            exchange.serving.map(|serving| serving.run_queue_wait),
        ),
        ("spanlet.read_wait", exchange.read_wait),
        ("spanlet.accept_wait", exchange.accept_wait),
    ];
    let seconds =
        |(key, time): (&'static str, Option<Duration>)| Some(Attribute::seconds(key, time?));
    attributes.extend(times.into_iter().filter_map(seconds));
    let marks = [
        (
            "spanlet.head_incomplete",
            exchange.request.head_incomplete || exchange.response.head_incomplete,
        ),
        ("spanlet.upgraded", exchange.upgraded),
    ];
    let set = marks.into_iter().filter(|(_, is_set)| *is_set);
    attributes.extend(set.map(|(key, is_set)| Attribute::boolean(key, is_set)));
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
fn message(exchange: &Exchange) -> Option<String> {
    let message = match exchange.outcome {
        Outcome::Complete | Outcome::EndUnseen | Outcome::StillOpen => return None,
        Outcome::ConnectionClosed => "the connection was closed before the answer was complete",
        Outcome::ConnectionReset => "the connection was reset before the answer was complete",
        Outcome::ClientGone => "the client went away before the answer was complete",
        Outcome::Cancelled => "the client closed the connection before the answer was complete",
        Outcome::ProcessExited => "the process ended before the answer was complete",
        Outcome::Malformed => "the request or the answer is not valid HTTP",
    };
    Some(message.to_owned())
}

fn cut(key: &'static str, text: &str) -> Attribute {
    let mut end = text.len().min(TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    Attribute::text(key, text.get(..end).unwrap_or_default())
}
