//! A file that is as small as can be, of functions and their symbols.

use super::elf::{self, Section, ADDRESS, HEADER_BYTES, PROGRAM_BYTES};

/// Bytes from one function to the next.
const APART: usize = 16;

/// Its name, and what it is.
pub type Function = (&'static str, &'static [u8]);

/// The whole file; the sections of its symbols and of their names, each with its type.
pub fn file(functions: &[Function], sections: [(&str, u32); 2]) -> Vec<u8> {
    let text = text(functions);
    let (names, symbols) = tables(functions);
    let [(of_symbols, symbols_type), (of_names, names_type)] = sections;
    let sections = [
        Section(".text", 1, 0, &text),
        Section(of_symbols, symbols_type, 3, &symbols),
        Section(of_names, names_type, 0, &names),
        Section(".comment", 1, 0, b"rustc version 1.95.0\0"),
    ];
    let start = (HEADER_BYTES + PROGRAM_BYTES) as u64;
    let length = text.len() as u64;
    // Loaded, to be read and run.
    let loaded = [1 | 5 << 32, start, ADDRESS, ADDRESS, length, length, 4096];
    elf::file(&sections, &loaded)
}

fn text(functions: &[Function]) -> Vec<u8> {
    let mut text = vec![0x90; functions.len() * APART];
    for (place, (_, bytes)) in text.chunks_mut(APART).zip(functions) {
        place[..bytes.len()].copy_from_slice(bytes);
    }
    text
}

/// Names, and symbols.
pub fn tables(functions: &[Function]) -> (Vec<u8>, Vec<u8>) {
    let (mut names, mut symbols) = (vec![0], vec![0; 24]);
    for (index, (name, bytes)) in functions.iter().enumerate() {
        symbols.extend((names.len() as u32).to_le_bytes());
        symbols.extend([0x12, 0, 1, 0]);
        symbols.extend((ADDRESS + (index * APART) as u64).to_le_bytes());
        symbols.extend((bytes.len() as u64).to_le_bytes());
        names.extend(name.as_bytes());
        names.push(0);
    }
    (names, symbols)
}
