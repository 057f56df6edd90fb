//! `cargo xtask k8s up`: one node with everything that Kubernetes has, in namespaces of its own. In: programs and images. Out: a
//! cluster that is ready, or an error with what its daemons said.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use spanlet_e2e::wait::wait_until;

use super::daemons::{self, filled};
use super::places::{self, NODE};
use super::{certificates, cgroup, down, images, node};
use crate::paths;
use crate::run::Run;
use crate::step::{step, Outcome};

const READY: Duration = Duration::from_secs(60);
/// Of the node's configuration, what daemons read.
const CONFIGURATION: [&str; 5] = [
    "10-bridge.conflist",
    "audit.yaml",
    "containerd.toml",
    "kubelet.yaml",
    "kube-proxy.yaml",
];
const FOLDERS: [&str; 7] = [
    "config",
    "kubeconfig",
    "log",
    "pids",
    "static-pods",
    "volume-plugins",
    "imported",
];

/// Starts a cluster; what is left of an earlier one is removed first.
pub fn up() -> Result<()> {
    ensure!(
        !node::is_up(),
        "a cluster is up already: `cargo xtask k8s down` ends it"
    );
    down::down()?;
    let result = step("k8s: control plane", control_plane)
        .and_then(|()| step("k8s: images", images::load))
        .and_then(|()| step("k8s: node", workers))
        .and_then(|()| step("k8s: name service", names));
    result.with_context(|| match down::down() {
        Ok(()) => format!(
            "what the daemons said is in {}/log",
            places::state().display()
        ),
        Err(fault) => format!("and the cluster could not be ended: {fault:#}"),
    })
}

fn control_plane() -> Result<Outcome> {
    write_state()?;
    cgroup::make()?;
    node::start()?;
    daemons::ETCD.start()?;
    daemons::API_SERVER.start()?;
    daemons::CONTAINERD.start()?;
    wait("container runtime", || {
        let mut command = node::inside()?;
        command.args(["ctr", "version"]);
        Ok(command)
    })?;
    wait("API server", || kubectl(&["get", "--raw", "/readyz"]))?;
    daemons::CONTROLLERS.start()?;
    daemons::SCHEDULER.start()?;
    Ok(Outcome::Done("API server ready".into()))
}

fn workers() -> Result<Outcome> {
    daemons::KUBELET.start()?;
    daemons::PROXY.start()?;
    wait("node", || kubectl(&["get", "node", NODE]))?;
    let node = format!("node/{NODE}");
    wait("ready node", || {
        kubectl(&["wait", "--for=condition=Ready", &node, "--timeout=1s"])
    })?;
    wait("service account", || {
        kubectl(&["get", "serviceaccount", "default"])
    })?;
    Ok(Outcome::Done("ready".into()))
}

fn names() -> Result<Outcome> {
    let manifest = places::sources().join("node/coredns.yaml");
    let mut apply = kubectl(&["apply", "-f"])?;
    apply.arg(manifest);
    Run::new("name service", apply).captured()?;
    let deployment = "deployment/coredns";
    let wait = [
        "-n",
        "kube-system",
        "rollout",
        "status",
        deployment,
        "--timeout=60s",
    ];
    Run::new("name service", kubectl(&wait)?).captured()?;
    Ok(Outcome::Done("ready".into()))
}

/// Everything that daemons read.
fn write_state() -> Result<()> {
    let state = places::state();
    for folder in FOLDERS {
        fs::create_dir_all(state.join(folder))?;
    }
    certificates::write(&state.join("pki"))?;
    for name in CONFIGURATION {
        let text = fs::read_to_string(places::sources().join("node").join(name))
            .with_context(|| format!("cannot read {name}"))?;
        fs::write(state.join("config").join(name), filled(&text))?;
    }
    let kubeconfig = fs::read_to_string(places::sources().join("node/kubeconfig.yaml"))?;
    for user in certificates::users() {
        let text = filled(&kubeconfig).replace("$USER", user);
        fs::write(places::kubeconfig(user), text)?;
    }
    Ok(())
}

/// kubectl as the administrator.
pub fn kubectl(arguments: &[&str]) -> Result<Command> {
    let mut command = node::inside()?;
    command.arg(places::programs().join("kube")).arg("kubectl");
    command.arg(format!(
        "--kubeconfig={}",
        places::kubeconfig("admin").display()
    ));
    command.args(arguments);
    Ok(command)
}

/// Tries a command until it succeeds.
fn wait(what: &str, command: impl Fn() -> Result<Command>) -> Result<()> {
    wait_until(READY, what, || {
        Ok(command()?.output()?.status.success().then_some(()))
    })
}

/// helm as the administrator.
pub fn helm() -> Result<Command> {
    let mut command = node::inside()?;
    command.arg("env");
    command.arg(format!(
        "KUBECONFIG={}",
        places::kubeconfig("admin").display()
    ));
    command.arg(paths::helm());
    Ok(command)
}
