//! The table of cases over every language and both back ends, and how it is run.

use anyhow::{ensure, Context, Result};
use spanlet_e2e::agent::Backend;
use spanlet_e2e::language::Language;

use crate::stage::{Seen, Stage, WARM_UP};
use crate::{attributes, basics, broken, calls, costs, durations, headers};

/// Sends a case's requests, and gives the check of what must have been seen of them.
pub type Drive = fn(&Stage, &'static str) -> Result<Check>;

/// Reads the spans of a case when all is over.
pub type Check = Box<dyn FnOnce(&Seen) -> Result<()>>;

/// The table. A case's name marks its requests.
const CASES: &[(&str, Drive)] = &[
    ("server-attributes", attributes::server),
    ("client-attributes", attributes::client),
    ("hello-kept", |stage, case| {
        basics::hello(stage, case, 1, true)
    }),
    ("hello-closed", |stage, case| {
        basics::hello(stage, case, 1, false)
    }),
    ("hello-kept-by-8", |stage, case| {
        basics::hello(stage, case, 8, true)
    }),
    ("hello-closed-by-8", |stage, case| {
        basics::hello(stage, case, 8, false)
    }),
    ("head", basics::head),
    ("errors", basics::errors),
    ("pipelined", basics::pipelined),
    ("byte-by-byte", basics::byte_by_byte),
    ("half-closed", basics::half_closed),
    ("unix-socket", basics::unix_socket),
    ("ipv6", basics::ipv6),
    ("mapped-addresses", basics::mapped_addresses),
    ("delay-10-kept", |stage, case| {
        durations::delay(stage, case, 10, 1, true)
    }),
    ("delay-10-closed", |stage, case| {
        durations::delay(stage, case, 10, 1, false)
    }),
    ("delay-10-kept-by-8", |stage, case| {
        durations::delay(stage, case, 10, 8, true)
    }),
    ("delay-10-closed-by-8", |stage, case| {
        durations::delay(stage, case, 10, 8, false)
    }),
    ("delay-100-kept", |stage, case| {
        durations::delay(stage, case, 100, 1, true)
    }),
    ("delay-100-closed-by-8", |stage, case| {
        durations::delay(stage, case, 100, 8, false)
    }),
    ("stream", |stage, case| durations::stream(stage, case, 1)),
    ("stream-by-8", |stage, case| {
        durations::stream(stage, case, 8)
    }),
    ("big", |stage, case| durations::big(stage, case, 1)),
    ("big-by-8", |stage, case| durations::big(stage, case, 8)),
    ("big-gibibyte", durations::big_gibibyte),
    ("file", durations::file),
    ("upload", durations::upload),
    ("upload-chunked", durations::upload_chunked),
    ("upload-gibibyte", durations::upload_gibibyte),
    ("server-aborts", broken::server_aborts),
    ("client-aborts", broken::client_aborts),
    ("server-dies", broken::server_dies),
    ("trace-headers", headers::named),
    ("trace-headers-malformed", headers::malformed),
    ("trace-state", headers::state),
    ("burning", costs::burning),
    ("burning-by-8", costs::burning_together),
    ("sleeping", costs::sleeping),
    ("sharing-by-8", costs::sharing),
    ("late", costs::late),
    ("chain-kept", |stage, case| {
        calls::chain(stage, case, 1, true)
    }),
    ("chain-closed", |stage, case| {
        calls::chain(stage, case, 1, false)
    }),
    ("chain-kept-by-8", |stage, case| {
        calls::chain(stage, case, 8, true)
    }),
    ("chain-closed-by-8", |stage, case| {
        calls::chain(stage, case, 8, false)
    }),
    ("chain-delay", calls::chain_delay),
    ("chain-error", calls::chain_error),
    ("fan-of-four", calls::fan),
];

/// The longest true trace of the table: a fan of four is a server, four clients and four servers.
const TRACE_SPANS_MAX: usize = 9;

macro_rules! on_both_back_ends {
    ($($language:ident: $variant:ident),*) => {$(
        mod $language {
            use spanlet_e2e::agent::Backend;
            use spanlet_e2e::language::Language::$variant;

            #[test]
            fn socket_tracepoints() -> anyhow::Result<()> { super::run($variant, Backend::SocketTracepoints) }
            #[test]
            fn sys_exit() -> anyhow::Result<()> { super::run($variant, Backend::SysExit) }
        }
    )*};
}

on_both_back_ends!(go: Go, python: Python, node: Node, java: Java, c: C);

fn run(language: Language, backend: Backend) -> Result<()> {
    let stage = Stage::start(language, backend)?;
    let cases = || {
        CASES
            .iter()
            .filter(|(name, _)| applies(name, language, backend))
    };
    let drive = |(name, drive): &(&'static str, Drive)| (*name, drive(&stage, name));
    let driven: Vec<_> = cases().map(drive).collect();
    let seen = stage.finish()?;
    let mut failures = Vec::new();
    for (name, check) in driven {
        let result = check.context("sending").and_then(|check| check(&seen));
        report(language, backend, name, result, &mut failures);
    }
    report(
        language,
        backend,
        "all spans",
        all_spans(&seen),
        &mut failures,
    );
    let metrics = metrics(&seen);
    report(language, backend, "metrics", metrics, &mut failures);
    ensure!(
        failures.is_empty(),
        "{} of {} cases failed: {}\nthe agent judged parents: {}\nthe agent said:\n{}",
        failures.len(),
        cases().count() + 2,
        failures.join(", "),
        judged(&seen),
        seen.agent_log
    );
    Ok(())
}

/// By which evidence, or why not, and how many.
fn judged(seen: &Seen) -> String {
    let own = seen
        .metrics
        .iter()
        .filter(|metric| metric.service == "spanlet");
    let names = ["spanlet.enrich.parents", "spanlet.enrich.refused"];
    let of_parents =
        own.filter(|metric| names.contains(&metric.name.as_str()) && metric.value > 0.0);
    let told = of_parents.map(|metric| {
        format!(
            "{} {}: {}",
            metric.name,
            metric.labels.join(" "),
            metric.value
        )
    });
    told.collect::<Vec<_>>().join(", ")
}

/// Whether a case is part of a run: Java's server has no Unix sockets; a gibibyte is sent once for each language.
fn applies(case: &str, language: Language, backend: Backend) -> bool {
    match case {
        "unix-socket" => language.has_unix_sockets(),
        "late" => language.has_late(),
        "big-gibibyte" | "upload-gibibyte" => backend == Backend::SocketTracepoints,
        _ => true,
    }
}

fn report(
    language: Language,
    backend: Backend,
    case: &'static str,
    result: Result<()>,
    failures: &mut Vec<&'static str>,
) {
    let language = language.name();
    match result {
        Ok(()) => println!("{language}/{backend}/{case}: ok"),
        Err(error) => {
            println!("{language}/{backend}/{case}: FAILED: {error:#}");
            failures.push(case);
        }
    }
}

/// What holds for every span: it is of a case, ends after it starts, and no trace grows past what was sent (trace
/// headers name one and the same trace).
fn all_spans(seen: &Seen) -> Result<()> {
    let mut ids = std::collections::HashSet::new();
    let mut traces = std::collections::HashMap::new();
    for span in &seen.spans {
        let path = crate::stage::path(span);
        let cases = CASES.iter().map(|(case, _)| *case);
        let of_a_case = cases
            .chain([WARM_UP])
            .any(|case| path.starts_with(&format!("/t/{case}:")));
        ensure!(of_a_case, "a span of no request: {span:?}");
        ensure!(
            span.started_ns <= span.ended_ns,
            "ends before it starts: {span:?}"
        );
        ensure!(ids.insert(&span.span_id), "span id {} twice", span.span_id);
        if !path.starts_with("/t/trace-") {
            *traces.entry(&span.trace_id).or_insert(0) += 1;
        }
    }
    costs::plausible(&seen.spans)?;
    let longest = traces.values().copied().max().unwrap_or(0);
    ensure!(longest <= TRACE_SPANS_MAX, "a trace of {longest} spans");
    Ok(())
}

/// What the agent says of itself at the end, at the collector: it lost nothing, and made the spans that came.
fn metrics(seen: &Seen) -> Result<()> {
    let value = |name: &str, labels: &[&str]| {
        let own = seen.metrics.iter().find(|metric| {
            (metric.service.as_str(), metric.name.as_str()) == ("spanlet", name)
                && metric.labels == labels
        });
        own.map(|metric| metric.value)
    };
    for reason in [
        "ring_full",
        "connections_full",
        "processes_full",
        "copy_failed",
        "no_buffer",
        "forced",
    ] {
        let lost = value("spanlet.kernel.losses", &[reason]);
        ensure!(lost == Some(0.0), "{reason}: {lost:?}");
    }
    let made = value("spanlet.enrich.spans", &[]);
    ensure!(
        made == Some(seen.spans.len() as f64),
        "{made:?} spans, {} came",
        seen.spans.len()
    );
    let connection = value("spanlet.enrich.parents", &["connection"]);
    ensure!(
        connection.is_some_and(|number| number >= 100.0),
        "{connection:?} by connection"
    );
    let memory = value("process.memory.usage", &[]);
    ensure!(memory.is_some_and(|bytes| bytes > 1e6), "memory {memory:?}");
    Ok(())
}
