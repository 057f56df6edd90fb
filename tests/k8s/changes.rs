//! What changes while requests go on: pods replaced, pods that live for a moment, the agent itself. In: loads. Out: every request has
//! its span, under the right names; or it is known why not.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use serde_json::{json, Value as Json};
use spanlet_e2e::otlp::{Kind, Span};
use spanlet_e2e::statistics::percentile;
use spanlet_e2e::wait::wait_until;

use crate::agent;
use crate::api::{self, apply, kubectl, text, PATIENCE};
use crate::driver::{reachable, Plan, Sent};
use crate::namespace::{pod_name, Function, Namespace};
use crate::pods::{address, at, name};
use crate::scenario;
use crate::spans::{self, resource, Arrivals};

const QUIET: Duration = Duration::from_secs(3);
/// How long a load goes on before and after a change.
const AROUND: Duration = Duration::from_secs(3);

#[test]
fn a_rolling_update_under_load_loses_no_span() -> Result<()> {
    agent::ensure_default()?;
    let namespace = Namespace::traced("rolling")?;
    let back = Function {
        replicas: 2,
        ..Function::new("back", "go")
    };
    let virtual_address = namespace.service("back")?;
    let front = Function {
        next: format!("http://{virtual_address}"),
        replicas: 2,
        ..Function::new("front", "go")
    };
    // A pod that is to end serves on until nobody is sent to it any more.
    let manifests = [&back, &front].map(|function| drained(namespace.deployment(function)));
    apply(&api::list(manifests.to_vec()))?;
    for function in [&back, &front] {
        api::rolled_out(&namespace.name, &format!("deployment/{}", function.name))?;
    }
    let entry = at(&namespace.service("front")?, 80)?;
    reachable(at(&virtual_address, 80)?)?;
    reachable(entry)?;
    let mut arrivals = Arrivals::from_now()?;
    let load = Plan::new(entry, &namespace.name, "/chain?path=%2Ft%2FIDx%2Fhello")
        .every_ms(10)
        .start();
    for function in [&back, &front] {
        let workload = format!("deployment/{}", function.name);
        kubectl(&["set", "env", "-n", &namespace.name, &workload, "VERSION=2"])?;
        api::rolled_out(&namespace.name, &workload)?;
    }
    let sent = load.finish()?;
    let spans = arrivals.settled(QUIET)?;
    let served = served(&namespace, "")?;
    let pods: BTreeSet<_> = served.values().flatten().collect();
    for function in [&back, &front] {
        let its = pods.iter().filter(|pod| pod.starts_with(function.name));
        // The part of its name that is the template's: one of before, one of after.
        let templates: BTreeSet<_> = its.filter_map(|pod| pod.split('-').nth(1)).collect();
        ensure!(
            templates.len() == 2,
            "{} was not updated under load: {pods:?}",
            function.name
        );
    }
    let answered = sent.iter().filter(|one| one.answer == Ok(200)).count();
    println!(
        "{answered} of {} requests answered, {} served by {} pods",
        sent.len(),
        served.len(),
        pods.len()
    );
    ensure!(
        answered * 100 >= sent.len() * 99,
        "the update itself failed requests"
    );
    each_has_its_span(&served, &spans)
}

/// Pods that end serve for two seconds more.
fn drained(mut deployment: Json) -> Json {
    let spec = &mut deployment["spec"]["template"]["spec"];
    spec["terminationGracePeriodSeconds"] = json!(4);
    spec["containers"][0]["lifecycle"] = json!({"preStop": {"sleep": {"seconds": 2}}});
    deployment
}

/// The ids of requests that pods served, by their own word, each with its pods.
fn served(namespace: &Namespace, function: &str) -> Result<BTreeMap<String, Vec<String>>> {
    let mut served = BTreeMap::<String, Vec<String>>::new();
    for file in namespace.truth_files()? {
        let pod = file
            .file_stem()
            .context("a file has a name")?
            .to_string_lossy()
            .into_owned();
        if !pod.starts_with(function) {
            continue;
        }
        for target in namespace.answered(&pod)? {
            if let Some(id) = spans::id_of(&target).filter(|id| id.starts_with(&namespace.name)) {
                served.entry(id.to_owned()).or_default().push(pod.clone());
            }
        }
    }
    Ok(served)
}

/// Exactly one server span for each request, in the pod that served it.
fn each_has_its_span(served: &BTreeMap<String, Vec<String>>, spans: &[Span]) -> Result<()> {
    let servers: Vec<Span> = spans
        .iter()
        .filter(|span| span.kind == Kind::Server)
        .cloned()
        .collect();
    let found = spans::by_id(&servers);
    let mut faults = Vec::new();
    for (id, pods) in served {
        let spans = found.get(id).map_or(&[][..], Vec::as_slice);
        let mut told: Vec<_> = spans
            .iter()
            .filter_map(|span| resource(span, "k8s.pod.name"))
            .collect();
        let mut true_pods: Vec<_> = pods.iter().map(String::as_str).collect();
        told.sort_unstable();
        true_pods.sort_unstable();
        if told != true_pods {
            faults.push(format!("{id}: served by {true_pods:?}, spans of {told:?}"));
        }
    }
    ensure!(
        faults.is_empty(),
        "{} of {} requests: {:#?}",
        faults.len(),
        served.len(),
        &faults[..faults.len().min(10)]
    );
    Ok(())
}

