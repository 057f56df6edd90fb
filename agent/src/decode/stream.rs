//! One direction of a connection: calls in, pieces of one byte stream out, with what is missing between them.

use crate::capture::event::Io;

/// Consecutive bytes of a stream, never none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bytes<'a> {
    Seen(&'a [u8]),
    /// Moved by a call that was seen, but not copied.
    Uncopied(u64),
    /// Moved by calls whose records were lost.
    Lost(u64),
}

/// Bytes and where they stand in their stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    pub position: u32,
    pub bytes: Bytes<'a>,
}

impl<'a> Bytes<'a> {
    pub fn len(self) -> u64 {
        match self {
            Self::Seen(seen) => seen.len() as u64,
            Self::Uncopied(bytes) | Self::Lost(bytes) => bytes,
        }
    }

    /// What follows the first `count` bytes, if anything.
    pub fn after(self, count: u64) -> Option<Self> {
        let left = self.len().checked_sub(count).filter(|left| *left > 0)?;
        Some(match self {
            Self::Seen(seen) => Self::Seen(seen.get(count as usize..)?),
            Self::Uncopied(_) => Self::Uncopied(left),
            Self::Lost(_) => Self::Lost(left),
        })
    }

    /// The first `count` bytes, or all.
    pub fn first(self, count: u64) -> Self {
        let count = count.min(self.len());
        match self {
            Self::Seen(seen) => Self::Seen(&seen[..count as usize]),
            Self::Uncopied(_) => Self::Uncopied(count),
            Self::Lost(_) => Self::Lost(count),
        }
    }
}

impl Piece<'_> {
    /// What follows its first `count` bytes, if anything.
    pub fn after(self, count: u64) -> Option<Self> {
        let bytes = self.bytes.after(count)?;
        let position = self.position.wrapping_add(count as u32);
        Some(Self { position, bytes })
    }
}

/// What a call brought: lost bytes before it, its first bytes, those not copied, its last bytes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Cut<'a> {
    pub lost: u64,
    /// Bytes that had been seen before: left out of the pieces.
    pub repeated: u64,
    pub pieces: [Option<Piece<'a>>; 4],
}

/// Where the next byte is expected. Nothing is expected of a stream before its first call.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stream {
    next: Option<u32>,
}

impl Stream {
    /// The pieces of the next call, in order.
    pub fn cut<'a>(&mut self, io: &'a Io<'_>) -> Cut<'a> {
        let (lost, repeated) = self.jump(io);
        if io.size > 0 && (repeated < u64::from(io.size)) {
            self.next = Some(io.position.wrapping_add(io.size));
        }
        let position = |offset: u64| io.position.wrapping_add(offset as u32);
        let (seen, uncopied, tail) = parts(io, repeated as usize);
        let lost_start = io.position.wrapping_sub(lost as u32);
        let hole_start = repeated + seen.len() as u64;
        Cut {
            lost,
            repeated,
            pieces: [
                piece(lost_start, Bytes::Lost(lost)),
                piece(position(repeated), Bytes::Seen(seen)),
                piece(position(hole_start), Bytes::Uncopied(uncopied)),
                piece(position(hole_start + uncopied), Bytes::Seen(tail)),
            ],
        }
    }

    /// Whether no call of it was seen.
    pub fn is_unseen(&self) -> bool {
        self.next.is_none()
    }

    /// Bytes lost before the call, and bytes of it that were seen before.
    fn jump(&self, io: &Io<'_>) -> (u64, u64) {
        let Some(next) = self.next else { return (0, 0) };
        let size = u64::from(io.size);
        match io.position.wrapping_sub(next) as i32 {
            // The end of a TCP stream takes one number itself (RFC 9293 §3.4).
            1 if size == 0 => (0, 0),
            ahead @ 0.. => (ahead as u64, 0),
            // A new turn is no repetition: the count is broken, anything may be missing.
            behind if io.turn_start && u64::from(behind.unsigned_abs()) >= size => {
                (u64::from(u32::MAX), 0)
            }
            behind => (0, u64::from(behind.unsigned_abs()).min(size)),
        }
    }
}

fn piece(position: u32, bytes: Bytes<'_>) -> Option<Piece<'_>> {
    let none = matches!(bytes, Bytes::Seen([]) | Bytes::Uncopied(0) | Bytes::Lost(0));
    (!none).then_some(Piece { position, bytes })
}

/// The copied first bytes of a call but for its first `skip`, how many were not copied, and the copied last bytes.
fn parts<'a>(io: &'a Io<'_>, skip: usize) -> (&'a [u8], u64, &'a [u8]) {
    let size = io.size as usize;
    let data = &io.data[..io.data.len().min(size)];
    let seen = data.get(skip..).unwrap_or_default();
    let unseen = size - data.len().max(skip);
    let tail = io.tail.as_ref().map_or(&[][..], |tail| last(tail, size));
    let tail = &tail[tail.len() - tail.len().min(unseen)..];
    (seen, (unseen - tail.len()) as u64, tail)
}

/// A call shorter than the tail fills it from the left.
fn last(tail: &[u8], size: usize) -> &[u8] {
    &tail[..tail.len().min(size)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::event::{ConnectionId, Direction, Origin};

    fn io(position: u32, size: u32, data: &[u8]) -> Io<'_> {
        Io {
            origin: Origin::default(),
            connection: ConnectionId::default(),
            direction: Direction::Ingress,
            position,
            size,
            data,
            tail: None,
            turn_start: false,
            end_of_stream: false,
            already_open: false,
            tls: None,
            goroutine: None,
            task: None,
            turn: None,
            asked: false,
            thread_clock: None,
            ready: None,
            process_losses: 0,
            route: None,
            system_call: 0,
        }
    }

    #[test]
    fn a_gap_is_counted_over_the_wrap() {
        let mut stream = Stream::default();
        assert_eq!(stream.cut(&io(u32::MAX - 1, 4, b"abcd")).lost, 0);
        assert_eq!(stream.cut(&io(7, 1, b"x")).lost, 5);
    }

    #[test]
    fn repeated_bytes_come_once() {
        let mut stream = Stream::default();
        stream.cut(&io(10, 4, b"abcd"));
        let again = io(12, 4, b"cdef");
        let cut = stream.cut(&again);
        assert_eq!(cut.repeated, 2);
        assert_eq!(cut.pieces[1], piece(14, Bytes::Seen(b"ef")));
        assert_eq!(stream.cut(&io(16, 1, b"g")).lost, 0);
    }

    #[test]
    fn the_tail_stands_at_the_end() {
        let call = Io {
            tail: Some(*b"yz\r\n0\r\n\r"),
            ..io(0, 20, b"abc")
        };
        let cut = Stream::default().cut(&call);
        assert_eq!(cut.pieces[2], piece(3, Bytes::Uncopied(9)));
        assert_eq!(cut.pieces[3], piece(12, Bytes::Seen(b"yz\r\n0\r\n\r")));
        let short = Io {
            tail: Some(*b"0\r\n\r\n\0\0\0"),
            ..io(0, 5, b"")
        };
        let cut = Stream::default().cut(&short);
        assert_eq!(cut.pieces[3], piece(0, Bytes::Seen(b"0\r\n\r\n")));
    }

    #[test]
    fn the_end_of_the_stream_is_no_gap() {
        let mut stream = Stream::default();
        stream.cut(&io(0, 4, b"abcd"));
        assert_eq!(stream.cut(&io(5, 0, b"")).lost, 0);
        assert_eq!(stream.cut(&io(6, 0, b"")).lost, 2);
    }
}
