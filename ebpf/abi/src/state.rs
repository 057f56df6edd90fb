//! What the kernel programs keep of a process and of a connection, in maps that the agent can read.

use crate::golang::RouteOffsets;
use crate::limit;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bits of [`Process::flags`].
pub mod process_flag {
    /// It was seen to use io_uring (told once).
    pub const IO_URING: u32 = 1;
    /// CPython: its memory does not look as that of the release it says to be, so its tasks are not told apart.
    pub const TASKS_UNFIT: u32 = 2;
    /// CPython: an event loop writes for all tasks (uvloop), so that only who asked for a write tells of tasks.
    pub const LOOP_WRITES: u32 = 4;
    /// CPython: each thread but the first runs in a Context of its own, which is no task's (3.14 and later).
    pub const THREADS_IN_CONTEXTS: u32 = 8;
    /// Its connections may carry what a [`crate::tls`] session encrypts: it was seen to use one.
    pub const TLS: u32 = 16;
    /// Those sessions are of Go's `crypto/tls`.
    pub const GO: u32 = 32;
    /// Go: which goroutines are not born yet is told of each request, see [`crate::golang::Births`].
    pub const BIRTHS: u32 = 64;
    /// Go: it cannot be told, because where that stands is not known, or what stands there is something else.
    pub const BIRTHS_UNFIT: u32 = 128;
    /// Its first thread runs an event loop of libuv's, see [`super::Loop`].
    pub const LOOP: u32 = 256;
    /// tokio: all that tells who wakes its tasks is attached.
    pub const WAKERS: u32 = 512;
}

/// A traced process: the value of the `PROCESSES` map, keyed by thread group id.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Process {
    /// See [`process_flag`].
    pub flags: u32,
    /// Records of this process lost so far.
    pub losses: u32,
    /// Go: offset of `goid` in `runtime.g`; 0 where it is not a Go program or not known.
    pub goroutine_id: u32,
    /// Go: words of 8 bytes from there to `parentGoid`, less than [`crate::limit::GOROUTINE_WORDS`]; 0 where not known.
    pub goroutine_parent_words: u32,
    /// See [`Python`].
    pub python: Python,
    /// Go: tells its routes from those of whoever had its number before; 0: it is not looked for routes.
    pub routes_token: u64,
    /// Go: where routes are found.
    pub routes: RouteOffsets,
    /// See [`Tokio`].
    pub tokio: Tokio,
}

/// Where a CPython process keeps the `contextvars` Context that runs. All zeroes: it is not CPython, or not known.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Python {
    /// Address of the number of the thread-local value that points to each thread's state.
    pub key: u64,
    /// Address of the type of Contexts.
    pub context_type: u64,
    /// Offsets within a thread's state: the thread that it is of, and the Context.
    pub thread: u32,
    pub context: u32,
}

/// The event loop of a process's first thread: the value of the `LOOPS` map, keyed by thread group id.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Loop {
    /// The turn: when what runs now was called, CLOCK_MONOTONIC nanoseconds; 0 where that is not known.
    pub turn: u64,
    /// The turn that made the handle which connects next; 0 where that is not known.
    pub dialing: u64,
}

/// A TCP handle of libuv's: the key of the `HANDLES` map.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Handle {
    pub address: u64,
    pub process: u32,
    pub padding: u32,
}

/// A task: the key of the `TASKS` map.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct TaskName {
    /// As in [`crate::record::Io`].
    pub task: u64,
    pub process: u32,
    pub padding: u32,
}

/// A task that another descends from.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Ancestor {
    /// As in [`crate::record::Io`]; 0: there is none, or none that is known.
    pub task: u64,
    /// When it was started, CLOCK_MONOTONIC nanoseconds; 0 where not known.
    pub born_ns: u64,
}

/// What is known of a task: the value of the `TASKS` map.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct TaskBirth {
    /// When it was started, CLOCK_MONOTONIC nanoseconds.
    pub born_ns: u64,
    /// 1 once it was told.
    pub told: u32,
    pub padding: u32,
    /// The one that started it, the one that started that, and so on.
    pub ancestors: [Ancestor; limit::TASK_ANCESTORS],
}

/// Where a thread of tokio's keeps the number of the task that it runs. All zeroes: it is not tokio, or not known.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Tokio {
    /// From the thread's own block (`fsbase`).
    pub offset: i64,
    /// Words of 8 bytes: one, 0 where it runs none; or ahead of the number another one, which is 0 there (in older releases).
    pub words: u32,
    pub padding: u32,
}

