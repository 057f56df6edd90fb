//! Go: where a program's `net/http` client begins to send a request, in the goroutine that asks for it. In: an executable
//! file. Out: the place for the uprobe and what its program has to know, or why there is none. Touches that file.
//!
//! Little of it is read: headers, one piece of its table of functions after another, and the one function.

use std::fs::File;

use object::read::elf::{ElfFile64, FileHeader, ProgramHeader};
use object::{elf, Endianness, Object, ObjectSection, ReadCache};
use spanlet_abi::golang::ClientOffsets;

use super::functions::{self, Bytes, Extent};
use super::{releases, version};
use crate::attach::placement::{self, Place, Register, FUNCTION_BYTES_MAX};
use crate::attach::targets::Site;

/// It runs once for each request over HTTP/1, with its receiver in the first register of arguments (Go's ABIInternal).
pub const FUNCTION: &str = "net/http.(*persistConn).roundTrip";
const RECEIVER: Register = Register::RAX;

/// The table has its own section; where all of the program may move, it is among what is relocated.
const TABLES: [&str; 2] = [".gopclntab", ".data.rel.ro.gopclntab"];
const BUILD_INFORMATION: &str = ".go.buildinfo";
const BUILD_INFORMATION_BYTES: u64 = 256;
/// Go 1.26: what the runtime knows of the program, its text's address among it (runtime/symtab.go, `moduledata`).
const MODULE: &str = ".go.module";
const MODULE_TEXT: u64 = 22 * 8;

type Elf<'a> = ElfFile64<'a, Endianness, &'a ReadCache<&'a File>>;

/// Why there is no place.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error("it cannot be read: {0}")]
    Unreadable(String),
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

/// Finds the place.
pub fn site(file: &File) -> Result<Site, Fault> {
    let cache = ReadCache::new(file);
    let unreadable = |error: object::Error| Fault::Unreadable(error.to_string());
    let program = Elf::parse(&cache).map_err(unreadable)?;
    if program.elf_header().e_machine(program.endian()) != elf::EM_X86_64 {
        return Err(Fault::Other);
    }
    let offsets = offsets(&program, file)?;
    let tables = TABLES.into_iter();
    let table = tables.filter_map(|name| extent(&program, name)).next();
    let function = functions::find(file, table.ok_or(Fault::NoTable)?, FUNCTION)?;
    let text = function.text.or_else(|| text(&program, file));
    let address = text.and_then(|text| text.checked_add(function.offset.into()));
    let address = address.ok_or(Fault::NoText)?;
    let start = file_offset(&program, address).ok_or(Fault::NoText)?;
    let place = place(file, start, address, function.bytes)?;
    Ok(Site {
        file_offset: start.checked_add(place.offset).ok_or(Fault::NoText)?,
        place,
        cookie: offsets.cookie(),
    })
}

/// Where in the file a program starts: a place that every executable has.
pub fn start(file: &File) -> Option<u64> {
    let cache = ReadCache::new(file);
    let program = Elf::parse(&cache).ok()?;
    file_offset(&program, program.entry())
}

fn offsets(program: &Elf<'_>, file: &File) -> Result<ClientOffsets, Fault> {
    let section = extent(program, BUILD_INFORMATION).ok_or(Fault::Other)?;
    let mut bytes = vec![0; section.bytes.min(BUILD_INFORMATION_BYTES) as usize];
    read(file, section.offset, &mut bytes)?;
    let version = version(&bytes).ok_or_else(|| Fault::Release("of no version".to_owned()))?;
    let release = releases::of(&version).ok_or(Fault::Release(version))?;
    Ok(release.client)
}

fn place(file: &File, start: u64, address: u64, bytes: u32) -> Result<Place, Fault> {
    let bytes = bytes as usize;
    if bytes > FUNCTION_BYTES_MAX {
        return Err(placement::Fault::TooLong.into());
    }
    let mut function = vec![0; bytes];
    read(file, start, &mut function)?;
    Ok(placement::place(&function, address, &[RECEIVER])?)
}

fn read(file: &File, offset: u64, buffer: &mut [u8]) -> Result<(), Fault> {
    let read = Bytes::read(file, offset, buffer);
    read.map_err(|error| Fault::Unreadable(error.to_string()))
}

fn extent(program: &Elf<'_>, name: &str) -> Option<Extent> {
    let (offset, bytes) = program.section_by_name(name)?.file_range()?;
    Some(Extent { offset, bytes })
}

/// Where the text starts that the table's offsets are from. With a C linker, C's own comes before it.
fn text(program: &Elf<'_>, file: &File) -> Option<u64> {
    let module = extent(program, MODULE)?;
    let mut word = [0; 8];
    read(file, module.offset.checked_add(MODULE_TEXT)?, &mut word).ok()?;
    Some(u64::from_le_bytes(word)).filter(|text| *text != 0)
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
