//! `cargo xtask bench`: what tracing costs, as paired ratios in one run. In: what to measure and how long. Out: the
//! benchmark's own tables. A measurement, never a test: it fails only when it cannot measure.

use std::process::ExitCode;

use anyhow::{bail, Result};
use spanlet_e2e::bench_options::Options;

use crate::run::Run;
use crate::setup::Purpose;
use crate::{build, doctor, machine, setup};

/// Sets up, builds and measures. The benchmark is a program of its own, optimised, and reads the same arguments again.
pub fn bench(_: &Options) -> Result<ExitCode> {
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
        "bench",
        "--",
    ]);
    command.args(
        std::env::args_os()
            .skip_while(|word| word != "bench")
            .skip(1),
    );
    Run::new("bench", command).shown()?;
    Ok(ExitCode::SUCCESS)
}
