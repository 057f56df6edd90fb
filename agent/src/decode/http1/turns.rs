//! What the turns of an event loop do with exchanges. In: calls that were made in a turn. Out: [`Step::Turning`], where it is
//! certain which exchange it is of.

use super::{Conversation, Scene};
use crate::capture::event::Direction;
use crate::decode::exchange::{ExchangeId, Side, Step, Turned, Turning};
use crate::decode::open::{Mark, OpenExchange};

impl Conversation {
    /// The exchange that is open, if it is the only one.
    pub(super) fn only_open(&self) -> Option<ExchangeId> {
        match self.open.len() {
            1 => self.open.front().map(|open| open.exchange.id),
            _ => None,
        }
    }

    /// Tells of a read.
    pub(super) fn tell_read(&self, scene: &mut Scene<'_>) {
        let io = scene.io;
        let turn = io.turn.and_then(|turn| turn.running);
        let (Some(turn), Direction::Ingress) = (turn, io.direction) else {
            return;
        };
        let (id, what) = match self.side {
            // The client's end of the stream is no work.
            Side::Server if io.size == 0 => return,
            // It may have begun with this call.
            Side::Server => (self.only_open(), Turned::ReadRequest),
            // It may have ended with this call.
            Side::Client => (self.before, Turned::ReadAnswer),
        };
        if let Some(id) = id {
            scene.out.push(Step::Turning(Turning {
                id,
                process: io.origin.process,
                turn,
                what,
                time: io.origin.time,
            }));
        }
    }
}

/// Tells of the start of an answer, if it is surely the answer to that request.
pub(super) fn tell_answered(asked: &OpenExchange, mark: Mark, scene: &mut Scene<'_>) {
    let turn = mark.turn.and_then(|turn| turn.running);
    if let Some(turn) = turn.filter(|_| asked.is_surely_answered(mark, scene.io)) {
        scene.out.push(Step::Turning(Turning {
            id: asked.exchange.id,
            process: mark.origin.process,
            turn,
            what: Turned::Answered,
            time: mark.origin.time,
        }));
    }
}
