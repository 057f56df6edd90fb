//! The agent's own metrics as Prometheus reads them: a snapshot in, a page of its text format 0.0.4 out. Pure.

use std::fmt::Write;

use crate::telemetry::{Kind, Metric, Sample, Snapshot, METRICS};

/// What the page is, to who asks for it over HTTP.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The page. Names are those of OTLP by OpenTelemetry's rules for Prometheus: `spanlet.ring.bytes` in `By` becomes
/// `spanlet_ring_bytes_total`.
pub fn text(snapshot: &Snapshot) -> String {
    let mut page = String::new();
    for metric in METRICS {
        let mut samples = snapshot
            .0
            .iter()
            .filter(|sample| sample.id == metric.id)
            .peekable();
        if samples.peek().is_none() {
            continue;
        }
        let name = name(metric);
        let kind = match metric.kind {
            Kind::Sum => "counter",
            Kind::Gauge => "gauge",
        };
        // Writing to a string does not fail.
        let _ = writeln!(
            page,
            "# HELP {name} {}\n# TYPE {name} {kind}",
            metric.meaning
        );
        for sample in samples {
            let _ = writeln!(page, "{name}{} {}", labels(metric, sample), sample.number);
        }
    }
    page
}

/// https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/
fn name(metric: &Metric) -> String {
    let mut name = legal(metric.name);
    let unit = match metric.unit {
        "By" => "bytes",
        "s" => "seconds",
        "ns" => "nanoseconds",
        // In braces: a word for people, no unit.
        _ => "",
    };
    for end in [
        unit,
        if metric.kind == Kind::Sum {
            "total"
        } else {
            ""
        },
    ] {
        if !end.is_empty() && !name.ends_with(&format!("_{end}")) {
            name = format!("{name}_{end}");
        }
    }
    name
}

fn labels(metric: &Metric, sample: &Sample) -> String {
    let pairs = metric.labels.iter().zip(&sample.labels);
    let pairs = pairs.map(|(key, value)| format!("{}=\"{}\"", legal(key), escaped(value)));
    let pairs: Vec<_> = pairs.collect();
    match pairs.is_empty() {
        true => String::new(),
        false => format!("{{{}}}", pairs.join(",")),
    }
}

fn legal(name: &str) -> String {
    name.replace('.', "_")
}

fn escaped(value: &str) -> String {
    let value = value.replace('\\', "\\\\");
    value.replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Id;

    #[test]
    fn a_page() {
        let mut snapshot = Snapshot::default();
        snapshot.add(Id::RingBytes, 12.0);
        snapshot.add_one(Id::CpuTime, "user", 0.25);
        snapshot.add_one(Id::CpuTime, "a\"b\\c\nd", 2.0);
        snapshot.add(Id::DecodeOpen, 3.0);
        let wanted = r#"# HELP spanlet_ring_bytes_total Bytes taken from the ring buffer.
# TYPE spanlet_ring_bytes_total counter
spanlet_ring_bytes_total 12
# HELP spanlet_decode_open Connections known to the decoder.
# TYPE spanlet_decode_open gauge
spanlet_decode_open 3
# HELP process_cpu_time_seconds_total CPU time that the agent used.
# TYPE process_cpu_time_seconds_total counter
process_cpu_time_seconds_total{cpu_mode="user"} 0.25
process_cpu_time_seconds_total{cpu_mode="a\"b\\c\nd"} 2
"#;
        assert_eq!(text(&snapshot), wanted);
    }

    #[test]
    fn names_are_unique_and_legal() {
        let mut names: Vec<_> = METRICS.iter().map(name).collect();
        let legal = |name: &String| {
            let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
            name.chars().all(word) && name.starts_with(|c: char| c.is_ascii_alphabetic())
        };
        assert!(names.iter().all(legal), "{names:?}");
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), METRICS.len());
    }
}
