//! Go: what a program's debug information says, as a table for the agent's `go_offsets`. In: executable files. Out: that table. Touches
//! those files.

use std::fs::File;
use std::path::{Path, PathBuf};

use object::ReadCache;

use super::dwarf::{self, FIELDS};
use super::program::{self, Program};
use super::releases::{is_version, HEAD, NO_FIELD};

/// What is wrong with a program.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error("{0}: it cannot be opened: {1}")]
    Closed(PathBuf, std::io::Error),
    #[error("{0}: {1}")]
    Program(PathBuf, program::Fault),
    #[error("{0}: {1}")]
    Fields(PathBuf, dwarf::Fault),
    #[error("{0}: a table has no place for `{1}`, which is no version of Go")]
    Version(PathBuf, String),
}

/// The columns, and a line for each program.
pub fn table(programs: &[PathBuf]) -> Result<String, Fault> {
    let columns = FIELDS.iter().map(|(name, _)| (*name).to_owned());
    let mut table = words(HEAD, columns);
    for path in programs {
        table.push_str(&line(path)?);
    }
    Ok(table)
}

fn line(path: &Path) -> Result<String, Fault> {
    let file = File::open(path).map_err(|error| Fault::Closed(path.into(), error))?;
    let cache = ReadCache::new(&file);
    let program = Program::parse(&file, &cache);
    let version = program.and_then(|program| program.version());
    let version = version.map_err(|fault| Fault::Program(path.into(), fault))?;
    if !is_version(&version) || version.contains(char::is_whitespace) {
        return Err(Fault::Version(path.into(), version));
    }
    let fields = dwarf::fields(&file).map_err(|fault| Fault::Fields(path.into(), fault))?;
    let offsets = fields.into_iter().map(|(_, offset)| match offset {
        Some(offset) => offset.to_string(),
        None => NO_FIELD.to_owned(),
    });
    Ok(words(&version, offsets))
}

fn words(first: &str, others: impl Iterator<Item = String>) -> String {
    let words: Vec<String> = [first.to_owned()].into_iter().chain(others).collect();
    format!("{}\n", words.join(" "))
}
