//! Go: where a function is, by the table that the runtime itself walks (`runtime.pclntab`). It stays in stripped programs.
//!
//! In: an executable's bytes, where they are asked for, and the table's place among them. Out: places of functions. The
//! bytes are foreign: what is read at once is bounded by [`WINDOW_BYTES`], whatever they say. Layout: Go 1.18 to 1.26
//! (runtime/symtab.go, `pcHeader` and `_func`; debug/gosym).

use memchr::memmem::Finder;

use crate::attach::window::{self, Window, WINDOW_BYTES};
pub use crate::attach::window::{Bytes, Extent};

/// Functions of a table that are looked through at most; 100 MB of program have some 200,000.
const FUNCTIONS_MAX: u64 = 1 << 22;

/// Bytes of a table at most: ten times that of a program of 100 MB.
const TABLE_BYTES_MAX: u64 = 256 << 20;

const HEADER_BYTES: usize = 72;
/// Of Go 1.18 and 1.19, and from 1.20 on: both have the same header.
const MAGICS: [u32; 2] = [0xffff_fff0, 0xffff_fff1];
/// amd64: the smallest instruction and a pointer, in bytes.
const MACHINE: [u8; 2] = [1, 8];
/// An entry: where a function starts, and where more is said of it.
const ENTRY_BYTES: u64 = 8;

/// Where a function is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Function {
    /// Bytes from where the program's Go text starts.
    pub offset: u32,
    /// Up to the next function.
    pub bytes: u32,
    /// Address of the text's start; `None` where the table does not say (Go 1.26).
    pub text: Option<u64>,
}

/// Why the table is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("its table of functions is of a form that is not known")]
    Form,
    #[error("its table of functions is broken")]
    Broken,
}

impl From<window::Broken> for Fault {
    fn from(_: window::Broken) -> Self {
        Self::Broken
    }
}

/// Finds the functions of these names, by one walk over all. `None`: there is none of that name.
pub fn find<const N: usize, B: Bytes + ?Sized>(
    file: &B,
    table: Extent,
    names: [&str; N],
) -> Result<[Option<Function>; N], Fault> {
    let header = Header::read(file, table)?;
    let places = header.names(file, names)?;
    header.functions(file, places)
}

/// What the table says of itself.
#[derive(Clone, Copy, Debug)]
struct Header {
    functions: u64,
    text: u64,
    names: Extent,
    /// The functions in order of their addresses; then, what is said of each.
    entries: Extent,
}

