//! `spanlet doctor`: each kernel feature tried, what it enables, what its absence costs. Touches the kernel.
//!
//! Nothing is asked of version numbers: what can be tried is tried.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use spanlet_abi::settings::{Settings, ABSENT};

use crate::attach::btf::Btf;
use crate::attach::discover;
use crate::attach::offsets::{missing, offsets};
use crate::attach::plan::{BackEnd, Wish, READ_WAIT, WRITE_BEGIN};
use crate::attach::probes::{has_thread_clocks, small_maps, Probes, Request};
use crate::report::table;

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Works,
    /// Something is not seen or costs more.
    Missing,
    /// Nothing can be traced.
    Fatal,
}

/// One row. A list of them as JSON is the output of `spanlet doctor --output json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    pub feature: Cow<'static, str>,
    pub outcome: Outcome,
    /// What was found.
    pub found: String,
    pub enables: Cow<'static, str>,
    /// What its absence costs, and what to do.
    pub without: Cow<'static, str>,
}

/// Tries everything.
pub fn examine() -> Vec<Check> {
    let mut checks = vec![privileges(), process_namespace()];
    let offsets = match Btf::of_kernel() {
        Ok(btf) => {
            checks.push(check("kernel types (BTF)", Ok("read".into()), TYPES));
            Some(offsets(&btf))
        }
        Err(error) => {
            checks.push(check(
                "kernel types (BTF)",
                Err((Outcome::Fatal, error.to_string())),
                TYPES,
            ));
            None
        }
    };
    if let Some(offsets) = offsets {
        let lacking = missing(&offsets);
        let found = match lacking.is_empty() {
            true => Ok("all there".to_owned()),
            false => Err((Outcome::Fatal, format!("missing: {}", lacking.join(", ")))),
        };
        checks.push(check("fields of sockets and tasks", found, FIELDS));
        checks.push(check(
            "scheduler totals",
            there(has_thread_clocks(&offsets)),
            CLOCKS,
        ));
        checks.push(check(
            "thread-local base",
            there(offsets.task_fsbase != ABSENT),
            GOROUTINES,
        ));
    }
    checks.extend(probes());
    checks
}

type Words = (&'static str, &'static str);

const TYPES: Words = (
    "finding fields in the kernel",
    "nothing is traced: run a kernel with CONFIG_DEBUG_INFO_BTF",
);
const FIELDS: Words = ("reading sockets", "nothing is traced on this kernel");
const CLOCKS: Words = (
    "spanlet.cpu_time and spanlet.run_queue_wait",
    "spans do not say what a request cost",
);
const GOROUTINES: Words = (
    "parents by goroutine and by task",
    "Go, asyncio: parents by headers, connections and lone requests only",
);
const UPROBES: Words = (
    "parents in Go over reused connections, of asyncio's and tokio's tasks, on uvloop",
    "such parents are missing while requests overlap",
);
const BACK_END: Words = (
    "reads from and writes to sockets",
    "the other back end is used",
);

fn there(there: bool) -> Result<String, (Outcome, String)> {
    match there {
        true => Ok("there".to_owned()),
        false => Err((
            Outcome::Missing,
            "this kernel does not have them".to_owned(),
        )),
    }
}

fn check(feature: &'static str, found: Result<String, (Outcome, String)>, words: Words) -> Check {
    let (outcome, found) = match found {
        Ok(found) => (Outcome::Works, found),
        Err(reason) => reason,
    };
    Check {
        feature: feature.into(),
        outcome,
        found,
        enables: words.0.into(),
        without: words.1.into(),
    }
}

/// Bits of a capability set (include/uapi/linux/capability.h), and what each is for. CAP_SYS_ADMIN stands for the
/// first two.
const CAPABILITIES: [(u32, &str); 4] = [
    (39, "CAP_BPF"),
    (38, "CAP_PERFMON"),
    (19, "CAP_SYS_PTRACE"),
    (2, "CAP_DAC_READ_SEARCH"),
];
const SYS_ADMIN: u32 = 21;

fn privileges() -> Check {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let found = match lacking(&status).as_slice() {
        [] => Ok("all there".to_owned()),
        lacking => Err((Outcome::Missing, format!("no {}", lacking.join(", ")))),
    };
    let words = (
        "loading programs, reading processes",
        "CAP_BPF, CAP_PERFMON: nothing is traced; the others: processes of other users have no names and no ports",
    );
    check("privileges", found, words)
}

/// The capabilities that are not in effect, by `/proc/self/status`.
fn lacking(status: &str) -> Vec<&'static str> {
    let mut lines = status.lines();
    let set = lines.find_map(|line| line.strip_prefix("CapEff:"));
    let set = set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
    let set = set.unwrap_or_default();
    let has = |bit: u32| set >> bit & 1 == 1;
    let given = |bit: u32| has(bit) || bit >= 38 && has(SYS_ADMIN);
    CAPABILITIES
        .into_iter()
        .filter(|(bit, _)| !given(*bit))
        .map(|(_, name)| name)
        .collect()
}

