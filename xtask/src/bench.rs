//! `cargo xtask bench`: what tracing costs, as paired ratios in one run. In: which function and how long. Out: the
//! benchmark's own lines. A measurement, never a test: it fails only when it cannot measure.

use std::process::ExitCode;

use anyhow::{bail, Result};

use crate::run::Run;
use crate::setup::Purpose;
use crate::{build, doctor, machine, setup};

#[derive(clap::Args)]
pub struct Options {
    /// The function's language: go, python, node, java or c
    #[arg(default_value = "go")]
    language: String,
    /// Runs with and without the agent, for each I/O back end
    #[arg(long, default_value_t = 5)]
    pairs: u32,
    /// Length of a run
    #[arg(long, default_value_t = 3)]
    seconds: u32,
}

/// Sets up, builds and measures.
pub fn bench(options: &Options) -> Result<ExitCode> {
    if let Some(reason) = doctor::end_to_end_blocked() {
        bail!("nothing can be measured here: {reason}");
    }
    setup::setup(Purpose::All)?;
    build::compile(build::Options::release())?;
    let mut command = machine::command("cargo");
    command.args([
        "bench",
        "--quiet",
        "--package",
        "spanlet-e2e",
        "--bench",
        "cost",
        "--",
    ]);
    command.args([
        &options.language,
        &options.pairs.to_string(),
        &options.seconds.to_string(),
    ]);
    Run::new("bench", command).shown()?;
    Ok(ExitCode::SUCCESS)
}
