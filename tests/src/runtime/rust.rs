//! The function in Rust, on tokio with a thread for each core and with one.

use std::process::Command;

use anyhow::Result;

use super::build::{run, source};
use super::Runtime;
use crate::system::target;

pub const ROWS: &[Runtime] = &[
    row("rust-tokio", || command("multi-thread")),
    row("rust-tokio-current-thread", || command("current-thread")),
];

const fn row(name: &'static str, command: fn() -> Result<Command>) -> Runtime {
    Runtime::new(name, &["cargo"], command)
}

/// Cargo itself knows what is up to date, and lets one build go on at a time.
fn command(runtime: &str) -> Result<Command> {
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
    let mut command = Command::new(folder.join("release/function"));
    command.env("RUNTIME", runtime);
    Ok(command)
}
