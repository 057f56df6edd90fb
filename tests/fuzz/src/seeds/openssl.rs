//! OpenSSL in a file that is as small as can be: functions that go on to two others, and their symbols.

use super::elf::{self, Section, ADDRESS, HEADER_BYTES, PROGRAM_BYTES};

/// Bytes from one function to the next.
const APART: usize = 16;
/// Functions in their order, and what each is.
const FUNCTIONS: [(&str, &[u8]); 10] = [
    // push %rbp; call two functions further on
    ("SSL_read", &[0x55, 0xe8, 0x3a, 0, 0, 0, 0xc3]),
    ("SSL_read_ex", &[0x55, 0xe8, 0x2a, 0, 0, 0, 0xc3]),
    ("SSL_write", &[0x55, 0xe8, 0x2a, 0, 0, 0, 0xc3]),
    ("SSL_write_ex", &[0x55, 0xe8, 0x1a, 0, 0, 0, 0xc3]),
    ("read", &[0x55, 0xc3]),
    ("write", &[0x55, 0xc3]),
    ("SSL_do_handshake", &[0x55, 0xc3]),
    ("SSL_free", &[0x48, 0x85, 0xff, 0x74, 0, 0xc3]),
    ("SSL_get_rbio", &[0x48, 0x8b, 0x47, 0x10, 0xc3]),
    ("SSL_version", &[0x8b, 0x07, 0xc3]),
];

/// The whole file.
pub fn file() -> Vec<u8> {
    let text = text();
    let (names, symbols) = tables();
    let sections = [
        Section(".text", 1, 0, &text),
        Section(".dynsym", 11, 3, &symbols),
        Section(".dynstr", 3, 0, &names),
    ];
    let start = (HEADER_BYTES + PROGRAM_BYTES) as u64;
    let length = text.len() as u64;
    // Loaded, to be read and run.
    let loaded = [1 | 5 << 32, start, ADDRESS, ADDRESS, length, length, 4096];
    elf::file(&sections, &loaded)
}

/// Its symbols alone, in three parts of one size; the third, a hash table, has one bucket with all of them.
pub fn table() -> Vec<u8> {
    let (mut names, mut symbols) = tables();
    let mut hashes = Vec::new();
    for word in [1_u32, 1, 0, 0, 1] {
        hashes.extend(word.to_le_bytes());
    }
    for (index, (name, _)) in FUNCTIONS.iter().enumerate() {
        let last = u32::from(index + 1 == FUNCTIONS.len());
        hashes.extend((hash(name) & !1 | last).to_le_bytes());
    }
    let length = names.len().max(symbols.len()).max(hashes.len());
    for part in [&mut names, &mut symbols, &mut hashes] {
        part.resize(length, 0);
    }
    [names, symbols, hashes].concat()
}

/// The same parts; one name fills those of names.
pub fn repeated() -> Vec<u8> {
    let mut parts = [b"SSL_read\0".repeat(1200), tables().1, Vec::new()];
    let length = parts[0].len();
    parts.iter_mut().for_each(|part| part.resize(length, 0));
    parts.concat()
}

fn hash(name: &str) -> u32 {
    name.bytes().fold(5381, |hash: u32, byte| {
        hash.wrapping_mul(33).wrapping_add(byte.into())
    })
}

fn text() -> Vec<u8> {
    let mut text = vec![0x90; FUNCTIONS.len() * APART];
    for (place, (_, bytes)) in text.chunks_mut(APART).zip(FUNCTIONS) {
        place[..bytes.len()].copy_from_slice(bytes);
    }
    text
}

/// Names, and symbols.
fn tables() -> (Vec<u8>, Vec<u8>) {
    let (mut names, mut symbols) = (vec![0], vec![0; 24]);
    for (index, (name, bytes)) in FUNCTIONS.iter().enumerate() {
        symbols.extend((names.len() as u32).to_le_bytes());
        symbols.extend([0x12, 0, 1, 0]);
        symbols.extend((ADDRESS + (index * APART) as u64).to_le_bytes());
        symbols.extend((bytes.len() as u64).to_le_bytes());
        names.extend(name.as_bytes());
        names.push(0);
    }
    (names, symbols)
}
