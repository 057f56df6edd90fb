//! Spans against the clocks of those who took part: the function's own and the client's, all CLOCK_MONOTONIC. In: spans
//! with what both ends wrote down. Out: what does not agree.
//!
//! For every span: the order in which things happened, which holds however busy the machine is. For the spans together:
//! how close they are, by those that the fewest threads that have to wait for a core have moved.

use std::time::Duration;

use anyhow::{anyhow, ensure, Context, Result};
use spanlet_e2e::function::Truth;
use spanlet_e2e::message::Answer;
use spanlet_e2e::otlp::Span;

use crate::stage::{index, path};

/// How far a duration may be from the truth, for a quarter of the spans.
const TOLERANCE_NS: u64 = 1_000_000;
/// How far apart two readings of clocks may be that are the same: spans come with wall-clock times.
pub const SLACK_NS: u64 = 300_000;

/// One request, by all who know of it.
pub struct Served<'a> {
    /// Of the server.
    pub span: &'a Span,
    pub truth: &'a Truth,
    pub client: Client,
}

/// When a client sent its request, and read the first and the last byte of the answer.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    pub sent_ns: u64,
    pub first_byte_ns: u64,
    pub last_byte_ns: u64,
}

/// What is known of a route beforehand.
#[derive(Clone, Copy)]
pub struct Route {
    /// The last byte cannot be written sooner than this after the handler began.
    pub least: Duration,
    /// The ground truth is written down after the last byte is written: not so for Go's `/stream`.
    pub truth_is_last: bool,
    /// Handlers do not compete for cores, so that durations can be compared.
    pub is_close: bool,
}

impl Route {
    pub fn of(least: Duration) -> Self {
        Self {
            least,
            truth_is_last: true,
            is_close: true,
        }
    }
}

/// Everything, for the requests of one case. `ahead_ns`: how far the spans' clock is ahead of the others.
pub fn check(served: &[Served], route: Route, ahead_ns: u64) -> Result<()> {
    for request in served {
        ordered(request, route, ahead_ns)
            .map_err(|error| anyhow!("{error:#}: {:?}", request.span))?;
    }
    if route.is_close {
        close(served)?;
    }
    // Not for each: who writes may have to wait for a core while who reads already has the bytes.
    let late = served.iter().map(|request| {
        let ended = request.span.ended_ns - ahead_ns;
        ended.saturating_sub(request.client.last_byte_ns)
    });
    let late = ranked(late.collect(), 2)?;
    ensure!(
        late <= SLACK_NS,
        "half of the spans end {late} ns after the client had all"
    );
    Ok(())
}

/// The ground truth of a span: that with the same index in its path.
pub fn truth_of<'a>(span: &Span, case: &str, truth: &'a [Truth]) -> Result<&'a Truth> {
    let mark = format!("/t/{case}:{}/", index(path(span)).context("no index")?);
    let found = truth.iter().find(|line| line.path.starts_with(&mark));
    found.with_context(|| format!("no ground truth for {mark}"))
}

/// Whether a client span lies within the work of the handler that made the request.
pub fn within(client: &Span, caller: &Truth, ahead_ns: u64) -> Result<()> {
    in_order(&[
        ("the handler begins", caller.started_ns),
        ("the client span starts", client.started_ns - ahead_ns),
        ("the client span ends", client.ended_ns - ahead_ns),
        ("the handler ends", caller.ended_ns),
    ])
    .map_err(|error| anyhow!("{error:#}: {client:?}"))
}

/// Whether a client span is around the work of the handler that it called, which takes at least that long.
pub fn around(client: &Span, called: &Truth, least: Duration, ahead_ns: u64) -> Result<()> {
    in_order(&[
        ("the client span starts", client.started_ns - ahead_ns),
        ("the handler that it calls begins", called.started_ns),
    ])?;
    in_order(&[
        ("the handler could be done", soonest(called, least)),
        ("the client span ends", client.ended_ns - ahead_ns),
    ])
    .map_err(|error| anyhow!("{error:#}: {client:?}"))
}

