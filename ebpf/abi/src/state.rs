//! What the kernel programs keep of a process and of a connection, in maps that the agent can read.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bits of [`Process::flags`].
pub mod process_flag {
    /// The agent has not decided yet.
    pub const PROVISIONAL: u32 = 1;
    /// It was seen to use io_uring (told once).
    pub const IO_URING: u32 = 2;
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
    /// Records of this process written so far (not exact under contention: for people to read).
    pub records: u64,
    /// Go: offset of `goid` in `runtime.g`; 0 where it is not a Go program or not known.
    pub goroutine_id: u32,
    /// Go: offset of `parentGoid` in `runtime.g`; 0 where not known.
    pub goroutine_parent: u32,
}

/// An open connection of a traced process: the value of the `CONNECTIONS` map, keyed by socket address.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Connection {
    /// When it was first seen, CLOCK_MONOTONIC nanoseconds.
    pub generation: u64,
    /// When it was established; 0 where not known.
    pub established_ns: u64,
    /// When unread bytes arrived; 0 when there are none.
    pub ready_ns: u64,
    /// When the first write of the present turn began; 0 where not known.
    pub write_began_ns: u64,
    /// Bytes read and written since first sight, for sockets without sequence numbers.
    pub read_bytes: u32,
    pub written_bytes: u32,
    /// Inode number of the socket, which tells one Unix socket from the next at the same address.
    pub inode: u32,
    /// Bytes that may still be copied of the present turn.
    pub turn_bytes_left: u32,
    /// See [`turn`].
    pub turn: u32,
    /// 1 once `OPENED` was told.
    pub told: u32,
    /// For `sendmmsg` and `recvmmsg`: address of the message vector and the next message in it.
    pub vector: u64,
    pub vector_next: u32,
    pub vector_thread: u32,
}

/// Who has the word on a connection.
pub mod turn {
    pub const NONE: u32 = 0;
    pub const INGRESS: u32 = 1;
    pub const EGRESS: u32 = 2;
}

const _: () = assert!(size_of::<Process>() == 24);
const _: () = assert!(size_of::<Connection>() == 72);
