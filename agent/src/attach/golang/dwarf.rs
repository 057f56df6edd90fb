//! Go: where a program keeps what the kernel programs read, by its own debug information (DWARF 2 to 5, of 32 bits, packed with
//! zlib or not). In: an executable file. Out: byte offsets of fields, or why they are not known. Touches that file.
//!
//! Debug information of 100 MB of program has some 50 MB. It is walked through as it is unpacked (`stream.rs`, `entries.rs`), and of
//! its entries only the structures are looked at that are asked for (`fields.rs`). Libraries that read DWARF want a section in memory,
//! and keep as many abbreviations as there are: this keeps two windows and one table, whose size has a bound.

mod abbreviations;
mod entries;
mod fields;
mod stream;
#[cfg(test)]
mod tests;

use std::fs::File;

use object::ReadCache;

use super::releases::Release;
use crate::attach::image::{self, Image};
use crate::attach::window::{Broken, Bytes};
use entries::Entries;
pub use fields::FIELDS;
pub use stream::Stored;
use stream::Stream;

/// Bytes that are unpacked of a program's entries, those that are come back to included. Kubernetes in one program (200 MB) has a fifth
/// of it. Where each byte is an entry, as nobody writes them, all of it takes 6 s.
const READ_BYTES_MAX: u64 = 256 << 20;
/// The same of its abbreviations: each unit of C has its own.
const ABBREVIATION_BYTES_MAX: u64 = 64 << 20;

const ENTRIES: [&str; 2] = [".debug_info", ".zdebug_info"];
const ABBREVIATIONS: [&str; 2] = [".debug_abbrev", ".zdebug_abbrev"];

/// A field, and where it is; `None`: there is none, or it is another one than is read.
pub type Field = (&'static str, Option<u16>);

/// Why they are not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error(transparent)]
    Image(#[from] image::Fault),
    #[error("the program has no debug information (it was stripped)")]
    Absent,
    #[error("the program's debug information is packed in a way that is not known")]
    Packing,
    #[error("the program's debug information is broken")]
    Broken,
    #[error("the program's debug information is too large to be read")]
    TooLarge,
    #[error("the program's debug information has {0} twice")]
    Twice(&'static str),
    #[error("by the program's debug information, {0}")]
    Release(String),
    #[error(
        "the program's debug information could not be read: no thread could be started for it"
    )]
    NoThread,
}

impl From<Broken> for Fault {
    fn from(_: Broken) -> Self {
        Self::Broken
    }
}

/// Whether a program has what is read here.
pub fn is_in(image: &Image<'_>) -> bool {
    let has = |names: [&str; 2]| names.iter().any(|name| image.extent(name).is_some());
    has(ENTRIES) && has(ABBREVIATIONS)
}

/// What is known of the release that built a program.
pub fn release(file: &File) -> Result<Release, Fault> {
    Release::of_fields(&fields(file)?).map_err(Fault::Release)
}

/// All fields that are asked for, in the order of the table's columns.
pub fn fields(file: &File) -> Result<Vec<Field>, Fault> {
    let cache = ReadCache::new(file);
    let image = Image::read(file, &cache)?;
    let stored = |names: [&str; 2]| {
        let mut stored = names.into_iter();
        let stored = stored.find_map(|name| Stored::find(file, &image, name));
        stored.unwrap_or(Err(Fault::Absent))
    };
    fields_in(file, stored(ENTRIES)?, stored(ABBREVIATIONS)?)
}

/// The same by both sections.
pub fn fields_in<B: Bytes + ?Sized>(
    file: &B,
    entries: Stored,
    abbreviations: Stored,
) -> Result<Vec<Field>, Fault> {
    let entries = Stream::new(file, entries, READ_BYTES_MAX);
    let abbreviations = Stream::new(file, abbreviations, ABBREVIATION_BYTES_MAX);
    fields::find(Entries::new(entries, abbreviations))
}
