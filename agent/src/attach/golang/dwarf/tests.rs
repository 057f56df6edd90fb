//! Debug information as Go's linker writes it, and as nobody should. In: structures. Out: what is found of them.

use std::io::Write;

use flate2::write::ZlibEncoder;
use flate2::Compression;

use super::*;
use crate::attach::window::Extent;

/// Each: its tag, whether others are in it, attributes and their forms, zeroes. Their numbers are 1 and so on.
const TABLE: [&[u8]; 8] = [
    &[UNIT, 0x11, 1, 0x03, 0x08, 0x13, 0x0b, 0, 0],
    &[
        STRUCTURE, 0x13, 1, 0x03, 0x08, 0x0b, 0x0f, 0x80, 0x52, 0x0b, 0, 0,
    ],
    &[
        MEMBER, 0x0d, 0, 0x03, 0x08, 0x38, 0x0f, 0x49, 0x10, 0x83, 0x52, 0x0c, 0, 0,
    ],
    &[NAMED, 0x16, 0, 0x03, 0x08, 0x49, 0x10, 0, 0],
    &[BASE, 0x24, 0, 0x03, 0x08, 0x3e, 0x0b, 0x0b, 0x0f, 0, 0],
    &[POINTER, 0x0f, 0, 0x03, 0x08, 0, 0],
    // A function: its name, first address, how long it is, and how its frame is found; a variable in it.
    &[
        FUNCTION, 0x2e, 1, 0x03, 0x08, 0x11, 0x01, 0x12, 0x07, 0x40, 0x18, 0, 0,
    ],
    &[VARIABLE, 0x34, 0, 0x03, 0x08, 0x3b, 0x0f, 0x02, 0x0a, 0, 0],
];
const UNIT: u8 = 1;
const STRUCTURE: u8 = 2;
const MEMBER: u8 = 3;
const NAMED: u8 = 4;
const BASE: u8 = 5;
const POINTER: u8 = 6;
const FUNCTION: u8 = 7;
const VARIABLE: u8 = 8;
const GO: u8 = 0x16;
const C: u8 = 0x0c;

/// A type.
#[derive(Clone)]
enum Kind {
    Base(u8),
    Pointer,
    /// By another name.
    Named(Box<Kind>),
    Structure(&'static str, u8, Vec<(&'static str, u8, Kind)>),
    /// Where it is said to be.
    Nowhere(u32),
}

fn named(kind: Kind) -> Kind {
    Kind::Named(Box::new(kind))
}

/// The section of entries.
#[derive(Default)]
struct Section {
    bytes: Vec<u8>,
    /// Types are written before what is of them.
    before: bool,
}

impl Section {
    fn unit(&mut self, version: u8, language: u8, write: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        let header: &[u8] = match version {
            5 => &[0, 0, 0, 0, 5, 0, 1, 8, 0, 0, 0, 0],
            _ => &[0, 0, 0, 0, version, 0, 0, 0, 0, 0, 8],
        };
        self.bytes.extend(header);
        self.entry(UNIT, "runtime");
        self.bytes.push(language);
        self.function();
        write(self);
        self.bytes.push(0);
        let length = (self.bytes.len() - start - 4) as u32;
        self.bytes[start..start + 4].copy_from_slice(&length.to_le_bytes());
    }

    /// Gives its place.
    fn entry(&mut self, kind: u8, name: &str) -> u32 {
        let place = self.bytes.len() as u32;
        self.bytes.push(kind);
        self.bytes.extend(name.bytes());
        self.bytes.push(0);
        place
    }

    /// With a structure in it, which is none of the package's.
    fn function(&mut self) {
        self.entry(FUNCTION, "runtime.main");
        self.bytes.extend([1; 16]);
        self.bytes.extend([1, 0x9c]);
        self.entry(VARIABLE, "g");
        self.bytes.extend([0x80, 1, 2, 0x91, 0x10]);
        self.structure("runtime.g", 8, &[("goid", 77, Kind::Base(8))]);
        self.bytes.push(0);
    }

    fn kind(&mut self, kind: &Kind) -> u32 {
        match kind {
            Kind::Base(bytes) => {
                let place = self.entry(BASE, "int");
                self.bytes.extend([5, *bytes]);
                place
            }
            Kind::Pointer => self.entry(POINTER, "*x"),
            Kind::Named(kind) => {
                let known = self.before.then(|| self.kind(kind));
                let place = self.entry(NAMED, "x");
                let hole = self.hole();
                let known = known.unwrap_or_else(|| self.kind(kind));
                self.fill(hole, known);
                place
            }
            Kind::Structure(name, bytes, members) => self.structure(name, *bytes, members),
            Kind::Nowhere(place) => *place,
        }
    }

