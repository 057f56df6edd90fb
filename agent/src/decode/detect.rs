//! What bytes are, by how they begin: first bytes of a turn in, a verdict out.

/// Bytes of the longest method: what begins with a longer word is no request.
pub const METHOD_BYTES_MAX: usize = 32;

/// Methods that everybody knows (RFC 9110 §9.3, RFC 5789).
pub const METHODS: [&str; 9] = [
    "GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "CONNECT",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Yes,
    No,
    /// It may be: more bytes will tell.
    More,
}

/// Whether the bytes begin with an HTTP/1 request line (RFC 9112 §3). One with spaces in its target is one too:
/// not valid, but the function has to answer it. Empty lines before it are passed over (RFC 9112 §2.2).
pub fn request_line(bytes: &[u8]) -> Verdict {
    let bytes = &bytes[blank(bytes)..];
    let method = bytes.iter().take_while(|byte| is_token(**byte)).count();
    match bytes.get(method) {
        _ if method > METHOD_BYTES_MAX => return Verdict::No,
        None => return Verdict::More,
        Some(b' ') if method > 0 => {}
        Some(_) => return Verdict::No,
    }
    let rest = &bytes[method + 1..];
    match rest.iter().position(|byte| *byte < b' ') {
        None => Verdict::More,
        Some(end) if !is_line_end(&rest[end..]) || !ends_in_version(&rest[..end]) => Verdict::No,
        Some(_) => Verdict::Yes,
    }
}

/// Bytes of the empty lines at the start.
pub fn blank(bytes: &[u8]) -> usize {
    let is_blank = |byte: &&u8| matches!(byte, b'\r' | b'\n');
    bytes.iter().take_while(is_blank).count()
}

/// Whether the first bytes of a request line whose end is not known can be taken for one: a method everybody
/// knows, and a target of a usual form.
pub fn request_line_likely(bytes: &[u8]) -> bool {
    let mut words = bytes.splitn(2, |byte| *byte == b' ');
    let (method, target) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    METHODS.iter().any(|known| known.as_bytes() == method)
        && (target.starts_with(b"/") || target.starts_with(b"http"))
}

/// Whether the bytes may well be the start of a request line: one is there, or a method everybody knows begins.
pub fn request_line_begins(bytes: &[u8]) -> bool {
    let some = !bytes.is_empty();
    let bytes = &bytes[blank(bytes)..];
    let begins = |method: &&str| {
        let word = method.as_bytes().iter().chain(b" ");
        bytes.iter().zip(word).all(|(byte, other)| byte == other)
    };
    match request_line(bytes) {
        Verdict::Yes => true,
        Verdict::No => false,
        Verdict::More => some && METHODS.iter().any(begins),
    }
}

/// Whether the bytes begin with an HTTP/1 status line (RFC 9112 §4).
pub fn status_line(bytes: &[u8]) -> Verdict {
    let fits = |(byte, pattern): (&u8, &u8)| match pattern {
        b'#' => byte.is_ascii_digit(),
        _ => byte == pattern,
    };
    let pattern = b"HTTP/1.# ###";
    match bytes.iter().zip(pattern).all(fits) {
        false => Verdict::No,
        true if bytes.len() < pattern.len() => Verdict::More,
        true => Verdict::Yes,
    }
}

/// Whether the bytes begin with an FCGI_BEGIN_REQUEST (FastCGI 1.0 §5.1), or with the FCGI_GET_VALUES (§4.1) that a client may
/// send ahead of one.
pub fn fastcgi_request(bytes: &[u8]) -> Verdict {
    const HEADER_BYTES: usize = 8;
    let asks_values = bytes.get(1) == Some(&9);
    let fits = |(place, byte): (usize, &u8)| match place {
        0 => *byte == 1,
        1 => matches!(byte, 1 | 9),
        2 | 3 if asks_values => *byte == 0,
        7 => *byte == 0,
        _ if asks_values => true,
        // The length of the content, the role, the flags.
        5 => *byte == 8,
        9 => matches!(byte, 1..=3),
        4 | 8 | 11.. => *byte == 0,
        _ => true,
    };
    match bytes.iter().take(2 * HEADER_BYTES).enumerate().all(fits) {
        false => Verdict::No,
        true if bytes.len() < HEADER_BYTES => Verdict::More,
        true => Verdict::Yes,
    }
}

