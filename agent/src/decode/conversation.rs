//! What a connection carries, in whichever protocol: its calls in, exchanges out.

use std::sync::Arc;
use std::time::Duration;

use super::books::Books;
use super::exchange::{Link, Moved, Side, Step};
use super::scene::{Fate, Scene};
use super::{fastcgi, http1};
use crate::capture::event::{HostPid, Io};
use crate::clock::Monotonic;

/// See the file.
#[derive(Debug)]
pub enum Conversation {
    Http(Box<http1::Conversation>),
    FastCgi(Box<fastcgi::Conversation>),
}

/// Calls a method of whichever it is.
macro_rules! either {
    ($conversation:expr, $one:ident => $call:expr) => {
        match $conversation {
            Conversation::Http($one) => $call,
            Conversation::FastCgi($one) => $call,
        }
    };
}

impl Conversation {
    /// HTTP/1 of which nothing was seen. `fresh`: nothing came before on this connection.
    pub fn http(side: Side, fresh: bool) -> Self {
        Self::Http(Box::new(http1::Conversation::new(side, fresh)))
    }

    /// The same, FastCGI.
    pub fn fastcgi(side: Side, fresh: bool) -> Self {
        Self::FastCgi(Box::new(fastcgi::Conversation::new(side, fresh)))
    }

    /// Looks at a call.
    pub fn apply(&mut self, scene: &mut Scene<'_>) -> Fate {
        either!(self, one => one.apply(scene))
    }

    /// What the latest call did.
    pub fn moved(&self, io: &Io<'_>) -> Moved {
        either!(self, one => one.moved(io))
    }

    /// More is known of the connection: that is told of what is open, too.
    pub fn relink(&mut self, link: &Arc<Link>) {
        either!(self, one => one.relink(link));
    }

    /// Whether nothing was seen but the start of what should be the first request.
    pub fn is_fresh(&self) -> bool {
        either!(self, one => one.is_fresh())
    }

    /// Whether something is open that a process has to do with.
    pub fn is_of(&self, process: HostPid) -> bool {
        either!(self, one => one.open().any(|open| open.exchange.process == process))
    }

    /// Bytes held.
    pub fn footprint(&self) -> usize {
        either!(self, one => one.footprint())
    }

    /// The connection ended.
    pub fn closed(&mut self, reset: bool, time: Monotonic, books: &mut Books, out: &mut Vec<Step>) {
        either!(self, one => one.closed(reset, time, books, out));
    }

    /// The process ended; `failed`: not with status 0.
    pub fn exited(
        &mut self,
        failed: bool,
        time: Monotonic,
        books: &mut Books,
        out: &mut Vec<Step>,
    ) {
        match self {
            Self::Http(one) => one.exited(failed, time, books, out),
            Self::FastCgi(one) => one.exited(time, books, out),
        }
    }

    /// Ends everything whatever its state: `StillOpen` at a time, or `EndUnseen` when last seen.
    pub fn abandon(
        &mut self,
        still_open: Option<Monotonic>,
        books: &mut Books,
        out: &mut Vec<Step>,
    ) {
        either!(self, one => one.abandon(still_open, books, out));
    }

    /// Ends those that began before `oldest`: what still comes of their answers is passed over.
    pub fn expire(
        &mut self,
        oldest: Monotonic,
        now: Monotonic,
        books: &mut Books,
        out: &mut Vec<Step>,
    ) {
        either!(self, one => one.expire(oldest, now, books, out));
    }

    /// When what looks like the end of an answer may be taken for it.
    pub fn settles_at(&self, silence: Duration) -> Option<Monotonic> {
        either!(self, one => one.settles_at(silence))
    }

    /// Takes what looks like the end of the answer for it.
    pub fn settle(&mut self, books: &mut Books, out: &mut Vec<Step>) {
        either!(self, one => one.settle(books, out));
    }
}
