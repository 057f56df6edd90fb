//! What `spanlet probes` shows: each traced process, what is attached, what it costs, what was lost; and what is not
//! attached, why, and what to do. Plain data, written as JSON or, by [`tables`], for people.

mod tables;

use serde::{Deserialize, Serialize};

pub use tables::text;
pub(crate) use tables::{is_told, numbers, runtime, table};

/// The answer of the running agent. Its JSON form is the output of `spanlet probes --output json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub version: String,
    pub commit: String,
    pub uptime_seconds: u64,
    pub io_backend: String,
    /// Whether the agent has seen a request of its own to itself: `yes`, `not yet`, `no: …`.
    pub verified: String,
    /// Where it is on.
    pub kubernetes: Option<Kubernetes>,
    /// How delivering goes, for each collector.
    #[serde(default)]
    pub collectors: Vec<Collector>,
    /// What is wrong with the newest configuration, while the one before is in effect.
    pub configuration_fault: Option<String>,
    pub processes: Vec<Process>,
    /// Whether the kernel measures what probes cost: that needs CAP_SYS_ADMIN.
    pub has_costs: bool,
    pub probes: Vec<Probe>,
    /// Where in executables probes are attached.
    #[serde(default)]
    pub uprobes: Vec<Uprobe>,
    pub not_attached: Vec<NotAttached>,
    /// Processes that are not traced: those that listen, and with Kubernetes all that are in pods.
    pub not_traced: Vec<NotTraced>,
    /// Everything counted, by room and name; what was lost is among it.
    pub counters: Vec<Counter>,
}

/// How the agent knows of pods.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Kubernetes {
    /// All that is asked of the API server is known.
    pub is_good: bool,
    /// `connected: …`, or what is not known, since when and why.
    pub status: String,
    /// Spans that wait for what it says of their process, and those that waited in vain.
    pub held_spans: u64,
    pub dropped_spans: u64,
}

/// Where spans are sent, and how that goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collector {
    /// `otlp`
    pub output: String,
    /// Scheme, host and port.
    pub endpoint: String,
    /// What was sent last was taken.
    pub delivers: bool,
    /// How long nothing was taken, and what the last try said. `None`: nothing failed since.
    pub failing_seconds: Option<u64>,
    pub last_error: Option<String>,
}

/// The pod that a process is in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pod {
    pub namespace: String,
    pub name: String,
    /// Empty: not known, or in none.
    pub container: String,
}

/// A traced process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Process {
    pub pid: u32,
    pub pod: Option<Pod>,
    pub service: String,
    pub language: String,
    pub runtime_version: Option<String>,
    /// Go: the user's file that tells where its release keeps what is read; `None`: nobody, or somebody else, does.
    #[serde(default)]
    pub offsets_file: Option<String>,
    /// Go: the program's own debug information tells.
    #[serde(default)]
    pub offsets_of_program: bool,
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

/// A probe attached to an executable.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Uprobe {
    /// Of its probe.
    pub name: String,
    /// As one of its processes calls it.
    pub executable: String,
    /// Function and offset.
    pub place: String,
    /// The same as bytes from the start of the file.
    pub file_offset: u64,
    /// What is there.
    pub instruction: String,
    /// The traced processes that run it.
    pub processes: Vec<u32>,
}

/// A probe that is not attached.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NotAttached {
    pub name: String,
    pub reason: String,
    pub without: String,
}

