//! The programs of the test cluster: Kubernetes (etcd, its control plane, the kubelet, kube-proxy, kubectl) in one, and CoreDNS. In:
//! `tests/k8s/stack`. Out: programs in target/k8s/bin, built again only when their sources changed.

use std::fs;
use std::path::PathBuf;

use anyhow::{bail, Context, Result};

use super::places;
use crate::machine::{self, Machine};
use crate::run::Run;
use crate::step::Outcome;

const NAMES: [&str; 2] = ["kube", "coredns"];
const SOURCES: [&str; 4] = ["go.mod", "go.sum", "kube/main.go", "coredns/main.go"];

/// Builds them from Go modules: some minutes, the first time.
pub fn programs(machine: &impl Machine) -> Result<Outcome> {
    let stamp = stamp()?;
    let said = format!("Kubernetes {}", version()?);
    if is_current(machine, &stamp) {
        return Ok(Outcome::AlreadyThere(said));
    }
    if machine.find("go").is_none() {
        bail!("needs go: see the runtimes");
    }
    fs::create_dir_all(places::programs()).context("cannot make target/k8s/bin")?;
    compile()?;
    fs::write(stamp_path(), stamp).context("cannot write the stamp of target/k8s/bin")?;
    Ok(Outcome::Done(said))
}

fn is_current(machine: &impl Machine, stamp: &str) -> bool {
    let mut programs = NAMES.iter().map(|name| places::programs().join(name));
    programs.all(|program| machine.exists(&program))
        && fs::read_to_string(stamp_path()).is_ok_and(|built| built == stamp)
}

fn compile() -> Result<()> {
    let mut command = machine::command("go");
    command.args(["build", "-trimpath", "-ldflags", &flags()?, "-o"]);
    command
        .arg(places::programs())
        .args(["./kube", "./coredns"]);
    command.env("CGO_ENABLED", "0");
    command.current_dir(places::sources().join("stack"));
    Run::new("kubernetes", command)
        .hint("is there a network, and a go new enough for go.mod?")
        .captured()
        .map(|_| ())
}

/// The components take their version from the linker; without, the API server says v0.0.0.
fn flags() -> Result<String> {
    let version = version()?;
    let minor = version
        .split('.')
        .nth(1)
        .context("a version has two dots")?;
    let mut flags = String::from("-s -w");
    for package in [
        "k8s.io/component-base/version",
        "k8s.io/client-go/pkg/version",
    ] {
        let values = [
            ("gitVersion", version.as_str()),
            ("gitMajor", "1"),
            ("gitMinor", minor),
            ("gitTreeState", "clean"),
            ("gitCommit", "unknown"),
            ("buildDate", "1970-01-01T00:00:00Z"),
        ];
        for (name, value) in values {
            flags += &format!(" -X {package}.{name}={value}");
        }
    }
    Ok(flags)
}

/// Of Kubernetes, as go.mod pins it.
fn version() -> Result<String> {
    let pins = fs::read_to_string(places::sources().join("stack/go.mod"))?;
    let pinned = pins
        .lines()
        .find_map(|line| line.trim().strip_prefix("k8s.io/kubernetes "));
    Ok(pinned.context("go.mod pins no Kubernetes")?.to_owned())
}

fn stamp_path() -> PathBuf {
    places::programs().join("stamp")
}

fn stamp() -> Result<String> {
    let folder = places::sources().join("stack");
    let texts = SOURCES
        .iter()
        .map(|name| fs::read_to_string(folder.join(name)));
    let texts: Result<Vec<String>, _> = texts.collect();
    Ok(texts.context("cannot read tests/k8s/stack")?.join("\n"))
}
