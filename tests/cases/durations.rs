//! Durations are true, against the function's own clock and the client's; bodies are counted.

use std::time::Duration;

use anyhow::{ensure, Context, Result};
use spanlet_e2e::client::Connection;
use spanlet_e2e::language::Language;
use spanlet_e2e::load::Load;
use spanlet_e2e::message::{Answer, Framing, Request};
use spanlet_e2e::otlp::Kind;

use crate::basics::each_once;
use crate::stage::{index, path, Stage};
use crate::timing::{self, Route, Served};
use crate::traces::Check;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// The size of a body, by its attribute.
type Size = Option<(&'static str, u64)>;

pub fn delay(
    stage: &Stage,
    case: &'static str,
    ms: u64,
    in_flight: usize,
    keep_alive: bool,
) -> Result<Check> {
    let load = Load {
        in_flight,
        requests: (2 * in_flight).max(if ms < 50 { 20 } else { 8 }),
        keep_alive,
    };
    let route = Route::of(least(stage.language, ms));
    loaded(stage, case, load, &format!("delay?ms={ms}"), route, None)
}

pub fn stream(stage: &Stage, case: &'static str, in_flight: usize) -> Result<Check> {
    let load = Load {
        in_flight,
        requests: 8.max(2 * in_flight),
        keep_alive: true,
    };
    let route = Route {
        truth_is_last: stage.language != Language::Go,
        ..Route::of(least(stage.language, 50))
    };
    loaded(stage, case, load, "stream?n=6&ms=10&sse=1", route, None)
}

pub fn big(stage: &Stage, case: &'static str, in_flight: usize) -> Result<Check> {
    let load = Load {
        in_flight,
        requests: 16,
        keep_alive: true,
    };
    answered(stage, case, load, "big", MIB)
}

/// Twice: one alone may be held up.
pub fn big_gibibyte(stage: &Stage, case: &'static str) -> Result<Check> {
    answered(stage, case, Load::serial(2), "big", GIB)
}

/// Large enough that a head alone, with its body not seen, is no match for the truth.
pub fn file(stage: &Stage, case: &'static str) -> Result<Check> {
    answered(stage, case, Load::serial(5), "file", 32 * MIB)
}

pub fn upload(stage: &Stage, case: &'static str) -> Result<Check> {
    let sizes = [0, 1, MIB, 8 * MIB];
    let answers = upload_all(stage, case, &sizes, Framing::ContentLength)?;
    let pid = stage.main.pid();
    let timed = timed(stage, case, answers, Route::of(Duration::ZERO), None);
    Ok(Box::new(move |seen| {
        for span in seen.exactly(case, Kind::Server, pid, sizes.len())? {
            let sent = index(path(span)).and_then(|index| sizes.get(index));
            let size = span
                .integer("http.request.body.size")
                .map(|size| size as u64);
            ensure!(size.as_ref() == sent, "{sent:?} bytes were sent: {span:?}");
        }
        timed(seen)
    }))
}

/// How many bytes a chunked body has is not always known; that it is one request is.
pub fn upload_chunked(stage: &Stage, case: &'static str) -> Result<Check> {
    let answers = upload_all(stage, case, &[0, 1, MIB, 8 * MIB], Framing::Chunked)?;
    let route = Route::of(Duration::ZERO);
    Ok(timed(stage, case, answers, route, None))
}

/// The handler begins with the head, as the span does: the body's time is in both.
pub fn upload_gibibyte(stage: &Stage, case: &'static str) -> Result<Check> {
    let answers = upload_all(stage, case, &[GIB; 2], Framing::ContentLength)?;
    let size = Some(("http.request.body.size", GIB));
    let route = Route::of(Duration::ZERO);
    Ok(timed(stage, case, answers, route, size))
}

/// The shortest that a handler can sleep. Node's timers count from when its loop last woke, which may be a while ago.
pub fn least(language: Language, ms: u64) -> Duration {
    let least = Duration::from_millis(ms);
    match language {
        Language::Node => least / 2,
        _ => least,
    }
}

fn answered(
    stage: &Stage,
    case: &'static str,
    load: Load,
    route: &str,
    bytes: u64,
) -> Result<Check> {
    let size = Some(("http.response.body.size", bytes));
    let target = format!("{route}?bytes={bytes}");
    let route = Route {
        is_close: load.in_flight == 1,
        ..Route::of(Duration::ZERO)
    };
    loaded(stage, case, load, &target, route, size)
}

fn loaded(
    stage: &Stage,
    case: &'static str,
    load: Load,
    target: &str,
    route: Route,
    size: Size,
) -> Result<Check> {
    let answers = load.run(&stage.main.address, |index| {
        Request::get(format!("/t/{case}:{index}/{target}"))
    })?;
    Ok(timed(stage, case, answers, route, size))
}

/// One span for each answer, in time with it and with the ground truth.
fn timed(
    stage: &Stage,
    case: &'static str,
    answers: Vec<Answer>,
    route: Route,
    size: Size,
) -> Check {
    let pid = stage.main.pid();
    Box::new(move |seen| {
        let spans = seen.exactly(case, Kind::Server, pid, answers.len())?;
        each_once(&seen.of(case), answers.len())?;
        let mut served = Vec::new();
        for span in spans {
            ensure!(
                span.integer("http.response.status_code") == Some(200),
                "{span:?}"
            );
            if let Some((attribute, bytes)) = size {
                ensure!(
                    span.integer(attribute) == Some(bytes as i64),
                    "{attribute}: {span:?}"
                );
            }
            let answer = index(path(span)).and_then(|index| answers.get(index));
            served.push(Served {
                span,
                truth: timing::truth_of(span, case, &seen.truth)?,
                client: answer.context("no answer")?.into(),
            });
        }
        timing::check(&served, route, seen.ahead_ns)
    })
}

fn upload_all(stage: &Stage, case: &str, sizes: &[u64], framing: Framing) -> Result<Vec<Answer>> {
    let mut connection = Connection::open(&stage.main.address)?;
    let mut answers = Vec::new();
    for (index, bytes) in sizes.iter().enumerate() {
        let answer = connection.upload(&format!("/t/{case}:{index}/upload"), *bytes, framing)?;
        ensure!(answer.text() == format!("bytes={bytes}\n"), "{answer:?}");
        answers.push(answer);
    }
    Ok(answers)
}
