//! The function in Java beyond HttpServer with threads of the kernel: on virtual threads, and in Tomcat.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::build::{once, run, source};
use super::Runtime;
use crate::language::Language;

pub const ROWS: &[Runtime] = &[
    Runtime::new("java-virtual-threads", &["javac", VIRTUAL_THREADS], || {
        virtual_threads()
    }),
    Runtime::new("java-tomcat", &["javac", "java", "mvn"], tomcat),
];

/// What is needed beyond programs: no distribution has it on the search path before its default JDK is as new.
pub const VIRTUAL_THREADS: &str = "a JDK of 21 or newer";

const VIRTUAL_THREADS_SINCE: u32 = 21;
const MAVEN_COPY: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies";

/// The newest installed Java that has virtual threads.
pub fn with_virtual_threads() -> Option<PathBuf> {
    let installed = fs::read_dir("/usr/lib/jvm").into_iter().flatten().flatten();
    let homes = installed.map(|entry| entry.path());
    let homes = homes.chain(std::env::var_os("JAVA_HOME").map(PathBuf::from));
    let versions = homes.filter_map(|home| Some((major(&home)?, home.join("bin/java"))));
    let newest = versions.filter(|(_, java)| java.is_file()).max()?;
    (newest.0 >= VIRTUAL_THREADS_SINCE).then_some(newest.1)
}

/// As every JDK says in its own folder: `JAVA_VERSION="25.0.1"`.
fn major(home: &Path) -> Option<u32> {
    let release = fs::read_to_string(home.join("release")).ok()?;
    let mut lines = release.lines();
    let version = lines.find_map(|line| line.strip_prefix("JAVA_VERSION=\""))?;
    let end = version.find(|letter: char| !letter.is_ascii_digit())?;
    version[..end].parse().ok()
}

/// The classes of the `java` row, on a newer machine.
fn virtual_threads() -> Result<Command> {
    let built = Language::Java.command()?;
    let mut command = Command::new(with_virtual_threads().context(VIRTUAL_THREADS)?);
    command.args(built.get_args()).env("THREADS", "virtual");
    Ok(command)
}

fn tomcat() -> Result<Command> {
    let (pom, function) = (source("tomcat/pom.xml"), source("tomcat/Function.java"));
    let folder = once(
        "java-tomcat",
        &[pom.clone(), function.clone()],
        MAVEN_COPY,
        |folder| {
            let mut maven = Command::new("mvn");
            maven
                .args(["--quiet", "--batch-mode", MAVEN_COPY, "--file"])
                .arg(pom);
            run(maven.arg(format!("-DoutputDirectory={}", folder.display())))?;
            let mut javac = Command::new("javac");
            javac
                .arg("-d")
                .arg(folder)
                .arg("-cp")
                .arg(class_path(folder));
            run(javac.arg(function))
        },
    )?;
    let mut command = Command::new("java");
    command.arg("-cp").arg(class_path(&folder)).arg("Function");
    Ok(command)
}

fn class_path(folder: &Path) -> String {
    format!("{0}:{0}/*", folder.display())
}
