//! Fields in, protobuf's wire format out (protobuf.dev/programming-guides/encoding). Pure.
//!
//! Of scalar fields without presence, zero is the default and may be left out; callers write what they mean to say.

use prost::Message as Encode;

/// How a field's value is laid out.
#[derive(Clone, Copy)]
enum Layout {
    Varint = 0,
    Fixed64 = 1,
    Counted = 2,
    Fixed32 = 5,
}

/// A message that is being written.
#[derive(Default)]
pub(super) struct Message(Vec<u8>);

impl Message {
    pub fn with_room(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    /// Fields that the caller has laid out.
    #[inline]
    pub fn raw(&mut self, fields: &[u8]) {
        self.0.extend_from_slice(fields);
    }

    pub fn varint(&mut self, field: u32, value: u64) {
        self.tag(field, Layout::Varint);
        self.number(value);
    }

    pub fn fixed32(&mut self, field: u32, value: u32) {
        self.tag(field, Layout::Fixed32);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub fn fixed64(&mut self, field: u32, value: u64) {
        self.tag(field, Layout::Fixed64);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    #[inline]
    pub fn bytes(&mut self, field: u32, value: &[u8]) {
        self.tag(field, Layout::Counted);
        self.number(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    pub fn text(&mut self, field: u32, value: &str) {
        self.bytes(field, value.as_bytes());
    }

    /// A message within this one.
    #[inline]
    pub fn message(&mut self, field: u32, write: impl FnOnce(&mut Self)) {
        self.tag(field, Layout::Counted);
        // Most lengths take one byte; what was written moves up where they take more.
        let start = self.0.len();
        self.0.push(0);
        write(self);
        let length = self.0.len() - start - 1;
        let more = (1..10).take_while(|more| length >> (7 * more) > 0).count();
        if more > 0 {
            self.0.resize(start + 1 + length + more, 0);
            self.0
                .copy_within(start + 1..start + 1 + length, start + 1 + more);
        }
        for (index, byte) in self.0[start..=start + more].iter_mut().enumerate() {
            let goes_on = if index < more { 0x80 } else { 0 };
            *byte = (length >> (7 * index)) as u8 & 0x7f | goes_on;
        }
    }

    /// The same, of a message that knows how to encode itself.
    pub fn encoded(&mut self, field: u32, message: &impl Encode) {
        self.bytes(field, &message.encode_to_vec());
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    fn tag(&mut self, field: u32, layout: Layout) {
        self.number(u64::from(field) << 3 | layout as u64);
    }

    #[inline]
    fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}
