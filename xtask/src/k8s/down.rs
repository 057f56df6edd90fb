//! `cargo xtask k8s down`: ends a cluster, also one whose `up` or `test` died. In: what is left. Out: nothing of it: processes,
//! namespaces (they end with their processes), control groups, folders. Its logs stay until the next one.
//! This file touches the world.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result};

use super::{cgroup, places};

/// What a cluster wrote that is of use after it.
const KEPT: &str = "log";

/// Ends it, if there is one.
pub fn down() -> Result<()> {
    cgroup::end()?;
    let state = places::state();
    remove_made(&state.join("made"))?;
    for entry in entries(&state)? {
        if entry.file_name().is_some_and(|name| name != KEPT) {
            remove(&entry)?;
        }
    }
    Ok(())
}

/// Folders that the machine lacked; those that somebody else uses by now stay.
fn remove_made(list: &Path) -> Result<()> {
    let made = fs::read_to_string(list).unwrap_or_default();
    for folder in made.lines().rev() {
        // Not empty: it is in use.
        let _ = fs::remove_dir(folder);
    }
    Ok(())
}

fn entries(folder: &Path) -> Result<Vec<std::path::PathBuf>> {
    match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries?.map(|entry| Ok(entry?.path())).collect(),
    }
}

fn remove(path: &Path) -> Result<()> {
    let removed = match path.is_dir() {
        true => fs::remove_dir_all(path),
        false => fs::remove_file(path),
    };
    removed.with_context(|| format!("cannot remove {}", path.display()))
}
