//! What is scored: rows of the table of runtimes, and a program in plain asyncio, on which CPython whatever. In: a name.
//! Out: a running function.

use std::process::Command;

use anyhow::{Context, Result};

use super::fronts::Front;
use crate::function::{Function, Options};
use crate::language::python_program;
use crate::language::Language;
use crate::runtime::{self, cpython, node, rust};

/// Those that `cargo xtask accuracy` scores when none is named, in the order of its table.
pub const ALL: [&str; 11] = [
    "go",
    "python",
    "node",
    "java",
    "c",
    ASYNCIO,
    "python-aiohttp",
    "python-uvicorn",
    "python-uvicorn-uvloop",
    "rust-tokio",
    "rust-tokio-current-thread",
];

/// Those that it scores besides, of which the end-to-end cases ask for less.
pub const OTHERS: [&str; 4] = ["java-tomcat", "java-virtual-threads", "ruby-puma", "dotnet"];

/// Those that also serve, and call, over TLS.
pub const OVER_TLS: [&str; 5] = [
    "go",
    "python",
    "node",
    "python-uvicorn",
    "python-uvicorn-uvloop",
];

/// Plain asyncio, without packages: a task for each connection.
pub const ASYNCIO: &str = "python-asyncio";

/// The same with a task for each request, by each release of CPython.
pub const RELEASES: [&str; cpython::RELEASES.len()] = [
    "cpython-3.9",
    "cpython-3.10",
    "cpython-3.11",
    "cpython-3.12",
    "cpython-3.13",
    "cpython-3.14",
];

/// Node.js, by how it calls.
pub const CALLERS: [&str; 4] = ["node-direct", "node-named", "node-pooled", "node-fetch"];

/// The same function by each release of Node.js.
pub const NODES: [&str; node::RELEASES.len()] =
    ["node-18", "node-20", "node-22", "node-24", "node-25"];

/// Threads, of the release from which on each runs in a Context of its own.
pub const THREADS: &str = "cpython-3.14-threads";

/// The one of that name.
pub fn named(name: &str) -> Result<&'static str> {
    let mut all = ALL
        .into_iter()
        .chain(OTHERS)
        .chain(RELEASES)
        .chain(CALLERS)
        .chain(NODES)
        .chain([rust::RAW])
        .chain(Front::ALL.iter().map(|front| front.name));
    all.find(|subject| *subject == name)
        .with_context(|| format!("no runtime {name} is scored; there are {}", ALL.join(", ")))
}

/// Starts one.
pub fn start(name: &'static str, options: &Options) -> Result<Function> {
    let (program, threads) = python_program("tasks")?;
    if name == THREADS {
        let [.., (minor, package)] = cpython::RELEASES;
        let mut command = cpython::interpreter(minor, package)?;
        command.arg(threads);
        return Function::start_as(name, command, options);
    }
    if name == rust::RAW {
        return Function::start_as(name, rust::raw()?, options);
    }
    if CALLERS.contains(&name) {
        let mut command = Language::Node.command()?;
        command.env("CLIENT", name.trim_start_matches("node-"));
        return Function::start_as(name, command, options);
    }
    if let Some(release) = NODES.iter().position(|release| *release == name) {
        let mut command = node::interpreter(node::RELEASES[release])?;
        command.args(Language::Node.command()?.get_args());
        return Function::start_as(name, command, options);
    }
    let release = RELEASES.iter().position(|release| *release == name);
    let command = match release.map(|index| cpython::RELEASES[index]) {
        Some((minor, package)) => of_release(&program, minor, package)?,
        None if name == ASYNCIO => program,
        None => return runtime::named(name)?.start(options),
    };
    Function::start_as(name, command, options)
}

fn of_release(program: &Command, minor: u32, package: &str) -> Result<Command> {
    let mut command = cpython::interpreter(minor, package)?;
    command.args(program.get_args()).env("TASKS", "1");
    Ok(command)
}
