//! What the sources say in, a checked [`Config`] and everything wrong with it out. Pure but for the table of Go's offsets,
//! and the certificates that [`super::otlp`] reads.

use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use globset::Glob;

use super::layers::Layers;
use super::otlp::target;
use super::{fault, kubernetes, Config, Faults, Metrics, RawConfig, Select};
use crate::attach::golang::releases::Releases;
use crate::capture::event::HostPid;
use crate::export;
use crate::export::otlp::Signal;
use crate::export::retry::Policy;
use crate::export::terminal::Held;
use crate::pods;

/// The configuration; only to be used when no fault was found.
pub(super) fn config(layers: &Layers, in_pod: bool, faults: &mut Faults) -> Config {
    let drain = layers.pick(|raw| raw.drain_interval_ms);
    let drain = in_range("drain_interval_ms", drain, 1..=1000, faults);
    let socket = layers.pick(|raw| raw.socket.clone()).unwrap_or_default();
    if !socket.is_absolute() {
        fault(faults, "socket", "must be a path that begins with a slash");
    }
    let kubernetes = kubernetes::config(layers, in_pod, faults);
    Config {
        select: select(layers, kubernetes.is_some(), faults),
        io_backend: layers.pick(|raw| raw.io_backend).unwrap_or_default(),
        thread_clocks: layers.pick(|raw| raw.thread_clocks).unwrap_or_default(),
        read_wait: layers.pick(|raw| raw.read_wait).unwrap_or_default(),
        query: layers.pick(|raw| raw.query).unwrap_or_default(),
        socket,
        go_releases: Arc::new(go_releases(layers, faults)),
        drain_interval: Duration::from_millis(drain),
        export: export(layers, faults),
        metrics: metrics(layers, kubernetes.as_ref(), faults),
        kubernetes,
        health: health(layers, faults),
        files: files(layers),
        content: 0,
        settings: layers.settings(),
    }
}

/// With what the user's table says, if there is one.
fn go_releases(layers: &Layers, faults: &mut Faults) -> Releases {
    let Some(path) = layers.pick(|raw| raw.go_offsets.clone()) else {
        return Releases::default();
    };
    let file = path.display();
    let table = std::fs::read_to_string(&path)
        .map_err(|error| fault(faults, "go_offsets", format!("cannot read {file}: {error}")));
    let releases = table.map(|table| Releases::with(&path, &table));
    match releases {
        Ok(Ok(releases)) => return releases,
        Ok(Err(wrong)) => fault(faults, format!("{file}, line {}", wrong.line), wrong.reason),
        Err(()) => {}
    }
    Releases::default()
}

/// The value if it is in the range; else a fault, and the range's start to go on with.
pub(super) fn in_range<T: PartialOrd + Display + Copy>(
    at: impl Into<String>,
    value: Option<T>,
    range: RangeInclusive<T>,
    faults: &mut Faults,
) -> T {
    let (least, most) = (*range.start(), *range.end());
    match value {
        Some(value) if range.contains(&value) => return value,
        Some(value) => fault(
            faults,
            at,
            format!("{value} is not between {least} and {most}"),
        ),
        None => fault(faults, at, "has no value"),
    }
    least
}

fn select(layers: &Layers, by_pod: bool, faults: &mut Faults) -> Select {
    if !by_pod && !layers.raw().any(|raw| raw.select.selects()) {
        let what =
            "nothing is selected: give --pid, --exec, --port or --all, or the same in the file, or turn on [kubernetes]";
        fault(faults, "select", what);
    }
    let exec = layers.pick(|raw| raw.select.exec.clone());
    let ports = layers.pick(|raw| raw.select.ports.clone());
    let exclude = layers.pick(|raw| raw.select.exclude_exec.clone());
    if ports.iter().flatten().any(|port| *port == 0) {
        fault(faults, "select.ports", "0 is not a port");
    }
    Select {
        pids: pids(layers, faults),
        exec: globs("select.exec", exec.unwrap_or_default(), faults),
        ports: ports.unwrap_or_default(),
        all: layers.pick(|raw| raw.select.all).unwrap_or_default(),
        exclude_exec: globs("select.exclude_exec", exclude.unwrap_or_default(), faults),
    }
}

