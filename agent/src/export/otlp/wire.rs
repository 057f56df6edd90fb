//! Fields in, protobuf's wire format out (protobuf.dev/programming-guides/encoding). Pure.
//!
//! Of scalar fields without presence, zero is the default and may be left out; callers write what they mean to say.
//! The length of a message within a message is known when it is written: there is room for it from the start, and what
//! a short length does not need of that is filled with leading zeros, which a varint may have.

use std::ops::Range;

/// How a field's value is laid out.
#[derive(Clone, Copy)]
enum Layout {
    Varint = 0,
    Fixed64 = 1,
    Counted = 2,
    Fixed32 = 5,
}

/// Bytes of a length up to 2^7, 2^21 and 2^28.
#[derive(Clone, Copy)]
pub(super) enum Room {
    Short = 1,
    Middle = 3,
    Long = 4,
}

/// A message that is being written.
pub(super) struct Message<'a>(pub &'a mut Vec<u8>);

impl Message<'_> {
    /// Fields that the caller has laid out.
    #[inline(always)]
    pub fn raw(&mut self, fields: &[u8]) {
        self.0.extend_from_slice(fields);
    }

    pub fn length(&self) -> usize {
        self.0.len()
    }

    /// What stands there already.
    pub fn again(&mut self, fields: Range<usize>) {
        self.0.extend_from_within(fields);
    }

    #[inline(always)]
    pub fn varint(&mut self, field: u32, value: u64) {
        self.tag(field, Layout::Varint);
        self.number(value);
    }

    pub fn fixed32(&mut self, field: u32, value: u32) {
        self.tag(field, Layout::Fixed32);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// The field's number is less than 16.
    #[inline(always)]
    pub fn fixed64(&mut self, field: u32, value: u64) {
        let mut bytes = [(field << 3) as u8 | Layout::Fixed64 as u8; 9];
        bytes[1..].copy_from_slice(&value.to_le_bytes());
        self.0.extend_from_slice(&bytes);
    }

    #[inline(always)]
    pub fn bytes(&mut self, field: u32, value: &[u8]) {
        self.counted(field, value.len());
        self.0.extend_from_slice(value);
    }

    #[inline(always)]
    pub fn text(&mut self, field: u32, value: &str) {
        self.bytes(field, value.as_bytes());
    }

    /// What stands before so many bytes of a field.
    #[inline(always)]
    pub fn counted(&mut self, field: u32, bytes: usize) {
        let tag = u64::from(field) << 3 | Layout::Counted as u64;
        match (tag, bytes) {
            (..0x80, ..0x80) => self.0.extend_from_slice(&[tag as u8, bytes as u8]),
            _ => {
                self.number(tag);
                self.number(bytes as u64);
            }
        }
    }

    /// A message within this one. There is room for its length; a longer one takes time.
    #[inline(always)]
    pub fn message(&mut self, field: u32, room: Room, write: impl FnOnce(&mut Message<'_>)) {
        self.tag(field, Layout::Counted);
        let start = self.0.len();
        let room = room as usize;
        self.0.extend_from_slice(&[0; 4][..room]);
        write(&mut Message(self.0));
        let length = self.0.len() - start - room;
        match length >> (7 * room) {
            0 => put(&mut self.0[start..start + room], length),
            _ => self.lengthen(start, room, length),
        }
    }

    /// Makes room for a length that needs more of it.
    #[cold]
    fn lengthen(&mut self, start: usize, room: usize, length: usize) {
        let needed = (room..10)
            .find(|bytes| length >> (7 * bytes) == 0)
            .unwrap_or(10);
        let more = std::iter::repeat_n(0, needed - room);
        self.0.splice(start..start, more);
        put(&mut self.0[start..start + needed], length);
    }

    #[inline(always)]
    fn tag(&mut self, field: u32, layout: Layout) {
        self.number(u64::from(field) << 3 | layout as u64);
    }

    #[inline(always)]
    fn number(&mut self, value: u64) {
        match value {
            ..0x80 => self.0.push(value as u8),
            0x80..0x4000 => {
                let bytes = [value as u8 | 0x80, (value >> 7) as u8];
                self.0.extend_from_slice(&bytes);
            }
            _ => self.long_number(value),
        }
    }

    fn long_number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

/// How long a number is.
#[inline(always)]
pub(super) fn number_bytes(value: usize) -> usize {
    match value {
        ..0x80 => 1,
        0x80..0x4000 => 2,
        _ => (70 - value.leading_zeros() as usize) / 7,
    }
}

/// A length in just that room.
#[inline(always)]
fn put(room: &mut [u8], length: usize) {
    let last = room.len() - 1;
    for (index, byte) in room.iter_mut().enumerate() {
        let goes_on = if index < last { 0x80 } else { 0 };
        *byte = (length >> (7 * index)) as u8 & 0x7f | goes_on;
    }
}
