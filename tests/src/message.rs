//! HTTP/1 messages as a test writes and reads them. In: what to send; head bytes. Out: bytes; a parsed head.

use anyhow::{Context, Result};

/// A request as it will be written: nothing is added but what stands here and `Host`.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: &'static str,
    pub target: String,
    pub version: &'static str,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    /// The first bytes of the body, up to [`BODY_KEPT_BYTES`], transfer decoding undone.
    pub body_start: Vec<u8>,
    pub body_bytes: u64,
    pub end: End,
    /// CLOCK_MONOTONIC just before the first byte of the request was written.
    pub sent_ns: u64,
    /// CLOCK_MONOTONIC just after the first byte of the answer was read.
    pub first_byte_ns: u64,
    /// CLOCK_MONOTONIC just after the last byte of the answer was read.
    pub last_byte_ns: u64,
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Content-Length reached, or no body allowed.
    Length,
    /// The last chunk.
    Chunks,
    /// Close, which is how this answer ends.
    Close,
    /// The connection ended in the middle.
    Cut,
}

/// How a body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    ContentLength,
    Chunked,
}

/// Body bytes that an [`Answer`] keeps.
pub const BODY_KEPT_BYTES: usize = 64 << 10;

impl Request {
    pub fn new(method: &'static str, target: impl Into<String>) -> Self {
        Self {
            method,
            target: target.into(),
            version: "HTTP/1.1",
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    pub fn get(target: impl Into<String>) -> Self {
        Self::new("GET", target)
    }

    pub fn head(target: impl Into<String>) -> Self {
        Self::new("HEAD", target)
    }

    /// A POST with its body's Content-Length.
    pub fn post(target: impl Into<String>, body: Vec<u8>) -> Self {
        let mut request = Self::new("POST", target);
        let length = body.len().to_string();
        request.body = body;
        request.header("Content-Length", length)
    }

    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The same request as HTTP/1.0.
    pub fn http10(mut self) -> Self {
        self.version = "HTTP/1.0";
        self
    }

    /// Its bytes, to a server named `host`.
    pub fn encode(&self, host: &str) -> Vec<u8> {
        let mut head = format!(
            "{} {} {}\r\nHost: {host}\r\n",
            self.method, self.target, self.version
        );
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

impl Answer {
    /// A header's value by its name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    /// Whether the server will close the connection after it.
    pub fn closes(&self) -> bool {
        let says = self.header("connection");
        self.end == End::Close || says.is_some_and(|says| says.eq_ignore_ascii_case("close"))
    }

    /// The kept start of the body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body_start).into_owned()
    }
}

/// A header's value by its name, in any case.
pub fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let found = headers
        .iter()
        .find(|(other, _)| other.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.as_str())
}

/// Status and headers of an answer's head, its empty line included.
pub fn parse_head(head: &[u8]) -> Result<(u16, Vec<(String, String)>)> {
    let text = std::str::from_utf8(head).context("head is not text")?;
    let mut lines = text.split("\r\n");
    let status = lines
        .next()
        .filter(|line| line.starts_with("HTTP/1."))
        .and_then(|line| line.split(' ').nth(1))
        .and_then(|status| status.parse().ok())
        .with_context(|| format!("no status line: {text}"))?;
    let headers = lines.filter(|line| !line.is_empty()).map(|line| {
        let (name, value) = line
            .split_once(':')
            .with_context(|| format!("no header line: {line}"))?;
        Ok((name.to_owned(), value.trim().to_owned()))
    });
    Ok((status, headers.collect::<Result<_>>()?))
}
