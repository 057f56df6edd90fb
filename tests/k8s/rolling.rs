//! Pods that are replaced while requests go through them to others. In: a load through two Services, an update of both Deployments. Out: a span
//! for each request that a pod says it served, by that pod's name.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use serde_json::{json, Value as Json};
use spanlet_e2e::otlp::{Kind, Span};

use crate::agent;
use crate::api::{self, apply, kubectl};
use crate::driver::{reachable, Plan};
use crate::namespace::{Function, Namespace};
use crate::pods::at;
use crate::spans::{self, resource, Arrivals};

const QUIET: Duration = Duration::from_secs(3);

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
