//! Room 3: [`crate::capture::Event`] in, [`Step`] (the start and the end of each [`Exchange`]) out.
//!
//! [`Decoder`] keeps the table of connections; `connection` finds out what one carries; `http1` or `fastcgi` reads it.
//! Time is that of the events: nothing here looks at a clock.

mod books;
mod connection;
mod conversation;
mod detect;
pub mod exchange;
mod fastcgi;
mod http1;
pub mod limits;
mod open;
mod recent;
mod scene;
mod stream;

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use self::books::Books;
use self::connection::Connection;
use self::exchange::{Moved, Moving};
use crate::capture::event::{Closed, ConnectionId, Event, HostPid, Io, Opened, Origin};
use crate::clock::Monotonic;
use crate::hash::WordMap;

pub use books::Counts;
pub use exchange::{Exchange, Step};

/// Times of this room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// What looks like the end of a chunked answer not copied whole is its end after so long a silence.
    pub silence: Duration,
    /// An exchange open for longer finishes as `StillOpen`.
    pub exchange_age_max: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            silence: Duration::from_millis(50),
            exchange_age_max: Duration::from_secs(3600),
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Decoder {
    config: Config,
    /// By socket: of the generations of one socket only the newest lives.
    connections: WordMap<u64, Connection>,
    books: Books,
    /// Bytes held by all connections.
    footprint: usize,
    /// Connections with what looks like the end of an answer, and when that is to be looked at. One entry each.
    quiet: VecDeque<(Monotonic, ConnectionId)>,
    /// When ages are looked at next.
    expiry: Monotonic,
}

impl Decoder {
    pub fn new(config: Config) -> Self {
        Self {
            config,
            connections: WordMap::default(),
            books: Books::default(),
            footprint: 0,
            quiet: VecDeque::new(),
            expiry: Monotonic(0),
        }
    }

    /// Tells whether a process is a proxy whose first thread runs an event loop: what that does is told, in order.
    pub fn is_proxy(&mut self, process: HostPid, is_proxy: bool) {
        self.books.follow(process, is_proxy);
    }

    /// A process was forked: until it is known better, the child is what its parent is.
    pub fn forked(&mut self, parent: HostPid, child: HostPid) {
        if self.books.is_followed(parent) {
            self.books.follow(child, true);
        }
    }

    /// Takes the next event; its steps are added to `out`.
    pub fn apply(&mut self, event: &Event<'_>, out: &mut Vec<Step>) {
        match event {
            Event::Io(io) => self.io(io, out),
            Event::Opened(opened) => self.opened(opened, out),
            Event::Closed(closed) => self.closed(*closed, out),
            Event::Exit { origin, status } => self.exited(*origin, *status, out),
            Event::Exec { .. }
            | Event::Fork { .. }
            | Event::ThreadBorn { .. }
            | Event::TaskBorn { .. }
            | Event::Unborn { .. }
            | Event::Route { .. }
            | Event::ThreadEnded { .. }
            | Event::Listen { .. }
            | Event::IoUring { .. } => {}
        }
    }

    /// Lets time pass. To be called a few times in each [`Config::silence`].
    pub fn tick(&mut self, now: Monotonic, out: &mut Vec<Step>) {
        self.settle(now, out);
        if now < self.expiry {
            return;
        }
        self.expiry = now.after(self.config.exchange_age_max / 16);
        let age_max = self.config.exchange_age_max.as_nanos() as u64;
        let oldest = Monotonic(now.0.saturating_sub(age_max));
        for connection in self.connections.values_mut() {
            if let Some(conversation) = connection.conversation() {
                conversation.expire(oldest, now, &mut self.books, out);
            }
            self.footprint = connection.weigh(self.footprint);
        }
    }

    /// Finishes everything open as `StillOpen`.
    pub fn stop(&mut self, now: Monotonic, out: &mut Vec<Step>) {
        for (_, mut connection) in self.connections.drain() {
            connection.let_go(Some(now), &mut self.books, out);
        }
        self.footprint = 0;
        self.quiet.clear();
    }

    /// Nothing more will be seen of processes that live: what they have open is finished as `StillOpen`.
    pub fn leave(&mut self, processes: &BTreeSet<HostPid>, now: Monotonic, out: &mut Vec<Step>) {
        let its = self.connections.iter();
        let its = its.filter(|(_, connection)| processes.contains(&connection.process));
        let sockets: Vec<u64> = its.map(|(socket, _)| *socket).collect();
        for socket in sockets {
            if let Some(mut connection) = self.remove(socket) {
                connection.let_go(Some(now), &mut self.books, out);
            }
        }
        for process in processes {
            self.books.forget_process(*process);
        }
    }

    /// Forgets what a process has to do with: what is open ends here, unseen.
    fn forget(&mut self, process: HostPid, out: &mut Vec<Step>) {
        let its = self.connections.iter();
        let its = its.filter(|(_, connection)| connection.process == process);
        let sockets: Vec<u64> = its.map(|(socket, _)| *socket).collect();
        for socket in sockets {
            self.let_go(socket, out);
        }
        self.books.forget_process(process);
    }

