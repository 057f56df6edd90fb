//! The node: a process that holds its network and its mounts. In: nothing. Out: commands that run inside of it.
//! This file touches the world.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use spanlet_e2e::wait::wait_until;

use super::cgroup;
use super::places::{self, NODE_ADDRESS};
use crate::machine;

const START: Duration = Duration::from_secs(20);
/// The number of the process that holds the namespaces.
const HOLDER: &str = "pids/holder";

/// Makes its namespaces, held by a process that outlives this one.
pub fn start() -> Result<()> {
    let state = places::state();
    let log = File::create(state.join("log/namespaces.log"))?;
    let mut command = machine::command("sh");
    command
        .args(["-c", "echo $$ > \"$0\"; exec \"$@\""])
        .arg(cgroup::entry()?)
        .args(["unshare", "--net", "--mount", "--propagation=private", "sh"])
        .arg(places::sources().join("node/namespaces.sh"))
        .env("STATE", &state)
        .env("ADDRESS", NODE_ADDRESS)
        .stdin(Stdio::null())
        .stderr(log.try_clone()?)
        .stdout(log)
        .process_group(0);
    let mut holder = command.spawn().context("cannot start the node")?;
    fs::write(state.join(HOLDER), holder.id().to_string())?;
    let ready = wait_until(START, "node", || {
        anyhow::ensure!(holder.try_wait()?.is_none(), "the node ended early");
        Ok(state.join("ready").exists().then_some(()))
    });
    ready.with_context(|| fs::read_to_string(state.join("log/namespaces.log")).unwrap_or_default())
}

/// A command that runs inside: what follows are its program and arguments.
pub fn inside() -> Result<Command> {
    let holder = holder()?;
    let mut command = machine::command("nsenter");
    command.args(["--target", &holder.to_string(), "--net", "--mount"]);
    // Paths that a user types are meant from where he stands; entering a mount namespace loses that.
    command.args(["--", "sh", "-c", "cd \"$0\" && exec \"$@\""]);
    command.arg(std::env::current_dir()?);
    Ok(command)
}

/// Whether a cluster was started and its node still runs.
pub fn is_up() -> bool {
    holder().is_ok_and(|pid| fs::read_link(format!("/proc/{pid}/exe")).is_ok())
}

fn holder() -> Result<u32> {
    let number = fs::read_to_string(places::state().join(HOLDER));
    let number = number.context("no cluster: start one with `cargo xtask k8s up`")?;
    Ok(number.trim().parse()?)
}
