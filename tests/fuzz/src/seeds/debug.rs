//! Debug information as Go's linker writes it, as small as can be: a unit with two structures and what their fields are of.

/// A unit, a structure, a field, another name of a type, a number; each with its attributes and their forms.
pub const ABBREVIATIONS: &[u8] = &[
    1, 0x11, 1, 0x03, 0x08, 0x13, 0x0b, 0, 0, //
    2, 0x13, 1, 0x03, 0x08, 0x0b, 0x0f, 0, 0, //
    3, 0x0d, 0, 0x03, 0x08, 0x38, 0x0f, 0x49, 0x10, 0, 0, //
    4, 0x16, 0, 0x03, 0x08, 0x49, 0x10, 0, 0, //
    5, 0x24, 0, 0x03, 0x08, 0x0b, 0x0f, 0, 0, //
    0,
];
/// DWARF 4's and 5's, behind the length.
const HEADERS: [&[u8]; 2] = [&[4, 0, 0, 0, 0, 0, 8], &[5, 0, 1, 8, 0, 0, 0, 0]];
const GO: u8 = 0x16;

/// Entries of each version.
pub fn entries() -> [Vec<u8>; 2] {
    HEADERS.map(|header| {
        let mut unit = [&[0; 4][..], header, b"\x01runtime\0", &[GO]].concat();
        let number = entry(&mut unit, 5, "int", &[8]);
        let stack = structure(
            &mut unit,
            "runtime.stack",
            &[("lo", 0, number), ("hi", 8, number)],
        );
        let stack = entry(&mut unit, 4, "runtime.stack", &stack.to_le_bytes());
        let fields = [("stack", 0, stack), ("m", 48, number), ("goid", 96, number)];
        structure(&mut unit, "runtime.g", &fields);
        unit.push(0);
        let length = unit.len() as u32 - 4;
        unit[..4].copy_from_slice(&length.to_le_bytes());
        unit
    })
}

/// Abbreviations, before them how many bytes they have, and entries.
pub fn both() -> [Vec<u8>; 2] {
    entries().map(|entries| [&[ABBREVIATIONS.len() as u8][..], ABBREVIATIONS, &entries].concat())
}

fn entry(unit: &mut Vec<u8>, kind: u8, name: &str, rest: &[u8]) -> u32 {
    let place = unit.len() as u32;
    unit.push(kind);
    unit.extend(name.bytes());
    unit.push(0);
    unit.extend(rest);
    place
}

fn structure(unit: &mut Vec<u8>, name: &str, fields: &[(&str, u8, u32)]) -> u32 {
    let place = entry(unit, 2, name, &[112]);
    for (name, at, kind) in fields {
        entry(unit, 3, name, &[&[*at][..], &kind.to_le_bytes()].concat());
    }
    unit.push(0);
    place
}
