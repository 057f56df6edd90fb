//! Heads that were read lately. In: the bytes of a message after its first line, and what they say once they were read.
//! Out: where its head ends and what its fields say, where that is known.
//!
//! A client sends the same fields with each request, and a server with each answer of one second: to compare them is
//! cheaper than to read them.

use std::hash::BuildHasher;

use memchr::arch::all::is_equal;
use memchr::memmem::Finder;

use crate::hash::Seed;

/// Field sections kept. Each has one place, and the next one that falls there replaces it: that is all that a peer gains
/// who guesses where they fall, as each is compared in full.
const KEPT: usize = 128;
/// Bytes of a field section that is kept. Longer ones are read each time.
const BYTES_MAX: usize = 1024;
/// The empty line after the fields, with the end of the line before it.
const END: &[u8] = b"\r\n\r\n";

/// Field sections, and what each says.
#[derive(Debug)]
pub struct Memo<Fields> {
    end: Finder<'static>,
    seed: Seed,
    places: Vec<(Vec<u8>, Fields)>,
}

/// A field section that is not known yet, and where it belongs.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    index: usize,
    length: usize,
}

impl<Fields: Clone + Default> Default for Memo<Fields> {
    fn default() -> Self {
        Self {
            end: Finder::new(END),
            seed: Seed::default(),
            places: vec![(Vec::new(), Fields::default()); KEPT],
        }
    }
}

impl<Fields> Memo<Fields> {
    /// What the field section at the start of the bytes says and how long it is, if it is known; where it belongs, if it
    /// can be kept.
    pub fn find(&self, bytes: &[u8]) -> Result<(&Fields, usize), Option<Place>> {
        // A head without fields ends at once.
        let begins = bytes.first().is_some_and(|byte| !b"\r\n".contains(byte));
        let end = self.end.find(bytes).filter(|_| begins).ok_or(None)?;
        let length = end + END.len();
        let section = bytes.get(..length).ok_or(None)?;
        if length > BYTES_MAX {
            return Err(None);
        }
        let index = self.seed.hash_one(section) as usize % KEPT;
        match self.places.get(index) {
            // Not `==`: musl, which the static binary is built with, compares byte by byte.
            Some((known, fields)) if is_equal(known, section) => Ok((fields, length)),
            _ => Err(Some(Place { index, length })),
        }
    }

    /// Keeps what the field section at the start of the bytes says, as [`Self::find`] was asked for it.
    pub fn keep(&mut self, place: Place, bytes: &[u8], fields: Fields) {
        let place = self
            .places
            .get_mut(place.index)
            .zip(bytes.get(..place.length));
        if let Some(((known, said), section)) = place {
            known.clear();
            known.extend_from_slice(section);
            *said = fields;
        }
    }
}

impl Place {
    /// Bytes of the field section.
    pub fn length(self) -> usize {
        self.length
    }
}
