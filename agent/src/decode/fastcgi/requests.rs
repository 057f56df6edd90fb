//! The direction of the requests: its calls in, started exchanges out.

use super::active::Active;
use super::params::Params;
use super::records::{kind, Part, Record, Records};
use super::{Conversation, Fate, Scene};
use crate::decode::detect;
use crate::decode::exchange::{EndEvidence, Outcome, Protocol, Side};
use crate::decode::limits::PIPELINED_MAX;
use crate::decode::open::{Asked, End, Mark, OpenExchange};
use crate::decode::stream::{Bytes, Piece};

/// Content of an FCGI_BEGIN_REQUEST (FastCGI 1.0 §5.1): the role in two bytes, the flags, five that are reserved.
const BEGIN_BYTES: u16 = 8;
const FLAGS_PLACE: u64 = 2;
/// Bit of the flags: FCGI_KEEP_CONN.
const KEEP: u8 = 1;

/// A request whose parameters are not whole yet.
#[derive(Debug)]
pub struct Coming {
    pub request: u16,
    /// Its first byte.
    mark: Mark,
    /// Content of its FCGI_BEGIN_REQUEST that came.
    begun: u64,
    flags: Option<u8>,
    params: Params,
}

impl Coming {
    fn new(request: u16, mark: Mark) -> Self {
        Self {
            request,
            mark,
            begun: 0,
            flags: None,
            params: Params::default(),
        }
    }

    /// Bytes held.
    pub fn footprint(&self) -> usize {
        size_of::<Self>() + self.params.held()
    }

    /// Content of its FCGI_BEGIN_REQUEST; whether it is valid. (Roles: §6)
    fn begin(&mut self, bytes: Bytes<'_>) -> bool {
        let place = self.begun;
        self.begun += bytes.len();
        let Bytes::Seen(seen) = bytes else {
            return true;
        };
        (place..).zip(seen).all(|(place, byte)| match place {
            1 => matches!(byte, 1..=3),
            FLAGS_PLACE => {
                self.flags = Some(*byte);
                true
            }
            _ => *byte == 0,
        })
    }

    /// Where that was not seen, another request may follow on the connection.
    fn keeps(&self) -> bool {
        self.flags.is_none_or(|flags| flags & KEEP != 0)
    }
}

impl Conversation {
    pub(super) fn request_call(&mut self, scene: &mut Scene<'_>) {
        let io = scene.io;
        let cut = self.request_stream.cut(io);
        scene.count_cut(&cut);
        self.fresh &= cut.lost == 0;
        for piece in cut.pieces.into_iter().flatten() {
            self.request_restart(scene, piece);
            let mut rest = Some(piece);
            while let Some(part) = self.requests.next(io, &mut rest) {
                self.request_part(scene, part);
            }
        }
    }

    /// Where the place in the stream is not known, a turn that begins as a request, or with what is left of the last one, gives it.
    fn request_restart(&mut self, scene: &mut Scene<'_>, piece: Piece<'_>) {
        let io = scene.io;
        let Bytes::Seen(bytes) = piece.bytes else {
            return;
        };
        if !self.requests.is_astray() || !io.turn_start || piece.position != io.position {
            return;
        }
        if detect::fastcgi_begins(bytes) {
            self.requests = Records::between();
        } else if self.side == Side::Server && self.open.is_empty() {
            scene.books.counts.unread_requests += 1;
        }
    }

    fn request_part(&mut self, scene: &mut Scene<'_>, part: Part<'_>) {
        match part {
            Part::Begin(record, mark) => self.request_record(scene, record, mark),
            Part::Content(record, bytes) => self.request_content(scene, record, bytes),
            Part::End(record) => self.request_record_end(scene, record),
            Part::Broken => self.break_requests(scene),
            Part::Missed(bytes) => self.miss_requests(scene, bytes),
            Part::Astray(bytes) => self.count_astray(bytes),
        }
    }

    fn request_record(&mut self, scene: &mut Scene<'_>, record: Record, mark: Mark) {
        match record.kind {
            _ if !is_of_requests(record) => self.break_requests(scene),
            kind::BEGIN_REQUEST => self.ask(scene, record.request, mark),
            kind::STDIN | kind::DATA => self.begin_coming(scene, record.request),
            kind::ABORT_REQUEST => {
                if let Some(active) = self.active(record.request) {
                    active.is_aborted = true;
                }
            }
            _ => {}
        }
    }

    fn request_content(&mut self, scene: &mut Scene<'_>, record: Record, bytes: Bytes<'_>) {
        let is_its = |coming: &&mut Coming| coming.request == record.request;
        let coming = self.coming.iter_mut().find(is_its);
        match (record.kind, coming) {
            (kind::BEGIN_REQUEST, Some(coming)) => match coming.begin(bytes) {
                true => {}
                false => self.break_requests(scene),
            },
            (kind::PARAMS, Some(coming)) => coming.params.add(bytes),
            (kind::STDIN, _) => {
                if let Some(active) = self.active(record.request) {
                    active.exchange.saw_request(scene.io, scene.books);
                    active.stdin.count(bytes.len());
                }
            }
            _ => {}
        }
    }

