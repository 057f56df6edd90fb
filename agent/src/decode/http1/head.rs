//! Message heads (RFC 9112 §2 to §6): the bytes of a head in, what spans need of it out.

use std::mem::MaybeUninit;

use super::body::Framing;
use super::fields::{text, Fields, Length, Transfer};
use super::line::{self, RequestLine};
use super::memo::Memo;
use crate::decode::detect;
use crate::decode::exchange::{Protocol, Request};
use crate::decode::limits::{FIELDS_USUAL, HEAD_BYTES_MAX, TARGET_BYTES_MAX, TEXT_BYTES_MAX};

/// A request's head.
#[derive(Debug)]
pub struct RequestHead {
    pub request: Request,
    pub protocol: Protocol,
    pub framing: Framing,
    pub malformed: bool,
}

/// An answer's head.
#[derive(Debug)]
pub struct AnswerHead {
    pub status: Option<u16>,
    pub length: Length,
    pub malformed: bool,
    pub incomplete: bool,
}

/// A head at the start of some bytes.
#[derive(Debug)]
pub enum Parsed<T> {
    /// And how many bytes it took.
    Complete(T, usize),
    Partial,
    Broken,
}

/// The fields of heads that were parsed lately.
#[derive(Debug, Default)]
pub struct Known {
    requests: Memo<Fields>,
    answers: Memo<Length>,
}

impl Known {
    /// Parses a request's head.
    pub fn request(&mut self, bytes: &[u8]) -> Parsed<RequestHead> {
        let Some((line, begin)) = line::request(bytes) else {
            return request(bytes);
        };
        let place = match self.requests.find(&bytes[begin..]) {
            Ok((fields, length)) => {
                return Parsed::Complete(RequestHead::new(line, fields.clone()), begin + length);
            }
            Err(place) => place,
        };
        let parsed = request_line_and_fields(bytes);
        if let (Some(place), Parsed::Complete((_, fields), length)) = (place, &parsed) {
            // Trace context is another one each time.
            if begin + place.length() == *length && fields.context.is_empty() {
                self.requests.keep(place, &bytes[begin..], fields.clone());
            }
        }
        parsed.map(|(line, fields)| RequestHead::new(line, fields))
    }

    /// Parses an answer's head.
    pub fn answer(&mut self, bytes: &[u8]) -> Parsed<AnswerHead> {
        let Some((status, begin)) = line::status(bytes) else {
            return answer(bytes);
        };
        let place = match self.answers.find(&bytes[begin..]) {
            Ok((length, end)) => {
                return Parsed::Complete(AnswerHead::new(Some(status), *length), begin + end);
            }
            Err(place) => place,
        };
        let parsed = answer(bytes);
        if let (Some(place), Parsed::Complete(head, length)) = (place, &parsed) {
            if begin + place.length() == *length {
                self.answers.keep(place, &bytes[begin..], head.length);
            }
        }
        parsed
    }
}

fn request(bytes: &[u8]) -> Parsed<RequestHead> {
    request_line_and_fields(bytes).map(|(line, fields)| RequestHead::new(line, fields))
}

fn request_line_and_fields(bytes: &[u8]) -> Parsed<(RequestLine<'_>, Fields)> {
    let mut usual = [const { MaybeUninit::uninit() }; FIELDS_USUAL];
    match request_in(bytes, &mut usual) {
        Err(httparse::Error::TooManyHeaders) => parsed(request_in(bytes, &mut all_fields(bytes))),
        result => parsed(result),
    }
}

fn answer(bytes: &[u8]) -> Parsed<AnswerHead> {
    let mut usual = [const { MaybeUninit::uninit() }; FIELDS_USUAL];
    match answer_in(bytes, &mut usual) {
        Err(httparse::Error::TooManyHeaders) => parsed(answer_in(bytes, &mut all_fields(bytes))),
        result => parsed(result),
    }
}

/// What can be had of a request's head that is not valid or not complete: its length is not to be relied on.
pub fn salvage_request(bytes: &[u8], malformed: bool) -> RequestHead {
    let (line, lines) = bytes.split_at(line_length(bytes));
    let complete = line.ends_with(b"\n");
    let line = line.trim_ascii_end();
    let (method, rest) = line.split_at(
        line.iter()
            .position(|byte| *byte == b' ')
            .unwrap_or(line.len()),
    );
    let (target, protocol) = match rest.len().checked_sub(b" HTTP/1.1".len()) {
        Some(end) if complete => (&rest[..end], protocol(rest.last().copied())),
        _ => (rest, Protocol::Http1),
    };
    let fields = salvage_fields(lines);
    RequestHead {
        request: Request {
            method: Some(text(method, TEXT_BYTES_MAX)),
            target: Some(text(target.trim_ascii(), TARGET_BYTES_MAX)),
            content_length: fields.length.valid(),
            host: fields.host,
            user_agent: fields.user_agent,
            context: fields.context,
            body_bytes: None,
            head_incomplete: end(bytes).is_none(),
            gateway: None,
        },
        protocol,
        framing: Framing::Unknown,
        malformed,
    }
}

