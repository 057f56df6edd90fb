//! Spans as the enrich room makes them, for the tests of the export room.
#![allow(dead_code)]

pub mod collector;
pub mod otlp;

use std::sync::Arc;

use spanlet::clock::WallClock;
use spanlet::enrich::span::{Attribute, Kind, Resource, Span, SpanId, Status, TraceId};

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
    pub fn server(self, method: &str, path: &str, status: i64) -> Span {
        let mut span = self.span(Kind::Server, method, path, status);
        span.attributes.push(Attribute::text("url.path", path));
        span.attributes.push(Attribute::text("url.scheme", "http"));
        span
    }

    pub fn client(self, method: &str, host: &str, port: i64, path: &str, status: i64) -> Span {
        let mut span = self.span(Kind::Client, method, path, status);
        span.attributes.extend([
            Attribute::text("url.full", format!("http://{host}:{port}{path}")),
            Attribute::text("server.address", host),
            Attribute::integer("server.port", port),
        ]);
        span
    }

    fn span(self, kind: Kind, method: &str, path: &str, status: i64) -> Span {
        let mut attributes = vec![Attribute::text("http.request.method", method)];
        if status > 0 {
            attributes.push(Attribute::integer("http.response.status_code", status));
        }
        let mut parts = [0; 8];
        parts[7] = self.id;
        let evidence = match (self.parent, kind) {
            (None, _) => Some("none"),
            (_, Kind::Server) => Some("connection"),
            (_, Kind::Client) => Some("thread"),
        };
        attributes.extend(evidence.map(|name| Attribute::text("spanlet.parent.evidence", name)));
        let failed = status >= 500 || (kind == Kind::Client && status >= 400) || status == 0;
        if failed && status > 0 {
            attributes.push(Attribute::text("error.type", status.to_string()));
        }
        Span {
            trace_id: TraceId([self.trace; 16]),
            span_id: SpanId(parts),
            parent_span_id: self
                .parent
                .map(|parent| SpanId([0, 0, 0, 0, 0, 0, 0, parent])),
            parent_is_remote: self.parent.is_some() && kind == Kind::Server,
            trace_state: None,
            kind,
            name: format!("{method} {path}").into(),
            started: WallClock(START + self.start * 1000),
            ended: WallClock(START + self.end * 1000),
            status: if failed {
                Status::Error(None)
            } else {
                Status::Unset
            },
            attributes,
            resource: self.resource.clone(),
        }
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
