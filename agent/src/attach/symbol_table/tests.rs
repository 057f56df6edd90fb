//! Symbols of tables that are made here, in both ways.

use super::*;

/// A file of three tables: names, symbols (the first is none), a hash table as linkers lay it out.
struct File {
    bytes: Vec<u8>,
    table: Table,
}

impl File {
    /// `undefined`: from here on symbols are another library's; the hash table has only the others.
    fn new(names: &[&str], undefined: usize) -> Self {
        let (own, others) = names.split_at(undefined);
        let buckets = (own.len() as u32 / 2).max(1);
        let mut own = own.to_vec();
        own.sort_by_key(|name| hash(name) % buckets);
        let mut strings = vec![0];
        let mut symbols = vec![0; SYMBOL_BYTES as usize];
        let first = 1 + others.len() as u32;
        for (index, name) in others.iter().chain(&own).enumerate() {
            let section = u16::from(index >= others.len());
            symbols.extend((strings.len() as u32).to_le_bytes());
            symbols.extend([0x12, 0]);
            symbols.extend(section.to_le_bytes());
            symbols.extend((0x1000 + index as u64 * 16).to_le_bytes());
            symbols.extend(16_u64.to_le_bytes());
            strings.extend(name.as_bytes());
            strings.push(0);
        }
        let hashes = hashes(&own, buckets, first);
        let mut bytes = Vec::new();
        let mut place = |part: &[u8]| {
            let extent = Extent {
                offset: bytes.len() as u64,
                bytes: part.len() as u64,
            };
            bytes.extend(part);
            extent
        };
        let table = Table {
            names: place(&strings),
            symbols: place(&symbols),
            hashes: Some(place(&hashes)),
        };
        Self { bytes, table }
    }

    fn find<const N: usize>(&self, names: [&str; N]) -> [Option<u64>; N] {
        self.both(names)
            .map(|found| found.map(|symbol| symbol.address))
    }

    /// Both ways find the same.
    fn both<const N: usize>(&self, names: [&str; N]) -> [Option<Symbol>; N] {
        let by_hash = find(self.bytes.as_slice(), &self.table, names).unwrap();
        let by_search = self.searched(names).unwrap();
        if by_hash[0].is_some() {
            assert_eq!(by_hash, by_search);
        }
        by_hash
    }

    fn searched<const N: usize>(&self, names: [&str; N]) -> Result<[Option<Symbol>; N], Fault> {
        let without = Table {
            hashes: None,
            ..self.table
        };
        find(self.bytes.as_slice(), &without, names)
    }
}

fn hashes(own: &[&str], buckets: u32, first: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [buckets, first, 1, 6] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend([0xff; 8]);
    let bucket = |name: &str| hash(name) % buckets;
    for number in 0..buckets {
        let start = own.iter().position(|name| bucket(name) == number);
        let start = start.map_or(0, |index| first + index as u32);
        bytes.extend(start.to_le_bytes());
    }
    for (index, name) in own.iter().enumerate() {
        let ends = own
            .get(index + 1)
            .is_none_or(|next| bucket(next) != bucket(name));
        let word = hash(name) & !1 | u32::from(ends);
        bytes.extend(word.to_le_bytes());
    }
    bytes
}

#[test]
fn symbols_are_found_by_their_whole_names() {
    let file = File::new(
        &["SSL_read", "SSL_read_ex", "other", "SSL_write", "gone"],
        4,
    );
    let [read, write, part, gone] = file.find(["SSL_read", "SSL_write", "SSL_rea", "gone"]);
    assert!(read.is_some() && write.is_some() && read != write);
    assert_eq!((part, gone), (None, None));
    assert_eq!(file.both(["SSL_read"])[0].unwrap().bytes, 16);
}

#[test]
fn one_among_many_is_found_over_the_edges_of_windows() {
    let names: Vec<String> = (0..9000)
        .map(|number| format!("function_{number}"))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let file = File::new(&names, names.len());
    for number in (0..9000).step_by(611).chain([8999]) {
        assert!(file.find([names[number]])[0].is_some(), "{number}");
    }
    assert_eq!(file.find(["function_9000"]), [None]);
}

/// Linkers keep a name that ends another only once.
#[test]
fn a_name_within_another_is_found() {
    let mut file = File::new(&["my_SSL_read"], 1);
    // The symbol's name starts three bytes later.
    let at = file.table.symbols.offset as usize + SYMBOL_BYTES as usize;
    file.bytes[at] += 3;
    file.table.hashes = None;
    let found = find(file.bytes.as_slice(), &file.table, ["SSL_read"]);
    assert!(found.unwrap()[0].is_some());
}

/// Made to fill memory: every place of a name would be kept.
#[test]
fn a_name_that_is_there_without_end_is_refused() {
    let few = File::new(&["SSL_read"; 300], 300).searched(["SSL_read"]);
    assert!(few.unwrap()[0].is_some());
    let many = File::new(&["SSL_read"; PLACES_MAX + 1], PLACES_MAX + 1);
    assert_eq!(many.searched(["SSL_read"]), Err(Fault::Broken));
    // Of another name than the first.
    let mut names = vec!["SSL_free"; PLACES_MAX + 1];
    assert_eq!(
        File::new(&names, names.len()).searched(["SSL_read", "SSL_free"]),
        Ok([None, None])
    );
    names.push("SSL_read");
    assert_eq!(
        File::new(&names, names.len()).searched(["SSL_read", "SSL_free"]),
        Err(Fault::Broken)
    );
}

/// A file of which nothing may be read.
struct Untouched;

impl Bytes for Untouched {
    fn read(&self, _: u64, _: &mut [u8]) -> std::io::Result<()> {
        panic!("read");
    }
}

#[test]
fn a_table_that_would_hold_events_up_is_refused_unread() {
    let extent = |bytes| Extent { offset: 0, bytes };
    for (symbols, names) in [(0, NAMES_BYTES_MAX + 1), (SYMBOLS_MAX + 1, 0)] {
        let table = Table {
            symbols: extent(symbols * SYMBOL_BYTES),
            names: extent(names),
            hashes: None,
        };
        let found = find(&Untouched, &table, ["SSL_read"]);
        assert_eq!(found, Err(Fault::TooLarge));
    }
}

#[test]
fn whatever_is_cut_or_broken_neither_panics_nor_hangs() {
    let whole = File::new(&["SSL_read", "SSL_write", "SSL_free", "other"], 3);
    let names = ["SSL_read", "SSL_free"];
    for hashes in [whole.table.hashes, None] {
        let table = Table {
            hashes,
            ..whole.table
        };
        for cut in 0..whole.bytes.len() {
            let _ = find(&whole.bytes[..cut], &table, names);
        }
        for at in 0..whole.bytes.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut broken = whole.bytes.clone();
                broken[at] = value;
                let _ = find(broken.as_slice(), &table, names);
            }
        }
        let nowhere = Extent {
            offset: u64::MAX - 8,
            bytes: 4096,
        };
        for table in [
            Table {
                names: nowhere,
                ..table
            },
            Table {
                symbols: nowhere,
                ..table
            },
            Table {
                hashes: Some(nowhere),
                ..table
            },
        ] {
            let _ = find(whole.bytes.as_slice(), &table, names);
        }
    }
}
