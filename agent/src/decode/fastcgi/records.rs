//! Records (FastCGI 1.0 §3.3): pieces of one direction in, the parts of its records out. No byte is kept but those of headers.

use crate::capture::event::Io;
use crate::decode::open::Mark;
use crate::decode::stream::{Bytes, Piece};

pub const HEADER_BYTES: usize = 8;
const VERSION: u8 = 1;

/// Types of records (§8).
pub mod kind {
    pub const BEGIN_REQUEST: u8 = 1;
    pub const ABORT_REQUEST: u8 = 2;
    pub const END_REQUEST: u8 = 3;
    pub const PARAMS: u8 = 4;
    pub const STDIN: u8 = 5;
    pub const STDOUT: u8 = 6;
    pub const STDERR: u8 = 7;
    pub const DATA: u8 = 8;
    pub const GET_VALUES: u8 = 9;
    pub const GET_VALUES_RESULT: u8 = 10;
    pub const UNKNOWN_TYPE: u8 = 11;
}

/// A record's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    pub kind: u8,
    /// 0: it is of no request.
    pub request: u16,
    pub content_bytes: u16,
    padding_bytes: u8,
}

/// What comes next in a direction.
#[derive(Clone, Copy, Debug)]
pub enum Part<'a> {
    /// A record's header, and its first byte.
    Begin(Record, Mark),
    Content(Record, Bytes<'a>),
    /// All of a record's content has come.
    End(Record),
    /// No header can be here.
    Broken,
    /// Where in a record these bytes are is not known any more: they, or bytes of a header, were not seen.
    Missed(Bytes<'a>),
    /// The same of those that follow.
    Astray(Bytes<'a>),
}

/// Where in its records a direction is.
#[derive(Debug)]
pub enum Records {
    /// Not known.
    Astray,
    Header {
        bytes: [u8; HEADER_BYTES],
        known: usize,
        mark: Option<Mark>,
    },
    Content {
        record: Record,
        left: u64,
    },
    Padding {
        left: u64,
    },
}

impl Record {
    fn read(bytes: [u8; HEADER_BYTES]) -> Option<Self> {
        let [version, kind, request @ .., c1, c0, padding_bytes, _] = bytes;
        let record = Self {
            kind,
            request: u16::from_be_bytes(request),
            content_bytes: u16::from_be_bytes([c1, c0]),
            padding_bytes,
        };
        (version == VERSION).then_some(record)
    }

    /// Of a record at the start of the bytes.
    pub fn at_start(bytes: &[u8]) -> Option<Self> {
        bytes.first_chunk().copied().and_then(Self::read)
    }
}

impl Records {
    /// A header comes next.
    pub fn between() -> Self {
        Self::Header {
            bytes: [0; HEADER_BYTES],
            known: 0,
            mark: None,
        }
    }

    /// A header comes next, and nothing of it has come.
    pub fn is_between(&self) -> bool {
        matches!(self, Self::Header { known: 0, .. })
    }

    pub fn is_astray(&self) -> bool {
        matches!(self, Self::Astray)
    }

    /// Takes the next part from the front of a piece; `None` when the piece is used up.
    pub fn next<'a>(&mut self, io: &Io<'_>, piece: &mut Option<Piece<'a>>) -> Option<Part<'a>> {
        if let Self::Padding { left } = self {
            if let Some(padding) = piece.take_if(|_| *left > 0) {
                let taken = padding.bytes.len().min(*left);
                *left -= taken;
                *piece = padding.after(taken);
            }
            if *left > 0 {
                return None;
            }
            *self = Self::between();
        }
        if let Self::Content { record, left: 0 } = *self {
            let left = record.padding_bytes.into();
            *self = Self::Padding { left };
            return Some(Part::End(record));
        }
        let taken = piece.take()?;
        match (&mut *self, taken.bytes) {
            (Self::Content { record, left }, bytes) => {
                let content = bytes.first(*left);
                *left -= content.len();
                *piece = taken.after(content.len());
                Some(Part::Content(*record, content))
            }
            (Self::Header { .. }, Bytes::Seen(bytes)) => self.header(io, taken, bytes, piece),
            (Self::Header { .. }, bytes) => {
                *self = Self::Astray;
                Some(Part::Missed(bytes))
            }
            (_, bytes) => Some(Part::Astray(bytes)),
        }
    }

    fn header<'a>(
        &mut self,
        io: &Io<'_>,
        taken: Piece<'a>,
        seen: &[u8],
        piece: &mut Option<Piece<'a>>,
    ) -> Option<Part<'a>> {
        let Self::Header { bytes, known, mark } = self else {
            return None;
        };
        let mark = *mark.get_or_insert_with(|| Mark::new(io, taken.position, 0));
        let room = &mut bytes[*known..];
        let count = room.len().min(seen.len());
        room[..count].copy_from_slice(&seen[..count]);
        *known += count;
        *piece = taken.after(count as u64);
        if *known < HEADER_BYTES {
            return None;
        }
        match Record::read(*bytes) {
            Some(record) => {
                let left = record.content_bytes.into();
                *self = Self::Content { record, left };
                Some(Part::Begin(record, mark))
            }
            None => {
                *self = Self::Astray;
                Some(Part::Broken)
            }
        }
    }
}
