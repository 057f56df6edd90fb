//! What an image holds: a folder, made of this machine's files. In: programs. Out: the folder, with what the programs need.
//! This file touches the world.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use spanlet_e2e::language;

use crate::machine;
use crate::run::Run;

/// Of Python's library, what functions do not need.
const PYTHON_LEFT_OUT: [&str; 12] = [
    "__phello__",
    "ensurepip",
    "idlelib",
    "lib2to3",
    "pydoc_data",
    "site-packages",
    "dist-packages",
    "test",
    "tests",
    "tkinter",
    "turtledemo",
    "unittest",
];

/// An empty folder in the place of what was there.
pub fn empty(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))
}

/// Copies a file to a place in the folder.
pub fn put(folder: &Path, file: &Path, place: &str) -> Result<()> {
    let target = folder.join(place.trim_start_matches('/'));
    fs::create_dir_all(target.parent().context("a place has a folder")?)?;
    fs::copy(file, &target).with_context(|| format!("cannot copy {}", file.display()))?;
    Ok(())
}

/// Python, where it is on this machine, with its library. Returns the interpreter's path.
pub fn python(folder: &Path) -> Result<PathBuf> {
    let interpreter = language::python()?;
    let library = ask_python(&interpreter, "stdlib")?;
    copy_tree(&library, &folder.join(library.strip_prefix("/")?))?;
    let mut programs = files(&library.join("lib-dynload"))?;
    programs.push(interpreter.clone());
    let mut needed = libraries(&programs)?;
    needed.push(interpreter.clone());
    for file in needed {
        put(folder, &file, &file.display().to_string())?;
    }
    Ok(interpreter)
}

fn ask_python(interpreter: &Path, what: &str) -> Result<PathBuf> {
    let question = format!("import sysconfig; print(sysconfig.get_path({what:?}), end='')");
    let mut command = machine::command(interpreter);
    command.args(["-c", &question]);
    Ok(PathBuf::from(Run::new("python", command).captured()?))
}

/// The shared libraries of programs, the loader included, by the paths that they find them by.
fn libraries(programs: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut command = machine::command("ldd");
    command.args(programs);
    let listed = Run::new("libraries", command).captured()?;
    let paths = listed
        .split_whitespace()
        .filter(|word| word.starts_with('/'));
    // A program's own name, as a heading, ends with a colon.
    let paths = paths.filter(|word| !word.ends_with(':'));
    Ok(paths.map(PathBuf::from).collect())
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let files = entries.map(|entry| Ok(entry?.path()));
    files
        .filter(|path| path.as_ref().map_or(true, |path| path.is_file()))
        .collect()
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        let name = entry.file_name();
        let is_for_embedding = name.to_string_lossy().starts_with("config-");
        if is_for_embedding || PYTHON_LEFT_OUT.iter().any(|left_out| name == *left_out) {
            continue;
        }
        let target = to.join(&name);
        match entry.path().is_dir() {
            true => copy_tree(&entry.path(), &target)?,
            false => fs::copy(entry.path(), &target).map(drop)?,
        }
    }
    Ok(())
}
