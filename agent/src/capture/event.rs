//! The output of this room: what the kernel saw, in the agent's own words. Plain data, borrowing the ring's bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use crate::clock::Monotonic;

/// A process (thread group) by its number in the initial PID namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPid(pub u32);

/// A thread by its number in the initial PID namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostTid(pub u32);

/// One connection as one process sees it (each end has its own name): the kernel's socket and when it was first
/// seen, because the kernel uses an address again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId {
    pub socket: u64,
    pub generation: u64,
}

/// The version of a TLS session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TlsVersion {
    V1_2,
    V1_3,
    /// Another, or not known.
    Unknown,
}

/// Which way bytes went, as the process sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The process read.
    Ingress,
    /// The process wrote.
    Egress,
}

/// A goroutine and the goroutine that started it (0: not known).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Goroutine {
    pub id: u64,
    pub parent: u64,
}

/// An asyncio task, by the address of its `contextvars` Context, which another task may have once it has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Task {
    pub id: u64,
    /// When it was born, where that is known.
    pub born: Option<Monotonic>,
}

/// A task that was started by another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskBirth {
    pub task: u64,
    pub born: Monotonic,
    /// The one that started it, the one that started that, and so on, each with when it was started, where that is known;
    /// 0: no more are known.
    pub ancestors: [(u64, Option<Monotonic>); spanlet_abi::limit::TASK_ANCESTORS],
}

/// Go: numbers of goroutines that were not used yet when a request was read by the goroutine that serves its connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unborn {
    pub connection: ConnectionId,
    /// Who read.
    pub goroutine: u64,
    /// Where the first byte of that call stands, as in [`Io`].
    pub position: u32,
    /// None above it was used, where that is known.
    pub given: Option<u64>,
    /// What the scheduler's processors had left, as far as it is known.
    pub left: Vec<Range<u64>>,
}

impl Unborn {
    /// Whether a goroutine of that number was certainly not there yet.
    pub fn has(&self, goroutine: u64) -> bool {
        self.given.is_some_and(|given| goroutine > given)
            || self.left.iter().any(|left| left.contains(&goroutine))
    }
}

/// Go: the pattern of a route, by where the program has its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RouteName {
    pub address: u64,
    pub length: u64,
}

/// A turn of an event loop: what runs from one call of the loop to a callback until the next. It is named by when it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Turn {
    /// The one that runs, where the loop calls back for what it polled.
    pub running: Option<Monotonic>,
    /// At the first write of a connection: the one in which the connection was made, where that is known.
    pub dialed: Option<Monotonic>,
}

/// The kernel's running totals for one thread, nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadClock {
    /// Time on a CPU.
    pub cpu_ns: u64,
    /// Time runnable, waiting for a CPU.
    pub run_queue_wait_ns: u64,
}

/// Who did something, and when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    pub time: Monotonic,
    pub process: HostPid,
    pub thread: HostTid,
}

/// One call that moved bytes over a connection, or met the end of its stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Io<'a> {
    pub origin: Origin,
    pub connection: ConnectionId,
    pub direction: Direction,
    /// Where the first byte stands in its direction's stream. TCP: the sequence number, the same at both ends.
    /// Others: bytes since first sight. Wraps at 2^32.
    pub position: u32,
    /// Bytes moved by the call. 0 with `end_of_stream`.
    pub size: u32,
    /// The first bytes of the call, at most `size`.
    pub data: &'a [u8],
    /// The last bytes of the call when `data` does not hold them.
    pub tail: Option<[u8; spanlet_abi::limit::TAIL_BYTES]>,
    /// The other side had the last word until this call.
    pub turn_start: bool,
    pub end_of_stream: bool,
    /// The connection was open before it was first seen: bytes before the first event are unknown.
    pub already_open: bool,
    /// What TLS carries; `position` is then a count from first sight.
    pub tls: Option<TlsVersion>,
    /// The one that made the call, or, if `asked`, the one that asked for what is written.
    pub goroutine: Option<Goroutine>,
    /// CPython, tokio: the task that wrote, or asked for, the first bytes of a turn.
    pub task: Option<Task>,
    /// Node.js: where in its event loop the call was made.
    pub turn: Option<Turn>,
    pub asked: bool,
    /// Go, the first bytes of an answer: by which pattern the request was routed.
    pub route: Option<RouteName>,
    pub thread_clock: Option<ThreadClock>,
    /// Reads: when the oldest of these bytes arrived at the socket.
    /// Writes: when the call that began this turn began (calls are seen when they end).
    pub ready: Option<Monotonic>,
    /// Records of this process lost so far: a change means that something before this event is missing.
    pub process_losses: u32,
    /// System call number.
    pub system_call: u16,
}