    fn structure(&mut self, name: &str, bytes: u8, members: &[(&str, u8, Kind)]) -> u32 {
        let known: Vec<u32> = match self.before {
            true => members.iter().map(|(_, _, kind)| self.kind(kind)).collect(),
            false => Vec::new(),
        };
        let place = self.entry(STRUCTURE, name);
        self.bytes.extend([bytes, 25]);
        let mut holes = Vec::new();
        for (name, at, _) in members {
            self.entry(MEMBER, name);
            self.bytes.push(*at);
            holes.push(self.hole());
            self.bytes.push(0);
        }
        self.bytes.push(0);
        for (index, (hole, (_, _, kind))) in holes.into_iter().zip(members).enumerate() {
            let known = known.get(index).copied();
            let known = known.unwrap_or_else(|| self.kind(kind));
            self.fill(hole, known);
        }
        place
    }

    fn hole(&mut self) -> usize {
        self.bytes.extend([0; 4]);
        self.bytes.len() - 4
    }

    fn fill(&mut self, hole: usize, place: u32) {
        self.bytes[hole..hole + 4].copy_from_slice(&place.to_le_bytes());
    }
}

fn runtime() -> Kind {
    let stack = Kind::Structure(
        "runtime.stack",
        16,
        vec![("lo", 0, Kind::Base(8)), ("hi", 8, Kind::Base(8))],
    );
    let members = vec![
        ("stack", 16, named(stack)),
        ("m", 48, Kind::Pointer),
        ("goid", 100, named(Kind::Base(8))),
        ("parentGoid", 108, Kind::Base(8)),
    ];
    Kind::Structure("runtime.g", 120, members)
}

fn session() -> Kind {
    let reader = Kind::Structure(
        "bytes.Reader",
        40,
        vec![
            ("s", 0, Kind::Base(24)),
            ("i", 24, Kind::Base(8)),
            ("prevRune", 32, Kind::Base(4)),
        ],
    );
    let interface = Kind::Structure(
        "runtime.iface",
        16,
        vec![("tab", 0, Kind::Pointer), ("data", 8, Kind::Pointer)],
    );
    let members = vec![
        ("conn", 0, named(named(named(named(interface))))),
        ("vers", 72, Kind::Base(2)),
        ("input", 100, named(reader)),
    ];
    Kind::Structure("crypto/tls.Conn", 127, members)
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut packing = ZlibEncoder::new(Vec::new(), Compression::default());
    packing.write_all(bytes).unwrap();
    packing.finish().unwrap()
}

fn table() -> Vec<u8> {
    [TABLE.concat(), vec![0]].concat()
}

fn read_as(entries: &[u8], table: &[u8], is_packed: bool) -> Result<Vec<Field>, Fault> {
    let parts = match is_packed {
        true => [packed(entries), packed(table)],
        false => [entries.to_vec(), table.to_vec()],
    };
    let [its, others] = [0, parts[0].len()].map(|offset| Stored {
        extent: Extent {
            offset: offset as u64,
            bytes: parts[usize::from(offset > 0)].len() as u64,
        },
        is_packed,
    });
    fields_in(&parts.concat()[..], its, others)
}

/// Those that are found, packed and not.
fn read(entries: &[u8]) -> Result<Vec<(&'static str, u16)>, Fault> {
    let plain = read_as(entries, &table(), false);
    assert_eq!(read_as(entries, &table(), true), plain);
    let found = plain?.into_iter();
    Ok(found
        .filter_map(|(name, offset)| Some((name, offset?)))
        .collect())
}

const FOUND: [(&str, u16); 7] = [
    ("runtime.g.goid", 100),
    ("runtime.g.parentGoid", 108),
    ("crypto/tls.Conn.conn", 0),
    ("crypto/tls.Conn.vers", 72),
    ("crypto/tls.Conn.input.i", 124),
    ("runtime.g.m", 48),
    ("runtime.g.stack.hi", 24),
];

fn usual(version: u8, before: bool) -> Vec<u8> {
    let mut section = Section {
        before,
        ..Section::default()
    };
    section.unit(version, C, |unit| {
        unit.structure("runtime.g", 8, &[("goid", 99, Kind::Base(8))]);
    });
    section.unit(version, GO, |_| {});
    section.unit(version, GO, |unit| {
        unit.kind(&session());
        unit.kind(&runtime());
    });
    section.unit(version, C, |_| {});
    section.bytes
}

#[test]
fn fields_are_found_wherever_their_types_are() {
    for version in 3..=5 {
        for before in [false, true] {
            assert_eq!(read(&usual(version, before)).unwrap(), FOUND);
        }
    }
}

#[test]
fn types_may_be_in_other_units() {
    for version in [4, 5] {
        let mut section = Section::default();
        let mut before = 0;
        section.unit(version, GO, |unit| before = unit.kind(&Kind::Base(8)));
        section.unit(version, GO, |unit| {
            let members = [
                ("goid", 8, Kind::Nowhere(before)),
                ("m", 16, Kind::Nowhere(7)),
                ("parentGoid", 24, Kind::Nowhere(u32::MAX)),
            ];
            unit.structure("runtime.g", 9, &members);
        });
        // Among a unit's header there is nothing, nor where there is no unit.
        assert_eq!(read(&section.bytes).unwrap(), [("runtime.g.goid", 8)]);
    }
}

