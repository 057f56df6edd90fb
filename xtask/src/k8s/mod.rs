//! `cargo xtask k8s`: a real Kubernetes of one node on this machine, for the tests. In: a verb. Out: the cluster built, up, asked,
//! tested, down.

pub mod beside;
mod certificates;
mod cgroup;
mod daemons;
mod down;
pub mod images;
mod node;
mod places;
pub mod programs;
mod rootfs;
pub mod test;
mod up;

use std::ffi::OsString;
use std::process::{Command, ExitCode};

use anyhow::{ensure, Context, Result};

use crate::doctor;
use crate::image;
use crate::setup::{self, Purpose};
use crate::step::step;

#[derive(clap::Subcommand)]
pub enum Options {
    /// Build Kubernetes and the images of the tests
    Build,
    /// Start the cluster
    Up,
    /// Load images that changed into the cluster that is up
    Load,
    /// End the cluster, also one that was left behind
    Down,
    /// Ask the cluster
    Kubectl(Passed),
    /// Install into the cluster
    Helm(Passed),
    /// Run a command on the node, in its network and with its mounts
    Inside(Passed),
    /// Start one of the node's daemons
    Start { daemon: String },
    /// Kill one of the node's daemons
    Stop { daemon: String },
    /// Walk the scenario: start the cluster if none is up, install the agent, hold its spans to what the API server says
    Test(test::Options),
}

/// What another program reads.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub struct Passed {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// Does what a verb says.
pub fn k8s(options: Options) -> Result<ExitCode> {
    match options {
        Options::Build => build().map(|()| ExitCode::SUCCESS),
        Options::Up => {
            build_cluster()?;
            up::up()?;
            println!("\ncargo xtask k8s kubectl get pods --all-namespaces");
            Ok(ExitCode::SUCCESS)
        }
        Options::Load => {
            step("k8s: images", images::build)?;
            step("k8s: load", images::load).map(|()| ExitCode::SUCCESS)
        }
        Options::Down => down::down().map(|()| ExitCode::SUCCESS),
        Options::Kubectl(passed) => pass(up::kubectl(&[])?, &passed),
        Options::Helm(passed) => pass(up::helm()?, &passed),
        Options::Inside(passed) => pass(node::inside()?, &passed),
        Options::Start { daemon } => daemons::named(&daemon)?.start().map(|()| ExitCode::SUCCESS),
        Options::Stop { daemon } => daemons::named(&daemon)?.stop().map(|()| ExitCode::SUCCESS),
        Options::Test(options) => test::test(&options),
    }
}

/// Brings and builds everything that a cluster and its tests need, the agent's image included.
pub fn build() -> Result<()> {
    build_cluster()?;
    image::image(&image::Options::default())
}

/// The same without the agent.
fn build_cluster() -> Result<()> {
    let blocked = doctor::kubernetes_blocked();
    ensure!(
        blocked.is_none(),
        "Kubernetes cannot run here: {}",
        blocked.unwrap_or_default()
    );
    setup::setup(Purpose::Kubernetes)?;
    step("k8s: images", images::build)
}

fn pass(mut command: Command, passed: &Passed) -> Result<ExitCode> {
    let status = command
        .args(&passed.arguments)
        .status()
        .context("cannot enter the node")?;
    Ok(match status.success() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}
