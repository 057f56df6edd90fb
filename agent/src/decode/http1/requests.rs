//! The direction of the requests: its calls in, started exchanges out.

use super::answers::Answers;
use super::body::{Body, Framing, Progress};
use super::head::{self, Parsed, RequestHead};
use super::{Conversation, Fate, Head, Scene};
use crate::decode::detect::{self, Verdict};
use crate::decode::exchange::{EndEvidence, ExchangeId, Side};
use crate::decode::limits::{HEAD_BYTES_MAX, PIPELINED_MAX};
use crate::decode::open::{Asked, End, Mark, OpenExchange};
use crate::decode::stream::{Bytes, Piece};

/// What the next byte of this direction is.
#[derive(Debug)]
pub enum Requests {
    /// Not known: a turn that begins with a request line will tell.
    Seek,
    /// Of a head, or of the empty lines before one. `sought`: begun while it was not known.
    Head { head: Head, sought: bool },
    /// Of the body of this exchange's request, which may have its answer already.
    Body { body: Body, of: ExchangeId },
}

impl Requests {
    /// A head comes next.
    pub fn between() -> Self {
        Self::Head {
            head: Head::default(),
            sought: false,
        }
    }

    pub fn held_bytes(&self) -> usize {
        match self {
            Self::Head { head, .. } => head.bytes.capacity(),
            _ => 0,
        }
    }
}

impl Conversation {
    pub(super) fn request_call(&mut self, scene: &mut Scene<'_>) {
        let io = scene.io;
        let mut begins_turn = io.turn_start && !io.data.is_empty();
        let cut = self.request_stream.cut(io);
        scene.count_cut(&cut);
        self.fresh &= cut.lost == 0;
        for piece in cut.pieces.into_iter().flatten() {
            // What was lost is of the turn before.
            if begins_turn && !matches!(piece.bytes, Bytes::Lost(_)) {
                begins_turn = false;
                self.end_turn(scene.books);
                self.unread = self.side == Side::Server;
            }
            let mut rest = Some(piece);
            while let Some(piece) = rest {
                rest = self.request_piece(scene, piece);
            }
        }
    }

    /// Takes bytes from a piece; returns what is left of it.
    fn request_piece<'a>(&mut self, scene: &mut Scene<'_>, piece: Piece<'a>) -> Option<Piece<'a>> {
        self.request_restart(scene, piece);
        match (&mut self.requests, piece.bytes) {
            (Requests::Seek, _) => None,
            (Requests::Head { .. }, Bytes::Seen(bytes)) => {
                self.request_head(scene, piece.position, bytes)
            }
            (Requests::Head { .. }, _) => {
                let before = self.open.len();
                self.give_up_request_head(scene);
                let lost = matches!(piece.bytes, Bytes::Lost(_));
                if lost && scene.io.turn_start && self.open.len() > before {
                    // Its turn is over, and its answer was not seen.
                    self.give_up_oldest(0, scene.books, scene.out);
                }
                self.drop_held(scene.books);
                self.requests = Requests::Seek;
                self.fresh = false;
                None
            }
            (Requests::Body { body, of }, bytes) => {
                let taken = body.take(bytes);
                let of = *of;
                if let Some(open) = self
                    .open
                    .iter_mut()
                    .rev()
                    .find(|open| open.exchange.id == of)
                {
                    open.saw_request(scene.io, scene.books);
                    OpenExchange::add(&mut open.exchange.request.body_bytes, taken.body_bytes);
                    open.malformed |= taken.progress == Progress::Broken;
                }
                match taken.progress {
                    Progress::More if matches!(body, Body::Blind { .. }) => {
                        self.requests = Requests::Seek
                    }
                    Progress::More => {}
                    Progress::Ended => self.requests = Requests::between(),
                    Progress::Broken => {
                        scene.books.counts.malformed += 1;
                        self.requests = Requests::Seek;
                        return None;
                    }
                }
                piece.after(bytes.len() - taken.rest?.len())
            }
        }
    }

    /// Where the place in the stream is not known, a turn that begins with a request line gives it.
    fn request_restart(&mut self, scene: &Scene<'_>, piece: Piece<'_>) {
        let Bytes::Seen(bytes) = piece.bytes else {
            return;
        };
        if !scene.io.turn_start || piece.position != scene.io.position {
            return;
        }
        let restart = match &self.requests {
            Requests::Seek => detect::request_line(bytes) != Verdict::No,
            Requests::Head { head, sought: true } => {
                detect::request_line(&head.bytes) != Verdict::Yes
                    && detect::request_line(bytes) == Verdict::Yes
            }
            _ => false,
        };
        if restart {
            self.requests = Requests::Head {
                head: Head::default(),
                sought: true,
            };
        }
    }

