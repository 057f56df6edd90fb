//! What ends exchanges other than their answer: the stream, the connection, the process, time, the agent.

use super::answers::Answers;
use super::body::Body;
use super::{Conversation, Scene};
use crate::clock::Monotonic;
use crate::decode::books::Books;
use crate::decode::exchange::{EndEvidence, Outcome, Side, Step};
use crate::decode::open::End;
use std::time::Duration;

impl Conversation {
    /// The other side will send no more. An answer cannot come any more; after a request it still can.
    pub(super) fn end_of_stream(&mut self, scene: &mut Scene<'_>) {
        self.stream_ended = true;
        if self.side == Side::Client {
            self.drop_held(scene.books);
            self.cut_all(
                Outcome::ConnectionClosed,
                scene.io.origin.time,
                scene.books,
                scene.out,
            );
        }
    }

    /// The connection ended.
    pub fn closed(&mut self, reset: bool, time: Monotonic, books: &mut Books, out: &mut Vec<Step>) {
        self.drop_held(books);
        let outcome = Outcome::of_close(self.side, reset, self.stream_ended);
        self.cut_all(outcome, time, books, out);
    }

    /// The process ended. An answer that the end of the connection ends is complete when the process meant to end.
    pub fn exited(
        &mut self,
        failed: bool,
        time: Monotonic,
        books: &mut Books,
        out: &mut Vec<Step>,
    ) {
        if failed || self.side == Side::Client {
            self.answers = match std::mem::replace(&mut self.answers, Answers::Seek) {
                body @ Answers::Body {
                    likely_end: Some(_),
                    ..
                } => body,
                _ => Answers::Seek,
            };
        }
        self.cut_all(Outcome::ProcessExited, time, books, out);
    }

    /// Ends everything whatever its state: `StillOpen` at a time, or `EndUnseen` when last seen.
    pub fn abandon(
        &mut self,
        still_open: Option<Monotonic>,
        books: &mut Books,
        out: &mut Vec<Step>,
    ) {
        self.end_turn(books);
        while let Some(time) = still_open.filter(|_| !self.open.is_empty()) {
            self.finish_front(End::cut(Outcome::StillOpen, time), books, out);
        }
        self.give_up_oldest(0, books, out);
        self.answers = Answers::Seek;
    }

    /// Ends those that began before `oldest`: what still comes of their answers is passed over.
    pub fn expire(
        &mut self,
        oldest: Monotonic,
        now: Monotonic,
        books: &mut Books,
        out: &mut Vec<Step>,
    ) {
        while self
            .open
            .front()
            .is_some_and(|front| front.exchange.started < oldest)
        {
            self.finish_front(End::cut(Outcome::StillOpen, now), books, out);
            self.answers = Answers::Seek;
        }
    }

    /// When what looks like the end of an answer may be taken for it.
    pub fn settles_at(&self, silence: Duration) -> Option<Monotonic> {
        match &self.answers {
            Answers::Body { likely_end, .. } => likely_end.map(|time| time.after(silence)),
            _ => None,
        }
    }

    /// Takes what looks like the end of the answer for it.
    pub fn settle(&mut self, books: &mut Books, out: &mut Vec<Step>) {
        if let Answers::Body {
            likely_end: Some(time),
            ..
        } = self.answers
        {
            self.answers = Answers::Seek;
            self.finish_front(End::complete(EndEvidence::Counted, time), books, out);
        }
    }

    /// No more bytes will come: the answer under way may be complete by that, the others have none.
    fn cut_all(
        &mut self,
        outcome: Outcome,
        time: Monotonic,
        books: &mut Books,
        out: &mut Vec<Step>,
    ) {
        self.end_turn(books);
        if let Some(end) = self.end_by_close(outcome) {
            self.finish_front(end, books, out);
        }
        let lost = matches!(self.answers, Answers::Adrift);
        self.answers = Answers::Seek;
        while let Some(front) = self.open.pop_front() {
            let end = match lost || front.had_losses(books) {
                true => End::cut(Outcome::EndUnseen, front.last_seen),
                false => End::cut(outcome, time),
            };
            front.finish(end, books, out);
        }
    }

    fn end_by_close(&self, outcome: Outcome) -> Option<End> {
        let Answers::Body {
            body,
            recent,
            likely_end,
        } = &self.answers
        else {
            return None;
        };
        if let Some(time) = likely_end {
            return Some(End::complete(EndEvidence::Counted, *time));
        }
        let by_close = match body {
            Body::UntilClose | Body::Blind { chunked: false } => true,
            Body::Blind { chunked: true } => recent.ends_empty(),
            Body::Counted { .. } | Body::Chunked(_) => false,
        };
        let last = self.open.front().and_then(|front| front.last_answer)?;
        (by_close && outcome != Outcome::ConnectionReset)
            .then(|| End::complete(EndEvidence::Close, last))
    }
}