#[test]
fn a_field_of_another_size_is_another_field() {
    let mut section = Section::default();
    section.unit(4, GO, |unit| {
        let members = [
            ("goid", 8, Kind::Base(4)),
            ("parentGoid", 16, Kind::Structure("x", 16, Vec::new())),
            ("m", 24, Kind::Base(8)),
        ];
        unit.structure("runtime.g", 9, &members);
    });
    assert_eq!(read(&section.bytes).unwrap(), [("runtime.g.m", 24)]);
}

#[test]
fn what_is_there_twice_is_not_guessed() {
    let mut section = Section::default();
    section.unit(4, GO, |unit| {
        unit.kind(&runtime());
    });
    section.unit(4, GO, |unit| {
        unit.kind(&runtime());
    });
    assert_eq!(read(&section.bytes), Err(Fault::Twice("runtime.g")));
    let mut section = Section::default();
    section.unit(4, GO, |unit| {
        let members = [("goid", 8, Kind::Base(8)), ("goid", 16, Kind::Base(8))];
        unit.structure("runtime.g", 9, &members);
    });
    assert_eq!(read(&section.bytes).unwrap(), [("runtime.g.goid", 8)]);
}

#[test]
fn names_that_go_round_end() {
    let mut section = Section::default();
    section.unit(4, GO, |unit| {
        let place = unit.entry(NAMED, "a");
        let hole = unit.hole();
        let other = unit.entry(NAMED, "b");
        let back = unit.hole();
        unit.fill(hole, other);
        unit.fill(back, place);
        unit.structure(
            "runtime.g",
            9,
            &[("goid", 8, Kind::Nowhere(place)), ("m", 8, Kind::Pointer)],
        );
    });
    assert_eq!(read(&section.bytes).unwrap(), [("runtime.g.m", 8)]);
}

#[test]
fn names_are_whole_wherever_windows_end() {
    let mut section = Section::default();
    section.unit(4, GO, |unit| {
        for number in 0..20_000 {
            unit.structure(&format!("main.type{number}"), 8, &[]);
        }
        unit.entry(NAMED, &"x".repeat(200_000));
        unit.hole();
        unit.kind(&runtime());
    });
    assert_eq!(read(&section.bytes).unwrap().len(), 4);
}

/// A table of more attributes without any bytes than there is time for.
#[test]
fn a_table_that_takes_long_takes_no_longer() {
    let mut table = vec![1, 0x11, 1, 0x13, 0x0b, 0, 0, 2, 0x34, 0];
    table.extend([0x02, 0x19].repeat(200_000));
    table.extend([0, 0, 0]);
    let mut unit = vec![4, 0, 0, 0, 0, 0, 8, 1, GO];
    unit.extend([2].repeat(4 << 20));
    unit.push(0);
    let entries = [&(unit.len() as u32).to_le_bytes(), &unit[..]].concat();
    let found = read_as(&entries, &table, true).unwrap();
    assert!(found.iter().all(|(_, offset)| offset.is_none()));
}

#[test]
fn more_than_may_be_read_is_not() {
    let entries = usual(5, false);
    let stored = |bytes: &[u8]| Stored {
        extent: Extent {
            offset: 0,
            bytes: bytes.len() as u64,
        },
        is_packed: false,
    };
    let table = table();
    let found = |most: u64| {
        let its = Stream::new(&entries[..], stored(&entries), most);
        let others = Stream::new(&table[..], stored(&table), ABBREVIATION_BYTES_MAX);
        fields::find(Entries::new(its, others)).map(drop)
    };
    assert_eq!(found(entries.len() as u64), Err(Fault::TooLarge));
    assert_eq!(found(READ_BYTES_MAX), Ok(()));
}

#[test]
fn whatever_is_cut_or_broken_neither_panics_nor_hangs() {
    let (entries, table) = (usual(5, true), table());
    for cut in 0..entries.len() {
        let _ = read_as(&entries[..cut], &table, false);
    }
    for cut in 0..table.len() {
        let _ = read_as(&entries, &table[..cut], false);
    }
    for at in 0..entries.len() {
        for value in [0, 1, 2, 0x7f, 0x80, 0xff] {
            let mut broken = entries.clone();
            broken[at] = value;
            let _ = read_as(&broken, &table, false);
        }
    }
    for at in 0..table.len() {
        for value in [0, 1, 0x0f, 0x10, 0x21, 0x80, 0xff] {
            let mut broken = table.clone();
            broken[at] = value;
            let _ = read_as(&entries, &broken, false);
        }
    }
    // What is said to be packed and is not.
    for cut in (0..entries.len()).step_by(7) {
        let parts = [&entries[..cut], &table].concat();
        let stored = |offset, bytes| Stored {
            extent: Extent { offset, bytes },
            is_packed: true,
        };
        let its = stored(0, cut as u64);
        let others = stored(cut as u64, table.len() as u64);
        assert!(fields_in(&parts[..], its, others).is_err());
    }
}
