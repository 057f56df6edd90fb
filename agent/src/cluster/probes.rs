//! What is traced on every node of a cluster. In: each node's report. Out: tables over all nodes. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::reach::Answer;
use super::{count, not_reached, said};
use crate::export::terminal::clean;
use crate::report::{
    is_told, numbers, runtime, table, Kubernetes, NotTraced, Pod, Probe, Process, Report,
};

/// What is shown of what the nodes said.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    /// Only processes of this namespace's pods; `None`: of all, and those outside pods.
    pub namespace: Option<String>,
    /// What most questions do not need.
    pub wide: bool,
}

/// Names in a cell; of more, only how many.
const NAMED: usize = 2;

/// As tables.
pub fn text(answers: &[Answer<Report>], shown: &Shown) -> String {
    let mut out = count(answers);
    agents(answers, &mut out);
    not_reached(answers, &mut out);
    processes(answers, shown, &mut out);
    not_traced(answers, shown, &mut out);
    probes(answers, &mut out);
    not_attached(answers, &mut out);
    counters(answers, shown, &mut out);
    out
}

/// Leaves of each report what is to be shown, for the JSON form.
pub fn narrow(answers: &mut [Answer<Report>], shown: &Shown) {
    for answer in answers {
        if let super::reach::Said::Report(report) = &mut answer.said {
            report.processes.retain(|process| shown.shows(&process.pod));
            report
                .not_traced
                .retain(|process| shown.shows(&process.pod));
        }
    }
}

impl Shown {
    fn shows(&self, pod: &Option<Pod>) -> bool {
        match &self.namespace {
            None => true,
            Some(namespace) => pod.as_ref().is_some_and(|pod| pod.namespace == *namespace),
        }
    }
}

fn agents(answers: &[Answer<Report>], out: &mut String) {
    let rows = said(answers).map(|(node, report)| {
        let kubernetes = report.kubernetes.as_ref();
        let sum = |of: fn(&Process) -> u64| report.processes.iter().map(of).sum::<u64>();
        vec![
            node.to_owned(),
            format!("{} ({})", report.version, report.commit),
            age(report.uptime_seconds),
            report.io_backend.clone(),
            report.verified.clone(),
            report.processes.len().to_string(),
            sum(|process| process.spans).to_string(),
            sum(|process| process.losses).to_string(),
            kubernetes.map_or("off", state).to_owned(),
        ]
    });
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        return;
    }
    let header = [
        "NODE",
        "AGENT",
        "UP",
        "I/O BACK END",
        "VERIFIED",
        "TRACED",
        "SPANS",
        "LOST",
        "KUBERNETES",
    ];
    table(&header, rows, out);
    for (node, report) in said(answers) {
        if let Some(trouble) = report.kubernetes.as_ref().filter(|known| !known.is_good) {
            let (node, status) = (clean(node), clean(&trouble.status));
            out.push_str(&format!("  {node}: Kubernetes: {status}\n"));
        }
        if let Some(fault) = &report.configuration_fault {
            let (node, fault) = (clean(node), clean(fault));
            out.push_str(&format!(
                "  {node}: the configuration is not used: {fault}\n"
            ));
        }
    }
}

/// How an agent knows of pods, in a word.
fn state(kubernetes: &Kubernetes) -> &'static str {
    match kubernetes.is_good {
        true => "connected",
        false => "see below",
    }
}

fn processes(answers: &[Answer<Report>], shown: &Shown, out: &mut String) {
    let all = said(answers).flat_map(|(node, report)| {
        let mine = report.processes.iter();
        mine.map(move |process| (node, process))
    });
    let mut all: Vec<_> = all
        .filter(|(_, process)| shown.shows(&process.pod))
        .collect();
    if all.is_empty() {
        let place = shown.namespace.as_ref();
        let place = place.map_or_else(String::new, |name| {
            format!(" in namespace {name} (all: -A)")
        });
        out.push_str(&format!("\nno process is traced{place}\n"));
        return;
    }
    all.sort_by_key(|(node, process)| (names(&process.pod), *node, process.pid));
    let mut header = vec![
        "NAMESPACE",
        "POD",
        "CONTAINER",
        "NODE",
        "SERVICE",
        "RUNTIME",
    ];
    header.extend(["PORTS", "SPANS", "LOST", "WHY TRACED"]);
    if shown.wide {
        header.extend(["PID", "EXECUTABLE"]);
    }
    let rows = all.into_iter().map(|(node, process)| {
        let mut row: Vec<String> = names(&process.pod).map(str::to_owned).into();
        row.extend([
            node.to_owned(),
            process.service.clone(),
            runtime(process),
            numbers(&process.ports),
            process.spans.to_string(),
            process.losses.to_string(),
            process.reason.clone(),
        ]);
        if shown.wide {
            row.extend([process.pid.to_string(), process.executable.clone()]);
        }
        row
    });
    table(&header, rows.collect(), out);
}

