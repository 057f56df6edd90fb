//! The cases: what is sent to a function, and what it must answer. In: a function. Out: what was sent. Every request is
//! marked by its case and index.

use std::time::Duration;

use anyhow::{ensure, Result};

use super::sent::Sent;
use super::{calls, endings};
use crate::client::{Address, Connection};
use crate::load::Load;
use crate::message::{Answer, Framing, Request};

/// A column of the table.
pub struct Case {
    pub name: &'static str,
    pub about: &'static str,
    pub(super) send: fn(&Scene) -> Result<Vec<Sent>>,
}

/// Where a case is sent.
pub struct Scene<'a> {
    pub case: &'static str,
    pub address: &'a Address,
    pub next: &'a Address,
}

/// The columns.
pub const CASES: &[Case] = &[
    case("kept-1", "one at a time over a kept connection", |scene| {
        load(scene, 1, true)
    }),
    case("kept-8", "8 in flight over kept connections", |scene| {
        load(scene, 8, true)
    }),
    case("kept-64", "64 in flight over kept connections", |scene| {
        load(scene, 64, true)
    }),
    case("new-1", "one at a time, a connection each", |scene| {
        load(scene, 1, false)
    }),
    case("new-8", "8 in flight, a connection each", |scene| {
        load(scene, 8, false)
    }),
    case("new-64", "64 in flight, a connection each", |scene| {
        load(scene, 64, false)
    }),
    case("big", "answers of 0 B to 8 MiB", big),
    case("upload", "bodies of 0 B to 8 MiB", |scene| {
        upload(scene, Framing::ContentLength)
    }),
    case("chunked", "the same bodies in chunks", |scene| {
        upload(scene, Framing::Chunked)
    }),
    case(
        "stream",
        "answers in flushed chunks, and server-sent events",
        stream,
    ),
    case("error", "answers 204 to 503", error),
    case(
        "abort",
        "the function ends an answer in the middle",
        endings::abort,
    ),
    case(
        "leave",
        "the client leaves in the middle of an answer",
        endings::leave,
    ),
    case(
        "call",
        "a call to another function, one at a time",
        |scene| calls::chain(scene, 1),
    ),
    case("call-8", "the same, 8 in flight", |scene| {
        calls::chain(scene, 8)
    }),
    case("fan", "four calls at once", calls::fan),
    case("hop", "two calls one after another", calls::hop),
];

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// What the function sleeps for each request of a load, so that requests in flight overlap; much more than timers are off
/// (2.6 ms in Mono).
const LOAD_MS: u64 = 10;
/// Where bodies and streams are in flight together.
const IN_FLIGHT: usize = 4;
/// Of bodies, either way.
const SIZES: [u64; 5] = [0, 1, 64 * KIB + 1, MIB, 8 * MIB];

const fn case(
    name: &'static str,
    about: &'static str,
    send: fn(&Scene) -> Result<Vec<Sent>>,
) -> Case {
    Case { name, about, send }
}

impl Scene<'_> {
    pub fn target(&self, index: usize, route: &str) -> String {
        format!("/t/{}:{index}/{route}", self.case)
    }

    /// One after another, a connection each.
    pub fn exchange(&self, requests: &[Request]) -> Result<Vec<Answer>> {
        let exchange = |request: &Request| {
            let request = request.clone().header("Connection", "close");
            Connection::open(self.address)?.exchange(&request)
        };
        requests.iter().map(exchange).collect()
    }
}

/// Sleeps are half or more of what they are to be: timers of event loops count from when the loop last woke.
pub fn least(ms: u64) -> Duration {
    Duration::from_micros(ms * 500)
}

pub fn sent_all(requests: &[Request], answers: &[Answer]) -> Vec<Sent> {
    let pairs = requests.iter().zip(answers);
    pairs
        .map(|(request, answer)| Sent::of(request, answer))
        .collect()
}

