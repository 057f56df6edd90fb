//! Go: where its programs keep what the kernel programs read.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::limit::PROCESSORS_MAX;

/// Numbers of goroutines that a `runtime.p` takes at once (`_GoidCacheBatch` in runtime/proc.go).
pub const NUMBERS_AT_ONCE: u64 = 16;

/// Where a Go process keeps which numbers of goroutines are not used yet: the value of the `BIRTHS` map, keyed by thread
/// group id.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Births {
    /// Address of `runtime.sched.goidgen`, the last number that was given out; 0 where not known.
    pub given: u64,
    /// Offset of `runtime.g.m`.
    pub thread: u32,
    /// Offsets in a `runtime.m`: `p`, and `oldp`, where that is while in a system call.
    pub processor: u32,
    pub processor_before: u32,
    /// Offsets in a `runtime.p`: `id`; `goidcache`, behind which `goidcacheend` stands.
    pub number: u32,
    pub numbers: u32,
    /// Places of `processors` that may be taken.
    pub count: u32,
    /// Each `runtime.p` that was met, by its number; 0: none. They stay where they are for as long as the process lives.
    pub processors: [u64; PROCESSORS_MAX],
}

const _: () = assert!(size_of::<Births>() == 32 + 8 * PROCESSORS_MAX);

/// Where `net/http`'s server keeps by which pattern a request was routed: byte offsets, which differ between releases. All
/// zeroes: not known.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct RouteOffsets {
    /// `runtime.g.stack.hi`
    pub stack_end: u16,
    /// `net/http.conn.r`, and `net/http.connReader.conn`, which points back
    pub reader: u16,
    pub reader_connection: u16,
    /// `net/http.conn.curReq`; `net/http.response.conn`, which points back, and `.req`
    pub response: u16,
    pub response_connection: u16,
    pub request: u16,
    /// `net/http.Request.Pattern`; in Go 1.22 `.pat`, which points to what begins with it
    pub pattern: u16,
    /// 1: it is pointed to.
    pub is_pointed_to: u16,
}

/// The pattern of a route, by where its text is: the key of the `ROUTES` map.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct RouteName {
    /// See [`crate::state::Process::routes_token`].
    pub token: u64,
    pub address: u64,
    pub length: u64,
}

/// Where `net/http`'s client keeps what leads from one of its connections to the kernel's socket: byte offsets, which differ
/// between releases. The agent gives it to a uprobe as the attachment's cookie: it is the same for all processes that run one
/// file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientOffsets {
    /// `net/http.persistConn.conn`
    pub connection: u16,
    /// `net.netFD.pfd.Sysfd`
    pub descriptor: u16,
    /// `net.netFD.family`
    pub family: u16,
    /// `net.netFD.sotype`
    pub socket_type: u16,
}

impl ClientOffsets {
    /// As a cookie.
    pub const fn cookie(self) -> u64 {
        self.connection as u64
            | (self.descriptor as u64) << 16
            | (self.family as u64) << 32
            | (self.socket_type as u64) << 48
    }

    /// From a cookie.
    pub const fn of_cookie(cookie: u64) -> Self {
        Self {
            connection: cookie as u16,
            descriptor: (cookie >> 16) as u16,
            family: (cookie >> 32) as u16,
            socket_type: (cookie >> 48) as u16,
        }
    }
}

/// `crypto/tls.Conn.conn`, in every release that is known: what the session is over.
pub const TLS_CONNECTION: u64 = 0;

/// What is read of a `crypto/tls.Conn`: byte offsets, which differ between releases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TlsOffsets {
    /// `net.netFD.pfd.Sysfd`, `.family` and `.sotype`
    pub descriptor: u8,
    pub family: u8,
    pub socket_type: u8,
    /// `vers`
    pub version: u8,
    /// `input.i`, `in.seq` and `out.seq`
    pub index: u16,
    pub records_in: u16,
    pub records_out: u16,
}

impl TlsOffsets {
    /// Whether it can be a cookie.
    pub fn fits(self) -> bool {
        let words = [self.index, self.records_in, self.records_out];
        let fits = |word: u16| word.is_multiple_of(8) && word / 8 <= u8::MAX.into();
        words.into_iter().all(fits)
    }

    /// As a cookie.
    pub const fn cookie(self) -> u64 {
        self.descriptor as u64
            | (self.family as u64) << 8
            | (self.socket_type as u64) << 16
            | (self.version as u64) << 24
            | (self.index as u64 / 8) << 32
            | (self.records_in as u64 / 8) << 40
            | (self.records_out as u64 / 8) << 48
    }

    /// From a cookie.
    pub fn of_cookie(cookie: u64) -> Self {
        let words = |shift: u32| (cookie >> shift & 0xff) as u16 * 8;
        Self {
            descriptor: cookie as u8,
            family: (cookie >> 8) as u8,
            socket_type: (cookie >> 16) as u8,
            version: (cookie >> 24) as u8,
            index: words(32),
            records_in: words(40),
            records_out: words(48),
        }
    }
}

/// What became of a client request whose asker was looked for: each an index of the per-CPU `ASKERS` array.
pub mod asker {
    /// Its connection waits for the write.
    pub const FOUND: u32 = 0;
    /// The connection is none of TCP of package `net`, nor of TLS over one: the program wraps it.
    pub const WRAPPED: u32 = 1;
    /// The memory of the process could not be read.
    pub const UNREADABLE: u32 = 2;
    /// The goroutine is not known.
    pub const NO_GOROUTINE: u32 = 3;
    /// The descriptor leads to no such socket.
    pub const NO_SOCKET: u32 = 4;
    /// The table of connections was full.
    pub const CONNECTIONS_FULL: u32 = 5;

    /// How many there are.
    pub const COUNT: u32 = 6;

    /// Their names, as metrics and `spanlet probes` show them.
    pub const NAMES: [&str; COUNT as usize] = [
        "found",
        "wrapped",
        "unreadable",
        "no_goroutine",
        "no_socket",
        "connections_full",
    ];
}
