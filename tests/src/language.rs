//! The languages that the function is written in, and how each is built. In: a language. Out: its command.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use anyhow::{ensure, Context, Result};

use crate::system::{target, workspace};

/// A language of the test function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Language {
    Go,
    Python,
    Node,
    Java,
    C,
}

/// Two tests must not build the same function at once.
static BUILDING: Mutex<()> = Mutex::new(());

impl Language {
    pub const ALL: [Self; 5] = [Self::Go, Self::Python, Self::Node, Self::Java, Self::C];

    /// The folder's name, and what `/hello` says.
    pub fn name(self) -> &'static str {
        match self {
            Self::Go => "go",
            Self::Python => "python",
            Self::Node => "node",
            Self::Java => "java",
            Self::C => "c",
        }
    }

    /// Whether the function listens on Unix sockets: Java's HttpServer has none.
    pub fn has_unix_sockets(self) -> bool {
        self != Self::Java
    }

    /// Whether the function has `/late`.
    pub fn has_late(self) -> bool {
        matches!(self, Self::Python | Self::C)
    }

    /// The command that runs the function, built first where it is not newer than its source.
    pub fn command(self) -> Result<Command> {
        let _one_at_a_time = BUILDING.lock();
        let source = workspace().join("tests/functions").join(self.name());
        let built = target().join("functions").join(self.name());
        match self {
            Self::Go => {
                let mut build = Command::new("go");
                build.arg("build").arg("-o");
                compile(&source.join("function.go"), &built, "function", &mut build)
            }
            Self::C => {
                let mut build = Command::new("gcc");
                build.args(["-O2", "-Wall", "-Werror", "-pthread", "-o"]);
                compile(&source.join("function.c"), &built, "function", &mut build)
            }
            Self::Java => {
                let mut build = Command::new("javac");
                build.arg("-d").arg(&built);
                compile_class(&source.join("Function.java"), &built, &mut build)
            }
            Self::Python => interpret(python()?, &source.join("function.py")),
            Self::Node => interpret("node".into(), &source.join("function.js")),
        }
    }
}

/// A C program of `tests/programs`, compiled.
pub fn program(name: &str) -> Result<PathBuf> {
    let _one_at_a_time = BUILDING.lock();
    let source = workspace().join(format!("tests/programs/{name}.c"));
    let mut build = Command::new("gcc");
    build.args(["-O2", "-Wall", "-Werror", "-o"]);
    let command = compile(&source, &target().join("programs"), name, &mut build)?;
    Ok(command.get_program().into())
}

/// A Go program of `tests/programs`, compiled.
pub fn go_program(name: &str) -> Result<Command> {
    let _one_at_a_time = BUILDING.lock();
    let source = workspace().join(format!("tests/programs/{name}.go"));
    let mut build = Command::new("go");
    build.arg("build").arg("-o");
    compile(&source, &target().join("programs/go"), name, &mut build)
}

/// A Python program of `tests/programs`, and the function's own to hand on to it.
pub fn python_program(name: &str) -> Result<(Command, PathBuf)> {
    let program = workspace().join(format!("tests/programs/{name}.py"));
    let function = workspace().join("tests/functions/python/function.py");
    Ok((interpret(python()?, &program)?, function))
}

/// Compiles to one executable: `build` lacks its output and input.
fn compile(source: &Path, folder: &Path, name: &str, build: &mut Command) -> Result<Command> {
    let executable = folder.join(name);
    if is_stale(source, &executable)? {
        fs::create_dir_all(folder)?;
        // Beside, then renamed: a function that runs keeps its file, and a failed build leaves none.
        let fresh = folder.join(format!("{name}.new"));
        run(build.arg(&fresh).arg(source))?;
        fs::rename(&fresh, &executable)?;
    }
    Ok(Command::new(executable))
}

fn compile_class(source: &Path, folder: &Path, build: &mut Command) -> Result<Command> {
    if is_stale(source, &folder.join("Function.class"))? {
        run(build.arg(source))?;
    }
    let mut command = Command::new("java");
    command.arg("-cp").arg(folder).arg("Function");
    Ok(command)
}

fn interpret(interpreter: PathBuf, source: &Path) -> Result<Command> {
    let mut command = Command::new(interpreter);
    command.arg(source);
    Ok(command)
}

/// The interpreter itself: `python3` may be a script that starts it.
pub fn python() -> Result<PathBuf> {
    let mut ask = Command::new("python3");
    let output = ask
        .args(["-c", "import sys; print(sys.executable, end='')"])
        .output()
        .context("run python3")?;
    Ok(PathBuf::from(String::from_utf8(output.stdout)?))
}

fn is_stale(source: &Path, built: &Path) -> Result<bool> {
    let changed = fs::metadata(source)
        .and_then(|metadata| metadata.modified())
        .with_context(|| format!("read {}", source.display()))?;
    let made = fs::metadata(built).and_then(|metadata| metadata.modified());
    Ok(made.map_or(true, |made| made < changed))
}

fn run(build: &mut Command) -> Result<()> {
    let output = build.output().with_context(|| format!("run {build:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{build:?} failed:\n{said}");
    Ok(())
}
