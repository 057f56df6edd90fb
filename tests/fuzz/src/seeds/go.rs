//! What a Go program says of its functions: the table of them, and one as it is compiled.

use crate::executable::FUNCTION_NAME;

const HEADER_BYTES: u64 = 72;

/// A table of two functions, as `runtime.pclntab` is laid out since Go 1.20.
pub fn functions() -> Vec<u8> {
    let names = format!("\0main.main\0{FUNCTION_NAME}\0");
    let names_end = HEADER_BYTES + names.len() as u64;
    let entries = names_end.next_multiple_of(8);
    let mut table = vec![0xf1, 0xff, 0xff, 0xff, 0, 0, 1, 8];
    let words = [
        2,
        1,
        0x1000,
        HEADER_BYTES,
        names_end,
        names_end,
        names_end,
        entries,
    ];
    words
        .iter()
        .for_each(|word: &u64| table.extend(word.to_le_bytes()));
    table.extend(names.as_bytes());
    table.resize(entries as usize, 0);
    // Where each starts and what is said of it; the end; then, where each starts, and its name.
    let words: [u32; 9] = [0, 20, 16, 28, 48, 0, 1, 16, 11];
    words
        .iter()
        .for_each(|word| table.extend(word.to_le_bytes()));
    table
}

/// The check of the stack, the frame, and the way back to the start once the stack has grown.
pub fn function() -> Vec<u8> {
    let start = [
        0x49, 0x3b, 0x66, 0x10, 0x76, 0x0a, 0x55, 0x48, 0x89, 0xe5, 0x48, 0x83, 0xec, 0x18,
    ];
    let end = [0x5d, 0xc3];
    let detour = [
        0x48, 0x89, 0x44, 0x24, 0x08, 0xe8, 0, 0, 0, 0, 0x48, 0x8b, 0x44, 0x24, 0x08, 0xeb, 0xdf,
    ];
    [&start[..], &end[..], &detour[..]].concat()
}
