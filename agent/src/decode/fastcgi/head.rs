//! The head of an answer (RFC 3875 §6.2), which begins the content of FCGI_STDOUT: its bytes in, what spans need of it out.

use crate::decode::http1::fields::Fields;
use crate::decode::http1::head::{fields, Field};

/// What an answer says of itself.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    pub status: Option<u16>,
    pub content_length: Option<u64>,
    pub malformed: bool,
}

/// Reads whole lines. `is_whole`: there are no more of them, so that what is not said is meant by that: without `Status` it is 200,
/// or with `Location` 302 (§6.2.3).
pub fn read(lines: &[u8], is_whole: bool) -> Head {
    let (mut said, mut moved) = (None, false);
    let mut length = Fields::default();
    for Field { name, value } in fields(lines) {
        if name.eq_ignore_ascii_case(b"status") {
            said.get_or_insert_with(|| code(value));
        } else if name.eq_ignore_ascii_case(b"location") {
            moved = true;
        } else {
            length.answer(name, value);
        }
    }
    let unsaid = match moved {
        true => 302,
        false => 200,
    };
    Head {
        status: match said {
            Some(code) => code,
            None => is_whole.then_some(unsaid),
        },
        content_length: length.length.valid(),
        malformed: said == Some(None) || length.length.conflicts(),
    }
}

/// Three digits, and whatever reason follows.
fn code(value: &[u8]) -> Option<u16> {
    let (code, reason) = value.split_at_checked(3)?;
    let is_whole = reason.first().is_none_or(|byte| *byte == b' ');
    let code = std::str::from_utf8(code).ok()?.parse().ok();
    code.filter(|code| is_whole && (100..1000).contains(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(bytes: &[u8]) -> (Option<u16>, Option<u64>, bool) {
        let head = read(bytes, true);
        (head.status, head.content_length, head.malformed)
    }

    #[test]
    fn what_a_head_says() {
        let plain = said(b"Content-type: text/html\r\n\r\n");
        assert_eq!(plain, (Some(200), None, false));
        let missing = said(b"Status: 404 Not Found\r\nContent-Length: 5\r\n\r\n");
        assert_eq!(missing, (Some(404), Some(5), false));
        assert_eq!(said(b"status:503\n\n"), (Some(503), None, false));
        let moved = said(b"Location: /elsewhere\n\n");
        assert_eq!(moved, (Some(302), None, false));
        let made = said(b"Location: /made\nStatus: 201\n\n");
        assert_eq!(made, (Some(201), None, false));
        assert_eq!(said(b"Status: fine\n\n"), (None, None, true));
        assert_eq!(said(b"Status: 2000\n\n"), (None, None, true));
        let two = said(b"Content-Length: 5\nContent-Length: 6\n\n");
        assert_eq!(two, (Some(200), None, true));
        assert_eq!(read(b"X: y\r\nStatus: 40", false).status, None);
    }
}
