//! One connection: its events in; what it carries, and the steps of that, out.

use super::books::Books;
use super::conversation::Conversation;
use super::detect::{self, Verdict};
use super::exchange::{Link, Moved, Side, Step, Tls};
use super::scene::{side_of_requests, Fate, Scene};
use crate::capture::event::{
    Closed, ConnectionId, Endpoint, HostPid, Initiator, Io, Opened, TlsVersion,
};
use crate::clock::Monotonic;
use std::sync::Arc;
use std::time::Duration;

/// See the file.
#[derive(Debug)]
pub struct Connection {
    pub id: ConnectionId,
    pub link: Arc<Link>,
    /// The process that last used it.
    pub process: HostPid,
    /// When it was last used.
    pub last_used: Monotonic,
    initiator: Initiator,
    process_losses: Option<u32>,
    weight: usize,
    watched: bool,
    carries: Carries,
}

#[derive(Debug)]
enum Carries {
    Nothing,
    Understood(Conversation),
    /// `for_good`: it will not turn to anything that is understood.
    Opaque {
        for_good: bool,
    },
}

impl Connection {
    /// A connection of which nothing is known.
    pub fn new(id: ConnectionId, process: HostPid, time: Monotonic) -> Self {
        Self {
            id,
            link: Arc::new(Link::unknown(id)),
            process,
            last_used: time,
            initiator: Initiator::Unknown,
            process_losses: None,
            weight: 0,
            watched: false,
            carries: Carries::Nothing,
        }
    }

    pub fn opened(&mut self, opened: &Opened) {
        self.process = opened.origin.process;
        self.initiator = opened.initiator;
        self.link = Arc::new(Link {
            id: opened.connection,
            local: opened.local.clone(),
            remote: opened.remote.clone(),
            peer_socket: opened.peer_socket,
            network_namespace: opened.network_namespace,
            dialer: opened.goroutine,
            established: opened.established,
            accept_wait: opened
                .accepted
                .zip(opened.established)
                .map(|(accepted, established)| accepted.since(established)),
            tls: self.link.tls,
        });
    }

    pub fn apply(&mut self, io: &Io<'_>, books: &mut Books, out: &mut Vec<Step>) {
        self.process = io.origin.process;
        self.last_used = self.last_used.max(io.origin.time);
        if self.process_losses != Some(io.process_losses) {
            self.process_losses = Some(io.process_losses);
            books.note_losses(io.origin.process, io.process_losses);
        }
        match (self.link.tls, io.tls) {
            (None, Some(version)) => self.begin_tls(io, version, books, out),
            // Encrypted, and late.
            (Some(_), None) => return,
            (Some(tls), Some(version)) => self.learn_version(tls, version),
            (None, None) => {}
        }
        match &self.carries {
            Carries::Opaque { for_good: true } => return,
            Carries::Opaque { for_good: false } => self.look_again(io, out),
            Carries::Nothing => self.look(io, books, out),
            Carries::Understood(_) => {}
        }
        let Carries::Understood(conversation) = &mut self.carries else {
            return;
        };
        let fate = conversation.apply(&mut Scene {
            io,
            link: &self.link,
            books,
            out,
        });
        if fate != Fate::Understood {
            conversation.abandon(None, books, out);
            let for_good = fate == Fate::Upgraded || conversation.is_fresh() || never_http1(io);
            self.turn_opaque(io, for_good, books, out);
        }
    }

    /// What the latest call did.
    pub fn moved(&self, io: &Io<'_>) -> Moved {
        match &self.carries {
            Carries::Understood(conversation) => conversation.moved(io),
            Carries::Nothing | Carries::Opaque { .. } => Moved::Other,
        }
    }

    pub fn closed(&mut self, closed: Closed, books: &mut Books, out: &mut Vec<Step>) {
        if let Some(losses) = closed.process_losses {
            self.process_losses = Some(losses);
            books.note_losses(self.process, losses);
        }
        if let Carries::Understood(conversation) = &mut self.carries {
            conversation.closed(closed.reset, closed.time, books, out);
        }
        self.opaque_ended(closed.time, false, out);
    }

