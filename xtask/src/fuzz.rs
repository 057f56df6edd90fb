//! `cargo xtask fuzz`: random bytes for every parser of foreign bytes, with AddressSanitizer. In: a target and how long.
//! Out: the fuzzer's own lines; a finding is written below `target/fuzz` and is an error.
//!
//! Builds with the user's own cargo: the sanitizer needs an option that stable compilers refuse, so they are told to
//! accept it. Inputs are kept in `target/fuzz/corpus`; `tests/fuzz/corpus` holds those worth keeping for everybody.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread;

use anyhow::{anyhow, bail, Context, Result};
use clap::builder::PossibleValuesParser;

use crate::machine::{self, Machine, ThisMachine};
use crate::paths::{self, PLATFORM};
use crate::run::Run;
use crate::step::{step, Outcome};

/// One for each way foreign bytes come in; see `tests/fuzz/src`.
const TARGETS: [&str; 4] = ["record", "http1", "executable", "config"];
/// Inputs of a smoke run: some seconds for each target.
const SMOKE_INPUTS: u32 = 20_000;

/// What cargo-fuzz sets too (LLVM, "SanitizerCoverage"): counters and comparisons for the fuzzer to follow.
const RUSTFLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares \
    -Zsanitizer=address -Ccodegen-units=1";

/// An input that takes longer, or more memory, is a finding. One input is some kilobytes.
const LIMITS: [&str; 4] = [
    "-timeout=10",
    "-rss_limit_mb=1024",
    "-malloc_limit_mb=64",
    "-max_len=8192",
];

#[derive(clap::Args)]
pub struct Options {
    /// What to fuzz; all targets one after the other where not given
    #[arg(value_parser = PossibleValuesParser::new(TARGETS))]
    target: Option<String>,
    /// How long each; without it, as many inputs as the smoke run of `cargo xtask test`
    #[arg(long)]
    seconds: Option<u32>,
}

/// Builds and runs.
pub fn fuzz(options: &Options) -> Result<ExitCode> {
    if let Some(missing) = missing(&ThisMachine) {
        bail!("cannot fuzz here: {missing}");
    }
    prepare()?;
    let wanted = |target: &&str| options.target.as_deref().is_none_or(|only| only == *target);
    for target in TARGETS.into_iter().filter(wanted) {
        let command = match options.seconds {
            Some(seconds) => long_command(target, seconds)?,
            None => smoke_command(target)?,
        };
        Run::new(format!("fuzz {target}"), command)
            .hint("the input is in target/fuzz/findings: give it to the target's program")
            .shown()?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What this machine lacks for fuzzing.
pub fn missing(machine: &impl Machine) -> Option<&'static str> {
    machine
        .find("c++")
        .is_none()
        .then_some("no C++ compiler, which libFuzzer is built with (Debian: g++)")
}

/// A smoke run of each target, the same on every machine: its name, and what was found. All at once: each has one thread.
pub fn smoke() -> Result<Vec<(&'static str, Result<()>)>> {
    prepare()?;
    let run = |target| Run::new(format!("fuzz {target}"), smoke_command(target)?).captured();
    thread::scope(|scope| {
        let runs = TARGETS.map(|target| (target, scope.spawn(move || run(target).map(drop))));
        let ended = runs.map(|(target, run)| {
            let panicked = |_| Err(anyhow!("fuzz {target}: a thread panicked"));
            (target, run.join().unwrap_or_else(panicked))
        });
        Ok(ended.into())
    })
}

fn prepare() -> Result<()> {
    step("build: fuzz targets", || {
        let mut command = machine::command("cargo");
        command
            .args(["build", "--release", "--target", PLATFORM])
            .current_dir(paths::root().join("tests/fuzz"))
            .env("CARGO_TARGET_DIR", folder())
            .env("RUSTC_BOOTSTRAP", "1")
            .env("RUSTFLAGS", RUSTFLAGS);
        Run::new("fuzz targets", command).captured()?;
        Ok(Outcome::Done("target/fuzz".into()))
    })?;
    step("fuzz: seeds", || {
        let mut command = machine::command(program("seeds"));
        command.arg(folder().join("seeds"));
        Run::new("seeds", command).captured()?;
        Ok(Outcome::Done("target/fuzz/seeds".into()))
    })
}

/// New inputs that reach further are kept, and are where the next run starts.
fn long_command(target: &str, seconds: u32) -> Result<Command> {
    let mut command = command(target, &made(&folder().join("corpus").join(target))?)?;
    command.arg(format!("-max_total_time={seconds}"));
    Ok(command)
}

/// Starts from what every machine has, and keeps nothing.
fn smoke_command(target: &str) -> Result<Command> {
    let scratch = folder().join("smoke").join(target);
    if scratch.exists() {
        std::fs::remove_dir_all(&scratch)
            .with_context(|| format!("cannot remove {}", scratch.display()))?;
    }
    let mut command = command(target, &made(&scratch)?)?;
    command.args([format!("-runs={SMOKE_INPUTS}"), "-seed=1".into()]);
    Ok(command)
}

/// A target's program over the seeds and the repository's inputs; new ones go to `kept`.
fn command(target: &str, kept: &Path) -> Result<Command> {
    let findings = made(&folder().join("findings").join(target))?;
    let ours = made(&paths::root().join("tests/fuzz/corpus").join(target))?;
    let mut command = machine::command(program(target));
    command.args([kept, &folder().join("seeds").join(target), &ours]);
    command.args(LIMITS);
    command.arg(format!("-artifact_prefix={}/", findings.display()));
    Ok(command)
}

/// The folder, which is there now.
fn made(folder: &Path) -> Result<PathBuf> {
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(folder.to_owned())
}

fn program(name: &str) -> PathBuf {
    folder().join(PLATFORM).join("release").join(name)
}

fn folder() -> PathBuf {
    paths::target().join("fuzz")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_has_its_program_and_no_other_is_forgotten() {
        let manifest = paths::root().join("tests/fuzz/Cargo.toml");
        let manifest = std::fs::read_to_string(manifest).unwrap();
        let programs = manifest
            .lines()
            .filter_map(|line| line.strip_prefix("path = "));
        let targets: Vec<String> = programs
            .filter(|path| path.contains("fuzz_targets/"))
            .map(str::to_owned)
            .collect();
        assert_eq!(
            targets,
            TARGETS.map(|target| format!("\"fuzz_targets/{target}.rs\""))
        );
    }
}
