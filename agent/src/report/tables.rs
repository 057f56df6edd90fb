//! The answer of `spanlet probes` as tables. In: a [`Report`]. Out: text for people. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::{Collector, Counter, NotTraced, Process, Report};
use crate::export::terminal::clean;

/// The metrics that say what became of spans and why; the others are in the wide form.
const TOLD: [&str; 10] = [
    "spanlet.kernel.losses",
    "spanlet.kernel.requests_lost",
    "spanlet.kernel.askers",
    "spanlet.kernel.tls",
    "spanlet.capture.skipped",
    "spanlet.decode.noted",
    "spanlet.enrich.parents",
    "spanlet.enrich.refused",
    "spanlet.enrich.unfollowed",
    "spanlet.export.dropped",
];

/// The widest column: what a kernel says of a program that it refuses may be longer than can be padded to.
const CELL_MAX: usize = u16::MAX as usize;

/// As tables. `wide` adds what most questions do not need: whole paths, every probe's purpose and every counter,
/// zeroes too.
pub fn text(report: &Report, wide: bool) -> String {
    let mut out = format!(
        "spanlet {} ({}), up {} s, I/O back end {}\n",
        report.version, report.commit, report.uptime_seconds, report.io_backend
    );
    state(report, &mut out);
    processes(report, wide, &mut out);
    probes(report, wide, &mut out);
    uprobes(report, wide, &mut out);
    not_attached(report, &mut out);
    not_traced(report, wide, &mut out);
    counters(report, wide, &mut out);
    out
}

/// What concerns the whole agent, a line each.
fn state(report: &Report, out: &mut String) {
    let _ = writeln!(out, "verified: {}", clean(&report.verified));
    if let Some(kubernetes) = &report.kubernetes {
        let (held, dropped) = (kubernetes.held_spans, kubernetes.dropped_spans);
        let _ = writeln!(out, "Kubernetes: {}", clean(&kubernetes.status));
        if held + dropped > 0 {
            let _ = writeln!(out, "{held} spans wait for it, {dropped} waited in vain");
        }
    }
    for collector in &report.collectors {
        let _ = writeln!(
            out,
            "{} {}: {}",
            collector.output,
            clean(&collector.endpoint),
            clean(&delivering(collector))
        );
    }
    if let Some(fault) = &report.configuration_fault {
        let fault = clean(fault);
        let _ = writeln!(out, "the newest configuration is not in effect: {fault}");
    }
}

fn delivering(collector: &Collector) -> String {
    match (collector.failing_seconds, collector.delivers) {
        (Some(seconds), _) => {
            let error = collector.last_error.as_deref().unwrap_or("");
            format!("failing for {seconds} s: {error}")
        }
        (None, true) => "delivers".to_owned(),
        (None, false) => "nothing was sent yet".to_owned(),
    }
}

fn processes(report: &Report, wide: bool, out: &mut String) {
    if report.processes.is_empty() {
        out.push_str("\nno process is traced yet\n");
        return;
    }
    let pods = report.kubernetes.is_some();
    let header = process_row(
        pods,
        wide,
        ["NAMESPACE", "POD", "CONTAINER"],
        [
            "PID",
            "SERVICE",
            "RUNTIME",
            "PORTS",
            "PROBES",
            "RECORDS",
            "SPANS",
            "LOST",
            "WHY TRACED",
            "EXECUTABLE",
        ],
    );
    let rows = report.processes.iter().map(|process| {
        let pod = process.pod.clone().unwrap_or_default();
        process_row(
            pods,
            wide,
            [pod.namespace, pod.name, pod.container],
            [
                process.pid.to_string(),
                process.service.clone(),
                runtime(process),
                numbers(&process.ports),
                process.attached.len().to_string(),
                process.records.to_string(),
                process.spans.to_string(),
                process.losses.to_string(),
                process.reason.clone(),
                process.executable.clone(),
            ],
        )
    });
    table(&header, rows.collect(), out);
    for process in &report.processes {
        if let Some(teller) = offsets_teller(process) {
            let _ = writeln!(
                out,
                "  {} ({}): offsets of {} are those of {}",
                clean(&process.service),
                process.pid,
                clean(&runtime(process)),
                clean(teller)
            );
        }
        for limit in &process.limits {
            let _ = writeln!(
                out,
                "  {} ({}): {}: {}; {}",
                clean(&process.service),
                process.pid,
                clean(&limit.what),
                clean(&limit.reason),
                clean(&limit.remedy)
            );
        }
    }
}