    /// A process ended; `failed`: not with status 0.
    pub fn exited(
        &mut self,
        process: HostPid,
        failed: bool,
        time: Monotonic,
        books: &mut Books,
        out: &mut Vec<Step>,
    ) {
        if let Carries::Understood(conversation) = &mut self.carries {
            if conversation.is_of(process) {
                conversation.exited(failed, time, books, out);
            }
        }
        if self.process == process {
            self.opaque_ended(time, false, out);
        }
    }

    /// Forgets what it carries; what is open ends as `StillOpen`, or as `EndUnseen` where no time is given.
    pub fn let_go(
        &mut self,
        still_open: Option<Monotonic>,
        books: &mut Books,
        out: &mut Vec<Step>,
    ) {
        if let Carries::Understood(conversation) = &mut self.carries {
            conversation.abandon(still_open, books, out);
        }
        self.opaque_ended(still_open.unwrap_or(self.last_used), false, out);
    }

    pub fn conversation(&mut self) -> Option<&mut Conversation> {
        match &mut self.carries {
            Carries::Understood(conversation) => Some(conversation),
            _ => None,
        }
    }

    /// When it is to be looked at for silence; told once, until [`Self::settle`] was called.
    pub fn watch(&mut self, silence: Duration) -> Option<Monotonic> {
        let due = self.conversation()?.settles_at(silence)?;
        let watched = std::mem::replace(&mut self.watched, true);
        (!watched).then_some(due)
    }

    /// Takes what looks like the end of an answer for it, when the silence after it has lasted.
    pub fn settle(
        &mut self,
        now: Monotonic,
        silence: Duration,
        books: &mut Books,
        out: &mut Vec<Step>,
    ) {
        self.watched = false;
        if let Some(conversation) = self.conversation() {
            if conversation
                .settles_at(silence)
                .is_some_and(|due| due <= now)
            {
                conversation.settle(books, out);
            }
        }
    }

    /// Measures the bytes held for it; returns the new sum of all connections, given the old.
    pub fn weigh(&mut self, sum: usize) -> usize {
        let before = self.weight;
        self.weight = match &self.carries {
            Carries::Understood(conversation) => conversation.footprint(),
            _ => 0,
        };
        sum - before + self.weight
    }

    /// Bytes held for it when last measured.
    pub fn weight(&self) -> usize {
        self.weight
    }

    /// The first bytes: a request, or an answer to one that was not seen or comes late.
    fn look(&mut self, io: &Io<'_>, books: &mut Books, out: &mut Vec<Step>) {
        if io.size == 0 {
            return;
        }
        let side = side_of_requests(io.direction);
        // Who connected speaks first, and that begins a turn: otherwise bytes were lost.
        let speaks_first = match self.initiator {
            Initiator::Here => side == Side::Client,
            Initiator::There => side == Side::Server,
            Initiator::Unknown => false,
        };
        let fresh = speaks_first && !io.already_open && io.turn_start;
        let other_side = match side {
            Side::Server => Side::Client,
            Side::Client => Side::Server,
        };
        let conversation = if self.begins_request(io, side)
            || fresh && !io.data.is_empty() && detect::request_line(io.data) == Verdict::More
        {
            Some(Conversation::http(side, fresh))
        } else if detect::status_line(io.data) == Verdict::Yes {
            Some(Conversation::http(other_side, false))
        } else if self.begins_fastcgi(io, side)
            || fresh && !io.data.is_empty() && detect::fastcgi_request(io.data) == Verdict::More
        {
            Some(Conversation::fastcgi(side, fresh))
        } else {
            None
        };
        match conversation {
            Some(conversation) => self.carries = Carries::Understood(conversation),
            None => {
                let seen = fresh && !io.data.is_empty();
                self.turn_opaque(io, seen || never_http1(io), books, out);
            }
        }
    }

