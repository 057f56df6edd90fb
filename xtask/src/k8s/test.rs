//! `cargo xtask k8s test`: the scenario on the real cluster. In: a filter. Out: the tests' own lines, and the tally. The tests run on
//! the node, so that they reach pods, services and the API server; see `tests/k8s`.

use std::process::{Command, ExitCode};

use anyhow::{bail, Context, Result};

use super::{down, images, node, up};
use crate::libtest::Tally;
use crate::run::Run;
use crate::step::step;
use crate::{doctor, machine, paths, test};

#[derive(clap::Args, Default)]
pub struct Options {
    /// Run only the tests whose name contains this
    filter: Option<String>,
    /// Leave the cluster up
    #[arg(long)]
    keep: bool,
    /// Longer waits and larger numbers where the scenario has them (minutes)
    #[arg(long)]
    long: bool,
}

/// Sets up, builds and walks the scenario.
pub fn test(options: &Options) -> Result<ExitCode> {
    if let Some(reason) = doctor::kubernetes_blocked() {
        bail!("Kubernetes cannot run here: {reason}");
    }
    let mut tally = Tally::default();
    let succeeded = run(options, &mut tally)?;
    Ok(test::verdict(&tally, succeeded, Vec::new()))
}

/// The whole scenario, as it is part of `cargo xtask test`.
pub fn all(tally: &mut Tally) -> Result<bool> {
    run(&Options::default(), tally)
}

/// Runs the tests in the cluster that is up, or in one of their own that ends with them.
fn run(options: &Options, tally: &mut Tally) -> Result<bool> {
    super::build()?;
    Run::new(
        "tests",
        cargo(machine::command("cargo"), &["--no-run", "--quiet"]),
    )
    .shown()?;
    let ours = !node::is_up();
    match ours {
        true => up::up()?,
        false => step("k8s: images", images::load)?,
    }
    let result = walk(options, tally);
    if ours && !options.keep {
        down::down().context("the cluster could not be ended")?;
    }
    result
}

fn walk(options: &Options, tally: &mut Tally) -> Result<bool> {
    let mut inside = node::inside()?;
    inside.arg("cargo");
    let mut command = cargo(inside, &["--offline"]);
    command.args(["--", "--show-output", "--test-threads=1"]);
    command.args(&options.filter);
    command.env("SPANLET_XTASK", std::env::current_exe()?);
    command.env("RUST_LIB_BACKTRACE", "0");
    if options.long {
        command.env("SPANLET_K8S_LONG", "1");
    }
    test::stream(command, tally)
}

fn cargo(mut command: Command, arguments: &[&str]) -> Command {
    command.arg("test").arg("--manifest-path");
    command.arg(paths::root().join("Cargo.toml"));
    command.args(["--features", "spanlet-e2e/e2e", "--test", "k8s"]);
    command.args(arguments);
    command
}
