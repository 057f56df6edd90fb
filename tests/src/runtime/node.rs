//! The function in frameworks and with clients of Node, with packages at locked versions.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use super::build::{once, run, source};
use super::Runtime;

pub const ROWS: &[Runtime] = &[
    row("node-express", || command("express_function.js", "axios")),
    row("node-fastify", || command("fastify_function.js", "http")),
    row("node-fetch", || command("express_function.js", "fetch")),
];

const fn row(name: &'static str, command: fn() -> Result<Command>) -> Runtime {
    Runtime::new(name, &["node", "npm"], command)
}

/// Releases of Node that package `node` brings; each is compiled otherwise than the one before.
pub const RELEASES: [&str; 4] = ["18.20.8", "22.23.3", "24.21.0", "25.9.0"];

/// What is needed to bring them.
pub const RELEASES_NEED: &[&str] = &["npm"];

/// A release's program, brought first where it is not there.
pub fn release(version: &str) -> Result<PathBuf> {
    let package = format!("node@{version}");
    let name = format!("node-{version}");
    let folder = once(&name, &[], &package, |folder| {
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-audit", "--no-fund", "--prefix"]);
        run(npm.arg(folder).arg(&package))
    })?;
    Ok(folder.join("node_modules/node/bin/node"))
}

fn command(script: &str, client: &str) -> Result<Command> {
    let files = ["package.json", "package-lock.json"];
    let sources = files.map(|file| source("node-frameworks").join(file));
    let packages = once("node-packages", &sources, "npm ci", |folder| {
        for (file, source) in files.iter().zip(&sources) {
            fs::copy(source, folder.join(file))?;
        }
        let mut npm = Command::new("npm");
        npm.args(["ci", "--no-audit", "--no-fund"]);
        run(npm.current_dir(folder))
    })?;
    let mut command = Command::new("node");
    command.arg(source("node-frameworks").join(script));
    command.env("NODE_PATH", packages.join("node_modules"));
    command.env("CLIENT", client);
    Ok(command)
}
