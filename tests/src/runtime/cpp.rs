//! The function in C++.

use std::process::Command;

use anyhow::Result;

use super::build::{once, run, source};
use super::Runtime;

pub const ROWS: &[Runtime] = &[Runtime::new(
    "cpp-httplib",
    &["g++", "/usr/include/httplib.h"],
    command,
)];

const FLAGS: [&str; 6] = ["-std=c++17", "-O2", "-Wall", "-Werror", "-pthread", "-o"];

fn command() -> Result<Command> {
    let function = source("cpp/function.cpp");
    let folder = once(
        "cpp-httplib",
        std::slice::from_ref(&function),
        &FLAGS.join(" "),
        |folder| {
            let mut compiler = Command::new("g++");
            compiler.args(FLAGS).arg(folder.join("function"));
            run(compiler.arg(&function).arg("-lcpp-httplib"))
        },
    )?;
    Ok(Command::new(folder.join("function")))
}