#[test]
fn pods_that_live_for_300_ms_have_every_span() -> Result<()> {
    agent::ensure_default()?;
    let namespace = Namespace::traced("brief")?;
    namespace.run(&[Function::new("target", "go")])?;
    let virtual_address = namespace.service("target")?;
    reachable(at(&virtual_address, 80)?)?;
    let mut arrivals = Arrivals::from_now()?;
    let pods = if scenario::is_long() { 100 } else { 12 };
    let job = json!({
        "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "brief", "namespace": namespace.name},
        "spec": {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {
            "completions": pods, "parallelism": 4, "backoffLimit": 0,
            "template": {
                "metadata": {"labels": {"app": "brief"}},
                "spec": brief(&namespace, &[("TARGET", &format!("http://{virtual_address}")), ("COUNT", "3")]),
            },
        }}},
    });
    apply(&job)?;
    kubectl(&[
        "create",
        "job",
        "-n",
        &namespace.name,
        "now",
        "--from=cronjob/brief",
    ])?;
    kubectl(&[
        "wait",
        "-n",
        &namespace.name,
        "--for=condition=complete",
        "job/now",
        "--timeout=300s",
    ])?;
    let answered = brief_truth(&namespace)?;
    ensure!(
        answered.len() == pods * 6,
        "{} requests of {pods} pods",
        answered.len()
    );
    let spans = arrivals.settled(QUIET)?;
    for kind in [Kind::Client, Kind::Server] {
        let its: Vec<Span> = spans
            .iter()
            .filter(|span| span.kind == kind)
            .cloned()
            .collect();
        let found = spans::by_id(&its);
        let missing: Vec<_> = answered
            .iter()
            .filter(|id| found.get(*id).map_or(0, Vec::len) != 1)
            .collect();
        ensure!(
            missing.is_empty(),
            "{} {kind:?} spans of {} are missing: {missing:?}",
            missing.len(),
            answered.len()
        );
    }
    for span in spans.iter().filter(|span| span.kind == Kind::Client) {
        let Some(id) = spans::id(span).filter(|id| answered.iter().any(|one| one == id)) else {
            continue;
        };
        let pod = resource(span, "k8s.pod.name").unwrap_or_default();
        ensure!(
            id.starts_with(pod) && !pod.is_empty(),
            "the span of {id} says it is of {pod:?}"
        );
        let names = ["k8s.container.name", "k8s.job.name", "k8s.cronjob.name"]
            .map(|key| resource(span, key));
        ensure!(
            names == [Some("brief"), Some("now"), Some("brief")],
            "{id} says {names:?}"
        );
    }
    Ok(())
}

#[test]
fn the_first_request_of_a_fresh_process_is_not_missed() -> Result<()> {
    agent::ensure_default()?;
    let namespace = Namespace::traced("fresh")?;
    let mut arrivals = Arrivals::from_now()?;
    const PROCESSES: usize = 100;
    apply(&json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "fresh", "namespace": namespace.name, "labels": {"app": "fresh"}},
        "spec": brief(&namespace, &[("PROCESSES", &PROCESSES.to_string()), ("LIFE_MS", "0")]),
    }))?;
    let log = ["logs", "-n", &namespace.name, "fresh"];
    wait_until(PATIENCE, "end of the processes", || {
        let (_, said) = api::try_kubectl(&log)?;
        Ok(said.contains("done").then_some(()))
    })?;
    let answered = brief_truth(&namespace)?;
    ensure!(answered.len() == PROCESSES, "{} requests", answered.len());
    let spans = arrivals.settled(QUIET)?;
    let servers: Vec<Span> = spans
        .iter()
        .filter(|span| span.kind == Kind::Server)
        .cloned()
        .collect();
    let found = spans::by_id(&servers);
    let missing: Vec<_> = answered
        .iter()
        .filter(|id| !found.contains_key(*id))
        .collect();
    ensure!(
        missing.is_empty(),
        "{} first requests of {PROCESSES} have no span: {missing:?}",
        missing.len()
    );
    Ok(())
}

/// A pod of `tests/k8s/images/brief.go`.
fn brief(namespace: &Namespace, environment: &[(&str, &str)]) -> Json {
    let mut variables = vec![
        pod_name(),
        json!({"name": "NAME", "value": "$(POD)"}),
        json!({"name": "TRUTH", "value": "/truth/$(POD).txt"}),
    ];
    variables.extend(
        environment
            .iter()
            .map(|(name, value)| json!({"name": name, "value": value})),
    );
    json!({
        "restartPolicy": "Never", "terminationGracePeriodSeconds": 0, "enableServiceLinks": false,
        "containers": [{
            "name": "brief", "image": "localhost/brief:test", "imagePullPolicy": "Never", "env": variables,
            "volumeMounts": [{"name": "truth", "mountPath": "/truth"}],
        }],
        "volumes": [namespace.truth_volume()],
    })
}