/// Whether durations are within the tolerance of the truth. The last byte was written before the handler said so, and
/// before the client had it: whichever said so first was less held up.
///
/// The lower quartile: a fault of the agent is in all spans, while on a machine with as many other threads as cores the
/// median itself is a thread that had to wait. What is wrong with a few spans alone, their order shows.
fn close(served: &[Served]) -> Result<()> {
    let errors = served.iter().map(|request| {
        let ended_ns = request.truth.ended_ns.min(request.client.last_byte_ns);
        let truth = ended_ns.saturating_sub(request.truth.started_ns);
        request.span.duration_ns().abs_diff(truth)
    });
    let errors: Vec<_> = errors.collect();
    let error = ranked(errors.clone(), 4)?;
    ensure!(
        error <= TOLERANCE_NS,
        "three in four durations are off by {error} ns or more: {errors:?}"
    );
    Ok(())
}

fn ordered(request: &Served, route: Route, ahead_ns: u64) -> Result<()> {
    let Served {
        span,
        truth,
        client,
    } = request;
    let to_first_byte = span
        .nanoseconds("spanlet.time_to_first_byte")
        .context("no time to first byte")?;
    let (started, ended) = (span.started_ns - ahead_ns, span.ended_ns - ahead_ns);
    let first_byte = started + to_first_byte;
    in_order(&[
        ("the client sends", client.sent_ns),
        ("the span starts", started),
        ("the handler begins", truth.started_ns),
        ("the first byte is written", first_byte),
        ("the client reads it", client.first_byte_ns),
    ])?;
    in_order(&[
        ("the first byte is written", first_byte),
        ("the span ends", ended),
    ])?;
    if route.truth_is_last {
        in_order(&[
            ("the span ends", ended),
            ("the handler ends", truth.ended_ns),
        ])?;
    }
    in_order(&[
        ("the handler could be done", soonest(truth, route.least)),
        ("the span ends", ended),
    ])
}

fn in_order(steps: &[(&str, u64)]) -> Result<()> {
    for pair in steps.windows(2) {
        let [(earlier, first), (later, then)] = pair else {
            continue;
        };
        ensure!(
            *first <= then + SLACK_NS,
            "{later} {} ns before {earlier}",
            first - then
        );
    }
    Ok(())
}

/// When a handler can be done that works at least that long.
fn soonest(truth: &Truth, least: Duration) -> u64 {
    truth.started_ns + least.as_nanos() as u64
}

/// The value that one in `parts` does not exceed: of 2, the median.
fn ranked(mut values: Vec<u64>, parts: usize) -> Result<u64> {
    values.sort_unstable();
    let rank = values.len().saturating_sub(1) / parts;
    values.get(rank).copied().context("no spans")
}

impl From<&Answer> for Client {
    fn from(answer: &Answer) -> Self {
        Self {
            sent_ns: answer.sent_ns,
            first_byte_ns: answer.first_byte_ns,
            last_byte_ns: answer.last_byte_ns,
        }
    }
}

/// The client's times as its own span has them.
pub fn client_of(span: &Span, ahead_ns: u64) -> Result<Client> {
    let to_first_byte = span
        .nanoseconds("spanlet.time_to_first_byte")
        .context("no time to first byte")?;
    let sent_ns = span.started_ns - ahead_ns;
    Ok(Client {
        sent_ns,
        first_byte_ns: sent_ns + to_first_byte,
        last_byte_ns: span.ended_ns - ahead_ns,
    })
}

#[cfg(test)]
mod tests {
    use spanlet_e2e::otlp::{Kind, Status, Value};

    use super::*;

    const MS: u64 = 1_000_000;
    /// Of the spans' clock.
    const AHEAD: u64 = 1_000_000 * MS;

    fn span(started: u64, first_byte: u64, ended: u64) -> Span {
        Span {
            resource: Default::default(),
            scope: Default::default(),
            trace_id: String::new(),
            span_id: String::new(),
            parent_span_id: None,
            trace_state: String::new(),
            flags: 0,
            name: String::new(),
            kind: Kind::Server,
            started_ns: AHEAD + started,
            ended_ns: AHEAD + ended,
            attributes: [(
                "spanlet.time_to_first_byte".to_owned(),
                Value::Double(first_byte.saturating_sub(started) as f64 / 1e9),
            )]
            .into(),
            status: Status::Unset,
        }
    }

