//! What an agent costs where there is much. In: many pods on its node, many pods and namespaces elsewhere. Out: its memory and CPU time,
//! what it asks of the API server, held to bounds.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{ensure, Context, Result};
use serde_json::{json, Value as Json};
use spanlet_e2e::otlp::Kind;
use spanlet_e2e::usage::{memory, process_cpu_ns};
use spanlet_e2e::wait::wait_until;

use crate::agent;
use crate::api::{self, create, get, kubectl, state, text};
use crate::driver::Plan;
use crate::namespace::{Function, Namespace};
use crate::pods::address;
use crate::scenario;
use crate::spans::Arrivals;

/// Half of the chart's own limit.
const MEMORY_MAX: u64 = 64 << 20;
/// A few pods of the cluster's own among them.
const PODS_OF_A_NODE: usize = 60;
const MEASURED: Duration = Duration::from_secs(5);
/// Pods of a node that is not there.
const PODS_OF_ANOTHER: usize = 100;
/// For an agent that starts among thousands of objects, beyond one that starts among few.
const MEMORY_MORE_MAX: u64 = 4 << 20;

#[test]
fn a_node_with_60_pods_costs_little() -> Result<()> {
    agent::ensure_default()?;
    let pid = agent::pid()?;
    let before = cost(pid)?;
    let namespace = Namespace::traced("many")?;
    namespace.run(&[Function {
        replicas: PODS_OF_A_NODE,
        ..Function::new("shop", "go")
    }])?;
    let idle = cost(pid)?;
    let pods = api::pods(&namespace.name, "app=shop")?;
    let mut arrivals = Arrivals::from_now()?;
    let loads = pods.iter().map(|pod| {
        let ids = format!("{}-{}", namespace.name, text(pod, "/metadata/name"));
        Ok(Plan::new(address(pod)?, &ids, "/hello")
            .every_ms(200)
            .keep_alive()
            .start())
    });
    let loads: Vec<_> = loads.collect::<Result<_>>()?;
    let busy = cost(pid)?;
    let mut sent = 0;
    for load in loads {
        sent += load.finish_all_answered()?.len();
    }
    println!("pods of functions | RSS MiB | CPU % of a core");
    println!("0, idle | {before}\n{PODS_OF_A_NODE}, idle | {idle}\n{PODS_OF_A_NODE}, 5 requests a second each | {busy}");
    arrivals.wait_for(Kind::Server, &namespace.name, sent)?;
    ensure!(busy.memory < MEMORY_MAX, "{} bytes", busy.memory);
    // One of two cores is the functions' and the load's.
    ensure!(idle.cpu < 0.05, "an idle agent takes {idle}");
    Ok(())
}

/// What a process takes.
struct Cost {
    memory: u64,
    /// Cores.
    cpu: f64,
}

impl std::fmt::Display for Cost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:.1} | {:.2}",
            self.memory as f64 / (1 << 20) as f64,
            self.cpu * 100.0
        )
    }
}

fn cost(pid: u32) -> Result<Cost> {
    let (from, started) = (process_cpu_ns(pid)?, Instant::now());
    std::thread::sleep(MEASURED);
    let cpu = (process_cpu_ns(pid)? - from) as f64 / started.elapsed().as_nanos() as f64;
    Ok(Cost {
        memory: memory(pid)?.now,
        cpu,
    })
}

#[test]
fn a_large_cluster_costs_an_agent_nothing() -> Result<()> {
    let (nodes, namespaces) = if scenario::is_long() {
        (50, 500)
    } else {
        (5, 50)
    };
    let few = fresh_agent()?;
    let crowd = Crowd::new(nodes, namespaces)?;
    let many = fresh_agent()?;
    println!("pods elsewhere | namespaces | peak RSS MiB at start | bytes from the API server | to it | requests");
    println!(
        "0 | few | {few}\n{} | {namespaces} | {many}",
        nodes * PODS_OF_ANOTHER
    );
    drop(crowd);
    ensure!(
        many.memory < few.memory + MEMORY_MORE_MAX,
        "memory grows with the cluster: {} bytes, then {}",
        few.memory,
        many.memory
    );
    Ok(())
}

