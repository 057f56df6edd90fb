//! `cargo xtask python-offsets`: where releases of CPython keep the Context that runs, for `agent/src/attach/python.rs`.
//! In: interpreters, each with its headers beside it. Out: a line for each, from what the compiler makes of the headers.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{ensure, Context, Result};
use spanlet_e2e::runtime::cpython;

use crate::paths;

#[derive(clap::Args)]
pub struct Options {
    /// Interpreters to look at instead of the releases that are tested with
    #[arg(value_name = "PYTHON")]
    interpreters: Vec<PathBuf>,
}

/// Prints them.
pub fn python_offsets(options: &Options) -> Result<ExitCode> {
    println!(
        "{:<10} {:>5} {:>6} {:>7}",
        "release", "key", "thread", "context"
    );
    for mut interpreter in interpreters(options)? {
        print!("{}", offsets(&mut interpreter)?);
    }
    Ok(ExitCode::SUCCESS)
}

fn interpreters(options: &Options) -> Result<Vec<Command>> {
    if options.interpreters.is_empty() {
        let releases = cpython::RELEASES.iter();
        return releases
            .map(|(minor, package)| cpython::interpreter(*minor, package))
            .collect();
    }
    Ok(options.interpreters.iter().map(Command::new).collect())
}

fn offsets(interpreter: &mut Command) -> Result<String> {
    const INCLUDE: &str = "import sysconfig; print(sysconfig.get_paths()['include'], end='')";
    let include = said(interpreter.args(["-c", INCLUDE]))?;
    let program = paths::target().join("python-offsets");
    let mut compiler = Command::new("gcc");
    compiler.arg("-I").arg(&include);
    compiler.arg("-I").arg(format!("{include}/internal"));
    compiler.arg("-o").arg(&program);
    said(compiler.arg(paths::root().join("xtask/src/python_offsets/offsets.c")))?;
    said(&mut Command::new(program))
}

/// What a command says, if it succeeds.
fn said(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("run {command:?}"))?;
    let fault = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{command:?} failed:\n{fault}");
    Ok(String::from_utf8(output.stdout)?)
}
