//! Where a message's body ends (RFC 9112 §6.3): pieces of a stream in, counts out. No byte is kept.

use super::chunked::{Chunks, Scan};
use crate::decode::stream::Bytes;

/// How a message says where its body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// After so many bytes; 0 for no body.
    Counted(u64),
    Chunked,
    /// Where the connection ends.
    UntilClose,
    /// The head did not say, or was not seen.
    Unknown,
}

/// A body being counted.
#[derive(Clone, Copy, Debug)]
pub enum Body {
    Counted {
        left: u64,
    },
    Chunked(Chunks),
    UntilClose,
    /// Its end can only be guessed: bytes that say where it is were not seen.
    Blind {
        chunked: bool,
    },
}

/// What became of a piece.
#[derive(Debug, PartialEq, Eq)]
pub struct Taken<'a> {
    /// Bytes of body in it, transfer coding removed; `None`: no longer known.
    pub body_bytes: Option<u64>,
    pub progress: Progress,
    /// Bytes after the body's end.
    pub rest: Option<Bytes<'a>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    More,
    Ended,
    /// Not valid.
    Broken,
}

impl Body {
    /// The body of a message, `None` when it has none.
    pub fn new(framing: Framing) -> Option<Self> {
        match framing {
            Framing::Counted(0) => None,
            Framing::Counted(left) => Some(Self::Counted { left }),
            Framing::Chunked => Some(Self::Chunked(Chunks::default())),
            Framing::UntilClose => Some(Self::UntilClose),
            Framing::Unknown => Some(Self::Blind { chunked: false }),
        }
    }

    /// Takes what belongs to the body.
    pub fn take<'a>(&mut self, bytes: Bytes<'a>) -> Taken<'a> {
        match (&mut *self, bytes) {
            (Self::Counted { left }, _) => {
                let taken = bytes.len().min(*left);
                *left -= taken;
                let progress = match *left {
                    0 => Progress::Ended,
                    _ => Progress::More,
                };
                Taken {
                    body_bytes: Some(taken),
                    progress,
                    rest: bytes.after(taken),
                }
            }
            (Self::Chunked(chunks), Bytes::Seen(seen)) => {
                let Scan {
                    body_bytes,
                    used,
                    progress,
                } = chunks.scan(seen);
                Taken {
                    body_bytes: Some(body_bytes),
                    progress,
                    rest: bytes.after(used as u64),
                }
            }
            (Self::Chunked(chunks), _) => {
                let body_bytes = chunks.skip(bytes.len());
                if body_bytes.is_none() {
                    *self = Self::Blind { chunked: true };
                }
                more(body_bytes)
            }
            (Self::UntilClose, _) => more(Some(bytes.len())),
            (Self::Blind { .. }, _) => more(None),
        }
    }
}

fn more<'a>(body_bytes: Option<u64>) -> Taken<'a> {
    Taken {
        body_bytes,
        progress: Progress::More,
        rest: None,
    }
}
