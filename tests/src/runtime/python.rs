//! The function in frameworks of Python, with packages at pinned versions in a virtual environment of their own.

use std::process::Command;

use anyhow::Result;

use super::build::{once, run, source};
use super::{Lack, Runtime};
use crate::language::python;

pub const ROWS: &[Runtime] = &[
    row("python-flask", || command(&["flask_function.py"]), CLOSES),
    row("python-gunicorn", || gunicorn(&["-k", "sync"]), CLOSES),
    row(
        "python-gunicorn-threads",
        || gunicorn(&["-k", "gthread", "--threads", "32"]),
        NOTHING,
    ),
    row(
        "python-uvicorn",
        || command(&["fastapi_function.py", "asyncio", "h11"]),
        NOTHING,
    ),
    row(
        "python-uvicorn-uvloop",
        || command(&["fastapi_function.py", "uvloop", "httptools"]),
        NOTHING,
    ),
    row(
        "python-aiohttp",
        || command(&["aiohttp_function.py"]),
        NOTHING,
    ),
];

const NOTHING: &[Lack] = &[];

const CLOSES: &[Lack] = &[Lack {
    cases: &["kept-1", "kept-8", "kept-64"],
    why: "this server closes the connection after each answer",
}];

const fn row(
    name: &'static str,
    command: fn() -> Result<Command>,
    lacks: &'static [Lack],
) -> Runtime {
    Runtime {
        name,
        needs: &["python3"],
        command,
        lacks,
        is_proxy: false,
        gateway: None,
    }
}

fn gunicorn(arguments: &[&str]) -> Result<Command> {
    let mut command = command(&["-m", "gunicorn"])?;
    command.args(arguments);
    Ok(command)
}

/// The environment's interpreter, in the fixtures' folder.
fn command(arguments: &[&str]) -> Result<Command> {
    let requirements = source("python-frameworks/requirements.txt");
    let python = python()?;
    let how = python.display().to_string();
    let environment = once(
        "python-packages",
        std::slice::from_ref(&requirements),
        &how,
        |folder| {
            run(Command::new(&python).args(["-m", "venv"]).arg(folder))?;
            let mut pip = Command::new(folder.join("bin/python"));
            pip.args(["-m", "pip", "install", "--quiet", "--requirement"]);
            run(pip.arg(&requirements))
        },
    )?;
    let mut command = Command::new(environment.join("bin/python"));
    // No bytecode beside the sources.
    command.arg("-B").args(arguments);
    command.current_dir(source("python-frameworks"));
    Ok(command)
}
