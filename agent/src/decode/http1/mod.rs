//! HTTP/1.0 and 1.1 (RFC 9112) on one connection: the calls of both directions in, exchanges out.
//!
//! Requests and answers are read separately, each by its own framing; an answer belongs to the oldest request
//! without one. Where bytes are missing, reading goes on where a message is known to begin: a request line that
//! begins a turn, a status line that begins a call.

mod after_loss;
mod answers;
mod body;
mod chunked;
mod ends;
pub mod fields;
pub mod head;
mod held;
mod line;
mod memo;
mod moves;
mod requests;
mod turns;

use std::collections::VecDeque;
use std::sync::Arc;

use self::answers::Answers;
use self::requests::Requests;
use super::books::Books;
use super::exchange::{ExchangeId, Link, Side, Step};
use super::open::{End, Mark, OpenExchange};
use super::scene::{side_of_requests, Fate, Scene};
use super::stream::Stream;
use crate::clock::Monotonic;

/// See the file.
#[derive(Debug)]
pub struct Conversation {
    side: Side,
    /// Requests without a whole answer, oldest first.
    open: VecDeque<OpenExchange>,
    requests: Requests,
    answers: Answers,
    request_stream: Stream,
    answer_stream: Stream,
    /// The next request would be the first since the connection was opened.
    fresh: bool,
    /// A request was seen: this is HTTP.
    confirmed: bool,
    /// An answer was seen to begin after a later turn of requests had.
    turns_overlap: bool,
    /// Exchanges were given up whose answers may still come.
    answers_owed: bool,
    /// The other side will send no more.
    stream_ended: bool,
    /// A turn of requests to this process began, and none of it was read yet.
    unread: bool,
    /// What was open alone until the latest call.
    before: Option<ExchangeId>,
    fate: Fate,
}

/// A head that is not whole yet.
#[derive(Debug, Default)]
struct Head {
    bytes: Vec<u8>,
    mark: Option<Mark>,
    /// Empty lines before it began the turn, in calls of their own.
    begins_turn: bool,
}

impl Conversation {
    /// `fresh`: nothing came before on this connection. Otherwise reading begins where a message is known to begin.
    pub fn new(side: Side, fresh: bool) -> Self {
        Self {
            side,
            open: VecDeque::new(),
            requests: if fresh {
                Requests::between()
            } else {
                Requests::Seek
            },
            answers: if fresh {
                Answers::between()
            } else {
                Answers::Seek
            },
            request_stream: Stream::default(),
            answer_stream: Stream::default(),
            fresh,
            confirmed: false,
            turns_overlap: false,
            answers_owed: false,
            stream_ended: false,
            unread: false,
            before: None,
            fate: Fate::Understood,
        }
    }

    /// Looks at a call.
    pub fn apply(&mut self, scene: &mut Scene<'_>) -> Fate {
        let is_request = side_of_requests(scene.io.direction) == self.side;
        self.before = self.only_open();
        if is_request {
            self.request_call(scene);
            self.release_held(scene);
        } else {
            self.answer_call(scene);
        }
        self.tell_read(scene);
        if scene.io.end_of_stream {
            self.end_of_stream(scene);
        }
        self.fate
    }

    /// More is known of the connection: that is told of what is open, too.
    pub fn relink(&mut self, link: &Arc<Link>) {
        for open in &mut self.open {
            open.exchange.link = Arc::clone(link);
        }
    }

    /// Whether nothing was seen but the start of what should be the first request.
    pub fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// Exchanges open.
    pub fn open(&self) -> impl Iterator<Item = &OpenExchange> {
        self.open.iter()
    }

    /// Bytes held.
    pub fn footprint(&self) -> usize {
        let open = self.open.iter().map(OpenExchange::footprint);
        size_of::<Self>()
            + open.sum::<usize>()
            + self.requests.held_bytes()
            + self.answers.held_bytes()
    }

    /// A turn is over: if no request of it was read, one is missing.
    fn end_turn(&mut self, books: &mut Books) {
        books.counts.unread_requests += u64::from(std::mem::take(&mut self.unread));
    }

    fn finish_front(&mut self, end: End, books: &mut Books, out: &mut Vec<Step>) {
        if let Some(front) = self.open.pop_front() {
            front.finish(end, books, out);
        }
    }

    /// Finishes all but the newest `keep`, the end of which will not be known.
    fn give_up_oldest(&mut self, keep: usize, books: &mut Books, out: &mut Vec<Step>) {
        use super::exchange::Outcome::EndUnseen;
        self.answers_owed |= self.open.len() > keep;
        while self.open.len() > keep {
            let last_seen = self
                .open
                .front()
                .map_or(Monotonic(0), |front| front.last_seen);
            self.finish_front(End::cut(EndUnseen, last_seen), books, out);
        }
    }
}
