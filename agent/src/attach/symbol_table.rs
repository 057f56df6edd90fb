//! Where a few symbols of an ELF file are, without a walk over all of them. In: a file's bytes, where they are asked for, the
//! places of its tables, names. Out: for each name, its address and size. Pure: the file is only read.
//!
//! Of what is linked dynamically, the hash table that the dynamic linker itself asks (`.gnu.hash`) leads to a symbol by a few
//! reads, however many there are: 75,000 in Node, whose tables have 7 MB. Where a file has none, names are searched for among
//! all, and then the symbols that have them: once, a piece after another.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use memchr::memmem::Finder;

use super::window::{Broken, Bytes, Extent, Window, WINDOW_BYTES};

pub mod mangled;

/// Bytes of a table's names, and its symbols, that are looked through at most, while events wait: a table that has more is
/// refused. Node 25 has 16 MiB of names.
pub const NAMES_BYTES_MAX: u64 = 32 << 20;
pub const SYMBOLS_MAX: u64 = 1 << 20;

/// `Elf64_Sym` and its fields (gABI, "Symbol Table").
const SYMBOL_BYTES: u64 = 24;
const UNDEFINED: u16 = 0;
/// Symbols of one bucket of the hash table that are looked at; a table has about one in each.
const CHAIN_MAX: u32 = 4096;
const NAME_BYTES_MAX: usize = 64;
/// Places at which the names of one search stand; linkers write each about once. A table with more is broken, or made to fill
/// memory.
const PLACES_MAX: usize = 1024;

/// Why it is not known whether a file has a symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("its table of symbols is broken")]
    Broken,
    #[error(
        "its symbols are not looked through: without a hash table, {SYMBOLS_MAX} with {} MiB of names are the most",
        NAMES_BYTES_MAX >> 20
    )]
    TooLarge,
    #[error("it has several functions of one name")]
    Several,
}

impl From<Broken> for Fault {
    fn from(_: Broken) -> Self {
        Self::Broken
    }
}

/// A symbol that is defined in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Symbol {
    pub address: u64,
    /// 0: the file does not say.
    pub bytes: u64,
}

/// Where a file has its symbols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    pub symbols: Extent,
    pub names: Extent,
    /// The hash table of the same symbols.
    pub hashes: Option<Extent>,
}

impl Table {
    /// Errors: it is too large to be walked through.
    fn check(&self) -> Result<(), Fault> {
        let count = self.symbols.bytes / SYMBOL_BYTES;
        match self.names.bytes > NAMES_BYTES_MAX || count > SYMBOLS_MAX {
            true => Err(Fault::TooLarge),
            false => Ok(()),
        }
    }
}

/// Finds symbols; the first one decides whether the others are searched for.
pub fn find<const N: usize, B: Bytes + ?Sized>(
    file: &B,
    table: &Table,
    names: [&str; N],
) -> Result<[Option<Symbol>; N], Fault> {
    let mut found = [None; N];
    match table.hashes {
        Some(hashes) => {
            let hashes = Hashes::read(file, hashes)?;
            for (found, name) in found.iter_mut().zip(names) {
                *found = hashes.find(file, table, name)?;
            }
        }
        None => search(file, table, &names, &mut found)?,
    }
    Ok(found)
}

/// What a hash table says of itself (binutils, `bfd/elflink.c`; the dynamic linkers' `do_lookup_x`).
struct Hashes {
    extent: Extent,
    buckets: u32,
    /// The first symbol that is in it.
    first: u32,
    /// Where its buckets are.
    at: u64,
}

impl Hashes {
    fn read<B: Bytes + ?Sized>(file: &B, extent: Extent) -> Result<Self, Broken> {
        let header: [u8; 16] = extent.array(file, 0)?;
        let word = |index: usize| {
            let mut word = [0; 4];
            word.copy_from_slice(&header[index * 4..index * 4 + 4]);
            u32::from_le_bytes(word)
        };
        let [buckets, first, filter_words] = std::array::from_fn(word);
        match buckets {
            0 => Err(Broken),
            _ => Ok(Self {
                extent,
                buckets,
                first,
                at: 16 + u64::from(filter_words) * 8,
            }),
        }
    }

