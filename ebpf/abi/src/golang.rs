//! Go: where `net/http`'s client keeps what leads from one of its connections to the kernel's socket. The agent gives it
//! to a uprobe as the attachment's cookie: it is the same for all processes that run one file.

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

/// What became of a client request whose asker was looked for: each an index of the per-CPU `ASKERS` array.
pub mod asker {
    /// Its connection waits for the write.
    pub const FOUND: u32 = 0;
    /// The connection is no plain TCP connection of package `net`: TLS, or wrapped by the program.
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
