//! The direction of the answers: its calls in, finished exchanges out.

use super::active::Active;
use super::records::{kind, Part, Record, Records, HEADER_BYTES};
use super::{Conversation, Fate, Scene};
use crate::capture::event::Io;
use crate::decode::exchange::{EndEvidence, Outcome, Side};
use crate::decode::open::{End, Mark};
use crate::decode::recent::{ends_request, Recent};
use crate::decode::stream::{Bytes, Cut, Piece};

impl Conversation {
    pub(super) fn answer_call(&mut self, scene: &mut Scene<'_>) {
        let io = scene.io;
        // An answer begins a turn. Where the position cannot show that its start was lost, this does.
        if self.answer_stream.is_unseen() && io.size > 0 && !io.turn_start {
            self.answers = Records::Astray;
            self.lose_answers(scene);
        }
        let cut = self.answer_stream.cut(io);
        scene.count_cut(&cut);
        if io.size > 0 {
            self.likely_end = None;
            if std::mem::take(&mut self.hides_end) {
                // It was another record.
                self.open.iter_mut().for_each(|active| active.stdout.lose());
            }
        }
        if self.is_likely_end(&cut) {
            for active in &mut self.open {
                active.exchange.saw_answer(io, scene.books);
            }
            self.likely_end = Some(io.origin.time);
            self.hides_end = true;
            return;
        }
        for piece in cut.pieces.into_iter().flatten() {
            self.answer_restart(io, piece);
            let mut rest = Some(piece);
            while let Some(part) = self.answers.next(io, &mut rest) {
                self.answer_part(scene, part);
            }
        }
        self.look_for_end(scene);
    }

    /// A record of which only the last bytes are copied, as long as an FCGI_END_REQUEST, and it ends as that does.
    fn is_likely_end(&self, cut: &Cut<'_>) -> bool {
        let [None, None, Some(header), Some(content)] = cut.pieces else {
            return false;
        };
        let ends = |bytes| matches!(bytes, Bytes::Seen(seen) if ends_request(seen));
        self.open.len() == 1
            && self.answers.is_between()
            && header.bytes.len() == HEADER_BYTES as u64
            && ends(content.bytes)
    }

    /// Where the place in the stream is not known, a turn that begins with a record of an answer gives it.
    fn answer_restart(&mut self, io: &Io<'_>, piece: Piece<'_>) {
        let Bytes::Seen(bytes) = piece.bytes else {
            return;
        };
        if !self.answers.is_astray() || !io.turn_start || piece.position != io.position {
            return;
        }
        let is_asked = |record: Record| {
            let open = self.open.iter().map(|active| active.request);
            let coming = self.coming.iter().map(|coming| coming.request);
            let is_its = open.chain(coming).any(|request| request == record.request);
            is_its && is_of_answers(record)
        };
        if Record::at_start(bytes).is_some_and(is_asked) {
            self.answers = Records::between();
            self.recent = Recent::default();
        }
    }

    fn answer_part(&mut self, scene: &mut Scene<'_>, part: Part<'_>) {
        match part {
            Part::Begin(record, mark) => self.answer_record(scene, record, mark),
            Part::Content(record, bytes) => self.answer_content(scene, record, bytes),
            Part::End(record) if record.kind == kind::END_REQUEST => self.end_request(scene),
            Part::End(_) => {}
            Part::Broken => self.break_answers(scene),
            Part::Missed(bytes) => {
                match bytes {
                    Bytes::Lost(_) => self.lose_answers(scene),
                    _ => self
                        .open
                        .iter_mut()
                        .for_each(|active| active.miss_answer(scene)),
                }
                self.answer_astray(scene, bytes);
            }
            Part::Astray(bytes) => self.answer_astray(scene, bytes),
        }
    }

    fn answer_record(&mut self, scene: &mut Scene<'_>, record: Record, mark: Mark) {
        if !is_of_answers(record) {
            return self.break_answers(scene);
        }
        self.begin_coming(scene, record.request);
        let active = self.active(record.request);
        let answered = active.as_ref().map(|active| active.exchange.exchange.id);
        match active {
            Some(active) => {
                active.exchange.saw_answer(scene.io, scene.books);
                if record.kind == kind::STDOUT {
                    active.begin.get_or_insert(mark);
                }
            }
            None => {
                let is_told = self.delivery != Some(record.request);
                let begins = record.kind == kind::STDOUT && mark.turn_start && is_told;
                scene.books.counts.answers_without_request += u64::from(begins);
            }
        }
        self.answered = answered;
    }