/// Go: who tells where it keeps what is read, unless that is the agent.
fn offsets_teller(process: &Process) -> Option<&str> {
    let itself = process
        .offsets_of_program
        .then_some("its own debug information");
    process.offsets_file.as_deref().or(itself)
}

/// The cells of a row: where there are pods, the number of probes gives them room.
fn process_row<T>(pods: bool, wide: bool, of_pod: [T; 3], cells: [T; 10]) -> Vec<T> {
    const PROBES: usize = 4;
    const EXECUTABLE: usize = 9;
    let mut row = Vec::new();
    let mut of_pod = Some(of_pod);
    for (column, cell) in cells.into_iter().enumerate() {
        let is_left_out = match column {
            PROBES => pods && !wide,
            EXECUTABLE => !wide,
            _ => false,
        };
        if !is_left_out {
            row.push(cell);
        }
        if pods {
            row.extend(of_pod.take().into_iter().flatten());
        }
    }
    row
}

pub(crate) fn runtime(process: &Process) -> String {
    match &process.runtime_version {
        Some(version) => format!("{} {version}", process.language),
        None => process.language.clone(),
    }
}

pub(crate) fn numbers(ports: &[u16]) -> String {
    let texts: Vec<_> = ports.iter().map(u16::to_string).collect();
    texts.join(",")
}

fn probes(report: &Report, wide: bool, out: &mut String) {
    let mut header = vec!["PROBE", "AT", "HITS MEASURED", "NS/HIT"];
    if wide {
        header.push("ENABLES");
    }
    let rows = report.probes.iter().map(|probe| {
        let cost = probe.nanoseconds_per_hit;
        let mut row = vec![
            probe.name.clone(),
            probe.at.clone(),
            match report.has_costs {
                true => probe.hits.to_string(),
                false => "-".to_owned(),
            },
            cost.map_or_else(|| "-".to_owned(), |cost| cost.to_string()),
        ];
        if wide {
            row.push(probe.enables.clone());
        }
        row
    });
    table(&header, rows.collect(), out);
    if !report.has_costs {
        out.push_str("costs are not measured: that needs CAP_SYS_ADMIN\n");
    }
}

fn uprobes(report: &Report, wide: bool, out: &mut String) {
    if report.uprobes.is_empty() {
        return;
    }
    let rows = report.uprobes.iter().map(|uprobe| {
        vec![
            uprobe.name.clone(),
            uprobe.place.clone(),
            uprobe.instruction.clone(),
            file(&uprobe.executable, wide).to_owned(),
            uprobe.processes.len().to_string(),
        ]
    });
    let header = ["UPROBE", "IN", "ON", "OF EXECUTABLE", "PROCESSES"];
    table(&header, rows.collect(), out);
}

fn not_attached(report: &Report, out: &mut String) {
    if report.not_attached.is_empty() {
        return;
    }
    let rows = report
        .not_attached
        .iter()
        .map(|left| vec![left.name.clone(), left.reason.clone(), left.without.clone()]);
    table(&["NOT ATTACHED", "WHY", "SO"], rows.collect(), out);
}

fn not_traced(report: &Report, wide: bool, out: &mut String) {
    let (of_pods, others): (Vec<_>, Vec<_>) = report
        .not_traced
        .iter()
        .partition(|process| process.pod.is_some());
    if !others.is_empty() {
        let rows = others.into_iter().map(|process| {
            vec![
                process.pid.to_string(),
                executable(process, wide).to_owned(),
                numbers(&process.ports),
                process.reason.clone(),
                process.remedy.clone(),
            ]
        });
        let header = ["NOT TRACED", "EXECUTABLE", "PORTS", "WHY", "WHAT TO DO"];
        table(&header, rows.collect(), out);
    }
    if !of_pods.is_empty() {
        pods_not_traced(&of_pods, wide, out);
    }
}

