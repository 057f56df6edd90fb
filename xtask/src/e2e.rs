//! `cargo xtask e2e`: the ring with real functions, this kernel and a real collector. In: a filter. Out: the tests'
//! own lines, and the tally.

use std::process::{Command, ExitCode};

use anyhow::{bail, Result};
use spanlet_e2e::agent::BINARY;

use crate::libtest::Tally;
use crate::setup::Purpose;
use crate::{build, doctor, machine, paths, setup, test};

#[derive(clap::Args)]
pub struct Options {
    /// Run only the tests whose name contains this
    filter: Option<String>,
    /// Replace the recordings that `cargo test` replays; runs only what records, where no filter is given
    #[arg(long)]
    record: bool,
}

/// Sets up, builds and runs the ring.
pub fn e2e(options: Options) -> Result<ExitCode> {
    if let Some(reason) = doctor::end_to_end_blocked() {
        bail!("the end-to-end ring cannot run here: {reason}");
    }
    setup::setup(Purpose::Test)?;
    build::compile(build::Options::static_binary())?;
    let mut tally = Tally::default();
    let succeeded = test::stream(command(&options), &mut tally)?;
    Ok(test::verdict(&tally, succeeded, Vec::new()))
}

/// The whole ring.
pub fn all() -> Command {
    command(&Options {
        filter: None,
        record: false,
    })
}

fn command(options: &Options) -> Command {
    let mut command = machine::command("cargo");
    // Of the whole workspace, so that dependencies are those that the unit tests were built with.
    command.args([
        "test",
        "--features",
        "spanlet-e2e/e2e",
        "--test",
        "e2e",
        "--",
    ]);
    let recorders = options.record.then(|| "record::".to_owned());
    // The output of tests that pass holds what they cannot do here. One at a time: times are compared, and each test runs
    // functions, a client and an agent, which have few cores as it is.
    command.args(["--show-output", "--test-threads=1"]);
    command.args(options.filter.clone().or(recorders));
    // Unless another is asked for.
    if std::env::var_os(BINARY).is_none() {
        command.env(BINARY, paths::static_agent());
    }
    command.env("SPANLET_OTELCOL", paths::collector());
    // A test says what was wrong; where in the test is of no use.
    command.env("RUST_LIB_BACKTRACE", "0");
    if options.record {
        command.env("SPANLET_RECORD", "1");
    }
    command
}
