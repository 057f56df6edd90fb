//! What `spanlet probes` shows: each traced process, what is attached, what it costs, what was lost; and what is not
//! attached, why, and what to do. Plain data, written as JSON or as tables for people.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

/// The answer of the running agent. Its JSON form is the output of `spanlet probes --output json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub version: String,
    pub commit: String,
    pub uptime_seconds: u64,
    pub io_backend: String,
    pub processes: Vec<Process>,
    pub probes: Vec<Probe>,
    pub not_attached: Vec<NotAttached>,
    /// Processes that listen and are not traced.
    pub not_traced: Vec<NotTraced>,
    /// Everything counted, by room and name; what was lost is among it.
    pub counters: Vec<Counter>,
}

/// A traced process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Process {
    pub pid: u32,
    pub service: String,
    pub language: String,
    pub runtime_version: Option<String>,
    pub executable: String,
    /// Why it is traced.
    pub reason: String,
    pub ports: Vec<u16>,
    /// Names of the probes that see it.
    pub attached: Vec<String>,
    /// Records that the kernel side wrote, and lost, of it.
    pub records: u64,
    pub losses: u64,
    pub spans: u64,
    pub opaque_connections: u64,
    pub limits: Vec<Limit>,
}

/// What is not seen of a process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Limit {
    pub what: String,
    pub reason: String,
    pub remedy: String,
}

/// An attached probe, and what it cost while `spanlet probes` measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    pub name: String,
    pub at: String,
    pub enables: String,
    pub hits: u64,
    pub nanoseconds_per_hit: Option<u64>,
    /// Instructions that the kernel keeps of it, and those that its verifier looked at.
    pub instructions: Option<u32>,
    pub verified_instructions: Option<u32>,
}

/// A probe that is not attached.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NotAttached {
    pub name: String,
    pub reason: String,
    pub without: String,
}

/// A process that listens and is not traced.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NotTraced {
    pub pid: u32,
    pub executable: String,
    pub ports: Vec<u16>,
    pub reason: String,
    pub remedy: String,
}

/// One counter.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counter {
    pub room: String,
    pub name: String,
    pub value: u64,
}

/// The metrics that say what became of spans and why; the others are in the wide form.
const TOLD: [&str; 8] = [
    "spanlet.kernel.losses",
    "spanlet.kernel.requests_lost",
    "spanlet.capture.skipped",
    "spanlet.decode.noted",
    "spanlet.enrich.parents",
    "spanlet.enrich.refused",
    "spanlet.enrich.unfollowed",
    "spanlet.export.dropped",
];

/// As tables. `wide` adds what most questions do not need: whole paths, every probe's purpose and every counter,
/// zeroes too.
pub fn text(report: &Report, wide: bool) -> String {
    let mut out = format!(
        "spanlet {} ({}), up {} s, I/O back end {}\n",
        report.version, report.commit, report.uptime_seconds, report.io_backend
    );
    processes(report, wide, &mut out);
    probes(report, wide, &mut out);
    not_attached(report, &mut out);
    not_traced(report, wide, &mut out);
    counters(report, wide, &mut out);
    out
}

fn processes(report: &Report, wide: bool, out: &mut String) {
    if report.processes.is_empty() {
        out.push_str("\nno process is traced yet\n");
        return;
    }
    let mut header = vec![
        "PID",
        "SERVICE",
        "RUNTIME",
        "PORTS",
        "PROBES",
        "RECORDS",
        "SPANS",
        "LOST",
        "WHY TRACED",
    ];
    if wide {
        header.push("EXECUTABLE");
    }
    let rows = report.processes.iter().map(|process| {
        let mut row = vec![
            process.pid.to_string(),
            process.service.clone(),
            runtime(process),
            numbers(&process.ports),
            process.attached.len().to_string(),
            process.records.to_string(),
            process.spans.to_string(),
            process.losses.to_string(),
            process.reason.clone(),
        ];
        if wide {
            row.push(process.executable.clone());
        }
        row
    });
    table(&header, rows.collect(), out);
    for process in &report.processes {
        for limit in &process.limits {
            let _ = writeln!(
                out,
                "  {} ({}): {}: {}; {}",
                process.service, process.pid, limit.what, limit.reason, limit.remedy
            );
        }
    }
}

fn runtime(process: &Process) -> String {
    match &process.runtime_version {
        Some(version) => format!("{} {version}", process.language),
        None => process.language.clone(),
    }
}

