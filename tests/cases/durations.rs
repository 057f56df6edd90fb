//! Durations are true, against the function's own clock; bodies are counted.

use anyhow::{ensure, Context, Result};
use spanlet_e2e::client::Connection;
use spanlet_e2e::function::Truth;
use spanlet_e2e::load::Load;
use spanlet_e2e::message::{Framing, Request};
use spanlet_e2e::otlp::{Kind, Span};

use crate::basics::each_once;
use crate::stage::{index, path, Stage};
use crate::traces::Check;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// How far a span's duration may be from the truth.
const TOLERANCE_NS: u64 = 1_000_000;

/// One connection: nine in ten hold the tolerance. Eight: the handler itself waits for a core, so half must.
const QUANTILE_ALONE: f64 = 0.9;
const QUANTILE_BUSY: f64 = 0.5;

pub fn delay(
    stage: &Stage,
    case: &'static str,
    ms: u64,
    in_flight: usize,
    keep_alive: bool,
) -> Result<Check> {
    let requests = if ms < 50 { 40 } else { 8 * in_flight };
    let load = Load {
        in_flight,
        requests,
        keep_alive,
    };
    let route = format!("delay?ms={ms}");
    load.run(&stage.main.address, |index| get(case, index, &route))?;
    Ok(timed(stage, case, requests, in_flight, None))
}

pub fn stream(stage: &Stage, case: &'static str, in_flight: usize) -> Result<Check> {
    let requests = 8;
    let load = Load {
        in_flight,
        requests,
        keep_alive: true,
    };
    load.run(&stage.main.address, |index| {
        get(case, index, "stream?n=6&ms=10&sse=1")
    })?;
    Ok(timed(stage, case, requests, in_flight, None))
}

pub fn big(stage: &Stage, case: &'static str, in_flight: usize) -> Result<Check> {
    let requests = 16;
    let load = Load {
        in_flight,
        requests,
        keep_alive: true,
    };
    load.run(&stage.main.address, |index| {
        get(case, index, &format!("big?bytes={MIB}"))
    })?;
    Ok(timed(
        stage,
        case,
        requests,
        in_flight,
        Some(("http.response.body.size", MIB)),
    ))
}

pub fn big_gibibyte(stage: &Stage, case: &'static str) -> Result<Check> {
    Load::serial(1).run(&stage.main.address, |index| {
        get(case, index, &format!("big?bytes={GIB}"))
    })?;
    Ok(timed(
        stage,
        case,
        1,
        1,
        Some(("http.response.body.size", GIB)),
    ))
}

pub fn file(stage: &Stage, case: &'static str) -> Result<Check> {
    Load::serial(8).run(&stage.main.address, |index| {
        get(case, index, &format!("file?bytes={MIB}"))
    })?;
    Ok(timed(
        stage,
        case,
        8,
        1,
        Some(("http.response.body.size", MIB)),
    ))
}

pub fn upload(stage: &Stage, case: &'static str) -> Result<Check> {
    let requests = upload_all(stage, case, &[0, 1, MIB, 8 * MIB], Framing::ContentLength)?;
    let sizes = [0, 1, MIB, 8 * MIB];
    let pid = stage.main.pid();
    Ok(Box::new(move |seen| {
        for span in seen.exactly(case, Kind::Server, pid, requests)? {
            let sent = index(path(span)).and_then(|index| sizes.get(index));
            let size = span
                .integer("http.request.body.size")
                .map(|size| size as u64);
            ensure!(size.as_ref() == sent, "{sent:?} bytes were sent: {span:?}");
        }
        each_once(&seen.of(case), requests)
    }))
}

/// How many bytes a chunked body has is not always known; that it is one request is.
pub fn upload_chunked(stage: &Stage, case: &'static str) -> Result<Check> {
    let requests = upload_all(stage, case, &[0, 1, MIB, 8 * MIB], Framing::Chunked)?;
    let pid = stage.main.pid();
    Ok(Box::new(move |seen| {
        for span in seen.exactly(case, Kind::Server, pid, requests)? {
            ensure!(
                span.integer("http.response.status_code") == Some(200),
                "{span:?}"
            );
        }
        each_once(&seen.of(case), requests)
    }))
}

/// The handler begins with the head, as the span does: the body's time is in both.
pub fn upload_gibibyte(stage: &Stage, case: &'static str) -> Result<Check> {
    upload_all(stage, case, &[GIB], Framing::ContentLength)?;
    Ok(timed(
        stage,
        case,
        1,
        1,
        Some(("http.request.body.size", GIB)),
    ))
}

/// Whether `quantile` of the spans are within the tolerance of the truth; each is found by the index in its path.
pub fn agree(spans: &[&Span], truth: &[Truth], case: &str, quantile: f64) -> Result<()> {
    let mut errors = Vec::new();
    for span in spans {
        let mark = format!("/t/{case}:{}/", index(path(span)).context("no index")?);
        let line = truth.iter().find(|line| line.path.starts_with(&mark));
        let line = line.with_context(|| format!("no ground truth for {mark}"))?;
        errors.push(span.duration_ns().abs_diff(line.ended_ns - line.started_ns));
    }
    errors.sort_unstable();
    let rank = ((errors.len() as f64 * quantile).ceil() as usize).saturating_sub(1);
    let error = errors.get(rank).copied().context("no spans")?;
    ensure!(
        error <= TOLERANCE_NS,
        "{quantile} of the durations are off by up to {error} ns: {errors:?}"
    );
    Ok(())
}

fn timed(
    stage: &Stage,
    case: &'static str,
    requests: usize,
    in_flight: usize,
    size: Option<(&'static str, u64)>,
) -> Check {
    let pid = stage.main.pid();
    let quantile = if in_flight == 1 {
        QUANTILE_ALONE
    } else {
        QUANTILE_BUSY
    };
    Box::new(move |seen| {
        let spans = seen.exactly(case, Kind::Server, pid, requests)?;
        each_once(&seen.of(case), requests)?;
        if let Some((attribute, bytes)) = size {
            for span in &spans {
                ensure!(
                    span.integer(attribute) == Some(bytes as i64),
                    "{attribute}: {span:?}"
                );
            }
        }
        agree(&spans, &seen.truth, case, quantile)
    })
}

fn upload_all(stage: &Stage, case: &str, sizes: &[u64], framing: Framing) -> Result<usize> {
    let mut connection = Connection::open(&stage.main.address)?;
    for (index, bytes) in sizes.iter().enumerate() {
        let answer = connection.upload(&format!("/t/{case}:{index}/upload"), *bytes, framing)?;
        ensure!(answer.text() == format!("bytes={bytes}\n"), "{answer:?}");
    }
    Ok(sizes.len())
}

fn get(case: &str, index: usize, route: &str) -> Request {
    Request::get(format!("/t/{case}:{index}/{route}"))
}
