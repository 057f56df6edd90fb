//! Name-value pairs (FastCGI 1.0 §3.4) of a request: content of FCGI_PARAMS records in, what spans need of it out (RFC 3875 §4.1).
//! Of the values only those that a span says are kept.

use smol_str::{format_smolstr, SmolStr};

use crate::decode::exchange::{Gateway, Request};
use crate::decode::http1::fields::{text, Fields};
use crate::decode::limits::{HEAD_BYTES_MAX, TARGET_BYTES_MAX, TEXT_BYTES_MAX};
use crate::decode::stream::Bytes;

/// Bytes of the longest field's name that is of interest.
const FIELD_BYTES_MAX: usize = 16;

/// The content that came so far.
#[derive(Debug, Default)]
pub struct Params {
    bytes: Vec<u8>,
    /// Some of it was not seen, or is more than is kept.
    is_cut: bool,
}

/// What is said of one request.
#[derive(Default)]
struct Said {
    request: Request,
    gateway: Gateway,
    fields: Fields,
    path: Path,
}

/// What makes the target where it is not given as it was sent.
#[derive(Default)]
struct Path {
    document: Option<SmolStr>,
    script: Option<SmolStr>,
    info: Option<SmolStr>,
    query: Option<SmolStr>,
}

impl Params {
    /// What follows bytes that were not seen is not understood.
    pub fn add(&mut self, bytes: Bytes<'_>) {
        match bytes {
            Bytes::Seen(seen) if !self.is_cut => {
                let room = HEAD_BYTES_MAX - self.bytes.len();
                self.is_cut = seen.len() > room;
                let seen = &seen[..seen.len().min(room)];
                self.bytes.extend_from_slice(seen);
            }
            _ => self.is_cut = true,
        }
    }

    /// No more of it will be seen.
    pub fn cut(&mut self) {
        self.is_cut = true;
    }

    /// Bytes that it holds.
    pub fn held(&self) -> usize {
        self.bytes.capacity()
    }

    /// The request, and whether the pairs are not valid.
    pub fn read(&self) -> (Request, bool) {
        let mut said = Said::default();
        let mut rest = &self.bytes[..];
        while let Some((name, value, after)) = pair(rest) {
            said.pair(name, value);
            rest = after;
        }
        let is_broken = !rest.is_empty() && !self.is_cut;
        let mut request = said.finish();
        request.head_incomplete = self.is_cut;
        (request, is_broken)
    }
}

impl Said {
    fn pair(&mut self, name: &[u8], value: &[u8]) {
        if value.is_empty() {
            return;
        }
        let word = || Some(text(value, TEXT_BYTES_MAX));
        let long = || Some(text(value, TARGET_BYTES_MAX));
        match name {
            b"REQUEST_METHOD" => self.request.method = word(),
            b"REQUEST_URI" => self.request.target = long(),
            b"DOCUMENT_URI" => self.path.document = long(),
            b"SCRIPT_NAME" => self.path.script = long(),
            b"PATH_INFO" => self.path.info = long(),
            b"QUERY_STRING" => self.path.query = long(),
            b"CONTENT_LENGTH" => self.fields.answer(b"content-length", value),
            b"REQUEST_SCHEME" => self.scheme(value),
            b"HTTPS" if !value.eq_ignore_ascii_case(b"off") => self.gateway.is_https = Some(true),
            b"SERVER_NAME" if value != b"_" => self.gateway.server_name = word(),
            b"SERVER_PORT" => self.gateway.server_port = parsed(value),
            b"REMOTE_ADDR" => self.gateway.client_address = parsed(value),
            b"REMOTE_PORT" => self.gateway.client_port = parsed(value),
            _ => {
                if let Some(name) = name.strip_prefix(b"HTTP_") {
                    self.field(name, value);
                }
            }
        }
    }

    /// A field of the request that the web server got: `X_B3_TRACEID` is `x-b3-traceid`.
    fn field(&mut self, name: &[u8], value: &[u8]) {
        let mut field = [0; FIELD_BYTES_MAX];
        let Some(field) = field.get_mut(..name.len()) else {
            return;
        };
        for (to, from) in field.iter_mut().zip(name) {
            *to = match from {
                b'_' => b'-',
                other => other.to_ascii_lowercase(),
            };
        }
        // It is CONTENT_LENGTH that counts.
        if field != b"content-length" {
            self.fields.request(field, value);
        }
    }

    fn scheme(&mut self, value: &[u8]) {
        let is_https = value.eq_ignore_ascii_case(b"https");
        if is_https || value.eq_ignore_ascii_case(b"http") {
            self.gateway.is_https.get_or_insert(is_https);
        }
    }

    fn finish(self) -> Request {
        let Self {
            mut request,
            gateway,
            fields,
            path,
        } = self;
        request.target = request.target.or_else(|| path.target());
        request.content_length = fields.length.valid();
        request.host = fields.host;
        request.user_agent = fields.user_agent;
        request.context = fields.context;
        request.gateway = Some(Box::new(gateway));
        request
    }
}

impl Path {
    fn target(self) -> Option<SmolStr> {
        let own = || {
            let info = self.info.as_deref().unwrap_or_default();
            Some(format_smolstr!("{}{info}", self.script.as_deref()?))
        };
        let path = self.document.or_else(own)?;
        Some(match self.query {
            Some(query) => format_smolstr!("{path}?{query}"),
            None => path,
        })
    }
}

/// The first pair of the bytes, and what follows it; `None` where it is not whole.
fn pair(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (name_bytes, bytes) = length(bytes)?;
    let (value_bytes, bytes) = length(bytes)?;
    let (name, bytes) = bytes.split_at_checked(name_bytes)?;
    let (value, rest) = bytes.split_at_checked(value_bytes)?;
    Some((name, value, rest))
}

/// One byte below 128, or four, of which the first bit is set.
fn length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    match bytes {
        [short @ ..=127, rest @ ..] => Some((usize::from(*short), rest)),
        [first, second, third, fourth, rest @ ..] => {
            let length = u32::from_be_bytes([first & 127, *second, *third, *fourth]);
            Some((length as usize, rest))
        }
        _ => None,
    }
}

fn parsed<T: std::str::FromStr>(value: &[u8]) -> Option<T> {
    std::str::from_utf8(value).ok()?.parse().ok()
}