/// The ids of the requests that such pods had answered.
fn brief_truth(namespace: &Namespace) -> Result<Vec<String>> {
    let mut ids = Vec::new();
    for file in namespace.truth_files()? {
        if file.extension().is_some_and(|kind| kind == "txt") {
            let text = fs::read_to_string(&file)?;
            ids.extend(text.lines().filter_map(spans::id_of).map(str::to_owned));
        }
    }
    Ok(ids)
}

#[test]
fn a_killed_agent_costs_functions_nothing() -> Result<()> {
    agent::ensure_default()?;
    replaced("killed", || {
        let pod = agent::pod()?;
        let arguments = [
            "delete",
            "pod",
            "-n",
            agent::NAMESPACE,
            name(&pod),
            "--force",
            "--grace-period=0",
        ];
        kubectl(&arguments)?;
        another_pod(&pod)
    })
}

#[test]
fn an_upgrade_costs_functions_nothing() -> Result<()> {
    agent::ensure_default()?;
    replaced("upgraded", || {
        let pod = agent::pod()?;
        agent::install(&agent::values(
            json!({"podAnnotations": {"example.org/upgrade": "2"}}),
        ))?;
        another_pod(&pod)
    })
}

fn another_pod(old: &Json) -> Result<()> {
    wait_until(PATIENCE, "another agent", || {
        let new = agent::pod()?;
        Ok((text(&new, "/metadata/uid") != text(old, "/metadata/uid")).then_some(()))
    })
}

/// Replaces the agent under load: no error, no slower, and what has no span was sent while there was no agent. That a pod starts costs
/// the others time on few cores, whatever it is: so another one is replaced first, to compare.
fn replaced(purpose: &str, replace: impl Fn() -> Result<()>) -> Result<()> {
    let namespace = Namespace::traced(purpose)?;
    namespace.run(&[
        Function::new("shop", "go"),
        Function::new("control", "python"),
    ])?;
    let pod = namespace.pod("shop")?;
    let mut arrivals = Arrivals::from_now()?;
    let ids = format!("{}-", namespace.name);
    let load = Plan::new(address(&pod)?, &namespace.name, "/hello")
        .every_ms(5)
        .keep_alive()
        .start();
    let quiet = during(|| Ok(std::thread::sleep(AROUND)))?;
    let control = during(|| {
        kubectl(&[
            "rollout",
            "restart",
            "-n",
            &namespace.name,
            "deployment/control",
        ])?;
        api::rolled_out(&namespace.name, "deployment/control")
    })?;
    std::thread::sleep(AROUND / 3);
    let change = during(replace)?;
    let after = during(|| Ok(std::thread::sleep(AROUND)))?;
    let sent = load.finish_all_answered()?;
    let spans = arrivals.settled(QUIET)?;
    let found = spans::by_id(&spans::of(&spans, Kind::Server, &ids));
    let missed: Vec<&Sent> = sent
        .iter()
        .filter(|one| !found.contains_key(&one.id))
        .collect();
    let outside: Vec<_> = missed
        .iter()
        .filter(|one| !change.contains(&one.at_ns))
        .collect();
    let times: Vec<u64> = missed.iter().map(|one| one.at_ns).collect();
    let blind = times.iter().max().unwrap_or(&0) - times.iter().min().unwrap_or(&0);
    println!(
        "{} of {} requests without a span, within {} ms",
        missed.len(),
        sent.len(),
        blind / 1_000_000
    );
    ensure!(
        outside.is_empty(),
        "no spans of requests while there was an agent: {outside:?}"
    );
    no_slower(&sent, [quiet, control, change, after])
}

/// When something was done, by the clock of spans.
fn during(work: impl FnOnce() -> Result<()>) -> Result<Range<u64>> {
    let from = spans::now_ns();
    work()?;
    Ok(from..spans::now_ns())
}

/// Times that requests took: in quiet, while another pod was replaced, while the agent was, and after.
fn no_slower(sent: &[Sent], whens: [Range<u64>; 4]) -> Result<()> {
    let times = |when: &Range<u64>| -> Vec<u64> {
        let its = sent.iter().filter(|one| when.contains(&one.at_ns));
        its.map(|one| one.took.as_micros() as u64).collect()
    };
    let mut medians = Vec::new();
    for (when, name) in
        whens
            .iter()
            .zip(["quiet", "another pod replaced", "agent replaced", "after"])
    {
        let mut times = times(when);
        let [half, most] = [0.5, 0.95].map(|share| percentile(&mut times, share));
        println!("{name}: p50 {half} µs, p95 {most} µs");
        medians.push(half);
    }
    // Half as much again, and what a timer may be late.
    let bound = medians[0].max(medians[1]) * 3 / 2 + 100;
    ensure!(
        medians[2] <= bound && medians[3] <= bound,
        "requests became slower: medians {medians:?} µs"
    );
    Ok(())
}
