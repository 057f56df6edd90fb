//! Exchanges that do not come to their end have one span each, that ends with an error and says so.

use std::time::Duration;

use anyhow::{ensure, Result};
use spanlet_e2e::client::Connection;
use spanlet_e2e::message::{End, Request};
use spanlet_e2e::otlp::{Kind, Status};

use crate::basics::each_once;
use crate::stage::{Seen, Stage};
use crate::traces::Check;

pub fn server_aborts(stage: &Stage, case: &'static str) -> Result<Check> {
    for (index, route) in ["abort", "abort?reset=1"].iter().enumerate() {
        let request = Request::get(format!("/t/{case}:{index}/{route}"));
        let answer = Connection::open(&stage.main.address)?.exchange(&request)?;
        ensure!(answer.end == End::Cut, "{answer:?}");
    }
    let pid = stage.main.pid();
    Ok(Box::new(move |seen| failed(seen, case, pid, 2, Some(200))))
}

/// The client leaves while the function works: by a close, and by a reset.
pub fn client_aborts(stage: &Stage, case: &'static str) -> Result<Check> {
    let mut closing = Connection::open(&stage.main.address)?;
    closing.exchange(&Request::get(format!("/t/{case}:0/hello")))?;
    closing.send(&Request::get(format!("/t/{case}:1/stream?n=100&ms=5")))?;
    ensure!(!closing.is_closed()?, "no answer");
    drop(closing);
    let mut resetting = Connection::open(&stage.main.address)?;
    resetting.send(&Request::get(format!("/t/{case}:2/stream?n=100&ms=5")))?;
    ensure!(!resetting.is_closed()?, "no answer");
    resetting.abort()?;
    // The connections are over when the function has given up on them, while the next cases run; a next request shows that
    // it goes on.
    Connection::open(&stage.main.address)?
        .exchange(&Request::get(format!("/t/{case}:3/delay?ms=100")))?;
    let pid = stage.main.pid();
    Ok(Box::new(move |seen| {
        let spans = seen.exactly(case, Kind::Server, pid, 4)?;
        let errors = spans
            .iter()
            .filter(|span| matches!(span.status, Status::Error(_)));
        ensure!(errors.count() == 2, "two of four were cut off: {spans:?}");
        each_once(&seen.of(case), 4)
    }))
}

pub fn server_dies(stage: &Stage, case: &'static str) -> Result<Check> {
    let request = Request::get(format!("/t/{case}:0/die"));
    let answer = Connection::open(&stage.dying.address)?.exchange(&request)?;
    ensure!(
        answer.end == End::Cut && answer.body_bytes == 100,
        "{answer:?}"
    );
    let pid = stage.dying.pid();
    spanlet_e2e::wait::wait_until(Duration::from_secs(5), "end of the function", || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let dead = stat
            .rsplit(')')
            .next()
            .is_none_or(|rest| rest.starts_with(" Z") || rest.is_empty());
        Ok(dead.then_some(()))
    })?;
    Ok(Box::new(move |seen| failed(seen, case, pid, 1, Some(200))))
}

fn failed(seen: &Seen, case: &str, pid: u32, requests: usize, status: Option<i64>) -> Result<()> {
    for span in seen.exactly(case, Kind::Server, pid, requests)? {
        ensure!(
            matches!(span.status, Status::Error(_)),
            "no error: {span:?}"
        );
        ensure!(span.text("error.type").is_some(), "no error.type: {span:?}");
        ensure!(
            span.integer("http.response.status_code") == status,
            "{span:?}"
        );
    }
    each_once(&seen.of(case), requests)
}
