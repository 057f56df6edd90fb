//! A section of debug information, packed or not. In: a file, and where the section is in it. Out: its bytes, one after another;
//! going back begins anew. What is held at once is bounded, whatever the file says: a window, and what unpacking takes (0.1 MB). So is
//! what is read in all.

use std::fs::File;
use std::io::{self, BufReader, Read};

use flate2::bufread::ZlibDecoder;
use memchr::memchr;

use super::Fault;
use crate::attach::image::Image;
use crate::attach::window::{Bytes, Extent, WINDOW_BYTES};

/// Bytes of a name that are compared; longer ones are none that is asked for.
pub const NAME_BYTES_MAX: usize = 48;

/// gABI, "Section compression": the header before what is packed, and the only kind that is known (zlib).
const HEADER_BYTES: u64 = 24;
const PACKED_BY_ZLIB: u32 = 1;
/// Before Go 1.19: how it begins, and the size behind that.
const OLD_PREFIX: &str = ".z";
const OLD_MARK: [u8; 4] = *b"ZLIB";
const OLD_HEADER_BYTES: u64 = 12;

/// A section as the file has it.
#[derive(Clone, Copy, Debug)]
pub struct Stored {
    pub extent: Extent,
    pub is_packed: bool,
}

impl Stored {
    /// `None`: there is no section of that name.
    pub fn find(file: &File, image: &Image<'_>, name: &str) -> Option<Result<Self, Fault>> {
        let extent = image.extent(name)?;
        let is_old = name.starts_with(OLD_PREFIX);
        Some(match (is_old, image.is_packed(name)) {
            (true, _) => old(file, extent),
            (_, true) => packed(file, extent),
            (_, false) => Ok(Self {
                extent,
                is_packed: false,
            }),
        })
    }
}

fn packed(file: &File, extent: Extent) -> Result<Stored, Fault> {
    let kind = u32::from_le_bytes(extent.array(file, 0)?);
    match kind {
        PACKED_BY_ZLIB => behind(extent, HEADER_BYTES),
        _ => Err(Fault::Packing),
    }
}

fn old(file: &File, extent: Extent) -> Result<Stored, Fault> {
    match extent.array(file, 0)? {
        OLD_MARK => behind(extent, OLD_HEADER_BYTES),
        _ => Err(Fault::Packing),
    }
}

fn behind(extent: Extent, header: u64) -> Result<Stored, Fault> {
    let offset = extent.offset.checked_add(header);
    let bytes = extent.bytes.checked_sub(header);
    let (offset, bytes) = offset.zip(bytes).ok_or(Fault::Broken)?;
    Ok(Stored {
        extent: Extent { offset, bytes },
        is_packed: true,
    })
}

/// A name, if it is not too long to be one that is asked for.
#[derive(Debug)]
pub struct Name {
    bytes: [u8; NAME_BYTES_MAX],
    length: usize,
}

impl Default for Name {
    fn default() -> Self {
        Self {
            bytes: [0; NAME_BYTES_MAX],
            length: 0,
        }
    }
}

impl Name {
    /// Empty where there is none.
    pub fn get(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    pub fn clear(&mut self) {
        self.length = 0;
    }

    fn push(&mut self, more: &[u8]) {
        let end = self.length + more.len();
        if let Some(place) = self.bytes.get_mut(self.length..end) {
            place.copy_from_slice(more);
        }
        // Beyond the room, it stays so.
        self.length = end;
    }
}

/// The section's bytes.
pub struct Stream<'a, B: ?Sized> {
    file: &'a B,
    stored: Stored,
    source: Source<'a, B>,
    window: Box<[u8]>,
    /// Of the window: bytes that were read, and the next one.
    filled: usize,
    next: usize,
    /// Where in the section the window starts.
    start: u64,
    /// Bytes that may still be read.
    left: u64,
}

