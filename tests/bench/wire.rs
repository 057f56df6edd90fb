//! What a span weighs on the wire, and what compressing it costs. In: which functions. Out: a table.

use anyhow::Result;
use spanlet_e2e::bench_options::{Route, Settings};
use spanlet_e2e::generator::Pace;
use spanlet_e2e::sheet::Sheet;
use spanlet_e2e::sink::Sink;

use crate::beside::Watcher;
use crate::show;
use crate::subject::{Load, Subject};

const TITLE: &str = "What a span weighs on the wire (heads of HTTP included), at 3,000 requests/s";
const COLUMNS: [&str; 6] = [
    "compression",
    "spans",
    "bytes a span",
    "agent µs a request",
    "receiver µs a request",
    "function",
];
/// Low enough for every function.
const PER_SECOND: f64 = 3000.0;

pub fn measure(settings: &Settings) -> Result<()> {
    let sink = Sink::start()?;
    let mut table = Sheet::new(&COLUMNS);
    let Some(&runtime) = settings.functions.first() else {
        return Ok(());
    };
    for &route in &settings.routes {
        let subject = Subject::start(runtime, route)?;
        let compressions = ["none", "gzip"].into_iter();
        let rows = compressions.map(|name| row(settings, &sink, &subject, name));
        let rows = rows
            .map(|row| row.map(|cells| [cells, vec![described(runtime.name(), route)]].concat()))
            .collect::<Result<_>>()?;
        table.group("", rows);
    }
    show(settings, TITLE, &table);
    Ok(())
}

fn row(settings: &Settings, sink: &Sink, subject: &Subject, name: &str) -> Result<Vec<String>> {
    let environment = [("OTEL_EXPORTER_OTLP_COMPRESSION", name)];
    let backend = settings.backends[0];
    let mut watcher = Watcher::start_with(backend, &subject.pids(), sink, &environment)?;
    let run = subject.run(&Load {
        pace: Pace::PerSecond(PER_SECOND),
        time: settings.time * 2,
        burn_each: None,
    })?;
    let spent = watcher.spent(subject.spans(run.requests))?;
    watcher.finish()?;
    let received = spent.received;
    let spans = received.spans();
    let per_request = |nanoseconds: u64| nanoseconds as f64 / 1e3 / run.requests as f64;
    Ok(vec![
        name.to_owned(),
        spans.to_string(),
        format!("{:.1}", received.wire_bytes as f64 / spans as f64),
        format!("{:.1}", per_request(spent.cpu_ns)),
        format!("{:.1}", per_request(received.cpu_ns)),
    ])
}

fn described(runtime: &str, route: Route) -> String {
    match route {
        Route::Plain => runtime.to_owned(),
        Route::Call => format!("{runtime}, with a call"),
        Route::Https => format!("{runtime}, over TLS"),
    }
}