/// As [`salvage_request`], of an answer's head.
pub fn salvage_answer(bytes: &[u8], malformed: bool) -> AnswerHead {
    let digits = bytes
        .get(9..12)
        .and_then(|digits| std::str::from_utf8(digits).ok());
    let known = detect::status_line(bytes) == detect::Verdict::Yes;
    AnswerHead {
        status: digits
            .filter(|_| known)
            .and_then(|digits| digits.parse().ok()),
        length: salvage_fields(&bytes[line_length(bytes)..]).length,
        malformed,
        incomplete: end(bytes).is_none(),
    }
}

/// Length of the head at the start of the bytes, its empty line included.
pub fn end(bytes: &[u8]) -> Option<usize> {
    let mut start = 0;
    loop {
        let length = line_length(&bytes[start..]);
        let line = &bytes[start..start + length];
        if !line.ends_with(b"\n") {
            return None;
        }
        start += length;
        if line == b"\n" || line == b"\r\n" {
            return Some(start);
        }
    }
}

type Room<'b> = [MaybeUninit<httparse::Header<'b>>];

/// Room for as many fields as the bytes can hold: the shortest is `a:` and a LF.
fn all_fields<'b>(bytes: &[u8]) -> Vec<MaybeUninit<httparse::Header<'b>>> {
    let count = bytes.len().min(HEAD_BYTES_MAX) / 3;
    (0..count).map(|_| MaybeUninit::uninit()).collect()
}

fn request_in<'b>(
    bytes: &'b [u8],
    room: &mut Room<'b>,
) -> httparse::Result<((RequestLine<'b>, Fields), usize)> {
    let mut head = httparse::Request::new(&mut []);
    let httparse::Status::Complete(length) = head.parse_with_uninit_headers(bytes, room)? else {
        return Ok(httparse::Status::Partial);
    };
    let (method, target) = (
        head.method.unwrap_or_default(),
        head.path.unwrap_or_default(),
    );
    if method.len() > detect::METHOD_BYTES_MAX {
        return Err(httparse::Error::Token);
    }
    let mut fields = Fields::default();
    for header in head.headers.iter() {
        fields.request(header.name.as_bytes(), header.value);
    }
    let line = RequestLine {
        method,
        target,
        protocol: protocol(head.version.map(|version| version + b'0')),
    };
    Ok(httparse::Status::Complete(((line, fields), length)))
}

fn answer_in<'b>(bytes: &'b [u8], room: &mut Room<'b>) -> httparse::Result<(AnswerHead, usize)> {
    let mut head = httparse::Response::new(&mut []);
    let mut lenient = httparse::ParserConfig::default();
    lenient
        .allow_obsolete_multiline_headers_in_responses(true)
        .allow_spaces_after_header_name_in_responses(true);
    let status = lenient.parse_response_with_uninit_headers(&mut head, bytes, room)?;
    let httparse::Status::Complete(length) = status else {
        return Ok(httparse::Status::Partial);
    };
    let mut fields = Fields::default();
    for header in head.headers.iter() {
        fields.answer(header.name.as_bytes(), header.value);
    }
    let head = AnswerHead::new(head.code, fields.length);
    Ok(httparse::Status::Complete((head, length)))
}

fn parsed<T>(result: httparse::Result<(T, usize)>) -> Parsed<T> {
    match result {
        Ok(httparse::Status::Complete((head, length))) => Parsed::Complete(head, length),
        Ok(httparse::Status::Partial) => Parsed::Partial,
        Err(_) => Parsed::Broken,
    }
}

/// RFC 9112 §6.3; and whether the message breaks it.
fn request_framing(length: Length) -> (Framing, bool) {
    match (length.transfer, length.content) {
        (Transfer::Chunked, _) => (Framing::Chunked, length.conflicts()),
        (Transfer::Other, _) => (Framing::Unknown, true),
        (Transfer::Absent, None) => (Framing::Counted(0), false),
        (Transfer::Absent, Some(Ok(length))) => (Framing::Counted(length), false),
        (Transfer::Absent, Some(Err(()))) => (Framing::Unknown, true),
    }
}

impl<T> Parsed<T> {
    fn map<U>(self, change: impl FnOnce(T) -> U) -> Parsed<U> {
        match self {
            Self::Complete(head, length) => Parsed::Complete(change(head), length),
            Self::Partial => Parsed::Partial,
            Self::Broken => Parsed::Broken,
        }
    }
}

impl RequestHead {
    fn new(line: RequestLine<'_>, fields: Fields) -> Self {
        let (framing, malformed) = request_framing(fields.length);
        let request = Request {
            method: Some(line.method.into()),
            target: Some(clipped(line.target, TARGET_BYTES_MAX).into()),
            content_length: fields.length.valid(),
            host: fields.host,
            user_agent: fields.user_agent,
            context: fields.context,
            body_bytes: (framing != Framing::Unknown).then_some(0),
            head_incomplete: false,
            gateway: None,
        };
        Self {
            request,
            protocol: line.protocol,
            framing,
            malformed,
        }
    }
}

