//! What a call did with exchanges, where an event loop does one thing after another. In: the latest call. Out: [`Moved`].

use super::requests::Requests;
use super::Conversation;
use crate::capture::event::{Direction, Io};
use crate::decode::exchange::{Moved, Side};

impl Conversation {
    /// What the latest call did.
    pub fn moved(&self, io: &Io<'_>) -> Moved {
        let what = match (self.side, io.direction) {
            // The client's end of the stream is no work.
            (Side::Server, Direction::Ingress) if io.size > 0 && self.is_read() => {
                self.only_open().map(Moved::Request)
            }
            // It may have ended with this call.
            (Side::Client, Direction::Ingress) => self.before.map(Moved::Answer),
            (Side::Client, Direction::Egress) => Some(Moved::Call),
            (Side::Server, _) => None,
        };
        what.unwrap_or(Moved::Other)
    }

    /// Whether all that came of requests was of whole ones.
    fn is_read(&self) -> bool {
        matches!(&self.requests, Requests::Head { head, .. } if head.bytes.is_empty())
    }
}
