//! The last bytes of an answer, as far as they follow each other: pieces in; whether they look like its end out.

use super::stream::Bytes;

/// See the file.
#[derive(Clone, Copy, Debug, Default)]
pub struct Recent {
    bytes: [u8; 8],
    known: usize,
}

/// The end of a chunked body without trailers.
const LAST_CHUNK: &[u8] = b"\r\n0\r\n\r\n";

impl Recent {
    pub fn push(&mut self, bytes: Bytes<'_>) {
        let Bytes::Seen(seen) = bytes else {
            self.known = 0;
            return;
        };
        let all = self.bytes.len();
        let new = &seen[seen.len() - seen.len().min(all)..];
        self.bytes.rotate_left(new.len());
        self.bytes[all - new.len()..].copy_from_slice(new);
        self.known = all.min(self.known + new.len());
    }

    /// Whether they are the end of a chunked body; a call of its own for the last chunk needs no more.
    pub fn ends_body(&self, call_bytes: u32) -> bool {
        let known = &self.bytes[self.bytes.len() - self.known..];
        known.ends_with(LAST_CHUNK) || (call_bytes == 5 && known.ends_with(&LAST_CHUNK[2..]))
    }

    /// Whether an empty line ends them: the end of trailers, perhaps.
    pub fn ends_empty(&self) -> bool {
        let known = &self.bytes[self.bytes.len() - self.known..];
        known.ends_with(b"\r\n\r\n")
    }

    /// Whether they are what an answer ends with by FastCGI. `None`: not known.
    pub fn ends_request(&self) -> Option<bool> {
        let is_known = self.known == self.bytes.len();
        is_known.then(|| ends_request(&self.bytes))
    }
}

/// Whether bytes are the content of an FCGI_END_REQUEST (FastCGI 1.0 §5.5) of a request that was served, with an exit status of one
/// byte.
pub fn ends_request(bytes: &[u8]) -> bool {
    matches!(bytes, [0, 0, 0, _, 0, 0, 0, 0])
}
