//! Answers of which records were lost: whose they were, and whose comes next. In: the call that shows the loss.
//! Out: what is certain goes on, the rest finishes as `EndUnseen`.

use super::answers::{is_status_line, Answers};
use super::{Conversation, Scene};
use crate::decode::open::OpenExchange;
use crate::decode::stream::{Bytes, Piece};

impl Conversation {
    /// Records were lost where a head was expected, or in the middle of one.
    pub(super) fn lost_head(&mut self, scene: &mut Scene<'_>) {
        if matches!(&self.answers, Answers::Head(head) if head.mark.is_some()) {
            self.give_up_answer_head(scene, false);
            return self.lost_end(scene);
        }
        self.give_up_unclear(scene);
        self.answers = Answers::Adrift;
    }

    /// Records were lost in an answer, and with them where it ends. When they end a turn, it is over.
    pub(super) fn lost_end(&mut self, scene: &mut Scene<'_>) {
        if let Some(front) = self.open.front_mut() {
            front.records_lost = true;
        }
        if scene.io.turn_start && self.open.len() > 1 {
            self.give_up_unclear(scene);
            self.answers = Answers::Adrift;
        }
    }

    /// Answers were lost. Whose, and whose comes next? If nothing was lost since the newest turn of requests
    /// began, what comes is for that turn, and all before are over; unless turns overlap.
    pub(super) fn give_up_unclear(&mut self, scene: &mut Scene<'_>) {
        let newest = self.open.iter().rposition(OpenExchange::begins_turn);
        let newest = newest.unwrap_or_default();
        let turn = self.open.get(newest);
        let clear = turn.is_some_and(|first| !first.lost_before(scene.io));
        let keep = match self.open.len() - newest.min(self.open.len()) {
            _ if self.turns_overlap => usize::from(self.open.len() == 1),
            1 => 1,
            count if clear => count,
            _ => 0,
        };
        self.give_up_oldest(keep, scene.books, scene.out);
    }

    /// Whether an answer begins here after a later turn of requests did, and records were lost since the oldest began:
    /// one of its turn may have taken two answers for one, and be left over.
    pub(super) fn begins_turn_after_loss(&self, scene: &Scene<'_>, position: u32) -> bool {
        let io = scene.io;
        matches!(&self.answers, Answers::Head(head) if head.mark.is_none())
            && io.turn_start
            && position == io.position
            && self.open.front().is_some_and(|front| front.lost_before(io))
            && self.open.iter().skip(1).any(OpenExchange::begins_turn)
    }

    /// What follows lost records, with one request waiting. A status line is its answer only if nothing was lost
    /// since the request: its answer and the next request may be among what was lost.
    pub(super) fn answer_after_loss<'a>(
        &mut self,
        scene: &mut Scene<'_>,
        piece: Piece<'a>,
    ) -> Option<Piece<'a>> {
        let begins = matches!(piece.bytes, Bytes::Seen(bytes) if is_status_line(bytes, true));
        let front = self.open.front_mut()?;
        if !begins {
            front.records_lost = true;
            self.unseen_head(scene, None);
        } else if front.lost_before(scene.io) {
            scene.books.counts.answers_without_request += 1;
            self.give_up_oldest(0, scene.books, scene.out);
        } else {
            self.answers = Answers::between();
        }
        Some(piece)
    }
}
