//! The direction of the answers: its calls in, finished exchanges out.

use super::body::{Body, Framing, Progress};
use super::fields::Length;
use super::head::{self, AnswerHead};
use super::held::Held;
use super::requests::Read;
use super::{turns, Conversation, Fate, Head, Scene};
use crate::capture::event::Io;
use crate::clock::Monotonic;
use crate::decode::detect::{self, Verdict};
use crate::decode::exchange::{EndEvidence, Outcome, Response, Side};
use crate::decode::open::{End, Mark, OpenExchange};
use crate::decode::recent::Recent;
use crate::decode::stream::{Bytes, Piece};

/// What the next byte of this direction is.
#[derive(Debug)]
pub enum Answers {
    /// Not known: a call that begins with a status line will tell.
    Seek,
    /// Of the oldest open exchange's answer, the start of which may have been lost.
    Adrift,
    /// Of a head.
    Head(Head),
    /// Of a body.
    Body {
        body: Body,
        recent: Recent,
        /// The last call ended as chunked bodies end, at this time; but what is not seen may be chunk data.
        likely_end: Option<Monotonic>,
    },
    /// Reads that came ahead of their request: two threads' records can change places. `certain`: the requests
    /// before were seen, so that it is the next one's if none is missing.
    Held { calls: Vec<Held>, certain: bool },
}

impl Answers {
    /// A head comes next.
    pub fn between() -> Self {
        Self::Head(Head::default())
    }

    fn body(body: Body) -> Self {
        Self::Body {
            body,
            recent: Recent::default(),
            likely_end: None,
        }
    }

    pub fn held_bytes(&self) -> usize {
        match self {
            Self::Head(head) => head.bytes.capacity(),
            Self::Held { calls, .. } => calls.iter().map(Held::bytes).sum(),
            _ => 0,
        }
    }
}

impl Conversation {
    pub(super) fn answer_call(&mut self, scene: &mut Scene<'_>) {
        if self.open.is_empty() {
            self.give_up_request_head(scene);
        }
        if self.open.is_empty() {
            return self.answer_without_request(scene);
        }
        let io = scene.io;
        self.blind_body_goes_on(scene);
        // An answer begins a turn. Where the position cannot show that its start was lost, this does.
        if self.answer_stream.is_unseen() && io.size > 0 && !io.turn_start {
            self.lost_head(scene);
        }
        let cut = self.answer_stream.cut(io);
        scene.count_cut(&cut);
        for piece in cut.pieces.into_iter().flatten() {
            let mut rest = Some(piece);
            while let Some(piece) = rest {
                if self.open.is_empty() {
                    self.give_up_request_head(scene);
                }
                if self.open.is_empty() {
                    self.answers = Answers::Seek;
                    break;
                }
                rest = self.answer_piece(scene, piece);
            }
        }
        self.look_for_end(io);
    }

    /// Takes bytes from a piece; returns what is left of it.
    fn answer_piece<'a>(&mut self, scene: &mut Scene<'_>, piece: Piece<'a>) -> Option<Piece<'a>> {
        match (&mut self.answers, piece.bytes) {
            (Answers::Held { .. }, _) => {
                self.answers = Answers::Seek;
                Some(piece)
            }
            (Answers::Seek, _) => self.seek_answer(scene, piece),
            (Answers::Adrift, Bytes::Lost(_)) => None,
            (Answers::Adrift, _) => self.answer_after_loss(scene, piece),
            (Answers::Head(_), Bytes::Seen(bytes)) => {
                self.answer_head(scene, piece.position, bytes)
            }
            (Answers::Head(_), Bytes::Uncopied(_)) => {
                let mark = Mark::new(scene.io, piece.position, 0);
                self.unseen_head(scene, Some(mark.origin.time));
                Some(piece)
            }
            (Answers::Head(_), Bytes::Lost(_)) => {
                self.lost_head(scene);
                None
            }
            (Answers::Body { .. }, _) => self.answer_body(scene, piece),
        }
    }

