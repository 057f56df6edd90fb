//! `cargo xtask go-offsets`: holds the table of Go's offsets to programs built by each release. In: the compilers that can be
//! had. Out: what is so and what is not, and an error if anything is not; with `--write`, the table. With `--go`, a table for
//! one compiler, as an agent takes it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{bail, ensure, Context, Result};
use spanlet_e2e::runtime;
use spanlet_e2e::scratch::Scratch;

use crate::{machine, paths};

/// The test function as each release builds it, with DWARF. There is nowhere to get 1.20 from.
const BUILDS: [&str; 7] = [
    "go-1.19", "go-1.21", "go-1.22", "go-1.23", "go-1.24", "go-1.25", "go",
];

/// How the line begins that names the columns.
const HEAD: &str = "release ";

#[derive(clap::Args)]
pub struct Options {
    /// Write the table as it was found to be
    #[arg(long)]
    write: bool,
    /// Print a table for this `go` command instead, for the agent's `go_offsets`
    #[arg(long, value_name = "GO", conflicts_with = "write")]
    go: Option<PathBuf>,
}

/// Lines of the table by release.
type Table = BTreeMap<String, String>;

/// Builds, reads and compares.
pub fn go_offsets(options: &Options) -> Result<ExitCode> {
    let path = paths::root().join("agent/src/attach/golang/offsets.txt");
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let columns = columns(&text).context("the table names no columns")?;
    if let Some(go) = &options.go {
        print!("{}", table_of(go, columns)?);
        return Ok(ExitCode::SUCCESS);
    }
    let found = found(columns, executables()?)?;
    let mut table = lines(&text);
    let wrong = compare(&table, &found);
    if options.write {
        table.extend(found);
        fs::write(&path, written(&text, &table))?;
    } else if !wrong.is_empty() {
        bail!(
            "{}; if they are right: cargo xtask go-offsets --write",
            wrong.join(", ")
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Says how each release is, and gives those that differ.
fn compare(table: &Table, found: &Table) -> Vec<String> {
    let mut wrong = Vec::new();
    for (release, line) in found {
        let is_known = table.get(release) == Some(line);
        println!(
            "Go {line}  {}",
            if is_known {
                "as in the table"
            } else {
                "DIFFERS"
            }
        );
        if !is_known {
            wrong.push(format!("Go {release} differs from the table"));
        }
    }
    for release in table.keys().filter(|release| !found.contains_key(*release)) {
        println!("Go {release}  not looked at: it cannot be had here");
    }
    wrong
}

/// The fields that the table is of, as its first line names them behind `release`.
fn columns(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix(HEAD))
}

/// What a compiler's programs have, below a line that names the columns.
fn table_of(go: &Path, columns: &str) -> Result<String> {
    let scratch = Scratch::new()?;
    let program = scratch.join("function");
    let mut build = Command::new(go);
    build.args(["build", "-o"]).arg(&program);
    build.arg(paths::root().join("tests/functions/go/function.go"));
    // That one and no other.
    build.env("GOTOOLCHAIN", "local");
    let built = build.status();
    let built = built.with_context(|| format!("run {}", go.display()))?;
    ensure!(built.success(), "{} builds nothing", go.display());
    let table = found(columns, vec![program])?;
    Ok(written(&format!("{HEAD}{columns}"), &table))
}

fn found(columns: &str, executables: Vec<PathBuf>) -> Result<Table> {
    let mut read = machine::command("go");
    read.arg("run")
        .arg(paths::root().join("xtask/go/offsets.go"))
        .arg(columns);
    read.args(executables);
    let output = read.output().context("run go")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "offsets.go failed:\n{said}");
    let text = String::from_utf8(output.stdout)?;
    Ok(lines(&text))
}

fn executables() -> Result<Vec<PathBuf>> {
    let mut executables = Vec::new();
    for name in BUILDS {
        let build = runtime::named(name)?;
        match build.missing() {
            Some(missing) => println!("{name}: {missing}"),
            None => executables.push((build.command)()?.get_program().into()),
        }
    }
    Ok(executables)
}

/// A line names a release (`1.21`), or a version of it (`1.21.13`).
fn lines(text: &str) -> Table {
    let lines = text.lines().filter(|line| !is_head(line));
    lines
        .filter_map(|line| {
            let (version, offsets) = line.split_once(' ')?;
            let mut parts = version.splitn(3, '.');
            let release = format!("{}.{}", parts.next()?, parts.next()?);
            Some((release.clone(), format!("{release} {offsets}")))
        })
        .collect()
}

/// The table under the head that it had.
fn written(before: &str, table: &Table) -> String {
    let head = before.lines().filter(|line| is_head(line));
    let lines = head.chain(table.values().map(String::as_str));
    lines.map(|line| format!("{line}\n")).collect()
}

fn is_head(line: &str) -> bool {
    line.starts_with('#') || line.starts_with(HEAD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_of_their_release_and_the_head_stays() {
        let before = "# head\nrelease runtime.g.goid a.b.c\n1.21 1 2\n";
        assert_eq!(columns(before), Some("runtime.g.goid a.b.c"));
        let mut table = lines(before);
        assert_eq!(compare(&table, &lines("1.21.13 1 2\n")), [""; 0]);
        let differs = lines("1.21.13 1 3\n1.9.1 4 5\n");
        assert_eq!(compare(&table, &differs).len(), 2);
        table.extend(differs);
        assert_eq!(
            written(before, &table),
            "# head\nrelease runtime.g.goid a.b.c\n1.21 1 3\n1.9 4 5\n"
        );
    }
}
