//! The chunked transfer coding (RFC 9112 §7.1), read a byte at a time: bytes in, the length of the body out.
//! Chunk data is counted, not looked at; extensions and trailers are passed over. A bare LF ends a line too.

use super::body::Progress;

/// Where in the coding the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunks {
    Size { value: u64, digits: u8 },
    Extension { value: u64 },
    Data { left: u64 },
    DataEnd,
    Trailer { line_empty: bool },
}

/// What was found in some bytes.
pub struct Scan {
    pub body_bytes: u64,
    pub used: usize,
    pub progress: Progress,
}

/// Hexadecimal digits of the longest chunk size.
const SIZE_DIGITS_MAX: u8 = 16;

impl Default for Chunks {
    fn default() -> Self {
        Self::Size {
            value: 0,
            digits: 0,
        }
    }
}

impl Chunks {
    /// Reads up to the end of the body.
    pub fn scan(&mut self, bytes: &[u8]) -> Scan {
        let (mut used, mut body_bytes) = (0, 0);
        let mut progress = Progress::More;
        while progress == Progress::More && used < bytes.len() {
            if let Self::Data { left } = *self {
                let count = left.min((bytes.len() - used) as u64);
                self.pass_data(left, count);
                body_bytes += count;
                used += count as usize;
            } else {
                progress = self.step(bytes[used]);
                used += 1;
            }
        }
        Scan {
            body_bytes,
            used,
            progress,
        }
    }

    /// Passes over bytes that are not there; `None` when they are more than the present chunk's data.
    pub fn skip(&mut self, count: u64) -> Option<u64> {
        match *self {
            Self::Data { left } if count <= left => {
                self.pass_data(left, count);
                Some(count)
            }
            _ => None,
        }
    }

    fn pass_data(&mut self, left: u64, count: u64) {
        *self = match left - count {
            0 => Self::DataEnd,
            left => Self::Data { left },
        };
    }

    fn step(&mut self, byte: u8) -> Progress {
        let next = match (*self, byte) {
            (Self::Size { value, digits }, b'\n') if digits > 0 => after_size(value),
            (Self::Size { value, digits }, b'\r' | b';' | b' ' | b'\t') if digits > 0 => {
                Self::Extension { value }
            }
            (Self::Size { value, digits }, _) => match char::from(byte).to_digit(16) {
                Some(digit) if digits < SIZE_DIGITS_MAX => Self::Size {
                    value: value << 4 | u64::from(digit),
                    digits: digits + 1,
                },
                _ => return Progress::Broken,
            },
            (Self::Extension { value }, b'\n') => after_size(value),
            (Self::DataEnd, b'\n') => Self::default(),
            (Self::DataEnd, b'\r') | (Self::Extension { .. }, _) => return Progress::More,
            (Self::DataEnd, _) => return Progress::Broken,
            (Self::Trailer { line_empty: true }, b'\n') => return Progress::Ended,
            (Self::Trailer { .. }, b'\n') => Self::Trailer { line_empty: true },
            (Self::Trailer { .. }, b'\r') | (Self::Data { .. }, _) => return Progress::More,
            (Self::Trailer { .. }, _) => Self::Trailer { line_empty: false },
        };
        *self = next;
        Progress::More
    }
}

fn after_size(value: u64) -> Chunks {
    match value {
        0 => Chunks::Trailer { line_empty: true },
        left => Chunks::Data { left },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies() {
        let cases: [(&[u8], Progress, u64, usize); 8] = [
            (b"5\r\nhello\r\n0\r\n\r\nGET", Progress::Ended, 5, 15),
            (b"0\r\n\r\n", Progress::Ended, 0, 5),
            (
                b"a;x=\"y\"\r\n0123456789\r\n0\r\nA: b\r\n\r\n",
                Progress::Ended,
                10,
                32,
            ),
            (b"3\nabc\n0\n\n", Progress::Ended, 3, 9),
            (b"5\r\nhel", Progress::More, 3, 6),
            (b"5\r\nhelloX", Progress::Broken, 5, 9),
            (b"-1\r\n", Progress::Broken, 0, 1),
            (b"11111111111111111\r\n", Progress::Broken, 0, 17),
        ];
        for (bytes, progress, body_bytes, used) in cases {
            let scan = Chunks::default().scan(bytes);
            let found = (scan.progress, scan.body_bytes, scan.used);
            assert_eq!(
                found,
                (progress, body_bytes, used),
                "{}",
                bytes.escape_ascii()
            );
        }
    }

    #[test]
    fn chunk_data_can_be_missing_but_not_its_frame() {
        let mut chunks = Chunks::Data { left: 100 };
        assert_eq!(chunks.skip(99), Some(99));
        assert_eq!(chunks.scan(b"x\r\n0\r\n\r\n").progress, Progress::Ended);
        assert_eq!(Chunks::Data { left: 100 }.skip(101), None);
        assert_eq!(Chunks::DataEnd.skip(1), None);
    }
}
