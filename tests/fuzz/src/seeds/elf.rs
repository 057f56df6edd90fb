//! Small files that the readers of executables understand. In: nothing. Out: an ELF file for each of them, a Go
//! program's build information, a JDK's release, and kernel types.

use super::debug;
use super::executable;
use super::go::{function, functions};
use super::{openssl, tokio};
use crate::executable::{
    BTF, FUNCTION, GO_BUILD_INFORMATION, GO_DEBUG, GO_FUNCTIONS, GO_OFFSETS, KEEPS, NAMES, OPENSSL,
    SYMBOLS, TOKIO_FILE,
};

pub const ADDRESS: u64 = 0x1000;
pub const HEADER_BYTES: usize = 64;
const SECTION_BYTES: usize = 64;
pub const PROGRAM_BYTES: usize = 56;

/// A table as a user's own has to be.
const OFFSETS: &[u8] =
    b"release runtime.g.goid net/http.persistConn.conn net.netFD.pfd.Sysfd net.netFD.family \
    net.netFD.sotype runtime.g.parentGoid\n1.99 152 80 16 56 64 280\n1.98 152 80 16 56 64 -\n";

pub fn all() -> Vec<Vec<u8>> {
    let go = go_build_information();
    let table = functions();
    let symbols = [&[0; 24][..], &symbol()].concat();
    let sections = [
        Section(".go.buildinfo", 1, 0, &go),
        Section(".comment", 1, 0, b"rustc version 1.95.0"),
        Section(".dynsym", 11, 4, &symbols),
        Section(".dynstr", 3, 0, b"\0Py_Version\0"),
        Section(".data", 1, 0, &0x030b_07f0_u64.to_le_bytes()),
    ];
    let [entries, _] = debug::entries();
    let go_program = elf(&[
        sections[0],
        Section(".gopclntab", 1, 0, &table),
        Section(".debug_info", 1, 0, &entries),
        Section(".debug_abbrev", 1, 0, debug::ABBREVIATIONS),
    ]);
    let native = elf(&sections[1..2]);
    let python = elf(&[
        Section(".text", 1, 0, b""),
        sections[1],
        sections[2],
        sections[3],
        sections[4],
    ]);
    let node = [&native, &b"node.js/v20.20.2\0"[..]].concat();
    let mut seeds = vec![
        executable(GO_BUILD_INFORMATION, &go),
        executable(BTF, &btf()),
        executable(GO_FUNCTIONS, &table),
        executable(GO_OFFSETS, OFFSETS),
        executable(FUNCTION, &function()),
        executable(SYMBOLS, &openssl::table()),
        executable(SYMBOLS, &openssl::repeated()),
        executable(OPENSSL, &openssl::file()),
        executable(TOKIO_FILE, &tokio::file()),
        executable(0, &tokio::file()),
        executable(KEEPS, tokio::KEEPS),
    ];
    seeds.extend(debug::both().map(|bytes| executable(GO_DEBUG, &bytes)));
    for (name, _) in (0..).zip(NAMES) {
        for file in [&go_program, &native, &python, &node] {
            seeds.push(executable(name, file));
        }
    }
    seeds
}

/// Name, type, the section it refers to, bytes.
#[derive(Clone, Copy)]
pub struct Section<'a>(pub &'a str, pub u32, pub u32, pub &'a [u8]);