impl AnswerHead {
    fn new(status: Option<u16>, length: Length) -> Self {
        Self {
            status,
            length,
            malformed: length.conflicts(),
            incomplete: false,
        }
    }

    /// RFC 9112 §6.3, for the answer to a request with this method.
    pub fn framing(&self, method: Option<&str>) -> Framing {
        match (self.status, self.length.transfer, self.length.content) {
            _ if self.incomplete => Framing::Unknown,
            (Some(100..=199 | 204 | 304), ..) => Framing::Counted(0),
            _ if method == Some("HEAD") => Framing::Counted(0),
            (_, Transfer::Chunked, _) => Framing::Chunked,
            (_, Transfer::Other, _) | (_, _, None) => Framing::UntilClose,
            (_, _, Some(Ok(length))) => Framing::Counted(length),
            (_, _, Some(Err(()))) => Framing::Unknown,
        }
    }
}

/// The first whole characters of a text that fit.
fn clipped(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

fn protocol(minor: Option<u8>) -> Protocol {
    match minor {
        Some(b'0') => Protocol::Http10,
        Some(b'1') => Protocol::Http11,
        _ => Protocol::Http1,
    }
}

/// A field of a head.
#[derive(Clone, Copy, Debug)]
pub struct Field<'a> {
    pub name: &'a [u8],
    pub value: &'a [u8],
}

/// The fields of whole lines; a line that is none is passed over.
pub fn fields(mut lines: &[u8]) -> impl Iterator<Item = Field<'_>> {
    let next = move || {
        let (line, rest) = lines.split_at(line_length(lines));
        lines = rest;
        line.ends_with(b"\n").then_some(line)
    };
    std::iter::from_fn(next).filter_map(|line| {
        let colon = line.iter().position(|byte| !detect::is_token(*byte))?;
        let (name, value) = line.split_at(colon);
        let value = value.strip_prefix(b":")?.trim_ascii();
        Some(Field { name, value })
    })
}

fn salvage_fields(lines: &[u8]) -> Fields {
    let mut found = Fields::default();
    for Field { name, value } in fields(lines) {
        found.request(name, value);
    }
    found
}

/// Bytes up to and with the next LF, or all.
fn line_length(bytes: &[u8]) -> usize {
    let end = bytes.iter().position(|byte| *byte == b'\n');
    end.map_or(bytes.len(), |end| end + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a parser makes of bytes, to be compared.
    fn told<T: std::fmt::Debug>(parsed: &Parsed<T>) -> String {
        format!("{parsed:?}")
    }

    /// Of the words that heads are made of, and those that break them.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let words = prop::sample::select(vec![
            "GET ",
            "POST ",
            "BREW ",
            "/",
            "/a?b=c",
            "\u{e9}",
            "*",
            " HTTP/1.1",
            " HTTP/1.0",
            " HTTP/1.2",
            "HTTP/1.1 ",
            "HTTP/1.0 ",
            "200",
            "099",
            "1000",
            " OK",
            " ",
            "\r\n",
            "\n",
            "\r",
            "Host: a",
            "Content-Length: 3",
            "content-length: x",
            "Transfer-Encoding: chunked",
            "traceparent: 00",
            " folded",
            "abc",
            "\0",
            "\t",
            ":",
        ]);
        prop::collection::vec(words, 0..12).prop_map(|words| words.concat().into_bytes())
    }

    proptest! {
        #[test]
        fn a_known_head_says_what_it_said_when_it_was_read(heads in prop::collection::vec(bytes(), 1..4)) {
            let mut known = Known::default();
            for head in heads.iter().chain(&heads) {
                prop_assert_eq!(told(&known.request(head)), told(&request(head)));
                prop_assert_eq!(told(&known.answer(head)), told(&answer(head)));
            }
        }
    }

    #[test]
    fn fields_that_come_again_are_not_read_again() {
        let mut known = Known::default();
        let (first, next) = (
            b"GET /a HTTP/1.1\r\nHost: b\r\n\r\n",
            b"POST /other HTTP/1.0\r\nHost: b\r\n\r\nbody",
        );
        assert!(known.requests.find(&first[17..]).is_err());
        known.request(first);
        assert!(known.requests.find(&next[22..]).is_ok());
        let Parsed::Complete(head, length) = known.request(next) else {
            panic!("not read");
        };
        assert_eq!(head.request.target.as_deref(), Some("/other"));
        assert_eq!(head.request.host.as_deref(), Some("b"));
        assert_eq!(&next[length..], b"body");
    }

    #[test]
    fn trace_context_is_not_kept() {
        let mut known = Known::default();
        let head = b"GET / HTTP/1.1\r\ntraceparent: 00\r\n\r\n";
        known.request(head);
        assert!(known.requests.find(&head[16..]).is_err());
    }
}
