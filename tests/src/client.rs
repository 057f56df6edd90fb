//! A blocking HTTP/1 client with full control over bytes and connection. In: requests or raw bytes. Out: answers
//! with the client's own times.

use std::collections::VecDeque;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use rustls::ClientConfig;

use crate::channel::Channel;
use crate::message::{Answer, Framing, Request};
use crate::reader::{read_answer, Pace, Reader};
use crate::system::{monotonic_ns, reset_on_close};

/// Where a function listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// A connection. Closed with the value.
#[derive(Debug)]
pub struct Connection {
    host: String,
    /// Requests without their answer: whether it is HEAD, and when it was sent.
    pending: VecDeque<(bool, u64)>,
    reader: Reader<Channel>,
}

const PIECE_BYTES: usize = 64 << 10;

/// No answer takes longer; a test that hangs is a test that failed.
const PATIENCE: Duration = Duration::from_secs(60);

impl Address {
    /// From what a function was told (`HOST`, a Unix socket) and what it said it listens on.
    pub fn of(host: Option<&str>, unix: bool, name: &str) -> Result<Self> {
        if unix {
            return Ok(Self::Unix(name.into()));
        }
        let ip = match host.unwrap_or("127.0.0.1").parse()? {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            // Both families listen: over IPv4, the server sees mapped addresses.
            IpAddr::V6(ip) if ip == Ipv6Addr::UNSPECIFIED => Ipv4Addr::LOCALHOST.into(),
            ip => ip,
        };
        Ok(Self::Tcp(SocketAddr::new(ip, name.parse()?)))
    }

    /// Host and port of a URL.
    pub fn authority(&self) -> String {
        match self {
            Self::Tcp(address) => address.to_string(),
            Self::Unix(_) => "localhost".to_owned(),
        }
    }

    /// The port; Unix sockets have none.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Tcp(address) => Some(address.port()),
            Self::Unix(_) => None,
        }
    }
}

impl Connection {
    pub fn open(address: &Address) -> Result<Self> {
        Self::open_over(address, None)
    }

    /// Over TLS, if it says whom to trust (not over Unix sockets).
    pub fn open_over(address: &Address, trust: Option<&Arc<ClientConfig>>) -> Result<Self> {
        let channel = match address {
            Address::Tcp(address) => {
                let channel = Channel::connect(*address, trust)?;
                let socket = channel.tcp().context("a TCP socket")?;
                socket.set_read_timeout(Some(PATIENCE))?;
                channel
            }
            Address::Unix(path) => {
                let socket = UnixStream::connect(path)?;
                socket.set_read_timeout(Some(PATIENCE))?;
                Channel::Unix(socket)
            }
        };
        Ok(Self {
            reader: Reader::new(channel),
            host: address.authority(),
            pending: VecDeque::new(),
        })
    }

    /// The port at this end; Unix sockets have none.
    pub fn local_port(&self) -> Result<Option<u16>> {
        let socket = self.reader.inner().tcp();
        let address = socket.map(|socket| socket.local_addr()).transpose()?;
        Ok(address.map(|address| address.port()))
    }

    /// Reads slowly from now on.
    pub fn read_slowly(&mut self, pace: Pace) {
        self.reader.pace = Some(pace);
    }

    /// One request, one answer.
    pub fn exchange(&mut self, request: &Request) -> Result<Answer> {
        self.send(request)?;
        self.receive()
    }

    /// Writes a request at once. Several before the first [`Self::receive`]: pipelining.
    pub fn send(&mut self, request: &Request) -> Result<()> {
        self.send_split(request, usize::MAX, Duration::ZERO)
    }

    /// Writes a request in pieces of `bytes`, with a pause after each.
    pub fn send_split(&mut self, request: &Request, bytes: usize, pause: Duration) -> Result<()> {
        self.begin(request);
        for piece in request.encode(&self.host).chunks(bytes) {
            self.write(piece)?;
            if !pause.is_zero() {
                thread::sleep(pause);
            }
        }
        Ok(())
    }

    /// POSTs `bytes` bytes from one buffer.
    pub fn upload(&mut self, target: &str, bytes: u64, framing: Framing) -> Result<Answer> {
        let header = match framing {
            Framing::ContentLength => ("Content-Length", bytes.to_string()),
            Framing::Chunked => ("Transfer-Encoding", "chunked".to_owned()),
        };
        let request = Request::new("POST", target).header(header.0, header.1);
        self.send(&request)?;
        self.write_body(bytes, framing)?;
        self.receive()
    }

    /// Writes any bytes. The answer, if one is expected, is that of a GET.
    pub fn send_raw(&mut self, bytes: &[u8]) -> Result<()> {
        self.write(bytes)
    }

    /// Reads the answer to the oldest request without one; 1xx answers are skipped.
    pub fn receive(&mut self) -> Result<Answer> {
        let (is_head, sent_ns) = self.pending.pop_front().unwrap_or((false, monotonic_ns()));
        loop {
            let answer = read_answer(&mut self.reader, is_head, sent_ns)?;
            if answer.status >= 200 || answer.status == 101 {
                return Ok(answer);
            }
        }
    }

    /// Whether the server has closed: waits for it.
    pub fn is_closed(&mut self) -> Result<bool> {
        self.reader.is_at_end()
    }

    /// Closes with a reset (a Unix socket: as ever).
    pub fn abort(self) -> Result<()> {
        if let Some(socket) = self.reader.inner().tcp() {
            reset_on_close(socket)?;
        }
        Ok(())
    }

    /// Says that nothing more will be sent; answers can still be read.
    pub fn half_close(&mut self) -> Result<()> {
        match self.reader.inner() {
            Channel::Unix(socket) => socket.shutdown(Shutdown::Write)?,
            channel => {
                let socket = channel.tcp().context("a TCP socket")?;
                socket.shutdown(Shutdown::Write)?;
            }
        }
        Ok(())
    }

    fn begin(&mut self, request: &Request) {
        self.pending
            .push_back((request.method == "HEAD", monotonic_ns()));
    }

    fn write_body(&mut self, bytes: u64, framing: Framing) -> Result<()> {
        let mut left = bytes;
        while left > 0 {
            let size = left.min(PIECE_BYTES as u64) as usize;
            let piece = match framing {
                Framing::ContentLength => vec![b'x'; size],
                Framing::Chunked => chunk(size),
            };
            let repeats = left / size as u64;
            (0..repeats).try_for_each(|_| self.write(&piece))?;
            left -= repeats * size as u64;
        }
        match framing {
            Framing::ContentLength => Ok(()),
            Framing::Chunked => self.write(b"0\r\n\r\n"),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let channel = self.reader.inner_mut();
        let written = channel.write_all(bytes).and_then(|()| channel.flush());
        written.context("write to the function")
    }
}

fn chunk(size: usize) -> Vec<u8> {
    let mut chunk = format!("{size:x}\r\n").into_bytes();
    chunk.resize(chunk.len() + size, b'x');
    chunk.extend_from_slice(b"\r\n");
    chunk
}