    /// Whether a turn begins as a request does, which only one side should send: of the other, the start of an answer
    /// (`H`) may be all that is there.
    fn begins_request(&self, io: &Io<'_>, side: Side) -> bool {
        io.turn_start
            && match self.may_ask(side) {
                true => detect::request_line_begins(io.data),
                false => detect::request_line(io.data) == Verdict::Yes,
            }
    }

    /// Whether a turn begins as a FastCGI request does, or with what an earlier one left.
    fn begins_fastcgi(&self, io: &Io<'_>, side: Side) -> bool {
        io.turn_start && self.may_ask(side) && detect::fastcgi_begins(io.data)
    }

    /// Whether requests are to be expected of this side: who connected makes them.
    fn may_ask(&self, side: Side) -> bool {
        match self.initiator {
            Initiator::Here => side == Side::Client,
            Initiator::There => side == Side::Server,
            Initiator::Unknown => true,
        }
    }

    /// What was encrypted until now is not: it begins anew.
    fn begin_tls(
        &mut self,
        io: &Io<'_>,
        version: TlsVersion,
        books: &mut Books,
        out: &mut Vec<Step>,
    ) {
        if let Carries::Understood(conversation) = &mut self.carries {
            conversation.abandon(None, books, out);
        }
        self.opaque_ended(io.origin.time, true, out);
        self.carries = Carries::Nothing;
        let from_start = !io.already_open;
        self.link = Arc::new(Link {
            tls: Some(Tls {
                from_start,
                version,
            }),
            ..Link::clone(&self.link)
        });
    }

    /// A session's first bytes may be seen before its handshake: its version comes with later ones.
    fn learn_version(&mut self, tls: Tls, version: TlsVersion) {
        if tls.version != TlsVersion::Unknown || version == TlsVersion::Unknown {
            return;
        }
        self.link = Arc::new(Link {
            tls: Some(Tls { version, ..tls }),
            ..Link::clone(&self.link)
        });
        if let Carries::Understood(conversation) = &mut self.carries {
            conversation.relink(&self.link);
        }
    }

    /// A turn that begins with a request makes it what that is of.
    fn look_again(&mut self, io: &Io<'_>, out: &mut Vec<Step>) {
        let side = side_of_requests(io.direction);
        let conversation = if self.begins_request(io, side) {
            Some(Conversation::http(side, false))
        } else if self.begins_fastcgi(io, side) {
            Some(Conversation::fastcgi(side, false))
        } else {
            None
        };
        if let Some(conversation) = conversation {
            self.opaque_ended(io.origin.time, false, out);
            self.carries = Carries::Understood(conversation);
        } else if never_http1(io) {
            // The other side's first frame came before.
            self.carries = Carries::Opaque { for_good: true };
        }
    }

    fn turn_opaque(&mut self, io: &Io<'_>, for_good: bool, books: &mut Books, out: &mut Vec<Step>) {
        books.counts.opaque += 1;
        self.carries = Carries::Opaque { for_good };
        out.push(Step::Opaque {
            process: self.process,
            connection: self.id,
            time: io.origin.time,
            inbound: self.initiator != Initiator::Here,
            tls: detect::is_tls(io.data),
            unix: self.link.local == Endpoint::Unix,
        });
    }

    fn opaque_ended(&mut self, time: Monotonic, decrypted: bool, out: &mut Vec<Step>) {
        if matches!(self.carries, Carries::Opaque { .. }) {
            self.carries = Carries::Nothing;
            out.push(Step::OpaqueEnded {
                process: self.process,
                connection: self.id,
                time,
                decrypted,
            });
        }
    }
}

/// Whether a turn begins as what will not turn to HTTP: within one, any bytes may be at the start of a call.
fn never_http1(io: &Io<'_>) -> bool {
    io.turn_start && detect::never_http1(io.data)
}
