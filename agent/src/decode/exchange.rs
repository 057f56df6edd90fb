//! The output of this room: one request and its answer, as one side of the connection saw them.

use crate::capture::event::{
    ConnectionId, Endpoint, Goroutine, HostPid, HostTid, Origin, RouteName, Task, TlsVersion, Turn,
};
use crate::clock::Monotonic;
use smol_str::SmolStr;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Names an exchange for the agent's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExchangeId(pub u64);

/// Which end of the exchange the process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    Server,
    Client,
}

/// What the bytes were.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    Http10,
    Http11,
    /// An HTTP/1 exchange whose version was not seen.
    Http1,
    FastCgi,
}

/// Agents that deliver spans call themselves so: a span of each delivery would be delivered, and so on without end.
const DELIVERER: &str = "spanlet/";

/// A connection as its exchanges know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub id: ConnectionId,
    pub local: Endpoint,
    pub remote: Endpoint,
    /// Unix sockets: the socket at the other end.
    pub peer_socket: Option<u64>,
    pub network_namespace: u32,
    /// Go: the goroutine that connected.
    pub dialer: Option<Goroutine>,
    /// When the connection was established, where that was seen.
    pub established: Option<Monotonic>,
    /// How long the connection waited to be accepted; not known to every back end.
    pub accept_wait: Option<Duration>,
    /// It carries TLS, which is seen decrypted.
    pub tls: Option<Tls>,
}

/// A TLS session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tls {
    /// It was seen from its handshake on: positions count from its first byte.
    pub from_start: bool,
    pub version: TlsVersion,
}

impl Link {
    /// A connection of which nothing is known.
    pub fn unknown(id: ConnectionId) -> Self {
        Self {
            id,
            local: Endpoint::Unknown,
            remote: Endpoint::Unknown,
            peer_socket: None,
            network_namespace: 0,
            dialer: None,
            established: None,
            accept_wait: None,
            tls: None,
        }
    }
}

/// The request as far as it was seen. Empty where bytes were lost or cut.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// As sent (case-sensitive, RFC 9110 §9.1). `None`: the start of the head was not seen.
    pub method: Option<SmolStr>,
    /// The request target as sent: origin, absolute, authority or asterisk form (RFC 9112 §3.2).
    pub target: Option<SmolStr>,
    /// `host`
    pub host: Option<SmolStr>,
    /// `user-agent`
    pub user_agent: Option<SmolStr>,
    /// Trace-context headers as sent: name in lower case, value. Only those [`crate::enrich`] reads:
    /// traceparent, tracestate, b3, x-b3-*, uber-trace-id, x-amzn-trace-id.
    pub context: Vec<(String, String)>,
    /// Body bytes on the wire after transfer decoding where known, `None` where not (chunked and not copied whole).
    pub body_bytes: Option<u64>,
    /// `content-length` where sent and valid.
    pub content_length: Option<u64>,
    /// The head was longer than what is copied, or bytes of it were lost: absent fields are unknown, not unsent.
    pub head_incomplete: bool,
    /// FastCGI: what is told besides.
    pub gateway: Option<Box<Gateway>>,
}

/// What a web server says of a request that it hands on (RFC 3875 §4.1). What it does not say is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gateway {
    /// The request came to it over TLS (`REQUEST_SCHEME`, `HTTPS`).
    pub is_https: Option<bool>,
    /// `SERVER_NAME`, `SERVER_PORT`
    pub server_name: Option<SmolStr>,
    pub server_port: Option<u16>,
    /// Who asked it: `REMOTE_ADDR`, `REMOTE_PORT`
    pub client_address: Option<IpAddr>,
    pub client_port: Option<u16>,
}

impl Request {
    /// An agent delivers with it.
    pub fn is_delivery(&self) -> bool {
        let sender = self.user_agent.as_deref();
        sender.is_some_and(|name| name.starts_with(DELIVERER))
    }

    /// Bytes of its texts.
    pub fn held(&self) -> usize {
        let texts = [&self.method, &self.target, &self.host, &self.user_agent];
        let texts = texts.into_iter().flatten().map(|text| text.len());
        let context = self.context.iter();
        let context = context.map(|(_, value)| value.len() + size_of::<(String, String)>());
        let gateway = self.gateway.as_ref().map_or(0, |_| size_of::<Gateway>());
        texts.sum::<usize>() + context.sum::<usize>() + gateway
    }
}

/// The answer as far as it was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// `None`: the status line was not seen.
    pub status: Option<u16>,
    pub body_bytes: Option<u64>,
    pub content_length: Option<u64>,
    pub head_incomplete: bool,
}

/// How the exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The answer was seen to its end.
    Complete,
    /// The connection was closed or reset before the answer was complete.
    ConnectionClosed,
    /// The connection was reset by the peer before the answer was complete.
    ConnectionReset,
    /// The client went away (closed or half-closed and gone) before the answer was complete; server side.
    ClientGone,
    /// Client side: this process closed the connection before the answer was complete (a time-out, a cancel).
    Cancelled,
    /// The process ended before the answer was complete.
    ProcessExited,
    /// Records were lost: the end is the last event seen of it.
    EndUnseen,
    /// The agent was stopped, or the exchange outlived its bound, while it was open.
    StillOpen,
    /// The request or the answer was not valid.
    Malformed,
}

