//! Building the agent with the user's own cargo. In: options. Out: `spanlet` in target/debug or target/release.

use anyhow::Result;

use super::Options;
use crate::machine;
use crate::run::Run;
use crate::step::Outcome;

pub fn build(options: Options) -> Result<Outcome> {
    let mut command = machine::command("cargo");
    command.args(["build", "--package", "spanlet"]);
    if options.release {
        command.arg("--release");
    }
    if options.probe_log {
        command.args(["--features", "probe-log"]);
    }
    Run::new("agent", command).captured()?;
    Ok(Outcome::Done(format!(
        "target/{}/spanlet",
        if options.release { "release" } else { "debug" }
    )))
}
