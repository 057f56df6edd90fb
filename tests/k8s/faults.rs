//! What people get wrong. In: bad configuration, a collector that is not there, rights that are missing, labels that mean nothing. Out: an
//! agent that says so, and goes on.

use std::time::Duration;

use anyhow::{ensure, Result};
use serde_json::{json, Value as Json};
use spanlet_e2e::otlp::Kind;
use spanlet_e2e::wait::wait_until;

use crate::agent;
use crate::api::{self, get, kubectl, text, PATIENCE};
use crate::driver::Plan;
use crate::namespace::{Function, Namespace};
use crate::pods::address;
use crate::spans::Arrivals;

/// A ConfigMap reaches its pods with the kubelet's next sync.
const CONFIGURED: Duration = Duration::from_secs(60);

#[test]
fn a_malformed_configuration_changes_nothing_and_is_told() -> Result<()> {
    agent::ensure_default()?;
    let before = agent::pod()?;
    let (namespace, mut arrivals) = (Namespace::traced("malformed")?, Arrivals::from_now()?);
    namespace.run(&[Function::new("shop", "go")])?;
    let map = configuration_map(&before)?;
    agent::forget();
    kubectl(&[
        "patch",
        "-n",
        agent::NAMESPACE,
        "configmap",
        &map,
        "--type=merge",
        "-p",
        &broken(),
    ])?;
    let told = told_of_the_unknown_key();
    let pod = namespace.pod("shop")?;
    Plan::new(address(&pod)?, &namespace.name, "/hello").send(10)?;
    let traced = arrivals.wait_for(Kind::Server, &namespace.name, 10);
    agent::ensure_default()?;
    told?;
    traced?;
    wait_until(CONFIGURED, "end of the fault", || {
        Ok((!agent::probes(&[])?.contains("no_such_key")).then_some(()))
    })?;
    same_process(&before, &agent::pod()?)
}

fn told_of_the_unknown_key() -> Result<()> {
    wait_until(CONFIGURED, "word of the bad configuration", || {
        Ok(agent::probes(&[])?.contains("no_such_key").then_some(()))
    })?;
    wait_until(PATIENCE, "Event about the bad configuration", || {
        let events = get(&["events", "-n", agent::NAMESPACE])?;
        let told = events["items"].to_string().contains("no_such_key");
        Ok(told.then_some(()))
    })
}

/// As a merge patch of the ConfigMap.
fn broken() -> String {
    json!({"data": {"spanlet.toml": "no_such_key = 1\n"}}).to_string()
}

