//! Recordings: the kernel's bytes, saved once and replayed by tests through every later room.
//!
//! A file is [`MAGIC`], then for each record its length (4 bytes, little end first) and its bytes.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use super::convert::convert;
use super::Event;

/// Names the format and its version; changes with the layout of the records.
pub const MAGIC: &[u8; 16] = b"spanlet-record-1";

/// Saves records as they come.
pub struct Recorder {
    file: BufWriter<File>,
}

impl Recorder {
    /// Starts a recording; an existing file is replaced.
    pub fn create(path: &Path) -> io::Result<Self> {
        let mut file = BufWriter::new(File::create(path)?);
        file.write_all(MAGIC)?;
        Ok(Self { file })
    }

    /// Adds one record.
    pub fn write(&mut self, record: &[u8]) -> io::Result<()> {
        self.file.write_all(&(record.len() as u32).to_le_bytes())?;
        self.file.write_all(record)
    }
}

/// A recording in memory.
pub struct Recording {
    bytes: Vec<u8>,
}

impl Recording {
    /// Reads a whole recording. Errors: the file cannot be read, or is not a recording of this version.
    pub fn read(path: &Path) -> io::Result<Self> {
        let mut bytes = Vec::new();
        File::open(path)?.read_to_end(&mut bytes)?;
        Self::of(bytes)
    }

    /// The recording that these bytes are. Errors: they are not one of this version.
    pub fn of(bytes: Vec<u8>) -> io::Result<Self> {
        if bytes.starts_with(MAGIC) {
            Ok(Self { bytes })
        } else {
            Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "not a recording of this version: record it again with `cargo xtask e2e --record`",
            ))
        }
    }

    /// The events in order; what is not a record ends them.
    pub fn events(&self) -> impl Iterator<Item = Event<'_>> {
        self.records().filter_map(|record| convert(record).ok())
    }

    /// The records in order.
    pub fn records(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.bytes.get(MAGIC.len()..).unwrap_or_default();
        std::iter::from_fn(move || {
            let (length, after) = rest.split_first_chunk::<4>()?;
            let record = after.get(..u32::from_le_bytes(*length) as usize)?;
            rest = &after[record.len()..];
            Some(record)
        })
    }
}