/// A process that is not traced.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NotTraced {
    pub pid: u32,
    pub pod: Option<Pod>,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Report {
        Report {
            has_costs: true,
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
    fn whose_offsets_are_not_the_agents_own_is_said() {
        let mut report = sample();
        report.processes[0].offsets_file = Some("/etc/offsets.txt".into());
        let told = "  orders (12): offsets of go 1.26.8 are those of /etc/offsets.txt\n";
        assert!(text(&report, false).contains(told));
        assert!(!text(&sample(), false).contains("offsets"));
        report.processes[0].offsets_file = None;
        report.processes[0].offsets_of_program = true;
        let told = "  orders (12): offsets of go 1.26.8 are those of its own debug information\n";
        assert!(text(&report, false).contains(told));
    }

    /// Processes choose their names and paths; who reads a table has a terminal.
    #[test]
    fn nothing_from_outside_commands_the_terminal() {
        const EVIL: &str = "\u{1b}]0;x\u{7}\r\n\u{9b}2J\u{202e}";
        let mut report = sample();
        report.verified = EVIL.into();
        report.configuration_fault = Some(EVIL.into());
        for process in &mut report.processes {
            process.service = EVIL.into();
            process.executable = EVIL.into();
            process
                .limits
                .iter_mut()
                .for_each(|limit| limit.what = EVIL.into());
        }
        let clean = crate::export::terminal::clean(EVIL);
        for wide in [false, true] {
            let text = text(&report, wide);
            let commands = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
            assert!(!text.contains(commands), "{text:?}");
            assert!(text.lines().all(|line| !line.starts_with("2J")));
            assert!(text.contains(&format!("verified: {clean}\n")), "{text}");
            assert!(
                text.contains(&format!("not in effect: {clean}\n")),
                "{text}"
            );
            assert!(
                text.contains(&format!("  {clean} (12): {clean}: ")),
                "{text}"
            );
        }
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
                pod: None,
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
    fn costs_that_are_not_measured_are_not_zero() {
        let report = Report {
            has_costs: false,
            ..sample()
        };
        let text = text(&report, false);
        assert!(text.contains("raw_tp/sys_exit  -"), "{text}");
        assert!(text.contains("needs CAP_SYS_ADMIN"), "{text}");
    }

    fn refused(pid: u32, pod: &str, executable: &str) -> NotTraced {
        NotTraced {
            pid,
            pod: Some(Pod {
                namespace: "shop".into(),
                name: pod.into(),
                container: "web".into(),
            }),
            executable: executable.into(),
            reason: "namespace shop is not labelled".into(),
            remedy: "label it".into(),
            ..NotTraced::default()
        }
    }

    #[test]
    fn processes_of_pods_that_are_not_traced_are_few_lines() {
        let mut not_traced: Vec<_> = (0..50)
            .map(|pid| refused(pid, "web-1", "/usr/sbin/nginx"))
            .collect();
        not_traced.push(refused(50, "web-2", "/pause"));
        let report = Report {
            not_traced,
            ..Report::default()
        };
        let narrow = text(&report, false);
        let row = "shop           2 pods  2 executables         51  namespace shop is not labelled  label it\n";
        assert!(narrow.contains(row), "{narrow}");
        let wide = text(&report, true);
        let row = "shop           web-1  /usr/sbin/nginx         50  namespace shop is not labelled  label it\n";
        assert!(wide.contains(row), "{wide}");
        let json = serde_json::to_string(&report).unwrap();
        assert_eq!(json.matches("nginx").count(), 50, "JSON has all");
    }

    #[test]
    fn pods_have_their_columns_where_there_are_any() {
        let mut report = sample();
        report.kubernetes = Some(Kubernetes {
            is_good: true,
            status: "connected".into(),
            held_spans: 3,
            dropped_spans: 1,
        });
        report.processes[0].pod = Some(Pod {
            namespace: "shop".into(),
            name: "orders-5d4".into(),
            container: "orders".into(),
        });
        let text = text(&report, false);
        assert!(text.contains("Kubernetes: connected\n3 spans wait for it, 1 waited in vain\n"));
        let rows = "PID  NAMESPACE  POD         CONTAINER  SERVICE  RUNTIME    PORTS   RECORDS  SPANS  LOST  WHY TRACED\n 12  shop       orders-5d4  orders     orders   go 1.26.8  80,443     1000      5     0  --pid\n";
        assert!(text.contains(rows), "{text}");
    }

    #[test]
    fn a_configuration_that_is_not_in_effect_is_told() {
        let report = Report {
            verified: "no: neither half".into(),
            configuration_fault: Some("query: unknown".into()),
            ..Report::default()
        };
        let text = text(&report, false);
        assert!(text.contains("\nverified: no: neither half\n"), "{text}");
        assert!(text.contains("not in effect: query: unknown\n"), "{text}");
    }

    #[test]
    fn a_collector_that_takes_nothing_is_told() {
        let collector = |failing_seconds: Option<u64>, last_error: Option<&str>| Collector {
            output: "otlp".into(),
            endpoint: "http://nobody:4318".into(),
            delivers: failing_seconds.is_none(),
            failing_seconds,
            last_error: last_error.map(Into::into),
        };
        let mut report = Report {
            collectors: vec![collector(Some(12), Some("connection refused"))],
            ..Report::default()
        };
        let line = "\notlp http://nobody:4318: failing for 12 s: connection refused\n";
        assert!(text(&report, false).contains(line));
        report.collectors = vec![collector(None, None)];
        assert!(text(&report, false).contains("\notlp http://nobody:4318: delivers\n"));
        report.collectors[0].delivers = false;
        assert!(text(&report, false).contains("4318: nothing was sent yet\n"));
    }

    #[test]
    fn json_comes_back_as_it_went() {
        let json = serde_json::to_string(&sample()).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), sample());
    }
}
