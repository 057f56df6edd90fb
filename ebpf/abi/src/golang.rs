//! Go: where `net/http`'s client and `crypto/tls` keep what leads from one of their connections to the kernel's socket. The agent
//! gives it to a uprobe as the attachment's cookie: it is the same for all processes that run one file.

/// Byte offsets, which differ between releases.
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