fn load(scene: &Scene, in_flight: usize, keep_alive: bool) -> Result<Vec<Sent>> {
    let ms = LOAD_MS;
    let load = Load {
        in_flight,
        requests: 20.max(3 * in_flight),
        keep_alive,
    };
    let request = |index| Request::get(scene.target(index, &format!("delay?ms={ms}")));
    let answers = load.run(scene.address, request)?;
    for answer in &answers {
        ensure!(answer.text() == format!("delayed {ms}\n"), "{answer:?}");
    }
    let kept = answers.iter().any(|answer| !answer.closes());
    ensure!(kept || !keep_alive, "no connection was kept");
    let requests: Vec<_> = (0..load.requests).map(request).collect();
    let sent = sent_all(&requests, &answers).into_iter();
    Ok(sent
        .map(|sent| sent.taking(least(ms)).among(in_flight))
        .collect())
}

fn big(scene: &Scene) -> Result<Vec<Sent>> {
    let request = |index: usize| {
        let bytes = SIZES[index % SIZES.len()];
        Request::get(scene.target(index, &format!("big?bytes={bytes}")))
    };
    let requests: Vec<_> = (0..3 * SIZES.len()).map(request).collect();
    let (alone, together) = requests.split_at(SIZES.len());
    let mut answers = scene.exchange(alone)?;
    let load = Load {
        in_flight: IN_FLIGHT,
        requests: together.len(),
        keep_alive: false,
    };
    answers.extend(load.run(scene.address, |index| together[index].clone())?);
    for (index, answer) in answers.iter().enumerate() {
        let bytes = SIZES[index % SIZES.len()];
        ensure!(
            answer.status == 200 && answer.body_bytes == bytes,
            "{answer:?}"
        );
    }
    let sent = sent_all(&requests, &answers).into_iter();
    Ok(sent.map(|sent| sent.among(IN_FLIGHT)).collect())
}

fn upload(scene: &Scene, framing: Framing) -> Result<Vec<Sent>> {
    let mut sent = Vec::new();
    for (index, bytes) in SIZES.into_iter().enumerate() {
        let target = scene.target(index, "upload");
        let answer = Connection::open(scene.address)?.upload(&target, bytes, framing)?;
        ensure!(answer.text() == format!("bytes={bytes}\n"), "{answer:?}");
        let request = Request::new("POST", target);
        let request = match framing {
            Framing::ContentLength => request.header("Content-Length", bytes.to_string()),
            Framing::Chunked => request,
        };
        sent.push(Sent::of(&request, &answer));
    }
    Ok(sent)
}

fn stream(scene: &Scene) -> Result<Vec<Sent>> {
    let routes = ["stream?n=5&ms=10", "stream?n=5&ms=10&sse=1"];
    let request = |index: usize| Request::get(scene.target(index, routes[index % 2]));
    let load = Load {
        in_flight: IN_FLIGHT,
        requests: 8,
        keep_alive: false,
    };
    let answers = load.run(scene.address, request)?;
    for (index, answer) in answers.iter().enumerate() {
        let mark = ["piece ", "data: piece "][index % 2];
        let pieces = answer
            .text()
            .lines()
            .filter(|line| line.starts_with(mark))
            .count();
        ensure!(answer.status == 200 && pieces == 5, "{answer:?}");
    }
    // Not for each: who reads may have to wait for a core, and then reads all at once.
    let spread = answers
        .iter()
        .map(|answer| answer.last_byte_ns - answer.first_byte_ns);
    let spread = Duration::from_nanos(spread.max().unwrap_or(0));
    ensure!(spread >= least(40), "not piece by piece: {spread:?}");
    let requests: Vec<_> = (0..load.requests).map(request).collect();
    let sent = sent_all(&requests, &answers).into_iter();
    Ok(sent
        .map(|sent| sent.taking(least(40)).among(IN_FLIGHT))
        .collect())
}

fn error(scene: &Scene) -> Result<Vec<Sent>> {
    let statuses = [204, 304, 404, 418, 500, 503];
    let request = |(index, status)| {
        let route = format!("error?status={status}");
        Request::get(scene.target(index, &route))
    };
    let requests: Vec<_> = statuses.iter().enumerate().map(request).collect();
    let answers = scene.exchange(&requests)?;
    for (answer, status) in answers.iter().zip(statuses) {
        ensure!(answer.status == status, "{answer:?}");
    }
    Ok(sent_all(&requests, &answers))
}
