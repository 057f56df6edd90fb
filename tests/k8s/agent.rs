//! Spanlet in the cluster, installed by its chart. In: values. Out: a DaemonSet that is ready; what `spanlet probes` says in its pod.

use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{ensure, Context, Result};
use serde_json::{json, Value as Json};
use spanlet_e2e::system::{target, workspace};

use crate::api::{self, kubeconfig, kubectl, text};
use crate::collector;

pub const NAMESPACE: &str = "spanlet";
pub const RELEASE: &str = "spanlet";
const LABEL: &str = "app.kubernetes.io/name=spanlet";

/// The chart's values for these tests, and what a test wants otherwise.
pub fn values(more: Json) -> Json {
    let mut values = json!({
        "config": {
            "otlp": {"endpoint": collector::ENDPOINT, "protocol": "grpc"},
            "batch_delay_ms": 200,
            "kubernetes": {"cluster_name": "test-cluster", "environment": "staging"},
        },
    });
    merge(&mut values, more);
    values
}

/// Installs it, or changes what is installed, and waits until it is ready.
pub fn install(values: &Json) -> Result<()> {
    collector::start()?;
    helm(values, &["--wait", "--timeout=90s"])
}

/// What this program installed last.
static INSTALLED: Mutex<Option<Json>> = Mutex::new(None);

/// Installs it with the values of these tests, unless they are what is there.
pub fn ensure_default() -> Result<()> {
    ensure_values(&values(json!({})))
}

/// The same with other values.
pub fn ensure_values(values: &Json) -> Result<()> {
    let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
    if installed.as_ref() != Some(values) {
        *installed = None;
        install(values)?;
        *installed = Some(values.clone());
    }
    pod().map(drop)
}

/// To be called by who changes what is installed.
pub fn forget() {
    *INSTALLED.lock().unwrap_or_else(PoisonError::into_inner) = None;
}

/// Removes it and waits until its pods are gone.
pub fn uninstall() -> Result<()> {
    forget();
    let arguments = [
        "uninstall",
        RELEASE,
        "--namespace",
        NAMESPACE,
        "--wait",
        "--ignore-not-found",
    ];
    run_helm(&arguments, None)?;
    kubectl(&[
        "-n",
        NAMESPACE,
        "wait",
        "--for=delete",
        "pod",
        "-l",
        LABEL,
        "--timeout=60s",
    ])
    .map(drop)
}

/// Its one pod.
pub fn pod() -> Result<Json> {
    api::ready_pod(NAMESPACE, LABEL)
}

/// Has the DaemonSet start it anew.
pub fn replace() -> Result<()> {
    let old = pod()?;
    let name = text(&old, "/metadata/name");
    kubectl(&["delete", "pod", "-n", NAMESPACE, name]).map(drop)
}

/// The number of its process on this machine.
pub fn pid() -> Result<u32> {
    pid_of(&pod()?)
}

/// The number of the process that a pod's first container started.
pub fn pid_of(pod: &Json) -> Result<u32> {
    let id = text(pod, "/status/containerStatuses/0/containerID");
    let id = id
        .rsplit('/')
        .next()
        .filter(|id| !id.is_empty())
        .context("the container has no id yet")?;
    let suffix = format!("/{id}");
    for entry in std::fs::read_dir("/proc")? {
        let Ok(pid) = entry?.file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        // One that has ended meanwhile is none of it.
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        if groups.lines().any(|line| line.ends_with(&suffix)) {
            return Ok(pid);
        }
    }
    anyhow::bail!("no process of container {id}")
}

/// What `spanlet probes` says in its pod.
pub fn probes(arguments: &[&str]) -> Result<String> {
    let name = text(&pod()?, "/metadata/name").to_owned();
    let fixed = [
        "exec", "-n", NAMESPACE, &name, "-c", "agent", "--", "/spanlet", "probes",
    ];
    kubectl(&[&fixed, arguments].concat())
}

/// What the same says of the whole cluster, asked from outside with the administrator's kubeconfig: a list of its nodes.
pub fn of_cluster(arguments: &[&str]) -> Result<Json> {
    let mut command = Command::new(target().join("spanlet"));
    command.env("KUBECONFIG", kubeconfig()).args(arguments);
    let output = command.args(["--cluster", "--output", "json"]).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{arguments:?}: {said}");
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn helm(values: &Json, more: &[&str]) -> Result<()> {
    let chart = workspace().join("deploy/chart");
    let chart = chart.to_string_lossy();
    let fixed = [
        "upgrade",
        RELEASE,
        &chart,
        "--install",
        "--namespace",
        NAMESPACE,
        "--create-namespace",
        // Tests change objects by hand too.
        "--force-conflicts",
        "--values",
        "-",
    ];
    run_helm(&[&fixed, more].concat(), Some(values)).map(drop)
}

/// Runs helm; what it said.
pub fn run_helm(arguments: &[&str], values: Option<&Json>) -> Result<String> {
    let mut command = Command::new(target().join("tools/bin/helm"));
    command.args(arguments).env("KUBECONFIG", kubeconfig());
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().context("start helm")?;
    let input = child.stdin.take().context("helm reads nothing")?;
    if let Some(values) = values {
        serde_json::to_writer(input, values)?;
    }
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    ensure!(
        output.status.success(),
        "helm {}: {said}",
        arguments.join(" ")
    );
    Ok(said)
}

/// Puts what `more` says over what is there.
fn merge(into: &mut Json, more: Json) {
    match (into, more) {
        (Json::Object(into), Json::Object(more)) => {
            for (key, value) in more {
                merge(into.entry(key).or_insert(Json::Null), value);
            }
        }
        (into, more) => *into = more,
    }
}
