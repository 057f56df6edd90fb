//! First lines as most senders write them: bytes in, their words out. What is written in another way is not understood
//! here; [`super::head`] reads it in full.

use crate::decode::detect::METHODS;
use crate::decode::exchange::Protocol;

/// The words of a request line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestLine<'a> {
    pub method: &'a str,
    pub target: &'a str,
    pub protocol: Protocol,
}

/// A request line with a well-known method and a target of printable ASCII, and its length.
pub fn request(bytes: &[u8]) -> Option<(RequestLine<'_>, usize)> {
    let (line, length) = first(bytes)?;
    let method = METHODS.into_iter().find(|method| {
        line.starts_with(method.as_bytes()) && line.get(method.len()) == Some(&b' ')
    })?;
    let (rest, protocol) = match line.get(method.len() + 1..)? {
        [rest @ .., b' ', b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'1'] => {
            (rest, Protocol::Http11)
        }
        [rest @ .., b' ', b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0'] => {
            (rest, Protocol::Http10)
        }
        _ => return None,
    };
    let is_plain = !rest.is_empty() && rest.iter().all(u8::is_ascii_graphic);
    let target = std::str::from_utf8(rest).ok().filter(|_| is_plain)?;
    let line = RequestLine {
        method,
        target,
        protocol,
    };
    Some((line, length))
}

/// The status of a status line whose reason is of printable ASCII and spaces, and the line's length.
pub fn status(bytes: &[u8]) -> Option<(u16, usize)> {
    let (line, length) = first(bytes)?;
    let [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0' | b'1', b' ', code @ ..] = line else {
        return None;
    };
    let (code, reason) = code.split_at_checked(3)?;
    let is_plain = match reason {
        [b' ', reason @ ..] => reason.iter().all(|byte| matches!(byte, b' '..=b'~')),
        _ => false,
    };
    let status = code.iter().try_fold(0, |status, digit| {
        digit
            .is_ascii_digit()
            .then(|| status * 10 + u16::from(digit - b'0'))
    });
    Some((status.filter(|_| is_plain)?, length))
}

/// The first line without its end, and its length with it.
fn first(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let end = memchr::memchr(b'\n', bytes)?;
    let line = bytes.get(..end)?.strip_suffix(b"\r")?;
    Some((line, end + 1))
}