    /// A handler that works from 101 to 161 ms, and writes from 111 on.
    fn handler() -> Truth {
        Truth {
            path: String::new(),
            pid: 1,
            started_ns: 101 * MS,
            ended_ns: 161 * MS,
        }
    }

    /// Its request, sent at 100 ms and read at 101.
    fn served<'a>(span: &'a Span, truth: &'a Truth) -> Served<'a> {
        Served {
            span,
            truth,
            client: Client {
                sent_ns: 100 * MS,
                first_byte_ns: 112 * MS,
                last_byte_ns: 162 * MS,
            },
        }
    }

    fn check_span(started: u64, first_byte: u64, ended: u64) -> Result<()> {
        let (span, truth) = (span(started, first_byte, ended), handler());
        let route = Route::of(Duration::from_millis(50));
        check(&[served(&span, &truth)], route, AHEAD)
    }

    #[test]
    fn a_true_span_is_taken() {
        assert!(check_span(101 * MS, 111 * MS, 161 * MS).is_ok());
        let slack = SLACK_NS - 1;
        assert!(check_span(101 * MS + slack, 111 * MS, 161 * MS + slack).is_ok());
    }

    #[test]
    fn the_first_write_is_not_the_end() {
        assert!(check_span(101 * MS, 111 * MS, 111 * MS).is_err());
    }

    #[test]
    fn an_end_that_missed_some_writes_is_found() {
        assert!(
            check_span(101 * MS, 111 * MS, 159 * MS).is_err(),
            "2 ms early"
        );
    }

    #[test]
    fn the_next_request_is_not_the_end() {
        assert!(check_span(101 * MS, 111 * MS, 162 * MS).is_err());
    }

    #[test]
    fn a_start_before_the_request_or_after_its_handler_is_found() {
        assert!(check_span(99 * MS, 111 * MS, 161 * MS).is_err());
        assert!(check_span(102 * MS, 111 * MS, 161 * MS).is_err());
    }

    #[test]
    fn a_first_byte_that_is_none_is_found() {
        assert!(
            check_span(101 * MS, 101 * MS - SLACK_NS - 1, 161 * MS).is_ok(),
            "cut at the start"
        );
        assert!(
            check_span(100 * MS, 100 * MS, 161 * MS).is_err(),
            "before the handler"
        );
        assert!(
            check_span(101 * MS, 113 * MS, 161 * MS).is_err(),
            "after the client read it"
        );
    }

    #[test]
    fn a_shifted_clock_is_found() {
        assert!(check_span(103 * MS, 113 * MS, 163 * MS).is_err());
        assert!(check_span(98 * MS, 108 * MS, 158 * MS).is_err());
    }

    #[test]
    fn threads_that_wait_are_no_fault_and_early_ends_of_all_are() {
        let truth = handler();
        let (right, early) = (
            span(101 * MS, 111 * MS, 161 * MS),
            span(101 * MS, 111 * MS, 159 * MS),
        );
        let of = |spans: [&Span; 5]| close(&spans.map(|span| served(span, &truth)));
        assert!(of([&right, &right, &early, &early, &early]).is_ok());
        assert!(of([&early; 5]).is_err());
    }

    #[test]
    fn a_call_is_around_what_it_calls() {
        let called = |started, ended| {
            let least = Duration::from_millis(50);
            around(&span(started, started, ended), &handler(), least, AHEAD)
        };
        assert!(called(100 * MS, 162 * MS).is_ok());
        assert!(called(102 * MS, 162 * MS).is_err(), "starts late");
        assert!(called(100 * MS, 150 * MS).is_err(), "ends early");
    }

    #[test]
    fn no_spans_are_no_proof() {
        assert!(check(&[], Route::of(Duration::ZERO), AHEAD).is_err());
    }
}