/// Who woke a task of tokio's since it ran last: the value of the `WAKERS` map, keyed by [`TaskName`].
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Waker {
    /// The task that did; 0: none, but what polls for its runtime.
    pub task: u64,
    /// Another one that did as well; 0: none.
    pub other: u64,
    /// When it was woken last, CLOCK_MONOTONIC nanoseconds.
    pub time_ns: u64,
    /// 1: and a third one.
    pub is_crowded: u32,
    /// How often it has called since this is kept, at most as many as are remembered: before that, there may be more callers.
    pub calls: u32,
    /// 1: it reads requests, or writes where others do, and so makes its calls itself.
    pub is_own: u32,
    pub padding: u32,
    /// Those for whom it called, the last first: they wake it again when they have read of the answer.
    pub callers: [u64; limit::CALLERS_MAX],
}

/// An open connection of a traced process: the value of the `CONNECTIONS` map (TCP) and of `UNIX_CONNECTIONS`,
/// keyed by socket address.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Connection {
    /// When it was first seen, CLOCK_MONOTONIC nanoseconds.
    pub generation: u64,
    /// When it was established; 0 where not known.
    pub established_ns: u64,
    /// When it was accepted; 0 where not known.
    pub accepted_ns: u64,
    /// When unread bytes arrived; 0 when there are none.
    pub ready_ns: u64,
    /// When what was read last arrived, of bytes that a [`crate::tls`] session will have decrypted; 0 where not known.
    pub received_ns: u64,
    /// When the first write of the coming turn began; 0 where not known.
    pub write_began_ns: u64,
    /// Go: the goroutine that connected and the one that started it; 0 where not known.
    pub goroutine: u64,
    pub parent_goroutine: u64,
    /// Go: the goroutine that asked for what is written next, and the one that started it. uvloop: the task that asked, and
    /// when it was born. Node.js: the turn of the loop that made the connection. 0 where not known.
    pub asker: u64,
    /// tokio: the task that wrote to it, [`SEVERAL`] if not one alone did.
    pub parent_asker: u64,
    /// Go: the `net/http.conn` that serves it; 0 where not known.
    pub server: u64,
    /// Bytes read and written since first sight, for sockets without sequence numbers and for what TLS carries.
    pub read_bytes: u32,
    pub written_bytes: u32,
    /// Inode number of a socket without sequence numbers, which tells it from the next one at the same address; 0 for
    /// TCP.
    pub inode: u32,
    /// Bytes that may still be copied of the present turn.
    pub turn_bytes_left: u32,
    /// The process that used it last.
    pub process: u32,
    /// See [`turn`].
    pub turn: u8,
    /// See [`initiator`].
    pub initiator: u8,
    /// 1 once `OPENED` was told.
    pub told: u8,
    /// 1 once the other side reset it.
    pub reset: u8,
    /// See [`carries`].
    pub carries: u8,
    /// Go: 1 while of what came last only the first byte was read, as by a goroutine that reads ahead.
    pub is_begun: u8,
    /// Of the [`crate::tls`] session that it carries, as it stands in messages ([`crate::tls::VERSIONS`]); 0 where not known.
    pub tls_version: u16,
    /// Go: how often its `net/http.conn` was looked for.
    pub looked: u8,
    /// 1 once both sides had the word: it is not its first request that is under way.
    pub is_used: u8,
    pub padding: [u8; 2],
}

impl Connection {
    /// Whether the kernel counts its bytes, by TCP sequence numbers.
    pub fn is_sequenced(&self) -> bool {
        self.inode == 0
    }
}

/// No task has this number: several wrote to a [`Connection`].
pub const SEVERAL: u64 = u64::MAX;

/// Who has the word on a connection: the value of [`Connection::turn`].
pub mod turn {
    pub const NONE: u8 = 0;
    pub const INGRESS: u8 = 1;
    pub const EGRESS: u8 = 2;
}

/// What a connection carries, as far as that matters here: the value of [`Connection::carries`].
pub mod carries {
    /// Whatever its bytes say.
    pub const BYTES: u8 = 0;
    /// What a TLS session encrypts: told as the session was given it, and its own bytes no more.
    pub const TLS: u8 = 1;
    /// The same, and the session was seen from its handshake on.
    pub const TLS_FROM_START: u8 = 2;
}

/// Who set a connection up: the value of [`Connection::initiator`].
pub mod initiator {
    /// It was open before it was first seen.
    pub const UNKNOWN: u8 = 0;
    pub const CONNECTED: u8 = 1;
    pub const ACCEPTED: u8 = 2;
}

const _: () = assert!(size_of::<Process>() == 80);
const _: () = assert!(size_of::<Connection>() == 120);