    /// An empty record ends a stream (§3.3).
    fn request_record_end(&mut self, scene: &mut Scene<'_>, record: Record) {
        match (record.kind, record.content_bytes) {
            (kind::BEGIN_REQUEST, _) => self.confirmed = true,
            (kind::PARAMS, 0) => self.begin_whole(scene, record.request),
            (kind::STDIN, 0) => {
                if let Some(active) = self.active(record.request) {
                    active.stdin_ended = true;
                }
            }
            _ => {}
        }
    }

    /// A request begins. One of the same number must be over.
    fn ask(&mut self, scene: &mut Scene<'_>, request: u16, mark: Mark) {
        // Whatever number it has: who asks again mostly has the answer before.
        self.settle(scene.books, scene.out);
        self.delivery = self.delivery.filter(|delivery| *delivery != request);
        self.end_earlier(scene, request);
        let before = self.coming.len();
        self.coming.retain(|coming| coming.request != request);
        self.count_unread(before - self.coming.len(), scene.books);
        if self.coming.len() + self.open.len() >= PIPELINED_MAX {
            scene.books.counts.pipeline_full += 1;
            return;
        }
        self.coming.push(Coming::new(request, mark));
    }

    /// The end of an earlier request's answer was not seen, if it is open still.
    fn end_earlier(&mut self, scene: &mut Scene<'_>, request: u16) {
        let is_its = |active: &Active| active.request == request;
        let Some(earlier) = self.open.iter().position(is_its) else {
            return;
        };
        let Some(active) = self.open.remove(earlier) else {
            return;
        };
        let end = match active.exchange.last_answer {
            Some(time) if active.stdout.is_lost() => End::complete(EndEvidence::NextRequest, time),
            _ => End::cut(Outcome::EndUnseen, active.exchange.last_seen),
        };
        active.finish(end, scene.books, scene.out);
        self.answers = Records::Astray;
    }

    fn take_coming(&mut self, request: u16) -> Option<Coming> {
        let is_its = |coming: &Coming| coming.request == request;
        let place = self.coming.iter().position(is_its)?;
        Some(self.coming.remove(place))
    }

    /// All parameters of a request came.
    fn begin_whole(&mut self, scene: &mut Scene<'_>, request: u16) {
        if let Some(coming) = self.take_coming(request) {
            self.begin(scene, coming);
        }
    }

    /// Parameters of a request, if it is coming still, were not seen.
    pub(super) fn begin_coming(&mut self, scene: &mut Scene<'_>, request: u16) {
        if let Some(mut coming) = self.take_coming(request) {
            coming.params.cut();
            self.begin(scene, coming);
        }
    }

    fn begin_all_coming(&mut self, scene: &mut Scene<'_>) {
        while let Some(request) = self.coming.first().map(|coming| coming.request) {
            self.begin_coming(scene, request);
        }
    }

    fn begin(&mut self, scene: &mut Scene<'_>, coming: Coming) {
        let (request, malformed) = coming.params.read();
        if self.side == Side::Server && request.is_delivery() {
            // Others may share the connection, behind a web server.
            self.delivery = Some(coming.request);
            self.confirmed = true;
            return;
        }
        // What looked like the end was of another.
        self.settle(scene.books, scene.out);
        let first = std::mem::take(&mut self.fresh);
        self.confirmed = true;
        let asked = Asked {
            request,
            protocol: Protocol::FastCgi,
            malformed,
        };
        let mut exchange = OpenExchange::start(self.side, coming.mark, asked, first, scene);
        exchange.saw_request(scene.io, scene.books);
        let active = Active::new(coming.request, exchange, coming.keeps());
        self.open.push_back(active);
    }

    /// What comes is not known any more, until a turn begins as a request.
    fn miss_requests(&mut self, scene: &mut Scene<'_>, bytes: Bytes<'_>) {
        let before = self.open.len();
        self.begin_all_coming(scene);
        for active in self.open.iter_mut().filter(|active| !active.stdin_ended) {
            active.stdin.lose();
        }
        self.count_astray(bytes);
        if let Bytes::Lost(_) = bytes {
            self.fresh = false;
            if scene.io.turn_start {
                // Their turn is over, and their answers were not seen.
                self.give_up(before.., scene.books, scene.out);
            }
        }
    }

    fn count_astray(&mut self, bytes: Bytes<'_>) {
        if !matches!(bytes, Bytes::Lost(_)) {
            for active in &mut self.open {
                active.stdin.count_astray(bytes.len());
            }
        }
    }

    fn break_requests(&mut self, scene: &mut Scene<'_>) {
        self.requests = Records::Astray;
        if !self.confirmed {
            self.coming.clear();
            self.fate = Fate::NotUnderstood;
            return;
        }
        scene.books.counts.malformed += 1;
        self.begin_all_coming(scene);
        for active in self.open.iter_mut().filter(|active| !active.stdin_ended) {
            active.exchange.malformed = true;
            active.stdin.lose();
        }
    }
}

/// Whether a client sends such records (§8; of 0: §4).
fn is_of_requests(record: Record) -> bool {
    let is_of_one = record.request != 0;
    match record.kind {
        kind::BEGIN_REQUEST => is_of_one && record.content_bytes == BEGIN_BYTES,
        kind::ABORT_REQUEST | kind::PARAMS | kind::STDIN | kind::DATA => is_of_one,
        kind::GET_VALUES => !is_of_one,
        other => !is_of_one && other > kind::UNKNOWN_TYPE,
    }
}