/// Whether records begin here, in the middle of a connection: those of a request, or the empty FCGI_STDIN of the last one, which many
/// servers read only after their answer.
pub fn fastcgi_begins(bytes: &[u8]) -> bool {
    fastcgi_request(bytes) == Verdict::Yes || matches!(bytes, [1, 5, _, _, 0, 0, _, 0, ..])
}

/// A TLS record (RFC 8446 §5.1) or the HTTP/2 preface (RFC 9113 §3.4): this connection will not turn to HTTP/1.
pub fn never_http1(bytes: &[u8]) -> bool {
    is_tls(bytes) || bytes.starts_with(b"PRI * HTTP/2.0")
}

/// A TLS handshake's record, and its version's first byte (RFC 8446 §5.1).
pub fn is_tls(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x16, 3])
}

/// RFC 9110 §5.6.2
pub fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// A bare LF is one too (RFC 9112 §2.2); so is a CR whose LF is still to come.
fn is_line_end(bytes: &[u8]) -> bool {
    bytes == b"\r" || bytes.starts_with(b"\r\n") || bytes.starts_with(b"\n")
}

fn ends_in_version(line: &[u8]) -> bool {
    let tail = &line[line.len().saturating_sub(9)..];
    tail.starts_with(b" HTTP/1.") && tail.last().is_some_and(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_lines() {
        let cases: [(&[u8], Verdict); 15] = [
            (b"GET / HTTP/1.1\r\n", Verdict::Yes),
            (b"GET / HTTP/1.0\nHost", Verdict::Yes),
            (b"M-SEARCH * HTTP/1.1\r\n", Verdict::Yes),
            (b"GET /a b HTTP/1.1\r\n", Verdict::Yes),
            (b"GET /caf\xc3\xa9 HTTP/1.1\r\n", Verdict::Yes),
            (b"G", Verdict::More),
            (b"", Verdict::More),
            (b"\r\n\r\nGET / HTTP/1.1\r\n", Verdict::Yes),
            (b"GET /long", Verdict::More),
            (b"set key 0 0 5\r\nhello", Verdict::No),
            (b"GET /\r\n", Verdict::No),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Verdict::No),
            (b"OPTIONS rtsp://a RTSP/1.0\r\n", Verdict::No),
            (b"\x16\x03\x01\x02\x00", Verdict::No),
            (b"GET /\0 HTTP/1.1\r\n", Verdict::No),
        ];
        for (bytes, verdict) in cases {
            assert_eq!(request_line(bytes), verdict, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn fastcgi_requests() {
        let cases: [(&[u8], Verdict); 12] = [
            (b"\x01\x01\0\x01\0\x08\0\0", Verdict::Yes),
            (
                b"\x01\x01\0\x01\0\x08\0\0\0\x01\x01\0\0\0\0\0\x01\x04",
                Verdict::Yes,
            ),
            (b"\x01\x01\0\x01\0\x08\0\0\0\x04\0\0\0\0\0\0", Verdict::No),
            (b"\x01\x01\0\x01\0\x08\0\0\0\x01\0\x01", Verdict::No),
            (b"\x01\x09\0\0\0\x20\0\0\x0eFCGI", Verdict::Yes),
            (b"\x01\x09\0\x01\0\x20\0\0", Verdict::No),
            (b"\x01", Verdict::More),
            (b"\x01\x01\xff\xff\0\x08\x07", Verdict::More),
            (b"", Verdict::More),
            (b"\x01\x01\0\x01\0\x09\0\0", Verdict::No),
            (b"\x01\x06\0\x01\0\x08\0\0", Verdict::No),
            (b"GET / HTTP/1.1\r\n", Verdict::No),
        ];
        for (bytes, verdict) in cases {
            assert_eq!(fastcgi_request(bytes), verdict, "{}", bytes.escape_ascii());
        }
        assert!(fastcgi_begins(b"\x01\x05\0\x01\0\0\0\0"), "left");
        assert!(!fastcgi_begins(b"\x01\x05\0\x01\0\x02\0\0ab"), "a body");
    }

    #[test]
    fn status_lines() {
        assert_eq!(status_line(b"HTTP/1.1 200 OK\r\n"), Verdict::Yes);
        assert_eq!(status_line(b"HTTP/1.0 404"), Verdict::Yes);
        assert_eq!(status_line(b"HTTP/1."), Verdict::More);
        assert_eq!(status_line(b"HTTP/2 200"), Verdict::No);
        assert_eq!(status_line(b"data"), Verdict::No);
    }
}
