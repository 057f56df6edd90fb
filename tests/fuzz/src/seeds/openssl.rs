//! OpenSSL in a file that is as small as can be: functions that go on to two others, and their symbols.

use super::symbols::{self, Function};

/// Functions in their order, and what each is.
const FUNCTIONS: [Function; 10] = [
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
    symbols::file(&FUNCTIONS, [(".dynsym", 11), (".dynstr", 3)])
}

/// Its symbols alone, in three parts of one size; the third, a hash table, has one bucket with all of them.
pub fn table() -> Vec<u8> {
    let (mut names, mut symbols) = symbols::tables(&FUNCTIONS);
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
    let mut parts = [
        b"SSL_read\0".repeat(1200),
        symbols::tables(&FUNCTIONS).1,
        Vec::new(),
    ];
    let length = parts[0].len();
    parts.iter_mut().for_each(|part| part.resize(length, 0));
    parts.concat()
}

fn hash(name: &str) -> u32 {
    name.bytes().fold(5381, |hash: u32, byte| {
        hash.wrapping_mul(33).wrapping_add(byte.into())
    })
}
