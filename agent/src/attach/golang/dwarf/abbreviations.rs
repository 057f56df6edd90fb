//! How entries of debug information are stored: a unit's table of abbreviations (DWARF 5, section 7.5.3). In: that table. Out: for
//! each abbreviation, what to do with the bytes of an entry, one step after another. What is next to each other and of no interest is
//! one step, so that each takes a byte at least, whatever a table says.

use super::stream::Stream;
use super::Fault;
use crate::attach::window::Bytes;

pub mod tag {
    pub const POINTER: u16 = 0x0f;
    pub const COMPILE_UNIT: u16 = 0x11;
    pub const STRUCTURE: u16 = 0x13;
    pub const TYPEDEF: u16 = 0x16;
    pub const MEMBER: u16 = 0x0d;
    pub const ARRAY: u16 = 0x01;
    pub const BASE: u16 = 0x24;
}

/// Those whose entries are looked at.
const TAGS: [u16; 7] = [
    tag::POINTER,
    tag::COMPILE_UNIT,
    tag::STRUCTURE,
    tag::TYPEDEF,
    tag::MEMBER,
    tag::ARRAY,
    tag::BASE,
];

/// Abbreviations of a table, and steps of all of them; Go's have some 70, and 160.
const ABBREVIATIONS_MAX: usize = 1024;
const STEPS_MAX: usize = 8192;

const NAME: u64 = 0x03;
const BYTE_SIZE: u64 = 0x0b;
const LANGUAGE: u64 = 0x13;
const MEMBER_LOCATION: u64 = 0x38;
const TYPE: u64 = 0x49;
/// The form whose value is in the table itself.
const IMPLICIT: u64 = 0x21;

/// A number that an entry has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    Bytes,
    Language,
    Location,
    /// Where its type's entry is in the section.
    Type,
    /// The same, from the start of the unit.
    TypeInUnit,
}

/// What to do with an entry's next bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Skip(u32),
    SkipNumber,
    SkipText,
    /// So many bytes say how many follow; 0: a number does.
    SkipBlock(u8),
    Name,
    /// A number of so many bytes; 0: of as many as it takes.
    Number(Number, u8),
}

/// How entries of one kind are stored.
#[derive(Clone, Copy, Debug)]
pub struct Abbreviation {
    pub tag: u16,
    pub has_children: bool,
    /// Of the table's steps, the first and the one behind the last.
    steps: (u32, u32),
}

/// A unit's table.
#[derive(Debug, Default)]
pub struct Table {
    abbreviations: Vec<Abbreviation>,
    steps: Vec<Step>,
}

impl Table {
    /// Reads the table that is next. `None`: it is larger than any of Go's, its numbers are no row, or a form is not known.
    pub fn read<B: Bytes + ?Sized>(
        stream: &mut Stream<'_, B>,
        version: u16,
    ) -> Result<Option<Self>, Fault> {
        let mut table = Self::default();
        loop {
            let number = stream.number()?;
            if number == 0 {
                return Ok(Some(table));
            }
            let is_next = number == table.abbreviations.len() as u64 + 1;
            if !is_next || table.abbreviations.len() >= ABBREVIATIONS_MAX {
                return Ok(None);
            }
            if !table.learn(stream, version)? {
                return Ok(None);
            }
        }
    }

    fn learn<B: Bytes + ?Sized>(
        &mut self,
        stream: &mut Stream<'_, B>,
        version: u16,
    ) -> Result<bool, Fault> {
        let tag = u16::try_from(stream.number()?).unwrap_or(u16::MAX);
        let has_children = stream.byte()? != 0;
        let first = self.steps.len() as u32;
        loop {
            let (attribute, form) = (stream.number()?, stream.number()?);
            if (attribute, form) == (0, 0) {
                break;
            }
            if form == IMPLICIT {
                stream.number()?;
            }
            let Some(step) = step(attribute, form, version, TAGS.contains(&tag)) else {
                return Ok(false);
            };
            if self.steps.len() >= STEPS_MAX {
                return Ok(false);
            }
            self.push(first, step);
        }
        self.abbreviations.push(Abbreviation {
            tag,
            has_children,
            steps: (first, self.steps.len() as u32),
        });
        Ok(true)
    }

    fn push(&mut self, first: u32, step: Step) {
        let is_of_this = self.steps.len() > first as usize;
        match (self.steps.last_mut().filter(|_| is_of_this), step) {
            (_, Step::Skip(0)) => {}
            (Some(Step::Skip(before)), Step::Skip(more)) => *before = before.saturating_add(more),
            _ => self.steps.push(step),
        }
    }

    /// That of a number, from 1.
    pub fn get(&self, number: u64) -> Option<(Abbreviation, &[Step])> {
        let index = usize::try_from(number.checked_sub(1)?).ok()?;
        let abbreviation = *self.abbreviations.get(index)?;
        let (first, end) = abbreviation.steps;
        let steps = self.steps.get(first as usize..end as usize)?;
        Some((abbreviation, steps))
    }
}

/// `None`: the form is not known, so that nobody knows where the next attribute is.
fn step(attribute: u64, form: u64, version: u16, is_looked_at: bool) -> Option<Step> {
    let skip = skip(form, version)?;
    if !is_looked_at {
        return Some(skip);
    }
    let number = match attribute {
        NAME if skip == Step::SkipText => return Some(Step::Name),
        BYTE_SIZE => Number::Bytes,
        LANGUAGE => Number::Language,
        MEMBER_LOCATION => Number::Location,
        TYPE => match form {
            0x10 => Number::Type,
            0x11..=0x15 => Number::TypeInUnit,
            _ => return Some(skip),
        },
        _ => return Some(skip),
    };
    Some(match skip {
        Step::Skip(bytes @ 1..=8) => Step::Number(number, bytes as u8),
        Step::SkipNumber => Step::Number(number, 0),
        // A location that is computed, or is in the table itself: none of Go's is.
        other => other,
    })
}

/// How a value of this form is passed over (DWARF 5, section 7.5.6; GNU's own behind it), addresses being of 8 bytes.
fn skip(form: u64, version: u16) -> Option<Step> {
    Some(match form {
        0x19 | IMPLICIT => Step::Skip(0),
        0x0b | 0x0c | 0x11 | 0x25 | 0x29 => Step::Skip(1),
        0x05 | 0x12 | 0x26 | 0x2a => Step::Skip(2),
        0x27 | 0x2b => Step::Skip(3),
        // What refers to another unit has the size of an address in DWARF 2.
        0x10 if version == 2 => Step::Skip(8),
        0x06 | 0x0e | 0x10 | 0x13 | 0x17 | 0x1c | 0x1d | 0x1f | 0x28 | 0x2c => Step::Skip(4),
        0x1f20 | 0x1f21 => Step::Skip(4),
        0x01 | 0x07 | 0x14 | 0x20 | 0x24 => Step::Skip(8),
        0x1e => Step::Skip(16),
        0x0d | 0x0f | 0x15 | 0x1a | 0x1b | 0x22 | 0x23 | 0x1f01 | 0x1f02 => Step::SkipNumber,
        0x08 => Step::SkipText,
        0x0a => Step::SkipBlock(1),
        0x03 => Step::SkipBlock(2),
        0x04 => Step::SkipBlock(4),
        0x09 | 0x18 => Step::SkipBlock(0),
        _ => return None,
    })
}
