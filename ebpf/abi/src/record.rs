//! What the kernel programs write to the ring buffer: a [`Header`], then the words of its kind, then (for
//! [`Io`]) `captured` bytes.
//!
//! Time is CLOCK_MONOTONIC in nanoseconds. Processes and threads are numbers of the initial PID namespace.
//! Addresses are in network order, IPv4 in the first four bytes; ports are in host order.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What a record is: the value of [`Header::kind`].
pub mod kind {
    pub const IO: u16 = 1;
    pub const OPENED: u16 = 2;
    pub const CLOSED: u16 = 3;
    pub const EXEC: u16 = 4;
    pub const FORK: u16 = 5;
    pub const EXIT: u16 = 6;
    pub const LISTEN: u16 = 7;
    /// A thread of a traced process started another.
    pub const THREAD_BORN: u16 = 9;
    /// A thread of a traced process ended, but not the last.
    pub const THREAD_ENDED: u16 = 10;
    /// CPython, tokio: a task started another. Told when one of them is first of interest.
    pub const TASK_BORN: u16 = 11;
    /// Go: which goroutines were not born yet when a request was read. Comes before that read's `IO`.
    pub const UNBORN: u16 = 12;
    /// Go: the pattern of a route. Comes before the first `IO` that names it.
    pub const ROUTE: u16 = 13;
    /// A traced process was seen to use io_uring. Only the header.
    pub const IO_URING: u16 = 8;
}

/// Bits of [`Header::flags`]. Their meaning depends on the kind.
pub mod flag {
    /// `IO`: the process wrote; without it, it read.
    pub const EGRESS: u16 = 1;
    /// `IO`: the other side had the last word until this call.
    pub const TURN_START: u16 = 2;
    /// `IO`: fewer bytes were copied than the call moved.
    pub const TRUNCATED: u16 = 4;
    /// `IO`: the end of the stream was read (the call returned 0).
    pub const END_OF_STREAM: u16 = 8;
    /// `IO`: the connection was open before it was first seen, so its start is not known.
    pub const ALREADY_OPEN: u16 = 16;
    /// `IO`: [`super::Io::tail`] holds the last bytes of the call.
    pub const TAIL: u16 = 32;
    /// `IO`: [`super::Io::goroutine`] names a task, see there.
    pub const TASK: u16 = 64;
    /// `IO`: the goroutine is the one that asked for what is written, not the one that writes.
    pub const ASKED: u16 = 128;
    /// `IO`: what TLS carries, before it was encrypted or after it was decrypted. Positions are a count from first sight.
    /// With [`ALREADY_OPEN`], some of it may have been carried before.
    pub const TLS: u16 = 256;
    /// `IO`, with [`TLS`]: the session's version is 1.2, or 1.3. Neither: another, or not known.
    pub const TLS_1_2: u16 = 512;
    pub const TLS_1_3: u16 = 1024;
    /// `IO`, an answer of Go: [`super::Io::goroutine`] is the address of the pattern by which the request was routed, and
    /// [`super::Io::parent_goroutine`] its length, as in [`super::Route`].
    pub const ROUTED: u16 = 2048;
    /// `IO`: [`super::Io::goroutine`] names a turn of an event loop, see there.
    pub const TURN: u16 = 4096;
    /// `OPENED`: this side connected.
    pub const CONNECTED: u16 = 1;
    /// `OPENED`: this side accepted.
    pub const ACCEPTED: u16 = 2;
    /// `CLOSED`: the other side reset the connection.
    pub const RESET: u16 = 1;
}

/// The start of every record.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Header {
    /// See [`kind`].
    pub kind: u16,
    /// See [`flag`].
    pub flags: u16,
    /// Bytes of the whole record, this header and the copied bytes included.
    pub length: u32,
    /// CLOCK_MONOTONIC, nanoseconds.
    pub time_ns: u64,
    /// Thread group id of the process the record is about.
    pub process: u32,
    /// Thread that ran.
    pub thread: u32,
}

/// One call that moved bytes over a socket (or read its end). `captured` bytes follow.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Io {
    pub header: Header,
    /// Address of the kernel's socket: with `generation`, the name of the connection.
    pub socket: u64,
    /// When the connection was first seen, CLOCK_MONOTONIC nanoseconds: tells users of one address apart.
    pub generation: u64,
    /// Go: the goroutine that made the call, or asked for it ([`flag::ASKED`]). CPython, where [`flag::TASK`] is set: the address of the `contextvars`
    /// Context that the call was made in, which is that of one asyncio task. tokio, the same: the number of the task that makes the call, or asked for
    /// it. Node.js, where [`flag::TURN`] is set: the turn of the
    /// loop that the call was made in, see [`crate::state::Loop`]. 0 where not known.
    pub goroutine: u64,
    /// Go: the goroutine that started it. CPython, tokio: when the task was born, CLOCK_MONOTONIC nanoseconds. Node.js: at the first
    /// write of a connection, the turn that made it. 0 where not known.
    pub parent_goroutine: u64,
    /// CPU time of the thread so far, nanoseconds; 0 where not known.
    pub cpu_ns: u64,
    /// Time the thread has spent runnable but not running so far, nanoseconds; 0 where not known.
    pub run_queue_wait_ns: u64,
    /// Reads: when the oldest byte of this call arrived, CLOCK_MONOTONIC nanoseconds; 0 where not known.
    /// Writes: when the call that began this turn began; 0 where not known.
    pub ready_ns: u64,
    /// Where the first byte of this call stands in its direction's stream: the TCP sequence number, or a count
    /// from first sight for other sockets. Wraps.
    pub position: u32,
    /// Bytes moved.
    pub size: u32,
    /// The last bytes of the call, where [`flag::TAIL`] is set.
    pub tail: [u8; crate::limit::TAIL_BYTES],
    /// Records of this process lost so far. A change tells that something is missing before this record.
    pub process_losses: u32,
    /// Bytes that follow.
    pub captured: u16,
    /// System call number (of this machine's architecture).
    pub system_call: u16,
}

