//! Installing and removing. In: the chart. Out: an agent that is ready; without it, a node as it was.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use anyhow::{ensure, Result};
use serde_json::json;
use spanlet_e2e::system::has_program;

use crate::agent;
use crate::api::{self, text};
use crate::calls;

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
    let programs = programs(agent::pid()?)?;
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

/// The BPF programs that a process holds.
fn programs(pid: u32) -> Result<Vec<u32>> {
    let mut programs = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
        // A descriptor that was closed meanwhile is no program.
        let text = fs::read_to_string(entry?.path()).unwrap_or_default();
        let numbers = text
            .lines()
            .filter_map(|line| line.strip_prefix("prog_id:"));
        programs.extend(numbers.filter_map(|number| number.trim().parse::<u32>().ok()));
    }
    Ok(programs)
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