fn pids(layers: &Layers, faults: &mut Faults) -> Vec<HostPid> {
    let pids = layers
        .pick(|raw| raw.select.pids.clone())
        .unwrap_or_default();
    if pids.iter().any(|pid| *pid == 0 || *pid > i32::MAX as u32) {
        let what = "a process has a number from 1 to 2147483647";
        fault(faults, "select.pids", what);
    }
    pids.into_iter().map(HostPid).collect()
}

fn globs(at: &str, patterns: Vec<String>, faults: &mut Faults) -> Vec<Glob> {
    let globs = patterns.iter().filter_map(|pattern| {
        Glob::new(pattern)
            .map_err(|error| fault(faults, at, error))
            .ok()
    });
    globs.collect()
}

fn export(layers: &Layers, faults: &mut Faults) -> export::Config {
    let milliseconds = |at: &str, of: fn(&RawConfig) -> Option<u64>, range, faults: &mut Faults| {
        Duration::from_millis(in_range(at, layers.pick(of), range, faults))
    };
    let spans = |at: &str, of: fn(&RawConfig) -> Option<usize>, most, faults: &mut Faults| {
        in_range(at, layers.pick(of), 1..=most, faults)
    };
    let queue_spans = spans("queue_spans", |raw| raw.queue_spans, 1 << 20, faults);
    let tries = layers.pick(|raw| raw.retry_tries_max);
    export::Config {
        output: layers.pick(|raw| raw.output).unwrap_or_default(),
        otlp: target(layers, Signal::Traces, faults),
        queue_spans,
        batch_spans: spans("batch_spans", |raw| raw.batch_spans, queue_spans, faults),
        batch_delay: milliseconds(
            "batch_delay_ms",
            |raw| raw.batch_delay_ms,
            0..=60_000,
            faults,
        ),
        retry: Policy {
            tries_max: in_range("retry_tries_max", tries, 1..=100, faults),
            time_max: milliseconds(
                "retry_time_max_ms",
                |raw| raw.retry_time_max_ms,
                0..=3_600_000,
                faults,
            ),
            ..Policy::default()
        },
        held: Held {
            quiet: milliseconds(
                "trace_quiet_ms",
                |raw| raw.trace_quiet_ms,
                1..=60_000,
                faults,
            ),
            spans_max: spans("held_spans", |raw| raw.held_spans, 1 << 20, faults),
            ..Held::default()
        },
    }
}

fn health(layers: &Layers, faults: &mut Faults) -> Option<SocketAddr> {
    let text = layers.pick(|raw| raw.health.listen.clone())?;
    let address = text.parse();
    if address.is_err() {
        let what = format!("`{text}` is not an address and a port like 0.0.0.0:9464");
        fault(faults, "health.listen", what);
    }
    address.ok()
}

/// Every file that some source names: what is in them may change.
fn files(layers: &Layers) -> Vec<PathBuf> {
    let sections = layers
        .raw()
        .flat_map(|raw| [&raw.otlp, &raw.otlp_traces, &raw.otlp_metrics]);
    let files = sections.flat_map(|otlp| {
        [
            &otlp.certificate,
            &otlp.client_certificate,
            &otlp.client_key,
            &otlp.headers_file,
        ]
    });
    let tables = layers.raw().filter_map(|raw| raw.go_offsets.as_ref());
    files.flatten().chain(tables).cloned().collect()
}

fn metrics(
    layers: &Layers,
    kubernetes: Option<&Arc<pods::Config>>,
    faults: &mut Faults,
) -> Option<Metrics> {
    let interval = layers.pick(|raw| raw.metrics.interval_ms);
    let interval = in_range("metrics.interval_ms", interval, 1000..=3_600_000, faults);
    let enabled = layers.pick(|raw| raw.metrics.enabled).unwrap_or_default();
    let target = enabled.then(|| target(layers, Signal::Metrics, faults))??;
    Some(Metrics {
        target,
        interval: Duration::from_millis(interval),
        kubernetes: kubernetes.cloned(),
    })
}
