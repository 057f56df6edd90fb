//! `cargo xtask accuracy`: how truly the agent says who called whom. In: which runtimes and how much. Out: the tables;
//! failure when parents are wrong, or when a control shows that the scorer cannot be believed. `durations` among the
//! runtimes: how true durations and costs are.

use std::process::ExitCode;

use anyhow::{bail, Result};

use crate::run::Run;
use crate::setup::Purpose;
use crate::{build, doctor, machine, paths, setup};

#[derive(clap::Args)]
pub struct Options {
    /// Only these runtimes; `durations`: how true durations and costs are, instead of parents
    #[arg(value_name = "RUNTIME")]
    runtimes: Vec<String>,
    /// A few seconds for each runtime instead of minutes
    #[arg(long)]
    quick: bool,
    /// The totals as the README has them
    #[arg(long)]
    markdown: bool,
    /// Where the random trees start
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Sets up, builds, drives and scores.
pub fn accuracy(options: &Options) -> Result<ExitCode> {
    if let Some(reason) = doctor::end_to_end_blocked() {
        bail!("nothing can be scored here: {reason}");
    }
    setup::setup(Purpose::Test)?;
    build::compile(build::Options::release())?;
    let mut command = machine::command("cargo");
    command.args(["bench", "--quiet", "--package", "spanlet-e2e"]);
    command.args(["--bench", "accuracy", "--"]);
    let (durations, runtimes): (Vec<_>, Vec<_>) = options
        .runtimes
        .iter()
        .partition(|name| *name == "durations");
    command.arg(match (durations.is_empty(), options.quick) {
        (false, _) => "durations",
        (true, true) => "quick",
        (true, false) => "full",
    });
    command.arg(if options.markdown { "markdown" } else { "text" });
    command.arg(options.seed.to_string()).args(runtimes);
    command.env("SPANLET_OTELCOL", paths::collector());
    Run::new("accuracy", command).shown()?;
    Ok(ExitCode::SUCCESS)
}