impl Outcome {
    /// Of an exchange whose connection ended before its answer did. `stream_ended`: the other side would send no more.
    pub fn of_close(side: Side, reset: bool, stream_ended: bool) -> Self {
        match (reset, side, stream_ended) {
            (true, ..) => Self::ConnectionReset,
            (false, Side::Server, true) => Self::ClientGone,
            (false, Side::Client, false) => Self::Cancelled,
            (false, ..) => Self::ConnectionClosed,
        }
    }
}

/// How the end of the answer was known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndEvidence {
    /// Content-Length reached, no body allowed, or the last chunk, or FCGI_END_REQUEST, seen.
    Counted,
    /// The next request on the connection began.
    NextRequest,
    /// The connection closed, which is how this answer ends (RFC 9112 §6.3).
    Close,
    /// None: see the outcome.
    None,
}

/// What one thread spent on a server exchange that it alone served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Serving {
    pub cpu: Duration,
    pub run_queue_wait: Duration,
}

/// An exchange began: its request head was seen (or given up). Sent before any work it causes can be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    pub id: ExchangeId,
    pub side: Side,
    pub protocol: Protocol,
    pub link: Arc<Link>,
    /// Who read (server) or wrote (client) the first byte, and when.
    pub origin: Origin,
    /// Its goroutine, or, if `asked`, the one that asked for the request that another wrote.
    pub goroutine: Option<Goroutine>,
    /// Client: the task that wrote it.
    pub task: Option<Task>,
    /// Where in an event loop it was written, or read.
    pub turn: Option<Turn>,
    pub asked: bool,
    /// Stream position of the first byte of the request: TCP, the sequence number, equal at both ends; where TLS is seen from
    /// its start, a count that is equal at both ends too.
    pub position: u32,
    /// The first exchange on this connection since it was opened (and its opening was seen).
    pub first_on_connection: bool,
    /// Trace-context headers of the request, as in [`Request::context`].
    pub context: Vec<(String, String)>,
    /// Losses of the process so far, as in the event.
    pub process_losses: u32,
}

/// A request begins to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answering {
    pub id: ExchangeId,
    pub process: HostPid,
    pub connection: ConnectionId,
    pub by: Answerer,
    /// Its status, where that was seen.
    pub status: Option<u16>,
    /// When the write of the first byte began.
    pub time: Monotonic,
}

/// Who answers a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answerer {
    Task(Task),
    /// No task, goroutine or turn of a loop is known.
    Thread(HostTid),
}

/// What an event loop did with an exchange in one of its turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turning {
    pub id: ExchangeId,
    pub process: HostPid,
    /// When the turn began, which names it.
    pub turn: Monotonic,
    pub what: Turned,
    pub time: Monotonic,
}

/// See [`Turning`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turned {
    /// It read of a request, of none but this.
    ReadRequest,
    /// It read of the answer to a call, of none but this, or the end of its stream.
    ReadAnswer,
    /// It began to answer a request.
    Answered,
}

/// What the event loop of a proxy did over its sockets, one thing after another: told of processes that were named to
/// [`Decoder::is_proxy`](super::Decoder::is_proxy), of each call, after whatever that began or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moving {
    pub process: HostPid,
    pub what: Moved,
    pub time: Monotonic,
}

/// See [`Moving`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    /// It read the last bytes of this request, and of none else.
    Request(ExchangeId),
    /// It read of the answer to this call, and of none else, or the end of its stream.
    Answer(ExchangeId),
    /// It wrote of a call.
    Call,
    Other,
}

/// One request and its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    pub id: ExchangeId,
    pub side: Side,
    pub protocol: Protocol,
    pub process: HostPid,
    /// The thread that read (server) or wrote (client) the first byte.
    pub thread: HostTid,
    pub link: Arc<Link>,
    /// Server: the first byte of the request was read. Client: it was written.
    pub started: Monotonic,
    /// Server: the first byte of the answer was written. Client: it was read. 1xx answers do not count.
    pub first_byte: Option<Monotonic>,
    /// Server: the last byte of the answer was written. Client: it was read. Otherwise when it ended.
    pub ended: Monotonic,
    pub request: Request,
    pub response: Response,
    pub outcome: Outcome,
    pub end_evidence: EndEvidence,
    /// 101, or 2xx to CONNECT: the connection went on as something else; the exchange ends with the answer's head.
    pub upgraded: bool,
    /// Server: what the serving thread spent, where one thread read, served and wrote it alone.
    pub serving: Option<Serving>,
    /// Server: how long the request's first byte lay unread.
    pub read_wait: Option<Duration>,
    /// Server, Go: by which pattern it was routed.
    pub route: Option<RouteName>,
    /// Server, first exchange of its connection: how long the connection waited to be accepted.
    pub accept_wait: Option<Duration>,
}

/// What the decoder tells, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Started(Started),
    Answering(Answering),
    Turning(Turning),
    Moving(Moving),
    Finished(Box<Exchange>),
    /// A connection carries something that is not understood: its process has work that is not seen.
    Opaque {
        process: HostPid,
        connection: ConnectionId,
        time: Monotonic,
        /// The other side opened it (or that is not known): it may carry requests to this process.
        inbound: bool,
        /// It is TLS.
        tls: bool,
        /// It is a Unix socket.
        unix: bool,
    },
    /// An opaque connection ended, or is opaque no more.
    OpaqueEnded {
        process: HostPid,
        connection: ConnectionId,
        time: Monotonic,
        /// What it carries is seen decrypted from now on.
        decrypted: bool,
    },
}
