//! The function in Rust, on tokio with a thread for each core and with one.

use std::process::Command;

use anyhow::Result;

use super::build::{run, source};
use super::Runtime;
use crate::scratch::Scratch;
use crate::system::target;

pub const ROWS: &[Runtime] = &[
    row("rust-tokio", || command("multi-thread")),
    row("rust-tokio-current-thread", || command("current-thread")),
];

/// Which writes its calls by the tasks that make them.
pub const RAW: &str = "rust-tokio-raw";

/// That one.
pub fn raw() -> Result<Command> {
    let mut command = command("multi-thread")?;
    command.env("CLIENT", "raw");
    Ok(command)
}

const fn row(name: &'static str, command: fn() -> Result<Command>) -> Runtime {
    Runtime::new(name, &["cargo"], command)
}

fn command(runtime: &str) -> Result<Command> {
    let mut command = program("function")?;
    command.env("RUNTIME", runtime);
    Ok(command)
}

/// One of its programs. Cargo itself knows what is up to date, and lets one build go on at a time.
pub fn program(name: &str) -> Result<Command> {
    let folder = target().join("runtimes/rust");
    let mut cargo = Command::new("cargo");
    cargo.args([
        "build",
        "--quiet",
        "--release",
        "--locked",
        "--manifest-path",
    ]);
    cargo
        .arg(source("rust/Cargo.toml"))
        .arg("--target-dir")
        .arg(&folder);
    run(&mut cargo)?;
    Ok(Command::new(folder.join("release").join(name)))
}

/// The function without its symbols.
pub fn stripped(scratch: &Scratch) -> Result<Command> {
    let whole = program("function")?;
    let stripped = scratch.join("function");
    let mut strip = Command::new("strip");
    strip.arg("-o").arg(&stripped).arg(whole.get_program());
    run(&mut strip)?;
    Ok(Command::new(stripped))
}
