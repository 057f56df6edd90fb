//! Pods and processes that live for a moment. In: functions that listen, are asked, ask, and end. Out: a span for each of their requests,
//! by names that the API server told after they were gone.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use serde_json::{json, Value as Json};
use spanlet_e2e::otlp::{Kind, Span};
use spanlet_e2e::statistics::percentile;
use spanlet_e2e::wait::wait_until;

use crate::agent;
use crate::api::{self, apply, kubectl, PATIENCE};
use crate::driver::reachable;
use crate::namespace::{pod_name, Function, Namespace};
use crate::pods::at;
use crate::scenario;
use crate::spans::{self, resource, Arrivals};

const QUIET: Duration = Duration::from_secs(3);
/// One after another, in one pod.
const PROCESSES: usize = 100;

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
    let (answered, seen) = fresh("fresh", &[("LIFE_MS", "0")])?;
    ensure!(answered.len() == PROCESSES, "{} requests", answered.len());
    let missing: Vec<_> = answered.iter().filter(|id| !seen.contains(*id)).collect();
    ensure!(
        missing.is_empty(),
        "{} first requests of {PROCESSES} have no span: {missing:?}",
        missing.len()
    );
    Ok(())
}

#[test]
fn how_soon_after_its_exec_a_process_is_traced() -> Result<()> {
    agent::ensure_default()?;
    let at_once = [("FIRST_MS", "0"), ("LIFE_MS", "0"), ("COUNT", "20")];
    let (answered, seen) = fresh("exec", &at_once)?;
    let mut first = BTreeMap::<&str, u64>::new();
    for id in answered.iter().filter(|id| seen.contains(*id)) {
        // NAME-own-INDEX-AGE: the age is in nanoseconds since just before the exec.
        let (rest, age) = id.rsplit_once('-').context("an id without an age")?;
        let (process, _) = rest
            .split_once("-own-")
            .context("an id without its process")?;
        let age: u64 = age.parse()?;
        first
            .entry(process)
            .and_modify(|least| *least = age.min(*least))
            .or_insert(age);
    }
    ensure!(
        first.len() == PROCESSES,
        "{} of {PROCESSES} processes were traced",
        first.len()
    );
    let mut ages: Vec<u64> = first.into_values().collect();
    let [half, most] = [0.5, 0.99].map(|share| percentile(&mut ages, share) as f64 / 1e6);
    let missed = answered.len() - answered.iter().filter(|id| seen.contains(*id)).count();
    println!(
        "exec to first traced request: p50 {half:.1} ms, p99 {most:.1} ms, {PROCESSES} processes; {missed} of {} requests \
         without a span",
        answered.len()
    );
    ensure!(missed == 0, "{missed} requests have no span");
    Ok(())
}

/// Runs processes one after another in one pod: the ids of their requests, and those of the server spans.
fn fresh(purpose: &str, more: &[(&str, &str)]) -> Result<(Vec<String>, BTreeSet<String>)> {
    let namespace = Namespace::traced(purpose)?;
    let mut arrivals = Arrivals::from_now()?;
    let processes = PROCESSES.to_string();
    let environment = [&[("PROCESSES", processes.as_str())], more].concat();
    apply(&json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "fresh", "namespace": namespace.name, "labels": {"app": "fresh"}},
        "spec": brief(&namespace, &environment),
    }))?;
    let log = ["logs", "-n", &namespace.name, "fresh"];
    wait_until(PATIENCE, "end of the processes", || {
        let (_, said) = api::try_kubectl(&log)?;
        Ok(said.contains("done").then_some(()))
    })?;
    let spans = arrivals.settled(QUIET)?;
    let servers = spans.iter().filter(|span| span.kind == Kind::Server);
    let seen = servers.filter_map(|span| spans::id(span).map(str::to_owned));
    Ok((brief_truth(&namespace)?, seen.collect()))
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
