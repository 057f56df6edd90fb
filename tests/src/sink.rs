//! A cheap OTLP/HTTP receiver: acknowledges at once, keeps the bytes, and reads them only when it is asked, after the
//! load. In: OTLP on a loopback port. Out: spans by kind, bytes on the wire, and its own CPU time.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{ensure, Context, Result};
use flate2::read::GzDecoder;

use crate::protobuf::fields;
use crate::usage::thread_cpu_ns;

/// Listens until the process ends.
#[derive(Debug)]
pub struct Sink {
    address: SocketAddr,
    kept: Arc<Mutex<Kept>>,
}

/// What came since the last [`Sink::clear`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    pub server_spans: u64,
    pub client_spans: u64,
    /// Heads and bodies of the requests that carried spans.
    pub wire_bytes: u64,
    /// CPU time of its threads.
    pub cpu_ns: u64,
}

impl Received {
    pub fn spans(&self) -> u64 {
        self.server_spans + self.client_spans
    }
}

#[derive(Debug, Default)]
struct Kept {
    unread: Vec<Body>,
    received: Received,
    fault: Option<String>,
}

#[derive(Debug)]
struct Body {
    bytes: Vec<u8>,
    is_gzip: bool,
}

const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n";

/// Numbers of fields in opentelemetry/proto/{collector/trace,trace}/v1.
mod field {
    pub const RESOURCE_SPANS: u64 = 1;
    pub const SCOPE_SPANS: u64 = 2;
    pub const SPANS: u64 = 2;
    pub const SPAN_KIND: u64 = 6;
    pub const KIND_SERVER: u64 = 2;
    pub const KIND_CLIENT: u64 = 3;
}

impl Sink {
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let sink = Self {
            address: listener.local_addr()?,
            kept: Arc::default(),
        };
        let kept = sink.kept.clone();
        thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let kept = kept.clone();
                thread::spawn(move || serve(socket, &kept));
            }
        });
        Ok(sink)
    }

    /// For OTEL_EXPORTER_OTLP_ENDPOINT.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Reads what came meanwhile and adds it up.
    pub fn received(&self) -> Result<Received> {
        let unread = {
            let mut kept = lock(&self.kept);
            ensure!(kept.fault.is_none(), "the sink: {:?}", kept.fault);
            std::mem::take(&mut kept.unread)
        };
        let mut read = Received::default();
        for body in unread {
            count(&body, &mut read).context("the agent's OTLP is not understood")?;
        }
        let received = &mut lock(&self.kept).received;
        received.server_spans += read.server_spans;
        received.client_spans += read.client_spans;
        Ok(*received)
    }

    /// Forgets what came so far.
    pub fn clear(&self) {
        *lock(&self.kept) = Kept::default();
    }
}

fn serve(socket: TcpStream, kept: &Mutex<Kept>) {
    // The agent that sent is gone, or sends what is no HTTP: the second must not go unnoticed.
    if let Err(error) = converse(socket, kept) {
        lock(kept).fault = Some(format!("{error:#}"));
    }
}

fn converse(socket: TcpStream, kept: &Mutex<Kept>) -> Result<()> {
    let mut reader = BufReader::with_capacity(64 << 10, socket);
    let mut spent = thread_cpu_ns()?;
    while let Some(head) = read_head(&mut reader)? {
        let mut bytes = vec![0; head.body_bytes];
        reader.read_exact(&mut bytes)?;
        reader.get_mut().write_all(ANSWER)?;
        let mut kept = lock(kept);
        if head.has_spans {
            kept.received.wire_bytes += (head.bytes + head.body_bytes) as u64;
            kept.unread.push(Body {
                bytes,
                is_gzip: head.is_gzip,
            });
        }
        let now = thread_cpu_ns()?;
        kept.received.cpu_ns += now - spent;
        spent = now;
    }
    Ok(())
}

#[derive(Default)]
struct Head {
    bytes: usize,
    body_bytes: usize,
    has_spans: bool,
    is_gzip: bool,
}

/// `None`: the connection ended between two requests.
fn read_head(reader: &mut impl BufRead) -> Result<Option<Head>> {
    let mut head = Head::default();
    let mut line = String::new();
    loop {
        line.clear();
        let bytes = reader.read_line(&mut line)?;
        if bytes == 0 && head.bytes == 0 {
            return Ok(None);
        }
        ensure!(bytes > 0, "closed within a head");
        head.bytes += bytes;
        let text = line.trim_end().to_ascii_lowercase();
        if text.starts_with("post ") {
            head.has_spans = text.contains("/v1/traces");
        } else if let Some(length) = text.strip_prefix("content-length:") {
            head.body_bytes = length.trim().parse()?;
        } else if text.strip_prefix("content-encoding:").is_some() {
            head.is_gzip = text.ends_with("gzip");
        } else if text.is_empty() {
            return Ok(Some(head));
        }
    }
}

fn count(body: &Body, read: &mut Received) -> Result<()> {
    let mut inflated = Vec::new();
    let bytes = match body.is_gzip {
        true => {
            GzDecoder::new(&body.bytes[..]).read_to_end(&mut inflated)?;
            &inflated
        }
        false => &body.bytes,
    };
    for resource in fields(bytes, field::RESOURCE_SPANS) {
        for scope in fields(resource?.bytes()?, field::SCOPE_SPANS) {
            for span in fields(scope?.bytes()?, field::SPANS) {
                let kind = fields(span?.bytes()?, field::SPAN_KIND).next();
                match kind.context("a span without kind")??.number()? {
                    field::KIND_SERVER => read.server_spans += 1,
                    field::KIND_CLIENT => read.client_spans += 1,
                    kind => anyhow::bail!("a span of kind {kind}"),
                }
            }
        }
    }
    Ok(())
}

fn lock(kept: &Mutex<Kept>) -> std::sync::MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server span, a client span with a name, and in another scope a server span.
    const SPANS: [u8; 21] = [
        0x0a, 19, 0x12, 11, 0x12, 2, 0x30, 2, 0x12, 5, 0x2a, 1, b'n', 0x30, 3, 0x12, 4, 0x12, 2,
        0x30, 2,
    ];

    #[test]
    fn spans_and_bytes_are_counted() -> Result<()> {
        let sink = Sink::start()?;
        let mut socket = TcpStream::connect(sink.address)?;
        let head = format!(
            "POST /v1/traces HTTP/1.1\r\nContent-Length: {}\r\n\r\n",
            SPANS.len()
        );
        socket.write_all(head.as_bytes())?;
        socket.write_all(&SPANS)?;
        let mut answer = vec![0; ANSWER.len()];
        socket.read_exact(&mut answer)?;
        let received = crate::wait::wait_until(std::time::Duration::from_secs(5), "bytes", || {
            let received = sink.received()?;
            Ok((received.wire_bytes > 0).then_some(received))
        })?;
        assert_eq!(received.wire_bytes, (head.len() + SPANS.len()) as u64);
        assert_eq!((received.server_spans, received.client_spans), (2, 1));
        Ok(())
    }
}