/// A connection was first seen, before its first [`Io`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Opened {
    pub header: Header,
    pub socket: u64,
    pub generation: u64,
    /// When the connection was established, CLOCK_MONOTONIC nanoseconds; 0 where not known (open before).
    pub established_ns: u64,
    /// When the process accepted it, CLOCK_MONOTONIC nanoseconds; 0 where not known.
    pub accepted_ns: u64,
    /// Unix sockets: the address of the peer's socket; 0 for others.
    pub peer_socket: u64,
    /// Go: the goroutine that connected; 0 where not known.
    pub goroutine: u64,
    /// Go: the goroutine that started it; 0 where not known.
    pub parent_goroutine: u64,
    /// Inode of the network namespace.
    pub network_namespace: u32,
    /// AF_INET, AF_INET6 or AF_UNIX.
    pub family: u16,
    pub local_port: u16,
    pub local_address: [u8; 16],
    pub remote_address: [u8; 16],
    pub remote_port: u16,
    pub padding: [u8; 6],
}

/// A connection was closed or destroyed. `header.process` is the one that used it last; the thread is not told, since
/// a socket is often destroyed from an interrupt.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Closed {
    pub header: Header,
    pub socket: u64,
    pub generation: u64,
    /// Records of the process lost so far, as in [`Io`]; [`NOT_KNOWN`] where the process has ended.
    pub process_losses: u32,
    pub padding: u32,
}

/// [`Closed::process_losses`] of a process that is not there any more.
pub const NOT_KNOWN: u32 = u32::MAX;

/// A process replaced its program, was born, or ended; or a thread.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Process {
    pub header: Header,
    /// `FORK`, `THREAD_BORN`: the child. `EXIT`: the wait status. `EXEC`, `THREAD_ENDED`: 0.
    pub value: u32,
    pub padding: u32,
}

/// What follows the [`Process`] of an `EXEC`, in one record with it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Exec {
    pub process: Process,
    /// The program's path as it was called (a script's is its interpreter's), then zeroes; all zeroes where it is not
    /// known, or too long.
    pub path: [u8; crate::limit::PATH_BYTES_MAX],
}

/// A task started another. Tasks are named as in [`Io`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct TaskBorn {
    pub header: Header,
    pub task: u64,
    /// When, CLOCK_MONOTONIC nanoseconds.
    pub born_ns: u64,
    /// The one that started it, the one that started that, and so on.
    pub ancestors: [crate::state::Ancestor; crate::limit::TASK_ANCESTORS],
}

/// Numbers of goroutines that were not used yet when a request was read by the goroutine that serves its connection: it was in
/// the call, so that what it starts by one of them, it starts later. `count` ranges follow.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Unborn {
    pub header: Header,
    pub socket: u64,
    pub generation: u64,
    /// The goroutine that read.
    pub goroutine: u64,
    /// The last number that was given out: none above was used. 0 where not known.
    pub given: u64,
    /// Where the first byte of the call stands, as in [`Io`].
    pub position: u32,
    /// Of ranges that follow.
    pub count: u32,
}

/// Numbers of goroutines, from `next` up to, not including, `end`: what a `runtime.p` has left. Another thread may be about to
/// change it: it is one only if it is not empty and not longer than [`crate::golang::NUMBERS_AT_ONCE`].
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Numbers {
    pub next: u64,
    pub end: u64,
}

/// Go: the pattern that a program gave for a route (net/http.ServeMux), named by where its text is.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Route {
    pub header: Header,
    pub address: u64,
    /// Bytes of it, of those that follow.
    pub length: u64,
    pub pattern: [u8; crate::limit::ROUTE_BYTES_MAX],
}

/// A process listens on a port.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Listen {
    pub header: Header,
    pub network_namespace: u32,
    pub port: u16,
    pub family: u16,
}

const _: () = assert!(size_of::<Header>() == 24);
const _: () = assert!(size_of::<Io>() == 104);
const _: () = assert!(size_of::<Opened>() == 128);
const _: () = assert!(size_of::<Closed>() == 48);
const _: () = assert!(size_of::<Process>() == 32);
const _: () = assert!(size_of::<Exec>() == 160);
const _: () = assert!(size_of::<TaskBorn>() == 136);
const _: () = assert!(size_of::<Unborn>() == 64);
const _: () = assert!(size_of::<Numbers>() == 16);
const _: () = assert!(size_of::<Route>() == 296);
const _: () = assert!(size_of::<Listen>() == 32);
