//! The header fields that matter: names and values in; length, host, user agent and trace context out.

use smol_str::SmolStr;

use crate::decode::limits::{CONTEXT_FIELDS_MAX, TEXT_BYTES_MAX};

/// Those that carry trace context, as `enrich` reads them.
const CONTEXT: [&str; 9] = [
    "traceparent",
    "tracestate",
    "b3",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-sampled",
    "x-b3-flags",
    "uber-trace-id",
    "x-amzn-trace-id",
];

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    pub length: Length,
    pub host: Option<SmolStr>,
    pub user_agent: Option<SmolStr>,
    pub context: Vec<(String, String)>,
}

/// What a head says of its body's length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Length {
    /// `content-length`; `Err`: not a number, or several that differ.
    pub content: Option<Result<u64, ()>>,
    pub transfer: Transfer,
}

/// `transfer-encoding`, by its last coding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transfer {
    #[default]
    Absent,
    Chunked,
    Other,
}

impl Fields {
    /// A field of a request.
    pub fn request(&mut self, name: &[u8], value: &[u8]) {
        let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        if is("host") {
            self.host.get_or_insert_with(|| text(value, TEXT_BYTES_MAX));
        } else if is("user-agent") {
            self.user_agent
                .get_or_insert_with(|| text(value, TEXT_BYTES_MAX));
        } else if let Some(context) = CONTEXT.iter().find(|context| is(context)) {
            if self.context.len() < CONTEXT_FIELDS_MAX {
                let field = (context.to_string(), text(value, TEXT_BYTES_MAX).into());
                self.context.push(field);
            }
        } else {
            self.answer(name, value);
        }
    }

    /// A field of an answer.
    pub fn answer(&mut self, name: &[u8], value: &[u8]) {
        if name.eq_ignore_ascii_case(b"content-length") {
            let values = value.split(|byte| *byte == b',').map(number);
            self.length.content = values.fold(self.length.content, agreed);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            let last = value
                .rsplit(|byte| *byte == b',')
                .next()
                .unwrap_or_default();
            self.length.transfer = match last.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                true => Transfer::Chunked,
                false => Transfer::Other,
            };
        }
    }
}

impl Length {
    /// `content-length` where sent and valid.
    pub fn valid(self) -> Option<u64> {
        self.content.and_then(Result::ok)
    }

    /// Two answers to one question, which different readers may take differently (request smuggling): never sent
    /// by an honest sender (RFC 9112 §6.2).
    pub fn conflicts(self) -> bool {
        let both = self.transfer != Transfer::Absent && self.content.is_some();
        both || self.content == Some(Err(()))
    }
}

/// Text of foreign bytes, at most `bytes_max` of them.
pub fn text(bytes: &[u8], bytes_max: usize) -> SmolStr {
    let bytes = &bytes[..bytes.len().min(bytes_max)];
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => String::from_utf8_lossy(bytes).into(),
    }
}

/// Digits only (RFC 9110 §8.6): `+5` and `-5` are none.
fn number(value: &[u8]) -> Result<u64, ()> {
    let value = value.trim_ascii();
    let digits = value.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(value)
        .ok()
        .and_then(|value| value.parse().ok());
    number.filter(|_| digits).ok_or(())
}

fn agreed(before: Option<Result<u64, ()>>, value: Result<u64, ()>) -> Option<Result<u64, ()>> {
    match before {
        Some(before) if before != value => Some(Err(())),
        _ => Some(value),
    }
}