/// Processes of pods that are not traced for the same reason are one row: of a namespace, in the wide form of a pod.
fn pods_not_traced(processes: &[&NotTraced], wide: bool, out: &mut String) {
    let mut groups: BTreeMap<_, Vec<&NotTraced>> = BTreeMap::new();
    for process in processes {
        let Some(pod) = &process.pod else { continue };
        let name = if wide { pod.name.as_str() } else { "" };
        let group = (
            pod.namespace.as_str(),
            name,
            &process.reason,
            &process.remedy,
        );
        groups.entry(group).or_default().push(process);
    }
    let rows = groups.into_iter().map(|(group, processes)| {
        let (namespace, _, reason, remedy) = group;
        let pods = processes.iter().filter_map(|process| process.pod.as_ref());
        vec![
            namespace.to_owned(),
            several(pods.map(|pod| pod.name.as_str()), "pods"),
            several(
                processes.iter().map(|process| executable(process, wide)),
                "executables",
            ),
            processes.len().to_string(),
            reason.clone(),
            remedy.clone(),
        ]
    });
    let header = [
        "NOT TRACED IN",
        "POD",
        "EXECUTABLE",
        "PROCESSES",
        "WHY",
        "WHAT TO DO",
    ];
    table(&header, rows.collect(), out);
}

/// A text that all have, or how many texts there are.
fn several<'a>(texts: impl Iterator<Item = &'a str>, what: &str) -> String {
    let texts: BTreeSet<&str> = texts.collect();
    match (texts.first(), texts.len()) {
        (Some(text), 1) => (*text).to_owned(),
        (_, many) => format!("{many} {what}"),
    }
}

fn executable(process: &NotTraced, wide: bool) -> &str {
    file(&process.executable, wide)
}

fn file(path: &str, wide: bool) -> &str {
    match wide {
        true => path,
        false => path.rsplit('/').next().unwrap_or(path),
    }
}

/// Whether a counter says something of spans.
pub(crate) fn is_told(counter: &Counter) -> bool {
    counter.value > 0 && TOLD.contains(&counter.room.as_str())
}

fn counters(report: &Report, wide: bool, out: &mut String) {
    let shown = report
        .counters
        .iter()
        .filter(|counter| wide || is_told(counter));
    let rows: Vec<_> = shown
        .map(|counter| {
            vec![
                counter.room.clone(),
                counter.name.clone(),
                counter.value.to_string(),
            ]
        })
        .collect();
    if !rows.is_empty() {
        table(&["COUNTER", "OF WHAT", "VALUE"], rows, out);
    }
}

/// A table with columns as wide as their widest cell; numbers to the right. Cells may be text from outside, which is to do
/// nothing to a terminal.
pub(crate) fn table(header: &[&str], rows: Vec<Vec<String>>, out: &mut String) {
    let cleaned = |row: Vec<String>| row.iter().map(|cell| clean(cell)).collect();
    let rows: Vec<Vec<String>> = rows.into_iter().map(cleaned).collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells
            .chain([header[column].len()])
            .max()
            .unwrap_or_default()
            .min(CELL_MAX)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    out.push('\n');
    line(header.iter().map(|cell| (*cell).to_owned()), &widths, out);
    for row in rows {
        line(row.into_iter(), &widths, out);
    }
}

fn line(cells: impl Iterator<Item = String>, widths: &[usize], out: &mut String) {
    let start = out.len();
    for (cell, width) in cells.zip(widths) {
        let number = !cell.is_empty() && cell.bytes().all(|byte| byte.is_ascii_digit());
        let _ = if number {
            write!(out, "{cell:>width$}  ")
        } else {
            write!(out, "{cell:<width$}  ")
        };
    }
    let end = out[start..].trim_end().len();
    out.truncate(start + end);
    out.push('\n');
}