/// What an agent took to start.
struct Start {
    memory: u64,
    received: u64,
    sent: u64,
    requests: usize,
}

impl std::fmt::Display for Start {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let memory = self.memory as f64 / (1 << 20) as f64;
        write!(
            f,
            "{memory:.1} | {} | {} | {}",
            self.received, self.sent, self.requests
        )
    }
}

/// Starts the agent anew and looks at it a while later.
fn fresh_agent() -> Result<Start> {
    agent::ensure_default()?;
    let asked = audited()?;
    agent::replace()?;
    let pid = agent::pid()?;
    std::thread::sleep(MEASURED);
    let (received, sent) = traffic(pid)?;
    Ok(Start {
        memory: memory(pid)?.peak,
        received,
        sent,
        requests: audited()? - asked,
    })
}

/// The requests that agents made, by the API server's own word.
fn audited() -> Result<usize> {
    let log = fs::read_to_string(state().join("log/audit.log")).context("read the audit log")?;
    Ok(log.lines().count())
}

/// Bytes that came over its connections to the API server, and went.
fn traffic(pid: u32) -> Result<(u64, u64)> {
    let mut command = Command::new("nsenter");
    command.args([
        "--target",
        &pid.to_string(),
        "--net",
        "ss",
        "-tinOH",
        "dport",
        "=",
        ":443",
    ]);
    let output = command.output().context("run ss")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let sum = |name: &str| -> u64 {
        let values = said
            .split_whitespace()
            .filter_map(|word| word.strip_prefix(name)?.parse::<u64>().ok());
        values.sum()
    };
    Ok((sum("bytes_received:"), sum("bytes_acked:")))
}

/// Nodes without kubelets with pods on them, and namespaces. Deleted with the value.
struct Crowd {
    namespaces: usize,
    nodes: usize,
}

impl Crowd {
    fn new(nodes: usize, namespaces: usize) -> Result<Self> {
        let crowd = Self { namespaces, nodes };
        let names = (0..namespaces).map(|number| {
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": format!("crowd-{number}"),
                "labels": {"crowd": "yes"}}})
        });
        create(&api::list(names.collect()))?;
        let objects = (0..nodes).flat_map(|number| [node(number), replicas(number)]);
        create(&api::list(objects.collect()))?;
        let wanted = nodes * PODS_OF_ANOTHER;
        wait_until(Duration::from_secs(300), &format!("{wanted} pods"), || {
            let sets = get(&["replicasets", "-n", "crowd-0"])?;
            let sets = sets["items"].as_array().cloned().unwrap_or_default();
            let made: u64 = sets
                .iter()
                .filter_map(|set| set["status"]["replicas"].as_u64())
                .sum();
            Ok((made as usize == wanted).then_some(()))
        })?;
        Ok(crowd)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        // The pods go with their nodes; the namespaces are in nobody's way.
        let _ = kubectl(&[
            "delete",
            "replicaset",
            "-n",
            "crowd-0",
            "--all",
            "--cascade=orphan",
        ]);
        let _ = kubectl(&["delete", "node", "-l", "crowd=yes"]);
        let _ = kubectl(&[
            "delete",
            "pod",
            "-n",
            "crowd-0",
            "--all",
            "--force",
            "--grace-period=0",
            "--wait=false",
        ]);
        let _ = kubectl(&["delete", "namespace", "-l", "crowd=yes", "--wait=false"]);
        println!(
            "{} nodes and {} namespaces gone",
            self.nodes, self.namespaces
        );
    }
}

fn node(number: usize) -> Json {
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": format!("crowd-{number}"), "labels": {"crowd": "yes"}},
    })
}

/// Pods that are bound to such a node from the start.
fn replicas(number: usize) -> Json {
    let name = format!("crowd-{number}");
    json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {"name": name, "namespace": "crowd-0"},
        "spec": {
            "replicas": PODS_OF_ANOTHER,
            "selector": {"matchLabels": {"crowd": name}},
            "template": {
                "metadata": {"labels": {"crowd": name}},
                "spec": {
                    "nodeName": name,
                    "tolerations": [{"operator": "Exists"}],
                    "containers": [{"name": "none", "image": "localhost/none:test"}],
                },
            },
        },
    })
}
