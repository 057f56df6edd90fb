//! Installing and removing. In: the chart. Out: an agent that is ready; without it, a node as it was.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use anyhow::{ensure, Context, Result};
use serde_json::{json, Value as Json};
use spanlet_e2e::bpf::programs_of;
use spanlet_e2e::system::has_program;
use spanlet_e2e::wait::wait_until;

use crate::agent;
use crate::api::{self, text, NODE, PATIENCE};
use crate::calls;
use crate::namespace::{Function, Namespace};

#[test]
fn what_is_installed_is_ready_and_what_is_removed_leaves_nothing() -> Result<()> {
    agent::uninstall()?;
    let before = left_on_the_node()?;
    let started = std::time::Instant::now();
    agent::ensure_default()?;
    println!(
        "installed and ready after {:.1} s",
        started.elapsed().as_secs_f64()
    );
    let programs = programs_of(agent::pid()?)?;
    ensure!(!programs.is_empty(), "the agent has no programs");
    agent::uninstall()?;
    for program in &programs {
        ensure!(
            !has_program(*program)?,
            "program {program} is still in the kernel"
        );
    }
    let after = left_on_the_node()?;
    let left: Vec<_> = after.difference(&before).collect();
    ensure!(left.is_empty(), "files are left: {left:?}");
    for kind in [
        "all,configmap,serviceaccount,role,rolebinding",
        "clusterrole,clusterrolebinding,priorityclass",
    ] {
        let label = "app.kubernetes.io/name=spanlet";
        let objects = api::get(&[kind, "--all-namespaces", "-l", label])?;
        let objects = objects["items"].as_array().cloned().unwrap_or_default();
        let names: Vec<_> = objects
            .iter()
            .map(|one| text(one, "/metadata/name"))
            .collect();
        ensure!(names.is_empty(), "objects are left: {names:?}");
    }
    Ok(())
}

#[test]
fn helm_can_test_what_it_installed() -> Result<()> {
    agent::ensure_default()?;
    let said = agent::run_helm(
        &[
            "test",
            agent::RELEASE,
            "--namespace",
            agent::NAMESPACE,
            "--timeout=60s",
        ],
        None,
    )?;
    ensure!(said.contains("Succeeded"), "{said}");
    Ok(())
}

#[test]
fn capabilities_are_enough() -> Result<()> {
    agent::ensure_values(&agent::values(
        json!({"security": {"mode": "capabilities"}}),
    ))?;
    let pod = agent::pod()?;
    let context = &pod["spec"]["containers"][0]["securityContext"];
    ensure!(context["privileged"] != true, "it is privileged: {context}");
    calls::core()
}

#[test]
fn a_cluster_is_asked_from_outside() -> Result<()> {
    agent::ensure_default()?;
    let namespace = Namespace::traced("outside")?;
    namespace.run(&[Function::new("shop", "go")])?;
    let pod = namespace.pod("shop")?;
    let name = text(&pod, "/metadata/name");
    wait_until(PATIENCE, "the pod among those traced", || {
        let nodes = agent::of_cluster(&["probes", "--namespace", &namespace.name])?;
        ensure!(nodes.as_array().map(Vec::len) == Some(1), "{nodes}");
        ensure!(text(&nodes, "/0/node") == NODE, "{nodes}");
        let processes = nodes[0]["report"]["processes"].as_array();
        let processes = processes.with_context(|| nodes.to_string())?;
        let is_ours = |process: &Json| text(process, "/pod/namespace") == namespace.name;
        ensure!(processes.iter().all(is_ours), "{nodes}");
        let mut names = processes.iter().map(|process| text(process, "/pod/name"));
        Ok(names.any(|traced| traced == name).then_some(()))
    })?;
    let nodes = agent::of_cluster(&["doctor"])?;
    let checks = nodes[0]["report"].as_array();
    let checks = checks.with_context(|| nodes.to_string())?;
    ensure!(
        checks.iter().all(|check| check["outcome"] == "works"),
        "{nodes}"
    );
    Ok(())
}

/// What an agent could leave: pinned objects, and files in the node's folders for such.
fn left_on_the_node() -> Result<BTreeSet<PathBuf>> {
    let mut files = BTreeSet::new();
    for folder in [
        "/sys/fs/bpf",
        "/run",
        "/var/run",
        "/var/lib",
        "/etc",
        "/tmp/spanlet",
        "/opt",
    ] {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        files.extend(entries.map(|entry| entry.path()));
    }
    Ok(files)
}
