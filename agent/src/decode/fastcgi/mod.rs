//! FastCGI 1.0 on one connection: the calls of both directions in, exchanges out.
//!
//! A web server connects and hands its requests on. Each direction is a row of records of its own, each record of one request; a
//! record of an answer belongs to the open request of its number. Bodies are counted by the headers of their records. Where a
//! header is not seen, bytes have no place any more: reading goes on with a record that begins a turn, and what a body's records
//! do not say, its Content-Length may.

mod active;
mod answers;
mod ends;
mod head;
mod params;
mod records;
mod requests;
mod tally;

use std::collections::VecDeque;
use std::sync::Arc;

use self::active::Active;
use self::records::Records;
use self::requests::Coming;
use super::exchange::{ExchangeId, Link, Moved, Side};
use super::open::OpenExchange;
use super::recent::Recent;
use super::scene::{side_of_requests, Fate, Scene};
use super::stream::Stream;
use crate::capture::event::{Direction, Io};
use crate::clock::Monotonic;

/// See the file.
#[derive(Debug)]
pub struct Conversation {
    side: Side,
    /// Requests whose parameters are not whole yet, oldest first.
    coming: Vec<Coming>,
    /// Requests without a whole answer, oldest first.
    open: VecDeque<Active>,
    requests: Records,
    answers: Records,
    /// Whose answer the record of the answers is of that came last.
    answered: Option<ExchangeId>,
    request_stream: Stream,
    answer_stream: Stream,
    /// Of the answers, while they are astray.
    recent: Recent,
    /// The last call of the answers ended as answers end, at this time; but it may go on.
    likely_end: Option<Monotonic>,
    /// The request that delivers what an agent has seen, which is not told.
    delivery: Option<u16>,
    /// That call was taken for an FCGI_END_REQUEST whose header was not seen.
    hides_end: bool,
    /// The next request would be the first since the connection was opened.
    fresh: bool,
    /// The start of a request was seen: this is FastCGI.
    confirmed: bool,
    /// The other side will send no more.
    stream_ended: bool,
    /// What was open, alone, before the latest call.
    before: Option<ExchangeId>,
    fate: Fate,
}

impl Conversation {
    /// `fresh`: nothing came before on this connection. Otherwise reading begins where a record is known to begin.
    pub fn new(side: Side, fresh: bool) -> Self {
        let place = || match fresh {
            true => Records::between(),
            false => Records::Astray,
        };
        Self {
            side,
            coming: Vec::new(),
            open: VecDeque::new(),
            requests: place(),
            answers: place(),
            answered: None,
            request_stream: Stream::default(),
            answer_stream: Stream::default(),
            recent: Recent::default(),
            likely_end: None,
            delivery: None,
            hides_end: false,
            fresh,
            confirmed: false,
            stream_ended: false,
            before: None,
            fate: Fate::Understood,
        }
    }

    /// Looks at a call.
    pub fn apply(&mut self, scene: &mut Scene<'_>) -> Fate {
        self.before = match self.open.len() {
            1 => self.open.front().map(|active| active.exchange.exchange.id),
            _ => None,
        };
        match side_of_requests(scene.io.direction) == self.side {
            true => self.request_call(scene),
            false => self.answer_call(scene),
        }
        if scene.io.end_of_stream {
            self.end_of_stream(scene);
        }
        self.fate
    }

    /// What the latest call did. Proxies do not serve FastCGI.
    pub fn moved(&self, io: &Io<'_>) -> Moved {
        match (self.side, io.direction) {
            // It may have ended with this call.
            (Side::Client, Direction::Ingress) => self.before.map_or(Moved::Other, Moved::Answer),
            (Side::Client, Direction::Egress) => Moved::Call,
            (Side::Server, _) => Moved::Other,
        }
    }

    /// More is known of the connection: that is told of what is open, too.
    pub fn relink(&mut self, link: &Arc<Link>) {
        for active in &mut self.open {
            active.exchange.exchange.link = Arc::clone(link);
        }
    }

    /// Whether nothing was seen but the start of what should be the first request.
    pub fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// Exchanges open.
    pub fn open(&self) -> impl Iterator<Item = &OpenExchange> {
        self.open.iter().map(|active| &active.exchange)
    }

    /// Bytes held.
    pub fn footprint(&self) -> usize {
        let open = self.open.iter().map(Active::footprint);
        let coming = self.coming.iter().map(Coming::footprint);
        size_of::<Self>() + open.sum::<usize>() + coming.sum::<usize>()
    }

    /// The open request of that number.
    fn active(&mut self, request: u16) -> Option<&mut Active> {
        self.open
            .iter_mut()
            .find(|active| active.request == request)
    }
}
