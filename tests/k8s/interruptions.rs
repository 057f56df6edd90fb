//! An API server that is gone. In: one that stands still, and one that is killed and started again. Out: spans that go on, by the right
//! names; an agent that says so, and finds back.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use serde_json::json;
use spanlet_e2e::otlp::Kind;
use spanlet_e2e::system::{signal_process, target, Signal};
use spanlet_e2e::wait::wait_until;

use crate::agent;
use crate::api::{apply, state, try_kubectl, NODE, PATIENCE};
use crate::driver::{Plan, Sent};
use crate::namespace::{Function, Namespace};
use crate::pods::{address, name};
use crate::scenario;
use crate::spans::{self, resource, Arrivals};

const SERVER: &str = "kube-apiserver";
const QUIET: Duration = Duration::from_secs(3);

#[test]
fn tracing_goes_on_while_the_api_server_stands_still() -> Result<()> {
    let pid: u32 = fs::read_to_string(state().join("pids").join(SERVER))?.parse()?;
    let length = Duration::from_secs(if scenario::is_long() { 60 } else { 5 });
    gone(
        "still",
        || Ok(signal_process(pid, Signal::Stop)?),
        // Nobody can tell it from one that has nothing to say.
        |_| {
            std::thread::sleep(length);
            Ok(())
        },
        || Ok(signal_process(pid, Signal::Continue)?),
    )
}

#[test]
fn tracing_goes_on_while_the_api_server_is_dead() -> Result<()> {
    let length = Duration::from_secs(if scenario::is_long() { 60 } else { 3 });
    let told = |agent_pid| {
        println!("`probes` said: {}", said_gone(agent_pid)?);
        std::thread::sleep(length);
        Ok(())
    };
    gone("dead", || daemon("stop"), told, || daemon("start"))
}

/// Takes the API server away for a while.
fn gone(
    purpose: &str,
    take: impl Fn() -> Result<()>,
    meanwhile: impl Fn(u32) -> Result<()>,
    give_back: impl Fn() -> Result<()>,
) -> Result<()> {
    agent::ensure_default()?;
    let namespace = Namespace::traced(purpose)?;
    namespace.run(&[Function::new("shop", "go")])?;
    let pod = namespace.pod("shop")?;
    let agent_pid = agent::pid()?;
    let mut arrivals = Arrivals::from_now()?;
    let load = Plan::new(address(&pod)?, &namespace.name, "/hello")
        .every_ms(20)
        .start();
    let begun = arrivals.wait_for(Kind::Server, &namespace.name, 1);
    take()?;
    let passed = meanwhile(agent_pid);
    let sent = load.finish_all_answered();
    give_back()?;
    wait_until(PATIENCE, "API server", || {
        Ok(try_kubectl(&["get", "--raw", "/readyz"])?.0.then_some(()))
    })?;
    begun?;
    passed?;
    complete(&sent?, &mut arrivals, name(&pod))?;
    recovered(&namespace, agent_pid)
}

/// Waits until `spanlet probes`, asked without the API server, says that it is gone.
fn said_gone(agent_pid: u32) -> Result<String> {
    let root = format!("/proc/{agent_pid}/root");
    wait_until(
        PATIENCE,
        "word of `probes` that the API server is gone",
        || {
            let mut command = Command::new(format!("{root}/spanlet"));
            command.args([
                "probes",
                "--socket",
                &format!("{root}/run/spanlet/spanlet.sock"),
            ]);
            let output = command.output().context("run the agent's program")?;
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            let line = said.lines().find(|line| line.contains("failing for"));
            Ok(line.map(str::to_owned))
        },
    )
}

/// Every request has its span, with the pod's name.
fn complete(sent: &[Sent], arrivals: &mut Arrivals, pod: &str) -> Result<()> {
    let all = arrivals.settled(QUIET)?;
    let found = spans::by_id(&all);
    let missing: Vec<_> = sent
        .iter()
        .filter(|one| !found.contains_key(&one.id))
        .collect();
    ensure!(
        missing.is_empty(),
        "{} of {} requests have no span",
        missing.len(),
        sent.len()
    );
    let mut its = sent.iter().flat_map(|one| &found[&one.id]);
    ensure!(
        its.all(|span| resource(span, "k8s.pod.name") == Some(pod)),
        "a span is of another pod"
    );
    Ok(())
}

/// What changes afterwards is heard again, by the same agent; and pods that start afterwards have their names.
fn recovered(namespace: &Namespace, agent_pid: u32) -> Result<()> {
    // Bound from the start: the controllers and the scheduler take their time to find back.
    let mut spec = namespace.pod_spec(&Function::new("later", "go"));
    spec["nodeName"] = json!(NODE);
    let metadata =
        json!({"name": "later", "namespace": namespace.name, "labels": {"app": "later"}});
    apply(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}))?;
    let pod = namespace.pod("later")?;
    let mut arrivals = Arrivals::from_now()?;
    let ids = format!("{}-later", namespace.name);
    let load = Plan::new(address(&pod)?, &ids, "/hello")
        .every_ms(50)
        .start();
    let spans = arrivals.wait_for(Kind::Server, &ids, 3);
    load.finish_all_answered()?;
    ensure!(spans?
        .iter()
        .all(|span| resource(span, "k8s.pod.name") == Some(name(&pod))));
    ensure!(agent::pid()? == agent_pid, "the agent was started again");
    Ok(())
}

/// Has xtask start or stop the API server.
fn daemon(verb: &str) -> Result<()> {
    let xtask =
        std::env::var_os("SPANLET_XTASK").map_or_else(|| target().join("debug/xtask"), Into::into);
    let status = Command::new(&xtask).args(["k8s", verb, SERVER]).status();
    ensure!(
        status.context("run xtask")?.success(),
        "cannot {verb} {SERVER}"
    );
    Ok(())
}