fn configuration_map(pod: &Json) -> Result<String> {
    let volumes = pod["spec"]["volumes"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let names = volumes.iter().map(|volume| text(volume, "/configMap/name"));
    let own: Vec<_> = names
        .filter(|name| !name.is_empty() && !name.contains("root-ca"))
        .collect();
    ensure!(own.len() == 1, "ConfigMaps of the agent: {own:?}");
    Ok(own[0].to_owned())
}

fn same_process(before: &Json, after: &Json) -> Result<()> {
    let facts = |pod: &Json| {
        let restarts = pod["status"]["containerStatuses"][0]["restartCount"].clone();
        (text(pod, "/metadata/uid").to_owned(), restarts)
    };
    ensure!(facts(before) == facts(after), "the agent was started again");
    Ok(())
}

#[test]
fn another_configuration_applies_without_a_restart() -> Result<()> {
    agent::ensure_default()?;
    let before = agent::pod()?;
    let namespace = Namespace::new("selected")?;
    let chosen = Function {
        labels: json!({"tier": "web"}),
        ..Function::new("chosen", "go")
    };
    namespace.run(&[chosen, Function::new("other", "go")])?;
    agent::ensure_values(&agent::values(json!({
        "config": {"kubernetes": {"select_pods": ["tier=web"], "pod_labels": ["tier"]}},
    })))?;
    let mut arrivals = Arrivals::from_now()?;
    let mut round = 0;
    let pods = [namespace.pod("chosen")?, namespace.pod("other")?];
    wait_until(CONFIGURED, "spans by the new configuration", || {
        round += 1;
        for pod in &pods {
            let ids = format!("{}-{round}", text(pod, "/metadata/name"));
            Plan::new(address(pod)?, &ids, "/hello").send(5)?;
        }
        let found = crate::spans::of(arrivals.so_far()?, Kind::Server, "chosen");
        Ok(found.first().cloned())
    })
    .and_then(|span| {
        let label = crate::spans::resource(&span, "k8s.pod.label.tier");
        ensure!(label == Some("web"), "the label is told as {label:?}");
        Ok(())
    })?;
    let others = crate::spans::of(
        &arrivals.settled(Duration::from_secs(4))?,
        Kind::Server,
        "other",
    );
    ensure!(
        others.is_empty(),
        "{} spans of who was not selected",
        others.len()
    );
    same_process(&before, &agent::pod()?)
}

#[test]
fn a_collector_that_is_not_there_is_told() -> Result<()> {
    let nowhere = "http://nobody.collector.svc.cluster.local:4317";
    agent::ensure_values(&agent::values(
        json!({"config": {"otlp": {"endpoint": nowhere}}}),
    ))?;
    let namespace = Namespace::traced("nowhere")?;
    namespace.run(&[Function::new("shop", "go")])?;
    let pod = namespace.pod("shop")?;
    wait_until(CONFIGURED, "word of the missing collector", || {
        Plan::new(address(&pod)?, "nowhere", "/hello").send(5)?;
        let said = agent::probes(&[])?;
        let mut lines = said.lines();
        let told = lines.any(|line| {
            line.contains("otlp") && line.contains(nowhere) && line.contains("failing for")
        });
        Ok(told.then_some(()))
    })?;
    // It stays ready: that its spans do not arrive is no reason to start it again.
    agent::pod()?;
    agent::ensure_default()?;
    let mut arrivals = Arrivals::from_now()?;
    let mut round = 0;
    wait_until(CONFIGURED, "spans at the collector that is there", || {
        round += 1;
        Plan::new(
            address(&pod)?,
            &format!("{}-{round}", namespace.name),
            "/hello",
        )
        .send(5)?;
        let found = crate::spans::of(arrivals.so_far()?, Kind::Server, &namespace.name);
        Ok(found.first().map(|_| ()))
    })
}

#[test]
fn a_right_that_is_missing_is_told_by_verb_and_resource() -> Result<()> {
    agent::ensure_default()?;
    agent::forget();
    let role = cluster_role()?;
    let mut rules = role["rules"].as_array().cloned().unwrap_or_default();
    for rule in &mut rules {
        if let Some(resources) = rule["resources"].as_array_mut() {
            resources.retain(|resource| resource != "services");
        }
    }
    rules.retain(|rule| {
        rule["resources"]
            .as_array()
            .is_some_and(|resources| !resources.is_empty())
    });
    let patch = json!({"rules": rules}).to_string();
    kubectl(&[
        "patch",
        "clusterrole",
        text(&role, "/metadata/name"),
        "--type=merge",
        "-p",
        &patch,
    ])?;
    agent::replace()?;
    let told = wait_until(PATIENCE, "word of the missing right", || {
        let said = agent::probes(&[])?;
        let line = said
            .lines()
            .find(|line| line.contains("list") && line.contains("services"));
        Ok(line.map(str::to_owned))
    });
    // The rest goes on.
    let traced = Namespace::traced("rights").and_then(|namespace| {
        let mut arrivals = Arrivals::from_now()?;
        namespace.run(&[Function::new("shop", "go")])?;
        Plan::new(address(&namespace.pod("shop")?)?, &namespace.name, "/hello").send(5)?;
        arrivals.wait_for(Kind::Server, &namespace.name, 5)
    });
    agent::ensure_default()?;
    println!("`probes` said: {}", told?.trim());
    traced.map(drop)
}

fn cluster_role() -> Result<Json> {
    let roles = api::get(&["clusterrole", "-l", "app.kubernetes.io/name=spanlet"])?;
    let roles = roles["items"].as_array().cloned().unwrap_or_default();
    ensure!(
        roles.len() == 1,
        "{} cluster roles of the agent",
        roles.len()
    );
    Ok(roles[0].clone())
}

#[test]
fn a_label_that_means_nothing_traces_nothing_and_is_told() -> Result<()> {
    agent::ensure_default()?;
    let namespace = Namespace::new("yes")?;
    namespace.label("yes")?;
    namespace.run(&[Function::new("shop", "go")])?;
    let mut arrivals = Arrivals::from_now()?;
    Plan::new(address(&namespace.pod("shop")?)?, &namespace.name, "/hello").send(10)?;
    wait_until(PATIENCE, "word of the label's value", || {
        let said = agent::probes(&["--output", "json"])?;
        Ok(
            (said.contains("neither enabled nor disabled") && said.contains(&namespace.name))
                .then_some(()),
        )
    })?;
    let spans = crate::spans::of(
        &arrivals.settled(Duration::from_secs(4))?,
        Kind::Server,
        &namespace.name,
    );
    ensure!(spans.is_empty(), "{} spans", spans.len());
    Ok(())
}
