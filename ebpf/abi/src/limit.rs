//! Every limit of the kernel side: its unit, what it costs, what happens when it is reached.

/// Bytes of the ring buffer, which count as the agent's memory once they were used: a quarter of a second of 30,000
/// requests a second, which is longer than the agent waits for a processor. Full: the record is lost and counted as
/// [`crate::loss::RING_FULL`].
pub const RING_BYTES: u32 = 4 << 20;

/// Unread bytes in the ring at which the kernel wakes the agent ahead of its timer.
pub const RING_WAKE_BYTES: u64 = (RING_BYTES / 4) as u64;

/// Bytes copied of the start of one turn (the bytes one side sends before the other answers). A request head
/// longer than this is understood as far as it was copied, and its span says so.
pub const TURN_BYTES_MAX: u32 = 8192;

/// Bytes copied of a turn that starts with `HTTP/` (an answer): its head is all that is needed.
pub const ANSWER_BYTES_MAX: u32 = 2048;

/// Bytes copied of the end of a call that was not copied whole: enough for the end of a chunked body.
pub const TAIL_BYTES: usize = 8;

/// Buffers of one vectored call that are looked at. Later ones are counted, not copied.
pub const BUFFERS_MAX: u32 = 8;

/// Words of 8 bytes read of a `runtime.g`, from `goid` on. A power of two. `parentGoid` is among them in every release
/// that is known; where it is not, the parent is not known.
pub const GOROUTINE_WORDS: usize = 32;

/// Go processes of which it is told which goroutines were not born yet when a request was read (about 300 bytes each). Full:
/// of a further one it is not.
pub const BIRTHS_MAX: u32 = 1024;

/// Of the Go scheduler's processors (`runtime.p`), those looked at for that. A power of two. Of a process that has more, the
/// one met last stands for all whose numbers are the same modulo this; what the others had left is not known.
pub const PROCESSORS_MAX: usize = 32;

/// Bytes of the pattern of a route. A longer one is not told.
pub const ROUTE_BYTES_MAX: usize = 256;

/// Routes of all processes that are remembered as told (about 60 bytes each). Full: the one not met for longest is told again
/// when it is met.
pub const ROUTES_MAX: u32 = 8192;

/// Words of 8 bytes below the end of a goroutine's stack among which the first of its functions keeps what it was given.
pub const STACK_WORDS: usize = 16;

/// Tasks of CPython and tokio processes whose ancestors are remembered (about 200 bytes each). Full: the one not looked at for longest
/// is forgotten, and what it descends from is not known.
pub const TASKS_MAX: u32 = 8192;

/// Tasks that a connection's task of tokio's called for, which are remembered. The oldest is forgotten.
pub const CALLERS_MAX: usize = 4;

/// Two that wake a task of tokio's so soon after each other, nanoseconds, do so at once: what is known of its state is older than
/// what the first one did to it.
pub const AT_ONCE_NS: u64 = 20_000;

/// Tasks of tokio's of which is remembered who woke them (about 140 bytes each). Full: the one woken longest ago is forgotten,
/// and who asked it for a call is not known.
pub const WAKERS_MAX: u32 = 8192;

/// Ancestors of a task that are remembered: frameworks put a few tasks between a request and its work. Those above are not
/// known.
pub const TASK_ANCESTORS: usize = 6;

/// TCP handles of libuv whose turn is remembered (about 70 bytes each). Full: the one made longest ago is forgotten, and for whom
/// it connects is not known.
pub const HANDLES_MAX: u32 = 8192;

/// Words of 8 bytes read of a `net.netFD`, from its descriptor on. A power of two. Family and type are among them in every
/// release that is known; one where they are not is not known.
pub const NETWORK_WORDS: usize = 8;

/// Bytes of the path of a new program, its end included: what names a process that has ended before it was looked at.
/// A longer path is not told.
pub const PATH_BYTES_MAX: usize = 128;

/// Threads at once within a call of OpenSSL (about 130 bytes each). Full: the one that began longest ago is forgotten, and
/// what it moves is not told, counted as [`crate::tls::outcome::NO_CALL`].
pub const TLS_CALLS_MAX: u32 = 8192;

/// TLS sessions whose socket is known, of all processes (about 80 bytes each). Full: the one not used for longest is forgotten,
/// and what it carries is not told, counted as [`crate::tls::outcome::NO_SOCKET`], until its socket is found again: Go's at its
/// next call, that of one which uses its socket itself at its next system call. That of one whose bytes its program carries
/// (Node, asyncio) is not found again: it is known by bytes that are kept only until then.
pub const TLS_SESSIONS_MAX: u32 = 32768;

/// Beginnings of TLS records that were received and wait for the session they are for (about 90 bytes each). Full: the oldest
/// is forgotten, and its session is found by a later one.
pub const TLS_RECEIVED_MAX: u32 = 4096;

/// Bytes between a call of OpenSSL and a system call that it makes, on the stack, at most: farther ones are not its own.
pub const TLS_STACK_BYTES_MAX: u64 = 64 << 10;

/// Traced processes at once (128 bytes each). Full: the process is not traced, counted as
/// [`crate::loss::PROCESSES_FULL`].
pub const PROCESSES_MAX: u32 = 8192;

/// Open connections of traced processes at once (about 100 bytes each). Full: calls on a further one are not seen,
/// each counted as [`crate::loss::CONNECTIONS_FULL`].
pub const CONNECTIONS_MAX: u32 = 65536;

/// Unix sockets of traced processes at once (about 100 bytes each). Full: the least recently used is forgotten, and
/// a connection in use is seen as already open.
pub const UNIX_CONNECTIONS_MAX: u32 = 8192;

/// Listening sockets of traced processes at once. Full: connections that come to it are seen as already open, counted
/// as [`crate::loss::LISTENERS_FULL`].
pub const LISTENERS_MAX: u32 = 8192;

/// Ports that `--port` can name.
pub const PORTS_MAX: u32 = 64;

/// A window, in nanoseconds, over which the offset between the scheduler's clock and the monotonic clock is
/// estimated. Longer windows follow the drift of the two clocks later.
pub const CLOCK_WINDOW_NS: u64 = 16_000_000;