/// A row for each namespace and reason, in the wide form for each pod, whatever the number of processes.
fn not_traced(answers: &[Answer<Report>], shown: &Shown, out: &mut String) {
    let mut groups: BTreeMap<[&str; 4], Vec<(&str, &NotTraced)>> = BTreeMap::new();
    for (node, report) in said(answers) {
        for process in &report.not_traced {
            // What listens on a node outside pods is not what a cluster's user asks for.
            if shown.shows(&process.pod) && (process.pod.is_some() || shown.wide) {
                let [namespace, pod, _] = names(&process.pod);
                let pod = if shown.wide { pod } else { "" };
                let key = [namespace, pod, &process.reason, &process.remedy];
                groups.entry(key).or_default().push((node, process));
            }
        }
    }
    if groups.is_empty() {
        return;
    }
    let rows = groups.into_iter().map(|([namespace, _, why, remedy], of)| {
        let executable = |process: &NotTraced| {
            let path = &process.executable;
            path.rsplit('/').next().unwrap_or(path).to_owned()
        };
        vec![
            namespace.to_owned(),
            several(
                of.iter()
                    .map(|(_, process)| names(&process.pod)[1].to_owned()),
            ),
            several(of.iter().map(|(node, _)| (*node).to_owned())),
            several(of.iter().map(|(_, process)| executable(process))),
            why.to_owned(),
            remedy.to_owned(),
        ]
    });
    let header = [
        "NOT TRACED IN",
        "POD",
        "NODE",
        "EXECUTABLE",
        "WHY",
        "WHAT TO DO",
    ];
    table(&header, rows.collect(), out);
}

/// Names in a cell, each once; of more than fit, how many.
fn several(names: impl Iterator<Item = String>) -> String {
    let names: BTreeSet<String> = names.collect();
    let all: Vec<_> = names.iter().map(String::as_str).collect();
    match all.len() {
        count if count > NAMED => format!("{} and {} more", all[..NAMED].join(", "), count - NAMED),
        _ => all.join(", "),
    }
}

/// A probe over all nodes: where it is attached, and what a hit costs in the mean.
fn probes(answers: &[Answer<Report>], out: &mut String) {
    let mut all: Vec<(&str, &str, Vec<&Probe>)> = Vec::new();
    for (_, report) in said(answers) {
        for probe in &report.probes {
            match all.iter_mut().find(|(name, ..)| *name == probe.name) {
                Some((.., found)) => found.push(probe),
                None => all.push((&probe.name, &probe.at, vec![probe])),
            }
        }
    }
    if all.is_empty() {
        return;
    }
    let nodes = said(answers).count();
    let rows = all.into_iter().map(|(name, at, found)| {
        let hits: u64 = found.iter().map(|probe| probe.hits).sum();
        let cost = |probe: &&Probe| probe.hits * probe.nanoseconds_per_hit.unwrap_or_default();
        let cost = found.iter().map(cost).sum::<u64>().checked_div(hits);
        vec![
            name.to_owned(),
            at.to_owned(),
            format!("{} of {nodes}", found.len()),
            hits.to_string(),
            cost.map_or_else(|| "-".to_owned(), |cost| cost.to_string()),
        ]
    });
    let header = ["PROBE", "AT", "ON NODES", "HITS MEASURED", "NS/HIT"];
    table(&header, rows.collect(), out);
}

fn not_attached(answers: &[Answer<Report>], out: &mut String) {
    let rows = said(answers).flat_map(|(node, report)| {
        report.not_attached.iter().map(move |left| {
            vec![
                node.to_owned(),
                left.name.clone(),
                left.reason.clone(),
                left.without.clone(),
            ]
        })
    });
    let rows: Vec<_> = rows.collect();
    if !rows.is_empty() {
        table(&["NODE", "NOT ATTACHED", "WHY", "SO"], rows, out);
    }
}