enum Source<'a, B: ?Sized> {
    Plain(Part<'a, B>),
    Packed(Box<ZlibDecoder<BufReader<Part<'a, B>>>>),
}

impl<'a, B: Bytes + ?Sized> Stream<'a, B> {
    /// `bytes`: how many may be read, what is come back to included.
    pub fn new(file: &'a B, stored: Stored, bytes: u64) -> Self {
        Self {
            file,
            stored,
            source: Source::new(file, stored),
            window: vec![0; WINDOW_BYTES].into(),
            filled: 0,
            next: 0,
            start: 0,
            left: bytes,
        }
    }

    /// Where the next byte is in the section.
    pub fn at(&self) -> u64 {
        self.start + self.next as u64
    }

    /// Goes there. Errors: the section ends before.
    pub fn seek(&mut self, at: u64) -> Result<(), Fault> {
        if at < self.start {
            self.source = Source::new(self.file, self.stored);
            (self.start, self.filled, self.next) = (0, 0, 0);
        } else if at < self.at() {
            self.next = 0;
        }
        self.skip(at - self.at())
    }

    pub fn skip(&mut self, mut bytes: u64) -> Result<(), Fault> {
        loop {
            let there = (self.filled - self.next) as u64;
            if bytes <= there {
                self.next += bytes as usize;
                return Ok(());
            }
            bytes -= there;
            self.fill()?;
        }
    }

    /// Whether nothing is left.
    pub fn is_at_end(&mut self) -> Result<bool, Fault> {
        Ok(self.next == self.filled && !self.read()?)
    }

    pub fn byte(&mut self) -> Result<u8, Fault> {
        if self.next == self.filled {
            self.fill()?;
        }
        let byte = self.window.get(self.next).ok_or(Fault::Broken)?;
        self.next += 1;
        Ok(*byte)
    }

    /// A number of so many bytes, eight at most.
    pub fn word(&mut self, bytes: u8) -> Result<u64, Fault> {
        let mut word = 0;
        for place in 0..u32::from(bytes.min(8)) {
            word |= u64::from(self.byte()?) << (8 * place);
        }
        Ok(word)
    }

    /// A number of as many bytes as it takes (LEB128), without a sign; what does not fit is cut.
    pub fn number(&mut self) -> Result<u64, Fault> {
        let (mut number, mut shift) = (0, 0_u32);
        loop {
            let byte = self.byte()?;
            if shift < u64::BITS {
                number |= u64::from(byte & 0x7f) << shift;
            }
            if byte & 0x80 == 0 {
                return Ok(number);
            }
            shift = shift.saturating_add(7);
        }
    }

    /// Text up to the zero that ends it.
    pub fn text(&mut self, mut each: impl FnMut(&[u8])) -> Result<(), Fault> {
        loop {
            let there = self.window.get(self.next..self.filled);
            let there = there.unwrap_or_default();
            if let Some(end) = memchr(0, there) {
                each(there.get(..end).unwrap_or_default());
                self.next += end + 1;
                return Ok(());
            }
            each(there);
            self.fill()?;
        }
    }

    pub fn name(&mut self, name: &mut Name) -> Result<(), Fault> {
        name.clear();
        self.text(|part| name.push(part))
    }

    fn fill(&mut self) -> Result<(), Fault> {
        match self.read()? {
            true => Ok(()),
            false => Err(Fault::Broken),
        }
    }

    /// The next bytes in the place of those that were there. False: there are none.
    fn read(&mut self) -> Result<bool, Fault> {
        self.start += self.filled as u64;
        (self.next, self.filled) = (0, 0);
        if self.left == 0 {
            return Err(Fault::TooLarge);
        }
        let read = self.source.read(&mut self.window);
        self.filled = read.map_err(|_| Fault::Broken)?;
        self.left = self.left.saturating_sub(self.filled as u64);
        Ok(self.filled > 0)
    }
}

impl<'a, B: Bytes + ?Sized> Source<'a, B> {
    fn new(file: &'a B, stored: Stored) -> Self {
        let part = Part {
            file,
            left: stored.extent,
        };
        match stored.is_packed {
            false => Self::Plain(part),
            true => Self::Packed(Box::new(ZlibDecoder::new(BufReader::new(part)))),
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(part) => part.read(buffer),
            Self::Packed(packed) => packed.read(buffer),
        }
    }
}

/// A part of a file, from its start on.
struct Part<'a, B: ?Sized> {
    file: &'a B,
    left: Extent,
}

impl<B: Bytes + ?Sized> Read for Part<'_, B> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.left.bytes).unwrap_or(usize::MAX);
        let length = buffer.len().min(left);
        let end = self.left.offset.checked_add(length as u64);
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        self.file.read(self.left.offset, &mut buffer[..length])?;
        self.left = Extent {
            offset: end,
            bytes: self.left.bytes - length as u64,
        };
        Ok(length)
    }
}
