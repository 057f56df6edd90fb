//! Spans as the enrich room makes them, for the tests of the export room.
#![allow(dead_code)]

pub mod collector;
pub mod otlp;

use std::sync::Arc;

use spanlet::capture::event::{ConnectionId, HostPid, HostTid};
use spanlet::clock::{Monotonic, WallOffset};
use spanlet::decode::exchange::{
    EndEvidence, Exchange, ExchangeId, Link, Outcome, Protocol, Request, Response, Side,
};
use spanlet::enrich::span::{Attribute, Resource, Span, SpanId, TraceId};
use spanlet::enrich::{Evidence, Query};

/// 2026-03-01 12:04:31.218 UTC.
pub const START: u64 = 1_772_366_671_218_000_000;

pub fn resource(service: &str) -> Arc<Resource> {
    Arc::new(Resource {
        attributes: vec![Attribute::text("service.name", service)],
    })
}

/// A span of trace `trace`; times in microseconds after [`START`].
pub struct Make<'a> {
    pub trace: u8,
    pub id: u8,
    pub parent: Option<u8>,
    pub resource: &'a Arc<Resource>,
    pub start: u64,
    pub end: u64,
}

impl Make<'_> {
    pub fn server(self, method: &str, path: &str, status: u16) -> Span {
        self.span(Side::Server, method, path, status)
    }

    pub fn client(self, method: &str, host: &str, port: u16, path: &str, status: u16) -> Span {
        let mut span = self.span(Side::Client, method, path, status);
        span.exchange.request.host = Some(format!("{host}:{port}").into());
        span
    }

    /// Status 0: there was no answer, because the connection was reset.
    fn span(self, side: Side, method: &str, path: &str, status: u16) -> Span {
        let id = |id| SpanId([0, 0, 0, 0, 0, 0, 0, id]);
        let mut exchange = exchange(side);
        exchange.request.method = Some(method.into());
        exchange.request.target = Some(path.into());
        exchange.response.status = (status > 0).then_some(status);
        exchange.outcome = match status {
            0 => Outcome::ConnectionReset,
            _ => Outcome::Complete,
        };
        exchange.started = Monotonic(self.start * 1000);
        exchange.ended = Monotonic(self.end * 1000);
        Span {
            trace_id: TraceId([self.trace; 16]),
            span_id: id(self.id),
            parent_span_id: self.parent.map(id),
            parent_is_remote: self.parent.is_some() && side == Side::Server,
            evidence: self.parent.map(|_| match side {
                Side::Server => Evidence::Connection,
                Side::Client => Evidence::Thread,
            }),
            query: Query::Redact,
            trace_state: None,
            name: format!("{method} {path}").into(),
            exchange: Box::new(exchange),
            offset: WallOffset(START),
            resource: self.resource.clone(),
            route: None,
            peer: None,
        }
    }
}

/// An exchange of which nothing was seen but that it took place.
pub fn exchange(side: Side) -> Exchange {
    Exchange {
        id: ExchangeId(1),
        side,
        protocol: Protocol::Http1,
        process: HostPid(1),
        thread: HostTid(1),
        link: Arc::new(Link {
            network_namespace: 1,
            ..Link::unknown(ConnectionId::default())
        }),
        started: Monotonic(0),
        first_byte: None,
        ended: Monotonic(0),
        request: Request::default(),
        response: Response::default(),
        outcome: Outcome::Complete,
        end_evidence: EndEvidence::None,
        upgraded: false,
        serving: None,
        read_wait: None,
        route: None,
        accept_wait: None,
    }
}

/// A single server span of its own trace.
pub fn lone(id: u8) -> Span {
    Make {
        trace: id,
        id,
        parent: None,
        resource: &resource("hello"),
        start: 0,
        end: 1_500,
    }
    .server("GET", "/hello", 200)
}

/// `gateway` asks `cart`, then `payments`, which fails; as the spans finish.
pub fn checkout() -> Vec<Span> {
    let (gateway, cart, payments) = (resource("gateway"), resource("cart"), resource("payments"));
    let make = |id, parent, resource, start, end| Make {
        trace: 7,
        id,
        parent,
        resource,
        start,
        end,
    };
    vec![
        make(3, Some(2), &cart, 1_900, 12_000).server("GET", "/cart/42", 200),
        make(2, Some(1), &gateway, 1_200, 13_600).client("GET", "cart", 8081, "/cart/42", 200),
        make(5, Some(4), &payments, 21_000, 798_000).server("POST", "/charge", 503),
        make(4, Some(1), &gateway, 20_000, 800_000)
            .client("POST", "payments", 8082, "/charge", 503),
        make(1, None, &gateway, 0, 812_400).server("GET", "/checkout", 502),
    ]
}
