//! What a call did with exchanges, where an event loop does one thing after another. In: the latest call. Out: [`Moved`].

use super::requests::Requests;
use super::Conversation;
use crate::capture::event::{Direction, Io};
use crate::decode::exchange::{Moved, Side};
use crate::decode::recent::Recent;
use crate::decode::stream::Bytes;

impl Conversation {
    /// What the latest call did.
    pub fn moved(&self, io: &Io<'_>) -> Moved {
        let what = match (self.side, io.direction) {
            // The client's end of the stream is no work.
            (Side::Server, Direction::Ingress) if io.size > 0 && self.is_read(io) => {
                self.only_open().map(Moved::Request)
            }
            // It may have ended with this call.
            (Side::Client, Direction::Ingress) => self.before.map(Moved::Answer),
            (Side::Client, Direction::Egress) => Some(Moved::Call),
            (Side::Server, _) => None,
        };
        what.unwrap_or(Moved::Other)
    }

    /// Whether all that came of requests was of whole ones. Of a long body in chunks, which say where the next one is and are not
    /// copied, the last bytes tell.
    fn is_read(&self, io: &Io<'_>) -> bool {
        match &self.requests {
            Requests::Head { head, .. } => head.bytes.is_empty(),
            Requests::Seek => last_bytes(io).ends_body(io.size),
            Requests::Body { .. } => false,
        }
    }
}

fn last_bytes(io: &Io<'_>) -> Recent {
    let mut last = Recent::default();
    match &io.tail {
        Some(tail) => last.push(Bytes::Seen(tail)),
        None if io.data.len() == io.size as usize => last.push(Bytes::Seen(io.data)),
        None => {}
    }
    last
}
