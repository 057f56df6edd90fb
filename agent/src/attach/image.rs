//! An ELF file for amd64 by its headers alone: where its sections are, and where in the file an address is. In: a file. Out:
//! parts of it. Its tables of symbols, which may have some megabytes, are not read. Touches that file.

use std::fs::File;

use object::read::elf::{FileHeader, ProgramHeader, SectionHeader, SectionTable};
use object::{elf, Endianness, ReadCache};

use super::symbol_table::Table;
use super::window::{Bytes, Extent};

type Header = elf::FileHeader64<Endianness>;

/// How a file begins that is for a machine of 32 bits (gABI, "ELF Identification").
const ELF_32: [u8; 5] = *b"\x7fELF\x01";

/// Sections of a file whose headers are read; linkers leave some tens. The names of all may be asked for, each up to 4 KiB.
const SECTIONS_MAX: u32 = 1024;
/// Its parts that are loaded: as many as its header can count by itself.
const SEGMENTS_MAX: u32 = elf::PN_XNUM as u32 - 1;

/// Why a file is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("it cannot be read: {0}")]
    Unreadable(String),
    #[error("it is not for amd64")]
    Machine,
    #[error(
        "its headers are not read: {SECTIONS_MAX} sections, {SEGMENTS_MAX} segments are the most"
    )]
    TooLarge,
}

/// What it says of itself. Borrows what was read of the file.
pub struct Image<'a> {
    file: &'a File,
    header: &'a Header,
    endian: Endianness,
    sections: SectionTable<'a, Header, &'a ReadCache<&'a File>>,
    segments: &'a [elf::ProgramHeader64<Endianness>],
}

impl<'a> Image<'a> {
    pub fn read(file: &'a File, cache: &'a ReadCache<&'a File>) -> Result<Self, Fault> {
        let mut start = [0; ELF_32.len()];
        // Not an error: what is shorter is told as broken.
        let _ = Bytes::read(file, 0, &mut start);
        if start == ELF_32 {
            return Err(Fault::Machine);
        }
        let read = || {
            let header = Header::parse(cache)?;
            let endian = header.endian()?;
            if header.shnum(endian, cache)? > SECTIONS_MAX
                || header.phnum(endian, cache)? > SEGMENTS_MAX
            {
                return Ok(None);
            }
            let sections = header.sections(endian, cache)?;
            let segments = header.program_headers(endian, cache)?;
            Ok(Some((header, endian, sections, segments)))
        };
        let read = read().map_err(|error: object::Error| Fault::Unreadable(error.to_string()));
        let (header, endian, sections, segments) = read?.ok_or(Fault::TooLarge)?;
        match header.e_machine(endian) {
            elf::EM_X86_64 => Ok(Self {
                file,
                header,
                endian,
                sections,
                segments,
            }),
            _ => Err(Fault::Machine),
        }
    }

    /// Where a section is in the file.
    pub fn extent(&self, name: &str) -> Option<Extent> {
        let (_, section) = self
            .sections
            .section_by_name(self.endian, name.as_bytes())?;
        let (offset, bytes) = section.file_range(self.endian)?;
        Some(Extent { offset, bytes })
    }

    /// Whether a section is packed (gABI, "Section compression").
    pub fn is_packed(&self, name: &str) -> bool {
        let sections = &self.sections;
        let section = sections.section_by_name(self.endian, name.as_bytes());
        section
            .is_some_and(|(_, section)| section.sh_flags(self.endian).contains(elf::SHF_COMPRESSED))
    }

    /// What it was read from.
    pub fn file(&self) -> &'a File {
        self.file
    }

    /// The symbols that it is linked by.
    pub fn dynamic_symbols(&self) -> Option<Table> {
        Some(Table {
            symbols: self.extent(".dynsym")?,
            names: self.extent(".dynstr")?,
            hashes: self.extent(".gnu.hash"),
        })
    }

    /// The symbols that it was left with, all of them.
    pub fn all_symbols(&self) -> Option<Table> {
        Some(Table {
            symbols: self.extent(".symtab")?,
            names: self.extent(".strtab")?,
            hashes: None,
        })
    }

    /// The address at which it starts.
    pub fn entry(&self) -> u64 {
        self.header.e_entry(self.endian)
    }

    /// Where all of it may move: the address that the file's first byte would have if it did not.
    pub fn moves_from(&self) -> Option<u64> {
        let mut segments = self.segments.iter();
        let first = segments.find(|segment| {
            segment.p_type(self.endian) == elf::PT_LOAD && segment.p_offset(self.endian) == 0
        });
        let moves = self.header.e_type(self.endian) == elf::ET_DYN;
        Some(first.filter(|_| moves)?.p_vaddr(self.endian))
    }

    /// Where the instruction is that will be at that address.
    pub fn file_offset(&self, address: u64) -> Option<u64> {
        let (start, _) = self.loaded(address)?;
        Some(start)
    }

    /// The bytes from an address on: so many, or to the end of what is loaded with it.
    pub fn bytes(&self, address: u64, most: usize) -> Option<Vec<u8>> {
        let (start, left) = self.loaded(address)?;
        let mut bytes = vec![0; most.min(usize::try_from(left).unwrap_or(most))];
        Bytes::read(self.file, start, &mut bytes).ok()?;
        Some(bytes)
    }

    /// Eight of the bytes that are data at an address.
    pub fn word(&self, address: u64) -> Option<u64> {
        let (start, left) = self.among(elf::PF_R, address)?;
        let mut word = [0; 8];
        (left >= 8).then_some(())?;
        Bytes::read(self.file, start, &mut word).ok()?;
        Some(u64::from_le_bytes(word))
    }

    /// Bytes of the thread-local variables that it has.
    pub fn thread_local_bytes(&self) -> u64 {
        let segments = self.segments.iter();
        let its = segments.filter(|segment| segment.p_type(self.endian) == elf::PT_TLS);
        its.map(|segment| segment.p_memsz(self.endian))
            .max()
            .unwrap_or(0)
    }

    /// The first bytes of a section, so many at most; none where there is none.
    pub fn start(&self, name: &str, most: usize) -> Vec<u8> {
        let Some(section) = self.extent(name) else {
            return Vec::new();
        };
        let mut bytes = vec![0; most.min(usize::try_from(section.bytes).unwrap_or(most))];
        match Bytes::read(self.file, section.offset, &mut bytes) {
            Ok(()) => bytes,
            Err(_) => Vec::new(),
        }
    }

    /// Where an address is in the file, and how many bytes are loaded from there on: of what can be run.
    fn loaded(&self, address: u64) -> Option<(u64, u64)> {
        self.among(elf::PF_X, address)
    }

    /// The same, of what can be used in that way.
    fn among(&self, flag: elf::ProgramFlags, address: u64) -> Option<(u64, u64)> {
        self.segments.iter().find_map(|segment| {
            let is_it = segment.p_type(self.endian) == elf::PT_LOAD
                && segment.p_flags(self.endian).contains(flag);
            let within = address.checked_sub(segment.p_vaddr(self.endian))?;
            let left = segment.p_filesz(self.endian).checked_sub(within)?;
            let start = segment.p_offset(self.endian).checked_add(within)?;
            (is_it && left > 0).then_some((start, left))
        })
    }

    /// Whether an address is among the program's own functions, and no stub that leads to another library.
    pub fn is_text(&self, address: u64) -> bool {
        let text = self.sections.section_by_name(self.endian, b".text");
        text.is_some_and(|(_, text)| {
            let within = address.checked_sub(text.sh_addr(self.endian));
            within.is_some_and(|within| within < text.sh_size(self.endian))
        })
    }
}