/// With one thread-local variable.
fn elf(sections: &[Section<'_>]) -> Vec<u8> {
    file(sections, &[7, 0, 0, 0, 0, 8, 0])
}

/// An ELF file: its header, a program header, the sections behind each other, their names, their headers. `part`: the program
/// header's type and flags, then its other words.
pub fn file(sections: &[Section<'_>], part: &[u64; 7]) -> Vec<u8> {
    let mut names = b"\0.shstrtab\0".to_vec();
    let mut body = vec![0; HEADER_BYTES + PROGRAM_BYTES];
    let mut headers = vec![0; SECTION_BYTES];
    for (index, Section(name, kind, link, bytes)) in sections.iter().enumerate() {
        let address = ADDRESS * (index as u64 + 1);
        headers.extend(section_header(
            names.len(),
            *kind,
            address,
            body.len(),
            bytes.len(),
            *link,
        ));
        names.extend_from_slice(name.as_bytes());
        names.push(0);
        body.extend_from_slice(bytes);
    }
    headers.extend(section_header(1, 3, 0, body.len(), names.len(), 0));
    body.extend_from_slice(&names);
    let count = sections.len() as u16 + 2;
    let start = header(body.len() as u64, count);
    body[..HEADER_BYTES].copy_from_slice(&start);
    let part = part.iter().flat_map(|word| word.to_le_bytes());
    let part: Vec<u8> = part.collect();
    body[HEADER_BYTES..HEADER_BYTES + PROGRAM_BYTES].copy_from_slice(&part);
    [body, headers].concat()
}

/// ELF-64 object file format, "ELF header".
fn header(sections_at: u64, count: u16) -> Vec<u8> {
    let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
    bytes.resize(16, 0);
    [3_u16, 62]
        .iter()
        .for_each(|value| bytes.extend_from_slice(&value.to_le_bytes()));
    bytes.extend_from_slice(&1_u32.to_le_bytes());
    for value in [ADDRESS, HEADER_BYTES as u64, sections_at] {
        bytes.extend_from_slice(&value.to_le_bytes());
    }
    bytes.extend_from_slice(&0_u32.to_le_bytes());
    let sizes = [
        HEADER_BYTES as u16,
        PROGRAM_BYTES as u16,
        1,
        SECTION_BYTES as u16,
    ];
    for value in sizes.into_iter().chain([count, count - 1]) {
        bytes.extend_from_slice(&value.to_le_bytes());
    }
    bytes
}

fn section_header(
    name: usize,
    kind: u32,
    address: u64,
    offset: usize,
    size: usize,
    link: u32,
) -> Vec<u8> {
    const DYNAMIC_SYMBOLS: u32 = 11;
    let entry: u64 = if kind == DYNAMIC_SYMBOLS { 24 } else { 0 };
    let mut bytes = [(name as u32).to_le_bytes(), kind.to_le_bytes()].concat();
    for value in [2, address, offset as u64, size as u64] {
        bytes.extend_from_slice(&value.to_le_bytes());
    }
    bytes.extend([link.to_le_bytes(), 1_u32.to_le_bytes()].concat());
    bytes.extend([1_u64.to_le_bytes(), entry.to_le_bytes()].concat());
    bytes
}

/// `Py_Version`, the start of the fifth section.
fn symbol() -> Vec<u8> {
    let mut bytes = [&1_u32.to_le_bytes()[..], &[0x11, 0, 5, 0]].concat();
    bytes.extend([(5 * ADDRESS).to_le_bytes(), 8_u64.to_le_bytes()].concat());
    bytes
}

/// debug/buildinfo of Go, since 1.18.
fn go_build_information() -> Vec<u8> {
    let mut bytes = b"\xff Go buildinf:\x08\x02".to_vec();
    bytes.resize(32, 0);
    bytes.extend_from_slice(b"\x08go1.26.8\0");
    bytes
}

/// `struct sock { struct { int sk_type; }; int sk_state:3; }`, a typedef of it and a tracepoint's.
fn btf() -> Vec<u8> {
    let strings = b"\0int\0sock\0sk_type\0sk_state\0btf_trace_x\0";
    let (structure, integer, typedef) = (4_u32 << 24, 1_u32 << 24, 8_u32 << 24);
    let types: [u32; 25] = [
        1,
        integer,
        4,
        32, // 1: int
        0,
        structure | 1,
        4,
        10,
        1,
        0, // 2: the inner one
        5,
        1 << 31 | structure | 2,
        12,
        0,
        2,
        0,
        18,
        1,
        3 << 24 | 64, // 3: sock
        5,
        typedef,
        3, // 4
        27,
        typedef,
        4, // 5
    ];
    let length = size_of_val(&types) as u32;
    let mut bytes = [0x9f, 0xeb, 1, 0].to_vec();
    let header = [24, 0, length, length, strings.len() as u32];
    for word in header.into_iter().chain(types) {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    [&bytes, &strings[..]].concat()
}
