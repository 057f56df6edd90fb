//! Units of debug information and their entries (DWARF 5, section 7.5). In: both sections. Out: one unit after another, and one
//! entry of it after another.

use super::abbreviations::{tag, Number, Step, Table};
use super::stream::{Name, Stream};
use super::Fault;
use crate::attach::window::Bytes;

/// From here on, a unit's length is another form's.
const LENGTH_END: u64 = 0xffff_fff0;
/// The one kind of unit that is looked at, as DWARF 5 numbers it.
const COMPILE_UNIT: u8 = 1;
const ADDRESS_BYTES: u8 = 8;
/// `DW_LANG_Go`
const GO: u64 = 0x16;

/// A unit.
#[derive(Clone, Copy, Debug)]
pub struct Unit {
    start: u64,
    /// Where the next one starts.
    pub end: u64,
    /// It is Go's, and can be read.
    pub is_go: bool,
}

impl Unit {
    pub fn has(&self, at: u64) -> bool {
        (self.start..self.end).contains(&at)
    }
}

/// An entry, as far as it is of interest.
#[derive(Debug, Default)]
pub struct Entry {
    pub tag: u16,
    pub has_children: bool,
    pub name: Name,
    pub bytes: Option<u64>,
    pub location: Option<u64>,
    /// Where its type's entry is.
    pub kind: Option<u64>,
    language: Option<u64>,
}

/// What of a unit's header is needed.
struct Header {
    version: u16,
    abbreviations: u64,
}

/// All of them.
pub struct Entries<'a, B: ?Sized> {
    stream: Stream<'a, B>,
    abbreviations: Stream<'a, B>,
    /// That of the last unit, by its place and the unit's version; `None`: it cannot be read.
    table: Option<Table>,
    table_is: Option<(u64, u16)>,
    /// The last one that was read.
    pub entry: Entry,
}

impl<'a, B: Bytes + ?Sized> Entries<'a, B> {
    pub fn new(entries: Stream<'a, B>, abbreviations: Stream<'a, B>) -> Self {
        Self {
            stream: entries,
            abbreviations,
            table: None,
            table_is: None,
            entry: Entry::default(),
        }
    }

    /// The unit that starts there; its own entry is read then, and its others follow. `None`: the section ends there.
    pub fn unit(&mut self, at: u64) -> Result<Option<Unit>, Fault> {
        self.stream.seek(at)?;
        if self.stream.is_at_end()? {
            return Ok(None);
        }
        let length = self.stream.word(4)?;
        if length >= LENGTH_END {
            return Err(Fault::Broken);
        }
        let mut unit = Unit {
            start: at,
            end: self.stream.at() + length,
            is_go: false,
        };
        let header = self.header()?;
        if let Some(header) = header {
            unit.is_go = self.load(&header)? && self.is_go(&unit)?;
        }
        Ok(Some(unit))
    }

    /// `None`: it is of another kind, version or machine.
    fn header(&mut self) -> Result<Option<Header>, Fault> {
        let version = self.stream.word(2)? as u16;
        let (abbreviations, address, kind) = match version {
            2..=4 => {
                let abbreviations = self.stream.word(4)?;
                (abbreviations, self.stream.byte()?, COMPILE_UNIT)
            }
            5 => {
                let (kind, address) = (self.stream.byte()?, self.stream.byte()?);
                (self.stream.word(4)?, address, kind)
            }
            _ => return Ok(None),
        };
        let is_known = address == ADDRESS_BYTES && kind == COMPILE_UNIT;
        Ok(is_known.then_some(Header {
            version,
            abbreviations,
        }))
    }

    /// Makes the unit's table the one at hand. False: it cannot be read.
    fn load(&mut self, header: &Header) -> Result<bool, Fault> {
        let is = (header.abbreviations, header.version);
        if self.table_is != Some(is) {
            self.abbreviations.seek(header.abbreviations)?;
            self.table = Table::read(&mut self.abbreviations, header.version)?;
            self.table_is = Some(is);
        }
        Ok(self.table.is_some())
    }

    fn is_go(&mut self, unit: &Unit) -> Result<bool, Fault> {
        let is_there = self.next(unit)?;
        let entry = &self.entry;
        Ok(is_there
            && entry.tag == tag::COMPILE_UNIT
            && entry.has_children
            && entry.language == Some(GO))
    }

    /// Whether the unit goes on.
    pub fn is_within(&self, unit: &Unit) -> bool {
        self.stream.at() < unit.end
    }

    /// Reads the entry there, which is one of the unit that was asked for last.
    pub fn entry_at(&mut self, unit: &Unit, at: u64) -> Result<bool, Fault> {
        self.stream.seek(at)?;
        self.next(unit)
    }

    /// Reads the next entry. False: there is none, those of one parent end here.
    pub fn next(&mut self, unit: &Unit) -> Result<bool, Fault> {
        let number = self.stream.number()?;
        if number == 0 {
            return self.within(unit, false);
        }
        let table = self.table.as_ref().ok_or(Fault::Broken)?;
        let (abbreviation, steps) = table.get(number).ok_or(Fault::Broken)?;
        self.entry.tag = abbreviation.tag;
        self.entry.has_children = abbreviation.has_children;
        self.entry.clear();
        for step in steps {
            take(&mut self.stream, &mut self.entry, *step, unit)?;
        }
        self.within(unit, true)
    }

    fn within(&self, unit: &Unit, is_there: bool) -> Result<bool, Fault> {
        match self.stream.at() <= unit.end {
            true => Ok(is_there),
            false => Err(Fault::Broken),
        }
    }
}

impl Entry {
    fn clear(&mut self) {
        self.name.clear();
        (self.bytes, self.location, self.kind, self.language) = (None, None, None, None);
    }
}

fn take<B: Bytes + ?Sized>(
    stream: &mut Stream<'_, B>,
    entry: &mut Entry,
    step: Step,
    unit: &Unit,
) -> Result<(), Fault> {
    match step {
        Step::Skip(bytes) => stream.skip(bytes.into()),
        Step::SkipNumber => stream.number().map(drop),
        Step::SkipText => stream.text(|_| {}),
        Step::SkipBlock(width) => {
            let bytes = number(stream, width)?;
            stream.skip(bytes)
        }
        Step::Name => stream.name(&mut entry.name),
        Step::Number(what, width) => {
            let number = number(stream, width)?;
            match what {
                Number::Bytes => entry.bytes = Some(number),
                Number::Language => entry.language = Some(number),
                Number::Location => entry.location = Some(number),
                Number::Type => entry.kind = Some(number),
                Number::TypeInUnit => entry.kind = unit.start.checked_add(number),
            }
            Ok(())
        }
    }
}

fn number<B: Bytes + ?Sized>(stream: &mut Stream<'_, B>, width: u8) -> Result<u64, Fault> {
    match width {
        0 => stream.number(),
        bytes => stream.word(bytes),
    }
}
