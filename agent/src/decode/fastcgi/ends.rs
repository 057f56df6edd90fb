//! What ends exchanges other than their answer: the stream, the connection, the process, time, the agent.

use std::ops::RangeBounds;
use std::time::Duration;

use super::active::Active;
use super::records::Records;
use super::{Conversation, Scene};
use crate::clock::Monotonic;
use crate::decode::books::Books;
use crate::decode::exchange::{EndEvidence, Outcome, Side, Step};
use crate::decode::open::End;

impl Conversation {
    /// The other side will send no more. An answer cannot come any more; after a request it still can, but web servers do not end their
    /// streams ahead of it, and of a Unix socket nothing else will be told.
    pub(super) fn end_of_stream(&mut self, scene: &mut Scene<'_>) {
        self.stream_ended = true;
        let time = scene.io.origin.time;
        if self.side == Side::Client {
            self.cut_all(Outcome::ConnectionClosed, time, scene.books, scene.out);
        } else if self.open.iter().any(Active::is_on_unix_socket) {
            self.cut_all(Outcome::ClientGone, time, scene.books, scene.out);
        }
    }

    /// The connection ended.
    pub fn closed(&mut self, reset: bool, time: Monotonic, books: &mut Books, out: &mut Vec<Step>) {
        let outcome = Outcome::of_close(self.side, reset, self.stream_ended);
        self.cut_all(outcome, time, books, out);
    }

    /// The process ended.
    pub fn exited(&mut self, time: Monotonic, books: &mut Books, out: &mut Vec<Step>) {
        self.cut_all(Outcome::ProcessExited, time, books, out);
    }

    /// Ends everything whatever its state: `StillOpen` at a time, or `EndUnseen` when last seen.
    pub fn abandon(
        &mut self,
        still_open: Option<Monotonic>,
        books: &mut Books,
        out: &mut Vec<Step>,
    ) {
        self.forget_coming(books);
        match still_open {
            Some(time) => {
                for active in self.open.drain(..) {
                    active.finish(End::cut(Outcome::StillOpen, time), books, out);
                }
            }
            None => self.give_up(.., books, out),
        }
    }

    /// Ends those that began before `oldest`: what still comes of their answers is passed over.
    pub fn expire(
        &mut self,
        oldest: Monotonic,
        now: Monotonic,
        books: &mut Books,
        out: &mut Vec<Step>,
    ) {
        let is_old = |active: &mut Active| active.exchange.exchange.started < oldest;
        while let Some(active) = self.open.pop_front_if(is_old) {
            active.finish(End::cut(Outcome::StillOpen, now), books, out);
        }
    }

    /// When what looks like the end of an answer may be taken for it. Where the connection ends with the answer, that tells.
    pub fn settles_at(&self, silence: Duration) -> Option<Monotonic> {
        let is_told = |active: &Active| !active.keeps && !active.is_on_unix_socket();
        let end = self.likely_end.filter(|_| !self.open.iter().any(is_told));
        end.map(|time| time.after(silence))
    }

    /// Takes what looks like the end of the answer for it.
    pub fn settle(&mut self, books: &mut Books, out: &mut Vec<Step>) {
        if let Some(time) = self.likely_end.take() {
            // It was one, and says nothing of what comes next.
            self.hides_end = false;
            for active in self.open.drain(..) {
                active.finish(End::complete(EndEvidence::Counted, time), books, out);
            }
        }
    }

    /// Finishes those of which the end will not be known.
    pub(super) fn give_up(
        &mut self,
        which: impl RangeBounds<usize>,
        books: &mut Books,
        out: &mut Vec<Step>,
    ) {
        for active in self.open.drain(which) {
            let end = End::cut(Outcome::EndUnseen, active.exchange.last_seen);
            active.finish(end, books, out);
        }
    }

    /// Requests to this process whose parameters do not come: too little of them was read.
    pub(super) fn count_unread(&self, count: usize, books: &mut Books) {
        if self.side == Side::Server {
            books.counts.unread_requests += count as u64;
        }
    }

    fn forget_coming(&mut self, books: &mut Books) {
        self.count_unread(self.coming.len(), books);
        self.coming.clear();
    }

    /// No more bytes will come: an answer of which not all was seen may be complete, the others have none.
    fn cut_all(
        &mut self,
        outcome: Outcome,
        time: Monotonic,
        books: &mut Books,
        out: &mut Vec<Step>,
    ) {
        self.forget_coming(books);
        while let Some(active) = self.open.pop_front() {
            let end = self.end_of(&active, outcome, time, books);
            active.finish(end, books, out);
        }
        self.answers = Records::Astray;
        self.likely_end = None;
    }

    fn end_of(&self, active: &Active, outcome: Outcome, time: Monotonic, books: &Books) -> End {
        let exchange = &active.exchange;
        let is_counted = active.has_whole_body();
        match (self.likely_end, exchange.last_answer) {
            (Some(time), _) if !is_counted => return End::complete(EndEvidence::Close, time),
            // Its client has all, and need not wait for the end.
            (_, Some(time)) if is_counted => return End::complete(EndEvidence::Counted, time),
            _ => {}
        }
        let is_blind = self.answers.is_astray() && active.stdout.is_lost();
        let is_unknown = is_blind && self.recent.ends_request().is_none();
        if is_unknown || exchange.records_lost || exchange.had_losses(books) {
            return End::cut(Outcome::EndUnseen, exchange.last_seen);
        }
        // The end of a Unix socket is found out later.
        let time = match active.is_on_unix_socket() {
            true => exchange.last_seen,
            false => time,
        };
        match (active.is_aborted, self.side) {
            (true, Side::Client) => End::cut(Outcome::Cancelled, time),
            _ => End::cut(outcome, time),
        }
    }
}