    /// The record that came last may be of a request that is over, the number of which another has by now.
    fn is_answered(&self) -> impl Fn(&Active) -> bool {
        let answered = self.answered;
        move |active| Some(active.exchange.exchange.id) == answered
    }

    fn answer_content(&mut self, scene: &mut Scene<'_>, record: Record, bytes: Bytes<'_>) {
        let is_answered = self.is_answered();
        if let Some(active) = self.open.iter_mut().find(|active| is_answered(active)) {
            if !matches!(bytes, Bytes::Lost(_)) {
                active.exchange.saw_answer(scene.io, scene.books);
            }
            if record.kind == kind::STDOUT {
                active.stdout(bytes, scene);
            }
        }
    }

    fn end_request(&mut self, scene: &mut Scene<'_>) {
        let place = self.open.iter().position(self.is_answered());
        let Some(active) = place.and_then(|place| self.open.remove(place)) else {
            return;
        };
        let time = scene.io.origin.time;
        let end = match (active.is_aborted, self.side) {
            (false, _) => End::complete(EndEvidence::Counted, time),
            (true, Side::Client) => End::cut(Outcome::Cancelled, time),
            (true, Side::Server) => End::cut(Outcome::ClientGone, time),
        };
        active.end(scene, end);
    }

    /// Bytes that may be of any answer.
    fn answer_astray(&mut self, scene: &mut Scene<'_>, bytes: Bytes<'_>) {
        self.recent.push(bytes);
        if matches!(bytes, Bytes::Lost(_)) {
            return;
        }
        for active in &mut self.open {
            active.exchange.saw_answer(scene.io, scene.books);
            active.stdout.count_astray(bytes.len());
        }
    }

    /// Records of answers were lost: those of what began since are not among them. What was open before may be over, and what
    /// comes be the answer to a request that was lost too, if the connection is kept.
    fn lose_answers(&mut self, scene: &mut Scene<'_>) {
        let was_open = |active: &Active| active.exchange.lost_before(scene.io);
        while let Some(place) = self
            .open
            .iter()
            .position(|active| active.keeps && was_open(active))
        {
            self.give_up(place..=place, scene.books, scene.out);
        }
        for active in self
            .open
            .iter_mut()
            .filter(|active| active.exchange.lost_before(scene.io))
        {
            active.exchange.records_lost = true;
            active.miss_answer(scene);
        }
    }

    fn break_answers(&mut self, scene: &mut Scene<'_>) {
        self.answers = Records::Astray;
        if !self.confirmed && self.open.is_empty() {
            self.fate = Fate::NotUnderstood;
            return;
        }
        scene.books.counts.malformed += 1;
        for active in &mut self.open {
            active.exchange.malformed = true;
            active.miss_answer(scene);
        }
    }

    /// Whether the call ended as answers end, where only that is left to tell.
    fn look_for_end(&mut self, scene: &mut Scene<'_>) {
        let io = scene.io;
        let is_one = io.size > 0 && self.open.len() == 1;
        if !is_one {
            return;
        }
        if self.side == Side::Client {
            // Who knows how long a body is may read no more than that.
            let whole = self.open.pop_front_if(|active| active.has_whole_body());
            if let Some(active) = whole {
                let end = End::complete(EndEvidence::Counted, io.origin.time);
                return active.finish(end, scene.books, scene.out);
            }
        }
        if self.answers.is_astray() && self.recent.ends_request() == Some(true) {
            self.likely_end = Some(io.origin.time);
        }
    }
}

/// Whether a server sends such records (§8; of 0: §4).
fn is_of_answers(record: Record) -> bool {
    match record.kind {
        kind::END_REQUEST | kind::STDOUT | kind::STDERR => record.request != 0,
        kind::GET_VALUES_RESULT | kind::UNKNOWN_TYPE => record.request == 0,
        _ => false,
    }
}