/// The counters of all nodes together.
fn counters(answers: &[Answer<Report>], shown: &Shown, out: &mut String) {
    let mut sums: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for (_, report) in said(answers) {
        let told = report.counters.iter();
        for counter in told.filter(|counter| shown.wide || is_told(counter)) {
            *sums.entry((&counter.room, &counter.name)).or_default() += counter.value;
        }
    }
    if sums.is_empty() {
        return;
    }
    let rows = sums
        .into_iter()
        .map(|((room, name), value)| vec![room.to_owned(), name.to_owned(), value.to_string()]);
    table(&["COUNTER", "OF WHAT", "ALL NODES"], rows.collect(), out);
}

fn names(pod: &Option<Pod>) -> [&str; 3] {
    match pod {
        Some(pod) => [&pod.namespace, &pod.name, &pod.container],
        None => ["-"; 3],
    }
}

/// `4d`, `3h`, `12m`, `7s`, as kubectl tells ages.
fn age(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::reach::Said;
    use crate::report::Counter;

    fn pod(namespace: &str, name: &str) -> Option<Pod> {
        Some(Pod {
            namespace: namespace.into(),
            name: name.into(),
            container: "main".into(),
        })
    }

    fn node(name: &str) -> Answer<Report> {
        let process = |namespace: &str, pid: u32| Process {
            pid,
            pod: pod(namespace, &format!("orders-{name}")),
            service: "orders".into(),
            language: "go".into(),
            spans: 5,
            reason: "namespace shop is labelled".into(),
            ..Process::default()
        };
        let refused = |executable: &str| NotTraced {
            pod: pod("plain", &format!("batch-{name}")),
            executable: format!("/bin/{executable}"),
            reason: "namespace plain is not labelled".into(),
            remedy: "label it".into(),
            ..NotTraced::default()
        };
        Answer {
            node: name.into(),
            agent: format!("spanlet/{name}"),
            said: Said::Report(Report {
                uptime_seconds: 7300,
                processes: vec![process("shop", 7), process("other", 8)],
                probes: vec![Probe {
                    name: "sys_exit".into(),
                    hits: 10,
                    nanoseconds_per_hit: Some(if name == "a" { 100 } else { 300 }),
                    ..Probe::default()
                }],
                not_traced: vec![refused("sh"), refused("b"), refused("a"), refused("c")],
                counters: vec![Counter {
                    room: "spanlet.enrich.parents".into(),
                    name: "thread".into(),
                    value: 3,
                }],
                ..Report::default()
            }),
        }
    }

    fn gone() -> Answer<Report> {
        Answer {
            node: "c".into(),
            agent: String::new(),
            said: Said::Error("no agent's pod is on this node".into()),
        }
    }

    #[test]
    fn nodes_are_put_together_and_who_was_not_reached_is_told() {
        let text = text(&[node("a"), node("b"), gone()], &Shown::default());
        assert!(text.starts_with("3 nodes, 2 answered\n"), "{text}");
        assert!(
            text.contains("c                   no agent's pod is on this node"),
            "{text}"
        );
        assert!(
            text.contains("shop       orders-b  main       b     orders   go"),
            "{text}"
        );
        assert!(text.contains("2 of 2               20     200"), "{text}");
        assert!(
            text.contains("plain          batch-a, batch-b  a, b  a, b and 2 more  namespace plain is not labelled"),
            "{text}"
        );
        assert!(
            text.contains("spanlet.enrich.parents  thread           6"),
            "{text}"
        );
    }

    #[test]
    fn a_namespace_is_shown_alone_in_each_form() {
        let shown = Shown {
            namespace: Some("shop".into()),
            wide: false,
        };
        let mut answers = [node("a"), gone()];
        let text = text(&answers, &shown);
        assert!(
            text.contains("orders-a") && !text.contains("batch-a"),
            "{text}"
        );
        assert!(!text.contains("other  "), "{text}");
        narrow(&mut answers, &shown);
        let Said::Report(report) = &answers[0].said else {
            panic!("it was one");
        };
        assert_eq!((report.processes.len(), report.not_traced.len()), (1, 0));
    }

    #[test]
    fn json_has_the_reason_where_there_is_no_report() {
        let json = serde_json::to_value(gone()).unwrap();
        assert_eq!(json["error"], "no agent's pod is on this node");
        assert_eq!(json["node"], "c");
    }

    #[test]
    fn ages_are_as_long_as_they_need_to_be() {
        let told = [7, 119, 120, 7200, 172_800].map(age);
        assert_eq!(told, ["7s", "119s", "2m", "2h", "2d"]);
    }
}
