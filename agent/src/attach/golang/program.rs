//! Go: a program as the linker left it, stripped or not: its release, and where its functions are. In: an executable file.
//! Out: those, or why not. Touches that file.
//!
//! Little of it is read: headers, a bounded number (`image.rs`), one piece of its table of functions after another, and the functions that are asked for.

use std::fs::File;

use object::read::elf::{ElfFile64, ProgramHeader};
use object::{elf, Endianness, ReadCache};

use super::functions::{self, Bytes, Extent};
use super::releases::{self, Release};
use super::version;
use crate::attach::image::{self, Image};
use crate::attach::placement;

/// The table has its own section; where all of the program may move, it is among what is relocated.
const TABLES: [&str; 2] = [".gopclntab", ".data.rel.ro.gopclntab"];
const BUILD_INFORMATION: &str = ".go.buildinfo";
const BUILD_INFORMATION_BYTES: u64 = 256;
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
    #[error("Go {0} is not among the releases that are known")]
    Release(String),
    #[error(
        "it has no table of functions of its own (a foreign linker made it position-independent)"
    )]
    NoTable,
    #[error(transparent)]
    Functions(#[from] functions::Fault),
    #[error("its release does not keep TLS sessions as those that are known")]
    NoSessions,
    #[error("the copy of what was decrypted is not found (it is not optimised)")]
    NoCopy,
    #[error("its release does not keep numbers of goroutines as those that are known")]
    NoNumbers,
    #[error("it does not say where its text starts")]
    NoText,
    #[error(transparent)]
    Placement(#[from] placement::Fault),
}

impl Fault {
    /// The program makes no requests: nothing is missing.
    pub fn is_harmless(&self) -> bool {
        matches!(self, Self::Functions(functions::Fault::NoSuchFunction))
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

impl<'a> Program<'a> {
    pub fn parse(file: &'a File, cache: &'a ReadCache<&'a File>) -> Result<Self, Fault> {
        let image = Image::read(file, cache)?;
        Ok(Self { file, image })
    }

    /// What is known of the release that built it.
    pub fn release(&self) -> Result<Release, Fault> {
        let section = self.extent(BUILD_INFORMATION).ok_or(Fault::Other)?;
        let mut bytes = vec![0; section.bytes.min(BUILD_INFORMATION_BYTES) as usize];
        self.fill(section.offset, &mut bytes)?;
        let version = version(&bytes).ok_or_else(|| Fault::Release("of no version".to_owned()))?;
        releases::of(&version).ok_or(Fault::Release(version))
    }

    /// Finds the function of that name.
    pub fn function(&self, name: &str) -> Result<Code, Fault> {
        let mut tables = TABLES.into_iter().filter_map(|name| self.extent(name));
        let table = tables.next().ok_or(Fault::NoTable)?;
        let function = functions::find(self.file, table, name)?;
        let text = function.text.or_else(|| self.text());
        let address = text.and_then(|text| text.checked_add(function.offset.into()));
        let address = address.ok_or(Fault::NoText)?;
        Ok(Code {
            address,
            file_offset: self.image.file_offset(address).ok_or(Fault::NoText)?,
            bytes: function.bytes,
        })
    }

    /// The bytes of a function.
    pub fn read(&self, function: Code) -> Result<Vec<u8>, Fault> {
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

/// Where in the file the instruction is that will be at that address.
pub fn file_offset<'a, R: object::ReadRef<'a>>(
    program: &ElfFile64<'a, Endianness, R>,
    address: u64,
) -> Option<u64> {
    let endian = program.endian();
    let mut loaded = program.elf_program_headers().iter().filter(|header| {
        header.p_type(endian) == elf::PT_LOAD && header.p_flags(endian).contains(elf::PF_X)
    });
    loaded.find_map(|header| {
        let within = address.checked_sub(header.p_vaddr(endian))?;
        (within < header.p_filesz(endian)).then(|| header.p_offset(endian).checked_add(within))?
    })
}
