//! Helm and the chart. In: what helm is to do with it. Out: what helm says.

use std::path::PathBuf;
use std::process::{Command, Output};

use anyhow::{Context, Result};

use crate::system::{target, workspace};

/// Where `cargo xtask setup` puts it.
pub fn binary() -> PathBuf {
    target().join("tools/bin/helm")
}

/// The chart's folder.
pub fn chart() -> PathBuf {
    workspace().join("deploy/chart")
}

/// `helm ARGUMENTS`, with no cluster and no configuration of its user's.
pub fn helm(arguments: &[&str]) -> Result<Output> {
    let mut command = Command::new(binary());
    command.args(arguments).current_dir(chart());
    command.env("KUBECONFIG", "/dev/null");
    for home in ["HELM_CONFIG_HOME", "HELM_CACHE_HOME", "HELM_DATA_HOME"] {
        command.env(home, target().join("helm-home"));
    }
    command
        .output()
        .with_context(|| format!("run helm {arguments:?}"))
}

/// What the chart gives the agent in the mode `capabilities`.
pub fn capabilities() -> Result<Vec<String>> {
    let values = std::fs::read_to_string(chart().join("values.yaml")).context("read the values")?;
    let (_, list) = values
        .split_once("\n  capabilities:\n")
        .context("no security.capabilities")?;
    let lines = list.lines().map(str::trim);
    let entries = lines.take_while(|line| line.starts_with('-') || line.starts_with('#'));
    let names = entries.filter_map(|line| line.strip_prefix("- "));
    Ok(names.map(str::to_owned).collect())
}