    fn seek_answer<'a>(&mut self, scene: &mut Scene<'_>, piece: Piece<'a>) -> Option<Piece<'a>> {
        let first = piece.position == scene.io.position;
        match piece.bytes {
            Bytes::Lost(_) => {
                self.give_up_unclear(scene);
                None
            }
            Bytes::Seen(bytes) if first && is_status_line(bytes, scene.io.turn_start) => {
                self.answers = Answers::between();
                Some(piece)
            }
            Bytes::Uncopied(_) if first && scene.io.turn_start => {
                self.answers = Answers::between();
                Some(piece)
            }
            _ => None,
        }
    }

    fn answer_head<'a>(
        &mut self,
        scene: &mut Scene<'_>,
        position: u32,
        bytes: &'a [u8],
    ) -> Option<Piece<'a>> {
        if self.begins_turn_after_loss(scene, position) {
            self.give_up_unclear(scene);
            if self.open.is_empty() {
                scene.books.counts.answers_without_request += 1;
                self.answers = Answers::Seek;
                return None;
            }
        }
        let Answers::Head(head) = &mut self.answers else {
            return None;
        };
        if let Some(front) = self.open.front_mut() {
            front.saw_answer(scene.io, scene.books);
        }
        if head.mark.is_none() {
            let mut later = self.open.iter().skip(1);
            self.turns_overlap |= later.any(OpenExchange::begins_turn);
        }
        let mark = *head
            .mark
            .get_or_insert_with(|| Mark::new(scene.io, position, 0));
        let first_byte = Some(mark.origin.time);
        let parse = |bytes: &[u8]| scene.books.heads.answer(bytes);
        match head.read(bytes, parse, detect::status_line) {
            Read::Whole(parsed, used) => {
                self.answered(scene, parsed, first_byte);
                let rest = bytes.get(used..).filter(|rest| !rest.is_empty())?;
                return Some(Piece {
                    position: position.wrapping_add(used as u32),
                    bytes: Bytes::Seen(rest),
                });
            }
            Read::More => {}
            Read::Broken(all) => self.answered(scene, head::salvage_answer(&all, true), first_byte),
            Read::TooLong => self.give_up_answer_head(scene, false),
            Read::None => self.give_up_answer_head(scene, true),
        }
        None
    }

    /// What there is of a head is all that will be seen.
    pub(super) fn give_up_answer_head(&mut self, scene: &mut Scene<'_>, malformed: bool) {
        let Answers::Head(head) = std::mem::replace(&mut self.answers, Answers::Seek) else {
            return;
        };
        let first_byte = head.mark.map(|mark| mark.origin.time);
        let mut parsed = head::salvage_answer(&head.bytes, malformed);
        parsed.incomplete = true;
        self.answered(scene, parsed, first_byte);
    }

    /// The oldest open exchange's answer has begun unseen.
    pub(super) fn unseen_head(&mut self, scene: &mut Scene<'_>, first_byte: Option<Monotonic>) {
        let began = match &self.answers {
            Answers::Head(head) => head.mark.is_some(),
            _ => false,
        };
        if began {
            return self.give_up_answer_head(scene, false);
        }
        let head = AnswerHead {
            status: None,
            length: Length::default(),
            malformed: false,
            incomplete: true,
        };
        self.answered(scene, head, first_byte);
    }

    fn answered(&mut self, scene: &mut Scene<'_>, head: AnswerHead, first_byte: Option<Monotonic>) {
        let Some(front) = self.open.front_mut() else {
            return;
        };
        front.saw_answer(scene.io, scene.books);
        let mark = match std::mem::replace(&mut self.answers, Answers::between()) {
            Answers::Head(head) => head.mark,
            _ => None,
        };
        let status = head.status.unwrap_or_default();
        if (100..200).contains(&status) && status != 101 && !head.incomplete {
            return;
        }
        let response = Response {
            status: head.status,
            body_bytes: None,
            content_length: head.length.valid(),
            head_incomplete: head.incomplete,
        };
        front.answered(response, head.malformed, first_byte, scene.books);
        if let Some(mark) = mark.filter(|_| self.side == Side::Server) {
            front.tell_answerer(mark, scene);
            if front.is_surely_answered(mark, scene.io) {
                front.exchange.route = mark.route;
            }
            turns::tell_answered(front, mark, scene);
        }
        let method = front.exchange.request.method.as_deref();
        let tunnel = method == Some("CONNECT") && (200..300).contains(&status);
        if status == 101 || tunnel {
            front.exchange.upgraded = true;
            self.fate = Fate::Upgraded;
            return self.counted_end(scene);
        }
        let framing = match head.malformed && head.framing(method) != Framing::Chunked {
            true => Framing::Unknown,
            false => head.framing(method),
        };
        front.exchange.response.body_bytes = (framing != Framing::Unknown).then_some(0);
        match Body::new(framing) {
            None => self.counted_end(scene),
            Some(body) => self.answers = Answers::body(body),
        }
    }

    fn answer_body<'a>(&mut self, scene: &mut Scene<'_>, piece: Piece<'a>) -> Option<Piece<'a>> {
        let Answers::Body { body, recent, .. } = &mut self.answers else {
            return None;
        };
        let front = self.open.front_mut()?;
        let taken = body.take(piece.bytes);
        recent.push(piece.bytes);
        OpenExchange::add(&mut front.exchange.response.body_bytes, taken.body_bytes);
        let lost = matches!(piece.bytes, Bytes::Lost(_));
        if !lost {
            front.saw_answer(scene.io, scene.books);
        }
        match taken.progress {
            Progress::More if lost && matches!(body, Body::Blind { .. }) => self.lost_end(scene),
            Progress::More => {}
            Progress::Ended if lost => {
                self.answers = Answers::between();
                let end = End::cut(Outcome::EndUnseen, front.last_seen);
                self.finish_front(end, scene.books, scene.out);
            }
            Progress::Ended => {
                self.answers = Answers::between();
                self.counted_end(scene);
            }
            Progress::Broken => {
                scene.books.counts.malformed += 1;
                front.malformed = true;
                front.exchange.response.body_bytes = None;
                self.answers = Answers::body(Body::Blind { chunked: false });
                return None;
            }
        }
        piece.after(piece.bytes.len() - taken.rest?.len())
    }

    fn counted_end(&mut self, scene: &mut Scene<'_>) {
        let end = End::complete(EndEvidence::Counted, scene.io.origin.time);
        self.finish_front(end, scene.books, scene.out);
    }

    /// More comes after a body whose end could not be seen. A status line that begins a turn, or follows what
    /// looked like the end, begins the next answer.
    fn blind_body_goes_on(&mut self, scene: &mut Scene<'_>) {
        let Answers::Body {
            body: Body::Blind { .. },
            likely_end,
            ..
        } = &mut self.answers
        else {
            return;
        };
        let likely_end = likely_end.take_if(|_| scene.io.size > 0);
        let next = scene.io.turn_start || (likely_end.is_some() && self.open.len() > 1);
        if !next || detect::status_line(scene.io.data) != Verdict::Yes {
            return;
        }
        match likely_end {
            Some(time) => {
                let end = End::complete(EndEvidence::Counted, time);
                self.finish_front(end, scene.books, scene.out);
            }
            None => self.give_up_oldest(self.open.len().saturating_sub(1), scene.books, scene.out),
        }
        self.answers = Answers::between();
    }

    /// Whether the call ended as chunked bodies end, where only that is left to tell.
    fn look_for_end(&mut self, io: &Io<'_>) {
        if let Answers::Body {
            body: Body::Blind { .. },
            recent,
            likely_end,
        } = &mut self.answers
        {
            if io.size > 0 && recent.ends_body(io.size) {
                *likely_end = Some(io.origin.time);
            }
        }
    }
}

pub(super) fn is_status_line(bytes: &[u8], even_in_part: bool) -> bool {
    match detect::status_line(bytes) {
        Verdict::Yes => true,
        Verdict::More => even_in_part,
        Verdict::No => false,
    }
}