/// An address a connection has at one end.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Endpoint {
    /// TCP over IPv4 or IPv6; mapped IPv4 addresses (`::ffff:a.b.c.d`) are given as IPv4.
    Tcp { address: IpAddr, port: u16 },
    /// A Unix socket, which has no address worth the name at the connecting end.
    Unix,
    /// Not known.
    Unknown,
}

impl Endpoint {
    /// Its address, where it has one.
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Tcp { address, .. } => Some(*address),
            Self::Unix | Self::Unknown => None,
        }
    }

    /// The endpoint of an IPv4 or IPv6 address in network order.
    pub fn tcp_v4(octets: [u8; 4], port: u16) -> Self {
        Self::Tcp {
            address: Ipv4Addr::from(octets).into(),
            port,
        }
    }

    /// As [`Self::tcp_v4`]; a mapped address becomes IPv4.
    pub fn tcp_v6(octets: [u8; 16], port: u16) -> Self {
        Self::Tcp {
            address: IpAddr::from(Ipv6Addr::from(octets)).to_canonical(),
            port,
        }
    }
}

/// Who set the connection up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Initiator {
    /// This process connected.
    Here,
    /// The other side connected; this process accepted.
    There,
    /// Open before it was first seen.
    Unknown,
}

/// A connection was first seen. Comes before its first [`Io`], unless that record was lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    pub origin: Origin,
    pub connection: ConnectionId,
    pub local: Endpoint,
    pub remote: Endpoint,
    pub initiator: Initiator,
    /// When the handshake was complete.
    pub established: Option<Monotonic>,
    /// When the process accepted it; not known to every back end.
    pub accepted: Option<Monotonic>,
    /// Unix sockets: the socket at the other end (its `ConnectionId::socket`).
    pub peer_socket: Option<u64>,
    /// Go: the goroutine that connected.
    pub goroutine: Option<Goroutine>,
    /// Inode of the network namespace.
    pub network_namespace: u32,
}

/// A connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    /// The thread is not told: a socket is often destroyed from an interrupt.
    pub time: Monotonic,
    pub connection: ConnectionId,
    /// The other side reset it.
    pub reset: bool,
    /// Losses so far of the process that used it last, as in [`Io`]; not known once that process has ended.
    pub process_losses: Option<u32>,
}

/// Everything the kernel side tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    Io(Io<'a>),
    Opened(Opened),
    Closed(Closed),
    /// A process replaced its program.
    Exec {
        origin: Origin,
        /// As it was called (a script's is its interpreter's); empty where it is not known.
        path: &'a [u8],
    },
    /// A traced process was forked; the child is traced too.
    Fork {
        origin: Origin,
        child: HostPid,
    },
    /// The last thread of a traced process ended, with this wait status.
    Exit {
        origin: Origin,
        status: u32,
    },
    /// A thread of a traced process started another.
    ThreadBorn {
        origin: Origin,
        child: HostTid,
    },
    /// CPython, tokio: a task started another, when it is first of interest.
    TaskBorn {
        origin: Origin,
        birth: TaskBirth,
    },
    /// Go: which goroutines were not born yet, as a request was read. Comes before the [`Io`] of that.
    Unborn {
        origin: Origin,
        unborn: Unborn,
    },
    /// Go: the pattern of a route. Comes before the [`Io`]s that name it.
    Route {
        origin: Origin,
        name: RouteName,
        pattern: &'a [u8],
    },
    /// A thread of a traced process ended, but not the last.
    ThreadEnded {
        origin: Origin,
    },
    /// A process listens on a port.
    Listen {
        origin: Origin,
        port: u16,
        network_namespace: u32,
    },
    /// A traced process moves bytes by io_uring, which is counted but not seen.
    IoUring {
        origin: Origin,
    },
}

impl Event<'_> {
    /// Who did it and when; a connection's end is often nobody's doing.
    pub fn origin(&self) -> Option<Origin> {
        match self {
            Event::Io(io) => Some(io.origin),
            Event::Opened(opened) => Some(opened.origin),
            Event::Closed(_) => None,
            Event::Exec { origin, .. }
            | Event::Fork { origin, .. }
            | Event::Exit { origin, .. }
            | Event::ThreadBorn { origin, .. }
            | Event::TaskBorn { origin, .. }
            | Event::Unborn { origin, .. }
            | Event::Route { origin, .. }
            | Event::ThreadEnded { origin }
            | Event::Listen { origin, .. }
            | Event::IoUring { origin } => Some(*origin),
        }
    }
}
