//! A replay as text for people: a tree for each trace, in the order in which they began. In: a recording and what the
//! rooms told of it. Out: text without ids, with times from the first record on.

use std::fmt::Write;

use spanlet::attach::ProcessFacts;
use spanlet::capture::convert::convert;
use spanlet::capture::event::HostPid;
use spanlet::enrich::span::{Kind, Status, Value};
use spanlet::enrich::Evidence;

use crate::recorded::Recorded;
use crate::run::{Name, Replay, Told};

/// Attributes of the second line, in this order.
const SHOWN: [&str; 14] = [
    "url.path",
    "url.query",
    "client.port",
    "network.protocol.version",
    "http.request.body.size",
    "http.response.body.size",
    "error.type",
    "spanlet.end",
    "spanlet.end.evidence",
    "spanlet.time_to_first_byte",
    "spanlet.read_wait",
    "spanlet.cpu_time",
    "spanlet.run_queue_wait",
    "spanlet.head_incomplete",
];

/// The snapshot of a replay.
pub fn text(recorded: &Recorded, replay: &Replay) -> String {
    let mut text = format!(
        "{} records, {} spans\n",
        recorded.records.len(),
        replay.told.len()
    );
    for process in &recorded.processes {
        let _ = writeln!(text, "{}", process_line(process));
    }
    let writer = Writer {
        processes: &recorded.processes,
        replay,
        beginning: beginning(recorded),
    };
    writer.children(None, 0, &mut text);
    text
}

struct Writer<'a> {
    processes: &'a [ProcessFacts],
    replay: &'a Replay,
    beginning: u64,
}

impl Writer<'_> {
    fn children(&self, parent: Option<Name>, depth: usize, text: &mut String) {
        let all = self.replay.told.iter();
        let mut children: Vec<_> = all.filter(|(_, told)| told.parent == parent).collect();
        children.sort_by_key(|(name, told)| (told.span.started(), **name));
        for (name, told) in children {
            if depth == 0 {
                text.push('\n');
            }
            self.span(told, depth, text);
            self.children(Some(*name), depth + 1, text);
        }
    }

    fn span(&self, told: &Told, depth: usize, text: &mut String) {
        let span = &told.span;
        let indent = "    ".repeat(depth);
        let side = match span.kind() {
            Kind::Server => "server",
            Kind::Client => "client",
        };
        let status = span
            .value("http.response.status_code")
            .map_or_else(|| "-".to_owned(), |code| value(&code));
        let error = match span.status() {
            Status::Unset => String::new(),
            Status::Error(None) => ", error".to_owned(),
            Status::Error(Some(message)) => format!(", error: {message}"),
        };
        let _ = writeln!(
            text,
            "{indent}{side} {}: {} -> {status}{error}, parent by {}{}",
            self.service(told.exchange.process),
            span.name,
            span.evidence.map_or(Evidence::NONE, Evidence::name),
            self.outside(told),
        );
        let _ = write!(
            text,
            "{indent}  from {} for {} µs",
            microseconds(span.started().0 as i64 - self.beginning as i64),
            microseconds((span.ended().0 - span.started().0) as i64)
        );
        for key in SHOWN {
            if let Some(shown) = span.value(key) {
                let key = key.rsplit_once("spanlet.").map_or(key, |(_, key)| key);
                let _ = write!(text, ", {key} {}", value(&shown));
            }
        }
        text.push('\n');
    }

    /// A parent that is on no connection of this node: the ids that the request named.
    fn outside(&self, told: &Told) -> String {
        match (told.span.parent_span_id, told.parent) {
            (Some(parent), None) => format!(" {} {parent}", told.span.trace_id),
            _ => String::new(),
        }
    }

    fn service(&self, pid: HostPid) -> &str {
        let process = self.processes.iter().find(|process| process.pid == pid);
        process
            .and_then(|process| process.service_name.as_deref())
            .unwrap_or("unknown")
    }
}

fn process_line(process: &ProcessFacts) -> String {
    format!(
        "{}: {} {}, {}",
        process.service_name.as_deref().unwrap_or("-"),
        process.language.name(),
        process.runtime_version.as_deref().unwrap_or("-"),
        process.executable_path
    )
}

fn beginning(recorded: &Recorded) -> u64 {
    let first = recorded
        .records
        .first()
        .and_then(|record| convert(record).ok());
    match first {
        Some(event) => crate::run::time(&event).0,
        None => 0,
    }
}

fn microseconds(nanoseconds: i64) -> String {
    format!("{:.3}", nanoseconds as f64 / 1000.0)
}

fn value(value: &Value) -> String {
    match value {
        Value::Text(text) => text.to_string(),
        Value::Integer(number) => number.to_string(),
        // The only ones are times, in seconds.
        Value::Seconds(time) => format!("{:.3} µs", time.as_secs_f64() * 1e6),
        Value::Boolean(flag) => flag.to_string(),
        Value::Texts(texts) => texts.join(", "),
    }
}
