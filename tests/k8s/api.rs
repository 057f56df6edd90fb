//! The API server, asked by kubectl as its administrator: the truth that spans are held to. In: objects and questions. Out: JSON.
//! This program runs on the node, so that nothing has to be entered.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use serde_json::{json, Value as Json};
use spanlet_e2e::system::target;
use spanlet_e2e::wait::wait_until;

/// The one node.
pub const NODE: &str = "spanlet-test";

/// What the cluster takes at most for anything that it is asked to do.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Where a running cluster keeps its files; the tests' collector writes there too.
pub fn state() -> PathBuf {
    let state = target().join("k8s/state");
    // The API server takes no path with `..`.
    state.canonicalize().unwrap_or(state)
}

/// Runs kubectl; what it wrote, or its fault.
pub fn kubectl(arguments: &[&str]) -> Result<String> {
    let output = command(arguments).output().context("start kubectl")?;
    printed(output, arguments)
}

/// The same, which may fail: whether it succeeded, and all that it wrote.
pub fn try_kubectl(arguments: &[&str]) -> Result<(bool, String)> {
    let output = command(arguments).output().context("start kubectl")?;
    let both = [output.stdout, output.stderr].concat();
    Ok((
        output.status.success(),
        String::from_utf8_lossy(&both).into_owned(),
    ))
}

/// An object, or a list of them.
pub fn get(arguments: &[&str]) -> Result<Json> {
    let arguments = [&["get", "-o", "json"], arguments].concat();
    Ok(serde_json::from_str(&kubectl(&arguments)?)?)
}

/// Makes an object, or changes it.
pub fn apply(object: &Json) -> Result<()> {
    let arguments = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
    feed(&arguments, object).map(drop)
}

/// Makes an object that is not there.
pub fn create(object: &Json) -> Result<()> {
    feed(&["create", "-f", "-"], object).map(drop)
}

/// Several in one go.
pub fn list(objects: Vec<Json>) -> Json {
    json!({"apiVersion": "v1", "kind": "List", "items": objects})
}

/// Waits until a Deployment or DaemonSet has all its pods ready.
pub fn rolled_out(namespace: &str, workload: &str) -> Result<()> {
    kubectl(&[
        "-n",
        namespace,
        "rollout",
        "status",
        workload,
        "--timeout=60s",
    ])
    .map(drop)
}

/// The pods of a label, as they are now.
pub fn pods(namespace: &str, label: &str) -> Result<Vec<Json>> {
    let list = get(&["pods", "-n", namespace, "-l", label])?;
    Ok(list["items"].as_array().context("no list")?.clone())
}

/// Waits until a pod of that label serves, and returns it.
pub fn ready_pod(namespace: &str, label: &str) -> Result<Json> {
    wait_until(
        PATIENCE,
        &format!("ready pod {label} in {namespace}"),
        || Ok(pods(namespace, label)?.into_iter().find(is_ready)),
    )
}

fn is_ready(pod: &Json) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    let going = pod["metadata"]["deletionTimestamp"].is_null();
    let ready = |condition: &Json| condition["type"] == "Ready" && condition["status"] == "True";
    going && conditions.is_some_and(|conditions| conditions.iter().any(ready))
}

/// A text within an object; empty where there is none.
pub fn text<'a>(object: &'a Json, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Json::as_str)
        .unwrap_or_default()
}

fn feed(arguments: &[&str], object: &Json) -> Result<String> {
    let mut child = command(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("start kubectl")?;
    let mut input = child.stdin.take().context("kubectl reads nothing")?;
    input.write_all(object.to_string().as_bytes())?;
    drop(input);
    printed(child.wait_with_output()?, arguments)
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(target().join("k8s/bin/kube"));
    command.arg("kubectl").arg("--kubeconfig").arg(kubeconfig());
    command.args(arguments).stdin(Stdio::null());
    command
}

/// The administrator's.
pub fn kubeconfig() -> PathBuf {
    state().join("kubeconfig/admin")
}

fn printed(output: Output, arguments: &[&str]) -> Result<String> {
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "kubectl {}: {said}",
        arguments.join(" ")
    );
    Ok(String::from_utf8(output.stdout)?)
}