fn process_namespace() -> Check {
    let found = match discover::in_initial_pid_namespace() {
        true => Ok("the node's".to_owned()),
        false => Err((Outcome::Fatal, "another than the node's".to_owned())),
    };
    let words = (
        "naming processes as the kernel does",
        "processes would be mistaken for others: run with the node's PID namespace (hostPID: true)",
    );
    check("PID namespace", found, words)
}

/// What is said of a back end that was not tried: checking `sys_exit` takes the kernel some 28 MiB, which since Linux 6.17 it
/// charges to the pod beside whose agent this runs.
const NOT_NEEDED: &str = "not needed: the back end before it works";

/// Loads and attaches the back ends in turn until one works, tracing nobody.
fn probes() -> Vec<Check> {
    let mut checks = Vec::new();
    let mut extras = None;
    let mut uprobe = Err("not tried: no back end works".to_owned());
    for (back_end, feature) in BackEnd::ALL
        .into_iter()
        .zip(["socket tracepoints", "sys_exit"])
    {
        if extras.is_some() {
            checks.push(check(feature, Ok(NOT_NEEDED.to_owned()), BACK_END));
            continue;
        }
        let found = match attach(back_end) {
            Ok(mut probes) => {
                uprobe = probes.try_uprobe();
                extras = Some((probes.attached.clone(), probes.left.clone()));
                Ok(format!("works ({})", names(back_end)))
            }
            Err(error) => Err((Outcome::Missing, first_line(&error.to_string()))),
        };
        checks.push(check(feature, found, BACK_END));
    }
    if checks.iter().all(|check| check.outcome != Outcome::Works) {
        checks
            .iter_mut()
            .for_each(|check| check.outcome = Outcome::Fatal);
    }
    let (attached, left) = extras.unwrap_or_default();
    for probe in [READ_WAIT, WRITE_BEGIN] {
        let found = match left.iter().find(|left| left.probe == probe) {
            _ if attached.contains(&probe) => Ok("works".to_owned()),
            Some(left) => Err((Outcome::Missing, first_line(&left.reason))),
            None => Err((Outcome::Missing, "not tried: no back end works".to_owned())),
        };
        checks.push(check(probe.name, found, (probe.enables, probe.without)));
    }
    let found = uprobe.map(|()| "work".to_owned());
    let found = found.map_err(|reason| (Outcome::Missing, first_line(&reason)));
    checks.push(check("uprobes", found, UPROBES));
    checks
}

fn attach(back_end: BackEnd) -> Result<Probes, crate::attach::Error> {
    let request = Request {
        wish: Wish {
            back_end: Some(back_end),
            read_wait: true,
        },
        settings: Settings::default(),
        map_sizes: small_maps(),
    };
    Probes::attach(&request).map(|(probes, _ring)| probes)
}

fn names(back_end: BackEnd) -> String {
    let names: Vec<_> = back_end.probes().iter().map(|probe| probe.name).collect();
    names.join(", ")
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

/// Whether anything can be traced.
pub fn can_trace(checks: &[Check]) -> bool {
    checks.iter().all(|check| check.outcome != Outcome::Fatal)
}

/// An outcome in a word.
pub(crate) fn mark(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Works => "ok",
        Outcome::Missing => "missing",
        Outcome::Fatal => "FATAL",
    }
}

/// What it enables, or what its absence costs.
pub(crate) fn meaning(check: &Check) -> &str {
    match check.outcome {
        Outcome::Works => &check.enables,
        Outcome::Missing | Outcome::Fatal => &check.without,
    }
}

/// As a table, with a line of conclusion.
pub fn text(checks: &[Check]) -> String {
    let rows = checks.iter().map(|check| {
        vec![
            mark(check.outcome).to_owned(),
            check.feature.to_string(),
            check.found.clone(),
            meaning(check).to_owned(),
        ]
    });
    let mut out = String::new();
    table(
        &["", "FEATURE", "FOUND", "ENABLES, OR COSTS WHEN MISSING"],
        rows.collect(),
        &mut out,
    );
    out.push_str(match can_trace(checks) {
        true => "\nspanlet can trace here\n",
        false => "\nspanlet cannot trace here\n",
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_count_and_not_the_user() {
        let of = |set: &str| lacking(&format!("Name:\tspanlet\nCapEff:\t{set}\nSeccomp:\t0\n"));
        assert!(of("000001ffffffffff").is_empty(), "root");
        assert!(of("000000c000080004").is_empty(), "these four alone");
        assert!(of("0000000000280004").is_empty(), "before CAP_BPF");
        assert_eq!(of("000000c000080000"), ["CAP_DAC_READ_SEARCH"]);
        assert_eq!(of("0000000000000000").len(), 4);
    }

    #[test]
    fn a_fatal_check_says_that_nothing_can_be_traced() {
        let works = check("a", Ok("there".into()), ("seeing", "blindness"));
        let fatal = check(
            "b",
            Err((Outcome::Fatal, "gone".into())),
            ("seeing", "blindness"),
        );
        assert!(can_trace(std::slice::from_ref(&works)));
        assert!(
            text(std::slice::from_ref(&works)).contains("ok  a"),
            "{}",
            text(std::slice::from_ref(&works))
        );
        let text = text(&[works, fatal]);
        assert!(text.contains("FATAL  b        gone   blindness"), "{text}");
        assert!(text.ends_with("spanlet cannot trace here\n"));
    }
}
