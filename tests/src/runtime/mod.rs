//! The runtimes that the contract's function runs on, a row each. In: a name. Out: the command that runs the function
//! there, built where it is not up to date, and what it cannot show.
//!
//! To add one: a row in a file of its family, a fixture in `tests/functions`, what it needs in `xtask/src/setup`.

pub(crate) mod build;
mod core;
mod cpp;
pub mod cpython;
mod dotnet;
pub mod go;
mod java;
pub mod node;
pub mod openssl;
mod python;
mod ruby;
pub mod rust;
mod servers;

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::function::{Function, Options};

pub use build::built;
pub use servers::{front, php_fpm_over_tcp, tls_proxy};

/// A row.
pub struct Runtime {
    /// As a user of it reads it.
    pub name: &'static str,
    /// The programs and files that it is built and run with, `PROGRAM` or `PROGRAM >= 1.21`, on the search path or by their
    /// whole path, whose end may be left open (`/usr/sbin/php-fpm*`); where one is missing, it is skipped.
    pub needs: &'static [&'static str],
    /// Builds or installs it below `target/`, unless that is done, and gives the command that serves.
    pub command: fn() -> Result<Command>,
    /// Cases that it cannot show.
    pub lacks: &'static [Lack],
    /// It passes each request on to the function that it is told of by `NEXT`, and its answer back.
    pub is_proxy: bool,
    /// The executable of the web server in front of it, which hands each request on to it by FastCGI.
    pub gateway: Option<&'static str>,
}

/// What a runtime cannot show.
#[derive(Clone, Copy, Debug)]
pub struct Lack {
    /// Names of cases.
    pub cases: &'static [&'static str],
    /// Why, in a few words.
    pub why: &'static str,
}

/// The families, in the order of the table.
const FAMILIES: &[&[Runtime]] = &[
    core::ROWS,
    go::ROWS,
    python::ROWS,
    node::ROWS,
    java::ROWS,
    rust::ROWS,
    cpp::ROWS,
    ruby::ROWS,
    servers::ROWS,
    dotnet::ROWS,
];

/// Every row.
pub fn all() -> impl Iterator<Item = &'static Runtime> {
    FAMILIES.iter().copied().flatten()
}

/// The row of that name.
pub fn named(name: &str) -> Result<&'static Runtime> {
    let found = all().find(|runtime| runtime.name == name);
    found.with_context(|| format!("no runtime is called {name}"))
}

impl Runtime {
    /// A row that can show every case and calls by itself.
    const fn new(
        name: &'static str,
        needs: &'static [&'static str],
        command: fn() -> Result<Command>,
    ) -> Self {
        Self {
            name,
            needs,
            command,
            lacks: &[],
            is_proxy: false,
            gateway: None,
        }
    }

    /// Starts its function, and waits until it serves.
    pub fn start(&self, options: &Options) -> Result<Function> {
        Function::start_as(self.name, (self.command)()?, options)
    }

    /// Why it cannot run on this machine.
    pub fn missing(&self) -> Option<String> {
        missing(self.needs)
    }

    /// Why it cannot show a case.
    pub fn lacks(&self, case: &str) -> Option<&'static str> {
        let found = self.lacks.iter().find(|lack| lack.cases.contains(&case));
        found.map(|lack| lack.why)
    }
}

/// Which of these is not on this machine, in words.
pub fn missing(needs: &[&str]) -> Option<String> {
    let missing = needs.iter().find(|need| !is_there(need))?;
    Some(format!("{missing} is missing"))
}

fn is_there(need: &str) -> bool {
    if need == java::VIRTUAL_THREADS {
        return java::with_virtual_threads().is_some();
    }
    if let Some(start) = need.strip_suffix('*') {
        return begins_a_file(Path::new(start));
    }
    let (program, least) = need.split_once(" >= ").unwrap_or((need, "0.0"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
    found && (least == "0.0" || version(program) >= parse_version(least))
}

fn begins_a_file(start: &Path) -> bool {
    let (Some(folder), Some(name)) = (start.parent(), start.file_name()) else {
        return false;
    };
    let name = name.as_encoded_bytes();
    let mut entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.any(|entry| entry.file_name().as_encoded_bytes().starts_with(name))
}

/// Major and minor number, as the program says them.
fn version(program: &str) -> Option<(u32, u32)> {
    let output = Command::new(program).arg("version").output().ok()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.split_whitespace().find_map(parse_version)
}

/// Of `1.21`, `go1.21.13`, `v20.1`.
fn parse_version(word: &str) -> Option<(u32, u32)> {
    let mut numbers = word.trim_start_matches(char::is_alphabetic).split('.');
    let (major, minor) = (numbers.next()?, numbers.next()?);
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::CASES;

    #[test]
    fn names_are_unique_and_lacks_are_of_cases() {
        let mut names: Vec<_> = all().map(|runtime| runtime.name).collect();
        let rows = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), rows, "{names:?}");
        for runtime in all() {
            for case in runtime.lacks.iter().flat_map(|lack| lack.cases) {
                let known = CASES.iter().any(|known| known.name == *case);
                assert!(known, "{} lacks {case}", runtime.name);
            }
        }
    }

    #[test]
    fn versions_are_numbers() {
        assert_eq!(parse_version("go1.21.13"), Some((1, 21)));
        assert_eq!(parse_version("version"), None);
        assert!(parse_version("1.9") < parse_version("1.21"));
    }

    #[test]
    fn a_program_that_is_missing_is_named() {
        let runtime = Runtime {
            name: "none",
            needs: &["sh", "/bin/sh", "/bin/s*", "no-such-program-here"],
            command: || anyhow::bail!("not started"),
            lacks: &[],
            is_proxy: false,
            gateway: None,
        };
        let missing = runtime.missing();
        assert_eq!(missing.as_deref(), Some("no-such-program-here is missing"));
    }
}