fn numbers(ports: &[u16]) -> String {
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
            probe.hits.to_string(),
            cost.map_or_else(|| "-".to_owned(), |cost| cost.to_string()),
        ];
        if wide {
            row.push(probe.enables.clone());
        }
        row
    });
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
    if report.not_traced.is_empty() {
        return;
    }
    let rows = report.not_traced.iter().map(|process| {
        let path = &process.executable;
        let name = path.rsplit('/').next().unwrap_or(path);
        vec![
            process.pid.to_string(),
            if wide { path } else { name }.to_owned(),
            numbers(&process.ports),
            process.reason.clone(),
            process.remedy.clone(),
        ]
    });
    table(
        &["NOT TRACED", "EXECUTABLE", "PORTS", "WHY", "WHAT TO DO"],
        rows.collect(),
        out,
    );
}

fn counters(report: &Report, wide: bool, out: &mut String) {
    let told = |counter: &&Counter| counter.value > 0 && TOLD.contains(&counter.room.as_str());
    let shown = report
        .counters
        .iter()
        .filter(|counter| wide || told(counter));
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

/// A table with columns as wide as their widest cell; numbers to the right.
pub(crate) fn table(header: &[&str], rows: Vec<Vec<String>>, out: &mut String) {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells
            .chain([header[column].len()])
            .max()
            .unwrap_or_default()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Report {
        Report {
            version: "0.1.0".into(),
            commit: "abc".into(),
            uptime_seconds: 7,
            io_backend: "sys-exit".into(),
            processes: vec![Process {
                pid: 12,
                service: "orders".into(),
                language: "go".into(),
                runtime_version: Some("1.26.8".into()),
                ports: vec![80, 443],
                attached: vec!["sys_exit".into()],
                records: 1000,
                spans: 5,
                reason: "--pid".into(),
                limits: vec![Limit {
                    what: "io_uring".into(),
                    reason: "not seen".into(),
                    remedy: "turn it off".into(),
                }],
                ..Process::default()
            }],
            probes: vec![Probe {
                name: "sys_exit".into(),
                at: "raw_tp/sys_exit".into(),
                hits: 3,
                nanoseconds_per_hit: Some(120),
                ..Probe::default()
            }],
            counters: vec![
                Counter {
                    room: "spanlet.kernel.losses".into(),
                    name: "ring_full".into(),
                    value: 0,
                },
                Counter {
                    room: "spanlet.decode.noted".into(),
                    name: "malformed".into(),
                    value: 2,
                },
                Counter {
                    room: "spanlet.ring.bytes".into(),
                    name: String::new(),
                    value: 4096,
                },
            ],
            ..Report::default()
        }
    }

    #[test]
    fn tables_line_up_and_say_what_is_not_seen() {
        let text = text(&sample(), false);
        assert!(text.contains("PID  SERVICE  RUNTIME    PORTS   PROBES  RECORDS  SPANS  LOST  WHY TRACED\n 12  orders   go 1.26.8  80,443       1     1000      5     0  --pid\n"), "{text}");
        assert!(text.contains("orders (12): io_uring: not seen; turn it off"));
        assert!(text.contains("spanlet.decode.noted  malformed      2"));
        assert!(
            !text.contains("ring_full"),
            "zeroes are only in the wide form"
        );
        assert!(
            !text.contains("ring.bytes"),
            "and what says nothing of spans"
        );
    }

    #[test]
    fn the_wide_form_has_every_counter() {
        let text = text(&sample(), true);
        assert!(text.contains("ring_full") && text.contains("ring.bytes"));
    }

    #[test]
    fn what_is_not_traced_is_named_by_its_file_or_in_the_wide_form_by_its_path() {
        let report = Report {
            not_traced: vec![NotTraced {
                pid: 7,
                executable: "/usr/bin/python3.11".into(),
                ports: vec![8080],
                reason: "nothing selects it".into(),
                remedy: "--pid 7".into(),
            }],
            ..Report::default()
        };
        let row = "         7  python3.11   8080  nothing selects it  --pid 7\n";
        assert!(
            text(&report, false).contains(row),
            "{}",
            text(&report, false)
        );
        assert!(text(&report, true).contains("  /usr/bin/python3.11  "));
    }

    #[test]
    fn json_comes_back_as_it_went() {
        let json = serde_json::to_string(&sample()).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), sample());
    }
}
