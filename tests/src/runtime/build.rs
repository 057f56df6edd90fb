//! Building and installing fixtures below `target/`, once for what they are made of. In: sources, how, and the work.
//! Out: a folder that is up to date.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{ensure, Context, Result};

use crate::language::python;
use crate::system::{target, workspace};

/// Says what a folder was made of.
const STAMP: &str = "made-of";

/// A file or folder of the fixtures' sources.
pub fn source(path: &str) -> PathBuf {
    workspace().join("tests/functions").join(path)
}

/// The folder `name` for what is built, made anew by `make` unless it was made of the same sources in the same way. `how`
/// says all that `make` depends on besides the sources' text.
pub fn once(
    name: &str,
    sources: &[PathBuf],
    how: &str,
    make: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let all = target().join("runtimes");
    fs::create_dir_all(&all)?;
    // Neither two tests nor two programs build the same at once; unlocked when it is closed.
    let lock = File::create(all.join(format!("{name}.lock")))?;
    lock.lock()?;
    let folder = all.join(name);
    let made_of = made_of(sources, how)?;
    let before = fs::read_to_string(folder.join(STAMP)).unwrap_or_default();
    if before != made_of {
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        make(&folder).with_context(|| format!("build {name}"))?;
        fs::write(folder.join(STAMP), made_of)?;
    }
    Ok(folder)
}

/// What has been built, and when it changed: the same again after builds that had nothing to do.
pub fn built() -> io::Result<BTreeMap<PathBuf, SystemTime>> {
    let mut found = BTreeMap::new();
    for folder in ["functions", "runtimes"] {
        changed_below(&target().join(folder), 2, &mut found)?;
    }
    Ok(found)
}

fn changed_below(
    folder: &Path,
    depth: usize,
    found: &mut BTreeMap<PathBuf, SystemTime>,
) -> io::Result<()> {
    if depth == 0 || !folder.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        // Taken for every look.
        if path.extension().is_none_or(|extension| extension != "lock") {
            found.insert(path.clone(), fs::metadata(&path)?.modified()?);
            changed_below(&path, depth - 1, found)?;
        }
    }
    Ok(())
}

/// Runs one command of a build.
pub fn run(build: &mut Command) -> Result<()> {
    let output = build.output().with_context(|| format!("run {build:?}"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{build:?} failed:\n{said}");
    Ok(())
}

/// Installs wheels into a folder, by pip, as they are.
pub fn wheels(folder: &Path, wheels: &[&str]) -> Result<()> {
    // Debian's own Python may have no pip, but a virtual environment has.
    let environment = folder.join("environment");
    run(Command::new(python()?)
        .args(["-m", "venv"])
        .arg(&environment))?;
    let mut pip = Command::new(environment.join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--target"]);
    run(pip.arg(folder).args(wheels))
}

fn made_of(sources: &[PathBuf], how: &str) -> Result<String> {
    let mut made_of = format!("{how}\n");
    for source in sources {
        let text = fs::read_to_string(source);
        made_of += &text.with_context(|| format!("read {}", source.display()))?;
    }
    Ok(made_of)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn a_build_is_seen_and_a_look_is_not() -> Result<()> {
        let scratch = Scratch::new()?;
        let look = || -> Result<_> {
            let mut found = BTreeMap::new();
            changed_below(scratch.path(), 2, &mut found)?;
            Ok(found)
        };
        let none = look()?;
        File::create(scratch.join("function.lock"))?;
        assert_eq!(look()?, none);
        fs::create_dir(scratch.join("function"))?;
        let folder = look()?;
        assert_eq!(folder.len(), 1);
        fs::write(scratch.join("function/program"), "")?;
        assert_eq!(look()?.len(), 2);
        Ok(())
    }
}
