//! The OpenTelemetry Collector that the end-to-end tests send to. In: its manifest (`xtask/collector.yaml`). Out: a
//! program in target/tools, built again only when the manifest or the builder changed.

use std::fs;
use std::path::PathBuf;

use anyhow::{bail, Context, Result};

use crate::machine::{self, Machine};
use crate::paths;
use crate::run::Run;
use crate::step::Outcome;

const MANIFEST: &str = include_str!("../../collector.yaml");
const BUILDER: &str = "go.opentelemetry.io/collector/cmd/builder@v0.164.0";

/// Builds the collector from Go modules.
pub fn collector(machine: &impl Machine) -> Result<Outcome> {
    if is_current(machine) {
        return Ok(Outcome::AlreadyThere("otelcol".into()));
    }
    if machine.find("go").is_none() {
        bail!("needs go: see the runtimes");
    }
    fs::create_dir_all(paths::tools()).context("cannot make target/tools")?;
    compile()?;
    let built = paths::target().join("collector/otelcol");
    fs::copy(&built, paths::collector())
        .with_context(|| format!("cannot copy {}", built.display()))?;
    fs::write(stamp_path(), stamp()).context("cannot write the collector's stamp")?;
    Ok(Outcome::Done("otelcol".into()))
}

/// Whether the collector that is there was built from this manifest.
pub fn is_current(machine: &impl Machine) -> bool {
    machine.exists(&paths::collector())
        && fs::read_to_string(stamp_path()).is_ok_and(|built| built == stamp())
}

/// The builder pins newer components than those that resolve, hence its strictness off.
fn compile() -> Result<()> {
    let mut command = machine::command("go");
    command.args(["run", BUILDER, "--skip-strict-versioning", "--config"]);
    command
        .arg(paths::root().join("xtask/collector.yaml"))
        .current_dir(paths::target());
    Run::new("collector", command)
        .hint("is there a network, and a go new enough for the builder?")
        .captured()
        .map(|_| ())
}

fn stamp_path() -> PathBuf {
    paths::tools().join("otelcol.stamp")
}

fn stamp() -> String {
    format!("{BUILDER}\n{MANIFEST}")
}
