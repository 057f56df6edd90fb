//! A request that is open: what comes of it and of its answer in, its exchange out.

use super::head;
use super::tally::Tally;
use crate::capture::event::Endpoint;
use crate::clock::Monotonic;
use crate::decode::books::Books;
use crate::decode::exchange::{Outcome, Response, Side, Step};
use crate::decode::http1;
use crate::decode::limits::HEAD_BYTES_MAX;
use crate::decode::open::{End, Mark, OpenExchange};
use crate::decode::scene::Scene;
use crate::decode::stream::Bytes;

/// See the file.
#[derive(Debug)]
pub struct Active {
    pub request: u16,
    pub exchange: OpenExchange,
    /// The connection is kept after it (FCGI_KEEP_CONN): another one may follow.
    pub keeps: bool,
    /// Its client wants no answer any more (FCGI_ABORT_REQUEST).
    pub is_aborted: bool,
    pub stdin: Tally,
    pub stdin_ended: bool,
    pub stdout: Tally,
    /// The answer's first record.
    pub begin: Option<Mark>,
    /// The bytes of the answer's head so far, until it is whole or given up.
    head: Option<Vec<u8>>,
}

impl Active {
    pub fn new(request: u16, exchange: OpenExchange, keeps: bool) -> Self {
        Self {
            request,
            exchange,
            keeps,
            is_aborted: false,
            stdin: Tally::default(),
            stdin_ended: false,
            stdout: Tally::default(),
            begin: None,
            head: Some(Vec::new()),
        }
    }

    /// Bytes held.
    pub fn footprint(&self) -> usize {
        let head = self.head.as_ref().map_or(0, Vec::capacity);
        size_of::<Self>() - size_of::<OpenExchange>() + self.exchange.footprint() + head
    }

    /// Content of FCGI_STDOUT.
    pub fn stdout(&mut self, bytes: Bytes<'_>, scene: &mut Scene<'_>) {
        let (Some(head), Bytes::Seen(seen)) = (&mut self.head, bytes) else {
            if self.head.is_some() {
                self.miss_answer(scene);
            }
            return self.stdout.count(bytes.len());
        };
        let before = head.len();
        let room = HEAD_BYTES_MAX - before;
        head.extend_from_slice(&seen[..seen.len().min(room)]);
        // Lines that came before are not looked at again, however small the records are.
        let line = memchr::memrchr(b'\n', &head[..before]).map_or(0, |end| end + 1);
        let end = match seen.contains(&b'\n') {
            true => http1::head::end(&head[line..]).map(|end| line + end),
            false => None,
        };
        if let Some(end) = end {
            head.truncate(end);
            self.stdout.count((before + seen.len() - end) as u64);
            self.answered(Seen::Whole, scene);
        } else if seen.len() > room {
            self.miss_answer(scene);
        }
    }

    /// Records of its answer are not seen: what there is of the head is all that will be, and where its body ends is not known.
    pub fn miss_answer(&mut self, scene: &mut Scene<'_>) {
        self.answered(Seen::InPart, scene);
        self.stdout.lose();
    }

    /// Whether all of the answer's body came, as its head says.
    pub fn has_whole_body(&self) -> bool {
        let length = self.body_length();
        length.is_some_and(|length| self.stdout.reaches(length))
    }

    /// How long the answer's body is, where its head says so (RFC 9110 §8.6; none at all: §6.4.1).
    fn body_length(&self) -> Option<u64> {
        let exchange = &self.exchange.exchange;
        let response = &exchange.response;
        let has_none = exchange.request.method.as_deref() == Some("HEAD")
            || matches!(response.status, Some(204 | 304));
        let length = if has_none {
            Some(0)
        } else {
            response.content_length
        };
        length.filter(|_| self.head.is_none() && !response.head_incomplete)
    }

    /// Nothing tells when its connection ends.
    pub fn is_on_unix_socket(&self) -> bool {
        self.exchange.exchange.link.local == Endpoint::Unix
    }

    /// FCGI_END_REQUEST came: there is no more of the head.
    pub fn end(mut self, scene: &mut Scene<'_>, end: End) {
        if !self.is_aborted {
            self.answered(Seen::Broken, scene);
        }
        self.finish(end, scene.books, scene.out);
    }

    /// Ends it and tells so.
    pub fn finish(mut self, end: End, books: &mut Books, out: &mut Vec<Step>) {
        let is_whole = end.outcome == Outcome::Complete && !self.exchange.records_lost;
        let said = |length: Option<u64>| length.filter(|_| is_whole);
        let length = self.body_length();
        let exchange = &mut self.exchange.exchange;
        let request = &mut exchange.request;
        request.body_bytes = self.stdin.bytes(said(request.content_length));
        if self.head.is_none() {
            let bytes = self.stdout.bytes(said(length));
            // A client takes no more for the body.
            let most = length.filter(|_| exchange.side == Side::Client);
            exchange.response.body_bytes = bytes.map(|bytes| bytes.min(most.unwrap_or(bytes)));
        }
        self.exchange.finish(end, books, out);
    }

    /// The head, as far as it was seen, is known now, unless it was before.
    fn answered(&mut self, seen: Seen, scene: &mut Scene<'_>) {
        let Some(lines) = self.head.take() else {
            return;
        };
        let head = head::read(&lines, seen == Seen::Whole);
        let response = Response {
            status: head.status,
            body_bytes: None,
            content_length: head.content_length,
            head_incomplete: seen == Seen::InPart,
        };
        let malformed = head.malformed || seen == Seen::Broken;
        let first_byte: Option<Monotonic> = self.begin.map(|mark| mark.origin.time);
        let exchange = &mut self.exchange;
        exchange.answered(response, malformed, first_byte, scene.books);
        let is_server = exchange.exchange.side == Side::Server;
        if let Some(mark) = self.begin.filter(|_| is_server) {
            exchange.tell_answerer(mark, scene);
        }
    }
}

/// How much of a head was seen.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    Whole,
    InPart,
    /// All, but it has no end.
    Broken,
}
