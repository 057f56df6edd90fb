//! What must hold for the spans of any recording of the scenarios in `tests/cases/record.rs` and `record/https.rs`, in which
//! each request's path begins with `/t/NUMBER/`, and so does each request that it causes.

use std::collections::BTreeSet;

use spanlet::capture::convert::convert;
use spanlet::enrich::span::{Kind, Value};
use spanlet::enrich::Evidence;
use spanlet_abi::record::{flag, kind, Header};
use zerocopy::FromBytes;

use crate::recorded::{all, Recorded};
use crate::run::{replay, Replay, Told};

/// The thread's own clock and that of the records are read one after the other.
const CLOCKS_APART_S: f64 = 1e-6;

/// The numbers of the scenario's requests.
fn requests() -> BTreeSet<u32> {
    (0..36).chain([40]).collect()
}

#[test]
fn records_are_understood_and_as_long_as_they_say() {
    for recorded in all() {
        for record in &recorded.records {
            let (header, _) = Header::read_from_prefix(record).expect("a header");
            // What TLS carries is copied into room of a few sizes, and so are numbers of goroutines.
            let is_tls = header.kind == kind::IO && header.flags & flag::TLS != 0;
            let has_room = is_tls || header.kind == kind::UNBORN;
            let length = header.length as usize;
            assert!(
                length == record.len() || has_room && length < record.len(),
                "{}: {header:?}",
                recorded.name
            );
            assert!(convert(record).is_ok(), "{}: {header:?}", recorded.name);
        }
    }
}

#[test]
fn every_request_has_a_span_and_no_other_has() {
    for recorded in scenarios() {
        let replay = replay(&recorded.processes, &recorded.records);
        let asked = replay.told.values().filter(|told| is_asked(told));
        let numbers: Vec<u32> = asked.map(number).collect();
        assert_eq!(numbers.len(), requests().len(), "{}", recorded.name);
        assert_eq!(
            BTreeSet::from_iter(numbers),
            requests(),
            "{}",
            recorded.name
        );
    }
}

#[test]
fn parents_are_those_who_asked() {
    for recorded in scenarios() {
        let replay = replay(&recorded.processes, &recorded.records);
        for (told, parent) in with_parents(&replay) {
            let (child, parent) = (told, parent);
            assert_eq!(
                number(child),
                number(parent),
                "{}: {:?}",
                recorded.name,
                child.span
            );
            assert_eq!(child.span.trace_id, parent.span.trace_id);
            assert_ne!(child.span.kind(), parent.span.kind());
            assert!(parent.span.started() <= child.span.started());
            assert!(child.span.started() <= parent.span.ended());
            let is_connection = child.span.evidence == Some(Evidence::Connection);
            assert!(!is_connection || child.span.kind() == Kind::Server);
        }
    }
}

#[test]
fn parts_of_a_span_are_not_longer_than_the_span() {
    for recorded in scenarios() {
        for told in replay(&recorded.processes, &recorded.records).told.values() {
            let span = &told.span;
            let whole = (span.ended().0 - span.started().0) as f64 / 1e9;
            let seconds = |key: &str| match span.value(key) {
                Some(Value::Seconds(time)) => time.as_secs_f64(),
                _ => 0.0,
            };
            let thread = seconds("spanlet.cpu_time") + seconds("spanlet.run_queue_wait");
            for part in [thread, seconds("spanlet.time_to_first_byte")] {
                assert!(
                    part <= whole + CLOCKS_APART_S,
                    "{}: {part} s of {whole} s: {span:?}",
                    recorded.name
                );
            }
        }
    }
}

#[test]
fn what_tls_carries_is_told_with_who_called_for_whom() {
    let https = all().into_iter();
    let https: Vec<_> = https
        .filter(|recorded| recorded.name.ends_with("-https"))
        .collect();
    assert!(!https.is_empty());
    for recorded in https {
        let replay = replay(&recorded.processes, &recorded.records);
        let of = |kind, scheme| {
            let told = replay.told.values().filter(move |told| {
                told.span.kind() == kind && told.span.text("url.scheme").as_deref() == Some(scheme)
            });
            told.map(number).collect::<Vec<_>>()
        };
        let mut asked = of(Kind::Server, "https");
        asked.sort_unstable();
        assert_eq!(asked, (0..8).collect::<Vec<_>>(), "{}", recorded.name);
        let calls: Vec<_> = with_parents(&replay)
            .filter(|(call, request)| {
                call.span.kind() == Kind::Client && number(call) == number(request)
            })
            .map(|(call, _)| number(call))
            .collect();
        let calls: BTreeSet<_> = calls.into_iter().collect();
        assert_eq!(calls, (3..8).collect(), "{}", recorded.name);
    }
}

/// Of requests over connections that had served others, too: of those before the tenth, births were not looked at yet.
#[test]
fn calls_at_once_by_go_over_tls_have_parents_and_requests_routes() {
    let mut all = all().into_iter();
    let fans = all.find(|recorded| recorded.name == "go-https-fans");
    let fans = fans.expect("a recording");
    let replay = replay(&fans.processes, &fans.records);
    let asked = replay.told.values().filter(|told| {
        told.span.kind() == Kind::Server && told.span.text("url.scheme").as_deref() == Some("https")
    });
    let routes: Vec<_> = asked.map(|told| told.span.text("http.route")).collect();
    assert!(routes.len() >= 9);
    let is_routed = routes
        .iter()
        .all(|route| route.as_deref() == Some("/t/{mark}/fan"));
    assert!(is_routed, "{routes:?}");
    let mut calls: Vec<_> = with_parents(&replay)
        .filter(|(call, _)| call.span.kind() == Kind::Client && number(call) >= 10)
        .map(|(call, request)| (number(call), number(request)))
        .collect();
    calls.sort_unstable();
    let expected: Vec<_> = (10..15).flat_map(|of| [(of, of); 2]).collect();
    assert_eq!(calls, expected);
}

/// Recordings of the scenario: those of single bugs have names of their own.
fn scenarios() -> impl Iterator<Item = Recorded> {
    let back_ends = ["-socket-tracepoints", "-sys-exit"];
    let all = all().into_iter();
    all.filter(move |recorded| back_ends.iter().any(|end| recorded.name.ends_with(end)))
}

fn with_parents(replay: &Replay) -> impl Iterator<Item = (&Told, &Told)> {
    let told = replay.told.values();
    told.filter_map(|told| Some((told, &replay.told[&told.parent?])))
}

/// Whether the scenario itself sent it: a function's requests to the next one come from a port of a client span.
fn is_asked(told: &Told) -> bool {
    told.span.kind() == Kind::Server && told.span.evidence != Some(Evidence::Connection)
}

fn number(told: &Told) -> u32 {
    let path = told.span.text("url.path").expect("a path");
    let number = path
        .strip_prefix("/t/")
        .and_then(|rest| rest.split('/').next());
    number
        .and_then(|number| number.parse().ok())
        .expect("a numbered path")
}
