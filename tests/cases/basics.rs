//! Every request has exactly one server span, whatever the connection is like.

use std::time::Duration;

use anyhow::{ensure, Context, Result};
use spanlet_e2e::client::{Address, Connection};
use spanlet_e2e::function::Function;
use spanlet_e2e::language::Language;
use spanlet_e2e::load::Load;
use spanlet_e2e::message::{End, Request};
use spanlet_e2e::otlp::{Kind, Span, Status};

use crate::stage::{index, path, Seen, Stage};
use crate::traces::Check;

pub fn hello(
    stage: &Stage,
    case: &'static str,
    in_flight: usize,
    keep_alive: bool,
) -> Result<Check> {
    let requests = 100;
    let load = Load {
        in_flight,
        requests,
        keep_alive,
    };
    load.run(&stage.main.address, |index| hello_request(case, index))?;
    Ok(served(case, &stage.main, requests))
}

pub fn head(stage: &Stage, case: &'static str) -> Result<Check> {
    let mut connection = Connection::open(&stage.main.address)?;
    for index in 0..10 {
        connection.exchange(&Request::head(format!("/t/{case}:{index}/hello")))?;
    }
    let pid = stage.main.pid();
    Ok(Box::new(move |seen| {
        for span in seen.exactly(case, Kind::Server, pid, 10)? {
            ensure!(span.text("http.request.method") == Some("HEAD"), "{span:?}");
            ensure!(
                span.integer("http.response.status_code") == Some(200),
                "{span:?}"
            );
        }
        each_once(&seen.of(case), 10)
    }))
}

pub fn errors(stage: &Stage, case: &'static str) -> Result<Check> {
    let statuses = [204, 304, 404, 418, 500, 503];
    let mut connection = Connection::open(&stage.main.address)?;
    for (index, status) in statuses.iter().enumerate() {
        connection.exchange(&Request::get(format!(
            "/t/{case}:{index}/error?status={status}"
        )))?;
    }
    let pid = stage.main.pid();
    Ok(Box::new(move |seen| {
        for span in seen.exactly(case, Kind::Server, pid, statuses.len())? {
            let status = index(path(span))
                .and_then(|index| statuses.get(index))
                .copied();
            ensure!(
                span.integer("http.response.status_code") == status,
                "{span:?}"
            );
            // Semantic conventions: for servers, 4xx is no error.
            let failed = status.is_some_and(|status| status >= 500);
            ensure!(
                matches!(span.status, Status::Error(_)) == failed,
                "{span:?}"
            );
            let kind = status.filter(|_| failed).map(|status| status.to_string());
            ensure!(span.text("error.type") == kind.as_deref(), "{span:?}");
        }
        each_once(&seen.of(case), statuses.len())
    }))
}

pub fn pipelined(stage: &Stage, case: &'static str) -> Result<Check> {
    let mut connection = Connection::open(&stage.main.address)?;
    for index in 0..6 {
        connection.send(&hello_request(case, index))?;
    }
    for _ in 0..6 {
        connection.receive()?;
    }
    Ok(served(case, &stage.main, 6))
}

/// The client says at once that it will send no more, and waits for its answer. Node gives up on work that is not done
/// by then.
pub fn half_closed(stage: &Stage, case: &'static str) -> Result<Check> {
    let route = match stage.language {
        Language::Node => "hello",
        _ => "delay?ms=10",
    };
    for index in 0..4 {
        let mut connection = Connection::open(&stage.main.address)?;
        connection.send(&Request::get(format!("/t/{case}:{index}/{route}")))?;
        connection.half_close()?;
        let answer = connection.receive()?;
        ensure!(answer.end == End::Length, "{answer:?}");
    }
    Ok(served(case, &stage.main, 4))
}

pub fn byte_by_byte(stage: &Stage, case: &'static str) -> Result<Check> {
    let mut connection = Connection::open(&stage.main.address)?;
    for index in 0..3 {
        let request = hello_request(case, index);
        // The pause is the case: each byte is read by itself.
        connection.send_split(&request, 1, Duration::from_micros(500))?;
        connection.receive()?;
    }
    Ok(served(case, &stage.main, 3))
}

pub fn unix_socket(stage: &Stage, case: &'static str) -> Result<Check> {
    let function = stage
        .unix
        .as_ref()
        .context("no function on a Unix socket")?;
    ten_at(&function.address, case, function)
}

pub fn ipv6(stage: &Stage, case: &'static str) -> Result<Check> {
    let served = ten_at(&stage.ipv6.address, case, &stage.ipv6)?;
    Ok(from(case, "::1", served))
}

/// Over IPv4 to an IPv6 socket: the addresses are IPv4 all the same.
pub fn mapped_addresses(stage: &Stage, case: &'static str) -> Result<Check> {
    let served = ten_at(&stage.mapped.address, case, &stage.mapped)?;
    Ok(from(case, "127.0.0.1", served))
}

/// Every request of a case has one server span, of `function`, successful and the root of its trace.
pub fn served(case: &'static str, function: &Function, requests: usize) -> Check {
    let pid = function.pid();
    Box::new(move |seen: &Seen| {
        for span in seen.exactly(case, Kind::Server, pid, requests)? {
            ensure!(
                span.integer("http.response.status_code") == Some(200),
                "{span:?}"
            );
            ensure!(span.status == Status::Unset, "{span:?}");
            ensure!(
                span.parent_span_id.is_none(),
                "a parent from nowhere: {span:?}"
            );
        }
        each_once(&seen.of(case), requests)
    })
}

/// Each of the indices of a case is there once, in a trace of its own.
pub fn each_once(spans: &[&Span], requests: usize) -> Result<()> {
    let mut indices: Vec<_> = spans.iter().filter_map(|span| index(path(span))).collect();
    indices.sort_unstable();
    ensure!(
        indices.iter().copied().eq(0..requests),
        "requests seen: {indices:?}"
    );
    let mut traces: Vec<_> = spans.iter().map(|span| &span.trace_id).collect();
    traces.sort_unstable();
    traces.dedup();
    ensure!(
        traces.len() == requests,
        "{} traces of {requests} requests",
        traces.len()
    );
    Ok(())
}

fn ten_at(address: &Address, case: &'static str, function: &Function) -> Result<Check> {
    Load::serial(10).run(address, |index| hello_request(case, index))?;
    Ok(served(case, function, 10))
}

fn from(case: &'static str, address: &'static str, served: Check) -> Check {
    Box::new(move |seen| {
        for span in seen.of(case) {
            ensure!(
                span.text("network.peer.address") == Some(address),
                "{span:?}"
            );
        }
        served(seen)
    })
}

fn hello_request(case: &str, index: usize) -> Request {
    Request::get(format!("/t/{case}:{index}/hello"))
}
