//! The named reasons for which the kernel side loses something. Each is an index of the per-CPU `LOSSES` array.

/// The ring buffer was full: one record lost.
pub const RING_FULL: u32 = 0;
/// The connection table was full: a call on a connection without an entry was not seen.
pub const CONNECTIONS_FULL: u32 = 1;
/// The process table was full: a child of a traced process, or a new process, is not traced.
pub const PROCESSES_FULL: u32 = 2;
/// The function's buffer could not be read (paged out, or changed by another thread): the record has no bytes.
pub const COPY_FAILED: u32 = 3;
/// Bytes moved by io_uring or from inside the kernel: counted by size, not seen.
pub const NO_BUFFER: u32 = 4;
/// Lost on purpose, by the setting that tests use to see what loss does.
pub const FORCED: u32 = 5;

/// The table of listeners was full: connections that come to it are seen as already open.
pub const LISTENERS_FULL: u32 = 6;

/// How many reasons there are.
pub const COUNT: u32 = 7;

/// The names of the reasons, by index, as metrics and `spanlet probes` show them.
pub const NAMES: [&str; COUNT as usize] = [
    "ring_full",
    "connections_full",
    "processes_full",
    "copy_failed",
    "no_buffer",
    "forced",
    "listeners_full",
];
