//! Go: a program as the linker left it, stripped or not: its release, and where its functions are. In: an executable file.
//! Out: those, or why not. Touches that file.
//!
//! Little of it is read: headers, a bounded number (`image.rs`), one piece of its table of functions after another, and the functions that are asked for.

use std::fs::File;

use object::ReadCache;

use super::functions::{self, Bytes, Extent, Function};
use super::releases::Release;
use super::sources::{Sources, Unknown};
use super::{version, BUILD_INFORMATION, BUILD_INFORMATION_BYTES};
use crate::attach::image::{self, Image};
use crate::attach::placement::{self, Place, FUNCTION_BYTES_MAX};
use crate::attach::targets::Site;

/// The table has its own section; where all of the program may move, it is among what is relocated.
const TABLES: [&str; 2] = [".gopclntab", ".data.rel.ro.gopclntab"];
/// Go 1.26: what the runtime knows of the program, its text's address among it (runtime/symtab.go, `moduledata`).
const MODULE: &str = ".go.module";
const MODULE_TEXT: u64 = 22 * 8;

/// Why something is not known of a program.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error("it cannot be read: {0}")]
    Unreadable(String),
    #[error(transparent)]
    Image(#[from] image::Fault),
    #[error("it is no Go program for amd64")]
    Other,
    #[error(transparent)]
    Unknown(#[from] Unknown),
    #[error(
        "it has no table of functions of its own (a foreign linker made it position-independent)"
    )]
    NoTable,
    #[error(transparent)]
    Functions(#[from] functions::Fault),
    #[error("it has no such function")]
    NoSuchFunction,
    #[error("where its client keeps its connection is not known")]
    NoClient,
    #[error("its release does not keep TLS sessions as those that are known")]
    NoSessions,
    #[error("the copy of what was decrypted is not found (it is not optimised)")]
    NoCopy,
    #[error("it does not say where its text starts")]
    NoText,
    #[error(transparent)]
    Placement(#[from] placement::Fault),
}

impl Fault {
    /// The program makes no requests: nothing is missing.
    pub fn is_harmless(&self) -> bool {
        matches!(self, Self::NoSuchFunction)
    }
}

/// An executable file.
pub struct Program<'a> {
    file: &'a File,
    image: Image<'a>,
}

/// Where a function is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    /// As the file says; where all of the program may move, it is elsewhere in a process.
    pub address: u64,
    pub file_offset: u64,
    pub bytes: u32,
}

impl Code {
    /// Where to attach in it.
    pub fn site(&self, place: Place, cookie: u64) -> Result<Site, Fault> {
        let file_offset = self.file_offset.checked_add(place.offset);
        Ok(Site {
            file_offset: file_offset.ok_or(Fault::NoText)?,
            place,
            cookie,
        })
    }
}

impl<'a> Program<'a> {
    pub fn parse(file: &'a File, cache: &'a ReadCache<&'a File>) -> Result<Self, Fault> {
        let image = Image::read(file, cache)?;
        Ok(Self { file, image })
    }

    /// What is known of the release that built it.
    pub fn release(&self, sources: &Sources) -> Result<Release, Fault> {
        let known = sources.of(&self.version()?, &self.image)?;
        Ok(known.release)
    }

    /// What it was built with.
    pub fn version(&self) -> Result<String, Fault> {
        self.extent(BUILD_INFORMATION).ok_or(Fault::Other)?;
        let start = self.image.start(BUILD_INFORMATION, BUILD_INFORMATION_BYTES);
        Ok(version(&start).ok_or(Unknown::NoVersion)?)
    }

    /// Finds the functions of these names, by one walk over the table of them.
    pub fn functions<const N: usize>(
        &self,
        names: [&str; N],
    ) -> Result<[Result<Code, Fault>; N], Fault> {
        let mut tables = TABLES.into_iter().filter_map(|name| self.extent(name));
        let table = tables.next().ok_or(Fault::NoTable)?;
        let functions = functions::find(self.file, table, names)?;
        Ok(functions.map(|function| self.code(function.ok_or(Fault::NoSuchFunction)?)))
    }

    fn code(&self, function: Function) -> Result<Code, Fault> {
        let text = function.text.or_else(|| self.text());
        let address = text.and_then(|text| text.checked_add(function.offset.into()));
        let address = address.ok_or(Fault::NoText)?;
        Ok(Code {
            address,
            file_offset: self.image.file_offset(address).ok_or(Fault::NoText)?,
            bytes: function.bytes,
        })
    }

    /// The bytes of a function, if it is not too long to be looked at.
    pub fn read(&self, function: Code) -> Result<Vec<u8>, Fault> {
        if function.bytes as usize > FUNCTION_BYTES_MAX {
            return Err(placement::Fault::TooLong.into());
        }
        let mut bytes = vec![0; function.bytes as usize];
        self.fill(function.file_offset, &mut bytes)?;
        Ok(bytes)
    }

    /// Where in the file it starts.
    pub fn start(&self) -> Option<u64> {
        self.image.file_offset(self.image.entry())
    }

    /// Where all of it may move: the address that the file's first byte would have if it did not.
    pub fn moves_from(&self) -> Option<u64> {
        self.image.moves_from()
    }

    fn fill(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Fault> {
        let read = Bytes::read(self.file, offset, buffer);
        read.map_err(|error| Fault::Unreadable(error.to_string()))
    }

    fn extent(&self, name: &str) -> Option<Extent> {
        self.image.extent(name)
    }

    /// Where the text starts that the table's offsets are from. With a C linker, C's own comes before it.
    fn text(&self) -> Option<u64> {
        let module = self.extent(MODULE)?;
        let mut word = [0; 8];
        self.fill(module.offset.checked_add(MODULE_TEXT)?, &mut word)
            .ok()?;
        Some(u64::from_le_bytes(word)).filter(|text| *text != 0)
    }
}