    fn word<B: Bytes + ?Sized>(&self, file: &B, index: u64) -> Result<u32, Broken> {
        let bytes = self.extent.array(file, self.at + index * 4)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn find<B: Bytes + ?Sized>(
        &self,
        file: &B,
        table: &Table,
        name: &str,
    ) -> Result<Option<Symbol>, Broken> {
        let hash = hash(name);
        let start = self.word(file, u64::from(hash % self.buckets))?;
        let Some(start) = start.checked_sub(self.first) else {
            return Ok(None);
        };
        for step in 0..CHAIN_MAX {
            let index = u64::from(start) + u64::from(step);
            let its = self.word(file, u64::from(self.buckets) + index)?;
            if its | 1 == hash | 1 {
                let index = u64::from(self.first) + index;
                let entry: [u8; 24] = table.symbols.array(file, index * SYMBOL_BYTES)?;
                if is_named(file, table, &entry, name)? {
                    return Ok(defined(&entry));
                }
            }
            if its & 1 == 1 {
                break;
            }
        }
        Ok(None)
    }
}

fn hash(name: &str) -> u32 {
    name.bytes().fold(5381, |hash: u32, byte| {
        hash.wrapping_mul(33).wrapping_add(byte.into())
    })
}

fn is_named<B: Bytes + ?Sized>(
    file: &B,
    table: &Table,
    entry: &[u8; 24],
    name: &str,
) -> Result<bool, Broken> {
    let mut window = [0; NAME_BYTES_MAX];
    let Some(bytes) = window.get_mut(..=name.len()) else {
        return Ok(false);
    };
    let at = u64::from(name_of(entry));
    let end = at + bytes.len() as u64;
    if end > table.names.bytes {
        return Ok(false);
    }
    let offset = table.names.offset.checked_add(at).ok_or(Broken)?;
    file.read(offset, bytes).map_err(|_| Broken)?;
    Ok(bytes.split_last() == Some((&0, name.as_bytes())))
}

fn name_of(entry: &[u8; 24]) -> u32 {
    u32::from_le_bytes([entry[0], entry[1], entry[2], entry[3]])
}

fn defined(entry: &[u8; 24]) -> Option<Symbol> {
    let word = |at: usize| {
        let mut word = [0; 8];
        word.copy_from_slice(&entry[at..at + 8]);
        u64::from_le_bytes(word)
    };
    let symbol = Symbol {
        address: word(8),
        bytes: word(16),
    };
    let section = u16::from_le_bytes([entry[6], entry[7]]);
    (section != UNDEFINED && symbol.address != 0).then_some(symbol)
}

/// Without a hash table.
fn search<B: Bytes + ?Sized>(
    file: &B,
    table: &Table,
    names: &[&str],
    found: &mut [Option<Symbol>],
) -> Result<(), Fault> {
    table.check()?;
    if !is_there(file, table.names, names[0])? {
        return Ok(());
    }
    let places = places(file, table.names, names)?;
    let found = |name: usize, symbol| {
        let its = found.get_mut(name).ok_or(Broken)?;
        its.get_or_insert(symbol);
        Ok(())
    };
    Ok(scan(file, table, &places, found)?)
}

/// Goes through all symbols that are defined and whose names are at these places.
fn scan<B: Bytes + ?Sized>(
    file: &B,
    table: &Table,
    places: &BTreeMap<u32, usize>,
    mut found: impl FnMut(usize, Symbol) -> Result<(), Broken>,
) -> Result<(), Broken> {
    let mut symbols = Window::new(file, table.symbols);
    for index in 0..table.symbols.bytes / SYMBOL_BYTES {
        let bytes = symbols.from(index * SYMBOL_BYTES, SYMBOL_BYTES as usize)?;
        let entry: &[u8; 24] = bytes.try_into().map_err(|_| Broken)?;
        let name = places.get(&name_of(entry));
        if let Some((name, symbol)) = name.zip(defined(entry)) {
            found(*name, symbol)?;
        }
    }
    Ok(())
}

/// Whether a name stands among all.
fn is_there<B: Bytes + ?Sized>(file: &B, all: Extent, name: &str) -> Result<bool, Broken> {
    let mut is_there = false;
    walk(file, all, &ended(&[name]), |_, _| {
        is_there = true;
        ControlFlow::Break(())
    })?;
    Ok(is_there)
}

/// Where names stand among all: whole ones, and such that end others, which linkers keep once for both.
fn places<B: Bytes + ?Sized>(
    file: &B,
    all: Extent,
    names: &[&str],
) -> Result<BTreeMap<u32, usize>, Broken> {
    let mut places = BTreeMap::new();
    walk(file, all, &ended(names), |place, name| {
        places.insert(place, name);
        match places.len() > PLACES_MAX {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    })?;
    (places.len() <= PLACES_MAX).then_some(places).ok_or(Broken)
}

/// Names as they stand where they end.
fn ended(names: &[&str]) -> Vec<Finder<'static>> {
    patterns(names.iter().map(|name| [name.as_bytes(), b"\0"].concat()))
}

fn patterns(patterns: impl Iterator<Item = Vec<u8>>) -> Vec<Finder<'static>> {
    patterns
        .map(|pattern| Finder::new(&pattern).into_owned())
        .collect()
}

/// Goes through all, until it is told to stop; some places come twice.
fn walk<B: Bytes + ?Sized>(
    file: &B,
    all: Extent,
    finders: &[Finder<'_>],
    mut at_place: impl FnMut(u32, usize) -> ControlFlow<()>,
) -> Result<(), Broken> {
    let longest = finders
        .iter()
        .map(|finder| finder.needle().len())
        .max()
        .unwrap_or(1);
    let mut window = Window::new(file, all);
    let mut at = 0;
    while at < all.bytes {
        let bytes = window.from(at, WINDOW_BYTES)?;
        for (name, finder) in finders.iter().enumerate() {
            for found in finder.find_iter(bytes) {
                let place = u32::try_from(at + found as u64).map_err(|_| Broken)?;
                if at_place(place, name).is_break() {
                    return Ok(());
                }
            }
        }
        // A name may begin here and end behind.
        at += match bytes.len() {
            WINDOW_BYTES => WINDOW_BYTES - (longest - 1),
            last => last,
        } as u64;
    }
    Ok(())
}

#[cfg(test)]
#[path = "symbol_table/tests.rs"]
mod tests;
