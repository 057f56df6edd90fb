//! TLS by OpenSSL and by Go: what the programs keep of its calls and sessions, and what the agent tells them of the file that it is in.
//! Data only.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Byte offsets and arguments that differ between releases. The agent gives them to a uprobe as the attachment's cookie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// In a session (`SSL`): what it reads from (`BIO *rbio`); what it writes to is the next word.
    pub source: u16,
    /// In a `BIO`: what its kind keeps (`ptr`).
    pub kept: u16,
    /// Which argument of the call, from 0 on, points to the number of bytes that it moved; or [`moved::RETURNED`].
    pub moved: u8,
    /// See [`memory`].
    pub memory: u8,
    /// In a session: its version, once the handshake is over; [`NOT_KNOWN`].
    pub version: u16,
}

/// [`Layout::version`]
pub const NOT_KNOWN: u16 = u16::MAX;

/// Versions of TLS as they stand in its messages (RFC 8446 §4.2.1): 1.0 to 1.3.
pub const VERSIONS: core::ops::RangeInclusive<u16> = 0x301..=0x304;
pub const TLS_1_2: u16 = 0x303;
pub const TLS_1_3: u16 = 0x304;

/// How a call tells how many bytes it moved: the value of [`Layout::moved`] where it is no argument's number.
pub mod moved {
    /// It gives that back, and is given sizes of 32 bits.
    pub const RETURNED: u8 = 0;
}

/// What a session reads from where its program carries the bytes: the value of [`Layout::memory`].
pub mod memory {
    /// OpenSSL's own `BIO_s_mem`.
    pub const OPENSSL: u8 = 0;
    /// Node's: no session of such a program reads or writes a socket itself.
    pub const NODE: u8 = 1;
}

impl Layout {
    /// As a cookie.
    pub const fn cookie(self) -> u64 {
        self.source as u64
            | (self.kept as u64) << 16
            | (self.moved as u64) << 32
            | (self.memory as u64) << 40
            | (self.version as u64) << 48
    }

    /// From a cookie.
    pub const fn of_cookie(cookie: u64) -> Self {
        Self {
            source: cookie as u16,
            kept: (cookie >> 16) as u16,
            moved: (cookie >> 32) as u8,
            memory: (cookie >> 40) as u8,
            version: (cookie >> 48) as u16,
        }
    }
}

/// What a call is for: the value of [`Call::kind`].
pub mod call {
    pub const READ: u32 = 0;
    pub const WRITE: u32 = 1;
    pub const HANDSHAKE: u32 = 2;
}

/// A call of OpenSSL that a thread is in: the value of the `TLS_CALLS` map, keyed by thread.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Call {
    /// Address of the session; 0 once the call is over.
    pub session: u64,
    pub buffer: u64,
    /// Address of the number of bytes that it moved; 0: it gives that back.
    pub moved: u64,
    pub began_ns: u64,
    /// Where the stack was as it began: tells one call from another.
    pub stack: u64,
    /// See [`call`].
    pub kind: u32,
    /// See [`memory`].
    pub memory: u32,
}

/// A TLS session: the key of the `TLS_SESSIONS` map.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Session {
    pub address: u64,
    pub process: u32,
    pub padding: u32,
}

/// A connection, as in [`crate::record::Io`].
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Carrier {
    pub socket: u64,
    pub generation: u64,
}

/// What is known of a session: the value of the `TLS_SESSIONS` map.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Bound {
    /// All zeroes: not known yet.
    pub carrier: Carrier,
    /// Bytes that were told when a call began, and that no call has taken since.
    pub ahead: u32,
    /// See [`session_flag`].
    pub flags: u32,
    /// Go: address of the connection that it is over; tells it from the next one at its address. 0 for OpenSSL, which says
    /// when it lets one go.
    pub over: u64,
}

/// Bits of [`Bound::flags`].
pub mod session_flag {
    /// It was seen from its handshake on.
    pub const BEGUN: u32 = 1;
    /// Its program carries its bytes: what it is given leaves after the call.
    pub const CARRIED: u32 = 2;
}

/// Bytes of a TLS record that no other has: random ones of a hello, or encrypted ones. With the process, the key of the
/// `TLS_RECEIVED` map.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Beginning {
    pub bytes: [u8; 16],
    pub process: u32,
    pub padding: u32,
}

/// Where they stand: behind the record's header (5 bytes) and, of a hello, its own with the version (RFC 8446 §4.1.2).
pub const BEGINNING_OFFSET: u32 = 11;

/// What is looked at of a record's beginning: its header, a message's, and the version that a hello begins with.
pub const HELLO_BYTES: usize = BEGINNING_OFFSET as usize;

/// What became of what sessions moved: each an index of the per-CPU `TLS` array.
pub mod outcome {
    /// It was told as the bytes of its connection.
    pub const FOUND: u32 = 0;
    /// It is not known which socket the session uses.
    pub const NO_SOCKET: u32 = 1;
    /// Its connection has ended, or is not followed.
    pub const NO_CONNECTION: u32 = 2;
    /// The begin of the call was not seen, or it had another within it (TLS within TLS).
    pub const NO_CALL: u32 = 3;
    /// The memory of the process could not be read.
    pub const UNREADABLE: u32 = 4;

    /// How many there are.
    pub const COUNT: u32 = 5;

    /// Their names, as metrics and `spanlet probes` show them.
    pub const NAMES: [&str; COUNT as usize] = [
        "found",
        "no_socket",
        "no_connection",
        "no_call",
        "unreadable",
    ];
}

const _: () = assert!(size_of::<Call>() == 48);
const _: () = assert!(size_of::<Session>() == 16);
const _: () = assert!(size_of::<Carrier>() == 16);
const _: () = assert!(size_of::<Bound>() == 32);
const _: () = assert!(size_of::<Beginning>() == 24);