    fn request_head<'a>(
        &mut self,
        scene: &mut Scene<'_>,
        position: u32,
        bytes: &'a [u8],
    ) -> Option<Piece<'a>> {
        let Requests::Head { head, sought } = &mut self.requests else {
            return None;
        };
        let sought = *sought;
        let blank = match head.bytes.is_empty() {
            true => detect::blank(bytes),
            false => 0,
        };
        let (position, bytes) = (position.wrapping_add(blank as u32), &bytes[blank..]);
        if bytes.is_empty() {
            head.begins_turn |= Mark::new(scene.io, position, blank).turn_start;
            return None;
        }
        let begins_turn = head.begins_turn;
        let mark = head
            .mark
            .get_or_insert_with(|| Mark::new(scene.io, position, blank));
        mark.turn_start |= begins_turn;
        let mark = *mark;
        let parse = |bytes: &[u8]| scene.books.heads.request(bytes);
        match head.read(bytes, parse, detect::request_line) {
            Read::Whole(parsed, used) => {
                self.begin(scene, mark, parsed);
                let rest = bytes.get(used..).filter(|rest| !rest.is_empty())?;
                Some(Piece {
                    position: position.wrapping_add(used as u32),
                    bytes: Bytes::Seen(rest),
                })
            }
            Read::More => None,
            Read::Broken(all) => {
                let parsed = head::salvage_request(&all, true);
                self.begin(scene, mark, parsed);
                None
            }
            Read::TooLong => {
                self.give_up_request_head(scene);
                self.requests = Requests::Seek;
                None
            }
            Read::None => {
                self.unread = false;
                self.not_a_request(scene, sought);
                None
            }
        }
    }

    /// Starts the exchange whose head will not be seen whole, if it is one.
    pub(super) fn give_up_request_head(&mut self, scene: &mut Scene<'_>) {
        let Requests::Head { head, sought } = &mut self.requests else {
            return;
        };
        let (bytes, mark, sought) = (std::mem::take(&mut head.bytes), head.mark.take(), *sought);
        let Some(mark) = mark else { return };
        match detect::request_line(&bytes) {
            Verdict::Yes => self.begin(scene, mark, head::salvage_request(&bytes, false)),
            Verdict::More if detect::request_line_likely(&bytes) => {
                self.begin(scene, mark, head::salvage_request(&bytes, false));
            }
            verdict => {
                // Too little of it was seen to say what the connection carries.
                self.fresh &= verdict == Verdict::No;
                self.not_a_request(scene, sought);
            }
        }
    }

    fn not_a_request(&mut self, scene: &mut Scene<'_>, sought: bool) {
        self.requests = Requests::Seek;
        if sought && self.confirmed {
            return;
        }
        scene.books.counts.malformed += u64::from(self.confirmed);
        if self.open.is_empty() {
            self.fate = Fate::NotUnderstood;
        }
    }

    /// A request's head is known.
    fn begin(&mut self, scene: &mut Scene<'_>, mark: Mark, head: RequestHead) {
        if mark.turn_start {
            self.answers_before(scene);
        }
        self.requests = Requests::Seek;
        self.unread = false;
        if self.side == Side::Server && head.request.is_delivery() {
            self.fate = Fate::Upgraded;
            return;
        }
        if self.open.len() >= PIPELINED_MAX {
            scene.books.counts.pipeline_full += 1;
            return;
        }
        let framing = match head.malformed && head.framing != Framing::Chunked {
            true => Framing::Unknown,
            false => head.framing,
        };
        let first = std::mem::take(&mut self.fresh);
        self.confirmed = true;
        self.answers_owed = false;
        let asked = Asked {
            request: head.request,
            protocol: head.protocol,
            malformed: head.malformed,
        };
        let mut open = OpenExchange::start(self.side, mark, asked, first, scene);
        open.saw_request(scene.io, scene.books);
        self.requests = match (framing, Body::new(framing)) {
            (Framing::Unknown, _) => Requests::Seek,
            (_, None) => Requests::between(),
            (_, Some(body)) => Requests::Body {
                body,
                of: open.exchange.id,
            },
        };
        self.open.push_back(open);
    }

    /// A request that begins a turn: an answer before it that could not be followed is over.
    fn answers_before(&mut self, scene: &mut Scene<'_>) {
        if self.answer_stream.is_unseen() {
            // There was one, of which every record was lost.
            return self.give_up_oldest(0, scene.books, scene.out);
        }
        let Answers::Body {
            body: Body::Blind { .. },
            likely_end,
            ..
        } = &self.answers
        else {
            return;
        };
        let last = self.open.front().and_then(|front| front.last_answer);
        let end = match (likely_end, last) {
            (Some(time), _) => End::complete(EndEvidence::Counted, *time),
            (None, last) => End::complete(
                EndEvidence::NextRequest,
                last.unwrap_or(scene.io.origin.time),
            ),
        };
        self.finish_front(end, scene.books, scene.out);
        self.give_up_oldest(0, scene.books, scene.out);
        self.answers = Answers::Seek;
    }
}

/// What became of a head with some more bytes.
pub(super) enum Read<T> {
    /// It is whole, and ends after so many of these bytes.
    Whole(T, usize),
    More,
    /// It is whole and not valid.
    Broken(Vec<u8>),
    /// It is longer than the limit.
    TooLong,
    /// It does not begin as one.
    None,
}

impl Head {
    /// Adds bytes and parses when the head's end is there. The usual head comes whole and is not copied.
    pub(super) fn read<T>(
        &mut self,
        bytes: &[u8],
        mut parse: impl FnMut(&[u8]) -> Parsed<T>,
        detect: impl Fn(&[u8]) -> Verdict,
    ) -> Read<T> {
        let before = self.bytes.len();
        if before == 0 {
            if let Parsed::Complete(parsed, length) = parse(bytes) {
                return Read::Whole(parsed, length);
            }
        }
        let room = HEAD_BYTES_MAX.saturating_sub(before);
        self.bytes
            .extend_from_slice(&bytes[..bytes.len().min(room)]);
        if detect(&self.bytes) == Verdict::No {
            return Read::None;
        }
        if bytes.contains(&b'\n') && head::end(&self.bytes).is_some() {
            return match parse(&self.bytes) {
                Parsed::Complete(parsed, length) => {
                    Read::Whole(parsed, length.saturating_sub(before))
                }
                _ => Read::Broken(std::mem::take(&mut self.bytes)),
            };
        }
        match bytes.len() < room {
            true => Read::More,
            false => Read::TooLong,
        }
    }
}