impl Header {
    fn read<B: Bytes + ?Sized>(file: &B, table: Extent) -> Result<Self, Fault> {
        if table.bytes > TABLE_BYTES_MAX {
            return Err(Fault::Form);
        }
        let mut bytes = [0; HEADER_BYTES];
        file.read(table.offset, &mut bytes)
            .map_err(|_| Fault::Broken)?;
        let magic = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        if !MAGICS.contains(&magic) || bytes[6..8] != MACHINE {
            return Err(Fault::Form);
        }
        let word = |index: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[8 + index * 8..16 + index * 8]);
            u64::from_le_bytes(word)
        };
        let part = |from: u64, to: u64| {
            let bytes = to.checked_sub(from).filter(|_| to <= table.bytes);
            let offset = table.offset.checked_add(from);
            Some(Extent {
                offset: offset?,
                bytes: bytes?,
            })
        };
        let [functions, _files, text, names, units, _, _, entries] = std::array::from_fn(word);
        let header = Self {
            functions,
            text,
            names: part(names, units).ok_or(Fault::Broken)?,
            entries: part(entries, table.bytes).ok_or(Fault::Broken)?,
        };
        let is_bounded =
            functions < FUNCTIONS_MAX && functions * ENTRY_BYTES < header.entries.bytes;
        is_bounded.then_some(header).ok_or(Fault::Broken)
    }

    /// Where names stand among all, each of which ends with a zero.
    fn names<const N: usize, B: Bytes + ?Sized>(
        &self,
        file: &B,
        names: [&str; N],
    ) -> Result<[Option<u32>; N], Fault> {
        let wanted = names.map(|name| [b"\0", name.as_bytes(), b"\0"].concat());
        let finders: [Finder<'_>; N] = std::array::from_fn(|index| Finder::new(&wanted[index]));
        let longest = wanted.iter().map(Vec::len).max().unwrap_or_default();
        let mut places = [None; N];
        let mut all = Window::new(file, self.names);
        let mut at = 0;
        while at < self.names.bytes && places.contains(&None) {
            let bytes = all.from(at, WINDOW_BYTES)?;
            for (place, finder) in places.iter_mut().zip(&finders) {
                if let (None, Some(found)) = (&place, finder.find(bytes)) {
                    *place = Some(u32::try_from(at + found as u64 + 1).map_err(|_| Fault::Broken)?);
                }
            }
            // A name may begin here and end behind.
            at += match bytes.len() {
                WINDOW_BYTES => WINDOW_BYTES.saturating_sub(longest).max(1),
                last => last,
            } as u64;
        }
        Ok(places)
    }

    /// The functions whose names stand there.
    fn functions<const N: usize, B: Bytes + ?Sized>(
        &self,
        file: &B,
        names: [Option<u32>; N],
    ) -> Result<[Option<Function>; N], Fault> {
        let mut found = [None; N];
        let mut left = names.iter().flatten().count();
        let mut entries = Window::new(file, self.entries);
        let mut told = Window::new(file, self.entries);
        let mut before = 0;
        for index in 0..self.functions {
            if left == 0 {
                break;
            }
            let entry = index * ENTRY_BYTES;
            let (start, more) = (entries.word(entry)?, entries.word(entry + 4)?);
            // In order, so that all is read once.
            if more <= before {
                return Err(Fault::Broken);
            }
            before = more;
            let name = told.word(u64::from(more) + 4)?;
            let Some(its) = names.iter().position(|wanted| *wanted == Some(name)) else {
                continue;
            };
            // A table that has a name twice is broken; the first counts.
            if found[its].is_none() {
                left -= 1;
                let next = entries.word(entry + ENTRY_BYTES)?;
                found[its] = Some(Function {
                    offset: start,
                    bytes: next.checked_sub(start).ok_or(Fault::Broken)?,
                    text: (self.text != 0).then_some(self.text),
                });
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// A table as the linker lays it out.
    fn table(magic: u32, text: u64, functions: &[(&str, u32)], end: u32) -> Vec<u8> {
        let mut names = vec![0];
        let mut places = Vec::new();
        for (name, _) in functions {
            places.push(names.len() as u32);
            names.extend(name.as_bytes());
            names.push(0);
        }
        let names_at = HEADER_BYTES as u64;
        let entries_at = (names_at + names.len() as u64).next_multiple_of(8);
        let mut bytes = magic.to_le_bytes().to_vec();
        bytes.extend([0, 0, 1, 8]);
        let units = names_at + names.len() as u64;
        let words = [
            functions.len() as u64,
            1,
            text,
            names_at,
            units,
            units,
            units,
            entries_at,
        ];
        words
            .iter()
            .for_each(|word| bytes.extend(word.to_le_bytes()));
        bytes.extend(names);
        bytes.resize(entries_at as usize, 0);
        let more_at = (functions.len() as u32) * 8 + 4;
        for (index, (_, start)) in functions.iter().enumerate() {
            bytes.extend(start.to_le_bytes());
            bytes.extend((more_at + index as u32 * 40).to_le_bytes());
        }
        bytes.extend(end.to_le_bytes());
        for ((_, start), name) in functions.iter().zip(places) {
            bytes.extend(start.to_le_bytes());
            bytes.extend(name.to_le_bytes());
            bytes.resize(bytes.len() + 32, 0);
        }
        bytes
    }

    fn whole(bytes: &[u8]) -> Extent {
        Extent {
            offset: 0,
            bytes: bytes.len() as u64,
        }
    }

    const FUNCTIONS: [(&str, u32); 4] = [
        ("main.main", 0),
        ("main.mainly", 32),
        ("net/http.(*persistConn).roundTrip", 64),
        ("main.last", 4160),
    ];

    #[test]
    fn a_function_is_found_by_its_whole_name() {
        for magic in MAGICS {
            let bytes = table(magic, 0x401000, &FUNCTIONS, 5000);
            let find = |name| find(bytes.as_slice(), whole(&bytes), [name]).unwrap()[0];
            let found = find("net/http.(*persistConn).roundTrip").unwrap();
            assert_eq!((found.offset, found.bytes), (64, 4096));
            assert_eq!(found.text, Some(0x401000));
            assert_eq!(find("main.last").unwrap().bytes, 840);
            assert_eq!(find("main.main").unwrap().bytes, 32);
            assert_eq!(find("main.mai"), None);
            assert_eq!(find("http.(*persistConn).roundTrip"), None);
        }
    }

    #[test]
    fn one_among_many_is_found_over_the_edges_of_windows() {
        let names: Vec<String> = (0..9000)
            .map(|number| format!("package.function{number}"))
            .collect();
        let starts = (0..).step_by(16);
        let functions: Vec<(&str, u32)> = names.iter().map(String::as_str).zip(starts).collect();
        let bytes = table(MAGICS[1], 0, &functions, 9000 * 16);
        for number in (0..9000).step_by(61).chain([8999]) {
            let name = format!("package.function{number}");
            let found = find(bytes.as_slice(), whole(&bytes), [&name]).unwrap();
            let place = found[0].map(|found| (found.offset, found.text));
            assert_eq!(place, Some((number * 16, None)));
        }
    }

    /// Counts what is read.
    struct Counted<'a>(&'a [u8], Cell<usize>);

    impl Bytes for Counted<'_> {
        fn read(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<()> {
            self.1.set(self.1.get() + buffer.len());
            self.0.read(offset, buffer)
        }
    }

    #[test]
    fn many_cost_one_walk() {
        let names: Vec<String> = (0..30_000)
            .map(|number| format!("package.function{number}"))
            .collect();
        let functions: Vec<(&str, u32)> = names.iter().map(String::as_str).zip(0..).collect();
        let bytes = table(MAGICS[1], 0, &functions, 30_000);
        let counted = Counted(&bytes, Cell::new(0));
        let wanted = [
            "package.function9",
            "package.function",
            "package.function29999",
            "main.main",
        ];
        let found = find(&counted, whole(&bytes), wanted).unwrap();
        let found = found.map(|found| found.map(|found| found.offset));
        assert_eq!(found, [Some(9), None, Some(29_999), None]);
        let read = counted.1.get();
        assert!(read < bytes.len() * 11 / 10, "{read} of {}", bytes.len());
    }

    #[test]
    fn other_forms_are_not_guessed() {
        // Go 1.16's and an unknown one; another machine's.
        for magic in [0xffff_fffa, 0xffff_fff2] {
            let bytes = table(magic, 0, &FUNCTIONS, 5000);
            assert_eq!(
                find(bytes.as_slice(), whole(&bytes), ["main.main"]),
                Err(Fault::Form)
            );
        }
        let mut bytes = table(MAGICS[0], 0, &FUNCTIONS, 5000);
        bytes[6] = 4;
        assert_eq!(
            find(bytes.as_slice(), whole(&bytes), ["main.main"]),
            Err(Fault::Form)
        );
        let large = Extent {
            offset: 0,
            bytes: TABLE_BYTES_MAX + 1,
        };
        assert_eq!(
            find(bytes.as_slice(), large, ["main.main"]),
            Err(Fault::Form)
        );
    }

    #[test]
    fn whatever_is_cut_or_broken_neither_panics_nor_finds_what_is_not_there() {
        let bytes = table(MAGICS[1], 7, &FUNCTIONS, 5000);
        for cut in 0..bytes.len() {
            let cut = &bytes[..cut];
            let _ = find(cut, whole(cut), [FUNCTIONS[2].0]);
            // The section says more than the file has.
            let _ = find(cut, whole(&bytes), [FUNCTIONS[2].0]);
        }
        for at in 0..bytes.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut broken = bytes.clone();
                broken[at] = value;
                let _ = find(broken.as_slice(), whole(&broken), [FUNCTIONS[2].0]);
            }
        }
        let nowhere = Extent {
            offset: u64::MAX - 8,
            bytes: 4096,
        };
        assert_eq!(
            find(bytes.as_slice(), nowhere, ["main.main"]),
            Err(Fault::Broken)
        );
    }
}
