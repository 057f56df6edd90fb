//! Large tables of foreign files, a piece at a time. In: a file and which part of it. Out: bytes of it, where they are asked
//! for. What is held at once is bounded by [`WINDOW_BYTES`], whatever the file says.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes that are looked at at once.
pub const WINDOW_BYTES: usize = 64 << 10;

/// Bytes that can be read from anywhere in them.
pub trait Bytes {
    /// Fills the buffer with what is there.
    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
}

impl Bytes for File {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.read_exact_at(buffer, offset)
    }
}

impl Bytes for [u8] {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let rest = usize::try_from(offset)
            .ok()
            .and_then(|offset| self.get(offset..));
        let there = rest.and_then(|rest| rest.get(..buffer.len()));
        buffer.copy_from_slice(there.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// A part of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    pub offset: u64,
    pub bytes: u64,
}

impl Extent {
    /// So many of its bytes, read by themselves.
    pub fn array<const N: usize, B: Bytes + ?Sized>(
        &self,
        file: &B,
        at: u64,
    ) -> Result<[u8; N], Broken> {
        let end = at.checked_add(N as u64).filter(|end| *end <= self.bytes);
        let offset = end.and_then(|_| self.offset.checked_add(at));
        let mut bytes = [0; N];
        file.read(offset.ok_or(Broken)?, &mut bytes)
            .map_err(|_| Broken)?;
        Ok(bytes)
    }
}

/// The file ends before, or cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// A part of the file as it is walked through: what is asked for comes mostly one after another.
pub struct Window<'a, B: ?Sized> {
    file: &'a B,
    extent: Extent,
    /// Where in the extent `bytes` start.
    start: u64,
    bytes: Vec<u8>,
}

impl<'a, B: Bytes + ?Sized> Window<'a, B> {
    pub fn new(file: &'a B, extent: Extent) -> Self {
        Self {
            file,
            extent,
            start: 0,
            bytes: Vec::new(),
        }
    }

    /// The bytes there; fewer at the extent's end.
    pub fn from(&mut self, at: u64, length: usize) -> Result<&[u8], Broken> {
        let left = self.extent.bytes.saturating_sub(at);
        let length = length.min(usize::try_from(left).unwrap_or(usize::MAX));
        let is_there =
            at >= self.start && at + length as u64 <= self.start + self.bytes.len() as u64;
        if !is_there {
            self.move_to(at, length.max(WINDOW_BYTES))?;
        }
        let begin = (at - self.start) as usize;
        self.bytes.get(begin..begin + length).ok_or(Broken)
    }

    fn move_to(&mut self, at: u64, length: usize) -> Result<(), Broken> {
        let left = self.extent.bytes.saturating_sub(at);
        let length = left.min(length.min(WINDOW_BYTES) as u64) as usize;
        let offset = self.extent.offset.checked_add(at).ok_or(Broken)?;
        self.start = at;
        self.bytes.resize(length, 0);
        self.file.read(offset, &mut self.bytes).map_err(|_| Broken)
    }

    pub fn word(&mut self, at: u64) -> Result<u32, Broken> {
        let bytes = self.from(at, 4)?;
        let bytes = bytes.try_into().map_err(|_| Broken)?;
        Ok(u32::from_le_bytes(bytes))
    }
}