    /// Running totals.
    pub fn counts(&self) -> Counts {
        self.books.counts
    }

    /// Connections followed now, and bytes held for them.
    pub fn held(&self) -> (usize, usize) {
        (self.connections.len(), self.footprint)
    }

    fn io(&mut self, io: &Io<'_>, out: &mut Vec<Step>) {
        self.settle(io.origin.time, out);
        if let Some(connection) = self.connections.get_mut(&io.connection.socket) {
            if connection.id == io.connection {
                connection.apply(io, &mut self.books, out);
                let (process, thread) = (io.origin.process, io.origin.thread);
                if self.books.is_followed(process) && thread.0 == process.0 {
                    out.push(moving(process, connection.moved(io), io.origin.time));
                }
                self.footprint = connection.weigh(self.footprint);
                if let Some(due) = connection.watch(self.config.silence) {
                    self.quiet.push_back((due, io.connection));
                }
                while self.footprint > limits::MEMORY_BYTES_MAX {
                    self.evict(out);
                }
                return;
            }
        }
        if self.make_current(io.connection, io.origin, out) {
            self.io(io, out);
        }
    }

    fn opened(&mut self, opened: &Opened, out: &mut Vec<Step>) {
        if self.make_current(opened.connection, opened.origin, out) {
            if let Some(connection) = self.connections.get_mut(&opened.connection.socket) {
                connection.opened(opened);
            }
        }
    }

    fn closed(&mut self, closed: Closed, out: &mut Vec<Step>) {
        self.settle(closed.time, out);
        let known = self.connections.get(&closed.connection.socket);
        if known.is_some_and(|connection| connection.id == closed.connection) {
            if let Some(mut connection) = self.remove(closed.connection.socket) {
                let before = out.len();
                connection.closed(closed, &mut self.books, out);
                // The loop closed it, unless nothing was open any more.
                if out.len() > before && self.books.is_followed(connection.process) {
                    out.push(moving(connection.process, Moved::Other, closed.time));
                }
            }
        }
    }

    fn exited(&mut self, origin: Origin, status: u32, out: &mut Vec<Step>) {
        let process = origin.process;
        for connection in self.connections.values_mut() {
            connection.exited(process, status != 0, origin.time, &mut self.books, out);
            self.footprint = connection.weigh(self.footprint);
        }
        self.forget(process, out);
    }

    /// Sees to it that the table holds this connection, unless a later one has its socket. An earlier one is gone.
    fn make_current(&mut self, id: ConnectionId, origin: Origin, out: &mut Vec<Step>) -> bool {
        let holder = self
            .connections
            .get(&id.socket)
            .map(|connection| connection.id);
        match holder {
            Some(holder) if holder.generation >= id.generation => return holder == id,
            Some(holder) => self.closed(
                Closed {
                    time: origin.time,
                    connection: holder,
                    reset: false,
                    process_losses: None,
                },
                out,
            ),
            None => {}
        }
        if self.connections.len() >= limits::CONNECTIONS_MAX {
            self.evict(out);
        }
        self.books.counts.connections += 1;
        let connection = Connection::new(id, origin.process, origin.time);
        self.connections.insert(id.socket, connection);
        true
    }

    /// Looks at the connections on which the silence after a likely end has lasted.
    fn settle(&mut self, now: Monotonic, out: &mut Vec<Step>) {
        while let Some((_, id)) = self.quiet.pop_front_if(|(due, _)| *due <= now) {
            let connection = self.connections.get_mut(&id.socket);
            let Some(connection) = connection.filter(|connection| connection.id == id) else {
                continue;
            };
            connection.settle(now, self.config.silence, &mut self.books, out);
            self.footprint = connection.weigh(self.footprint);
            if let Some(due) = connection.watch(self.config.silence) {
                self.quiet.push_back((due, id));
            }
        }
    }

    /// Lets go the sixteenth of the connections that has been idle longest.
    fn evict(&mut self, out: &mut Vec<Step>) {
        let entries = self.connections.iter();
        let mut idle: Vec<_> = entries
            .map(|(socket, connection)| (connection.last_used, *socket))
            .collect();
        let count = idle.len() / 16;
        idle.select_nth_unstable(count);
        for (_, socket) in idle.into_iter().take(count + 1) {
            self.books.counts.evicted += 1;
            self.let_go(socket, out);
        }
    }

    fn let_go(&mut self, socket: u64, out: &mut Vec<Step>) {
        if let Some(mut connection) = self.remove(socket) {
            connection.let_go(None, &mut self.books, out);
        }
    }

    fn remove(&mut self, socket: u64) -> Option<Connection> {
        let connection = self.connections.remove(&socket)?;
        self.footprint -= connection.weight();
        Some(connection)
    }
}

fn moving(process: HostPid, what: Moved, time: Monotonic) -> Step {
    Step::Moving(Moving {
        process,
        what,
        time,
    })
}
