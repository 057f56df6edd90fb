//! Reads HTTP/1 answers off a byte stream. In: bytes. Out: answers, their bodies counted.

use std::io::Read;
use std::thread;
use std::time::Duration;

use anyhow::{ensure, Context, Result};

use crate::message::{header, parse_head, Answer, End, BODY_KEPT_BYTES};
use crate::system::monotonic_ns;

/// A slow reader: at most `bytes` a read, and a pause after each.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub bytes: usize,
    pub pause: Duration,
}

/// A buffered byte stream.
#[derive(Debug)]
pub struct Reader<R> {
    inner: R,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    pub pace: Option<Pace>,
}

const BUFFER_BYTES: usize = 256 << 10;

impl<R: Read> Reader<R> {
    pub fn new(inner: R) -> Self {
        Self {
            inner,
            buffer: vec![0; BUFFER_BYTES].into(),
            start: 0,
            end: 0,
            pace: None,
        }
    }

    pub fn inner(&self) -> &R {
        &self.inner
    }

    pub fn inner_mut(&mut self) -> &mut R {
        &mut self.inner
    }

    /// Whether the stream is over: waits for a byte or the end.
    pub fn is_at_end(&mut self) -> Result<bool> {
        Ok(self.unread().is_empty() && !self.fill()?)
    }

    fn unread(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Takes up to `most` bytes, at least one; none at the end of the stream.
    fn take(&mut self, most: u64) -> Result<&[u8]> {
        if self.unread().is_empty() {
            self.fill()?;
        }
        let size = most.min(self.unread().len() as u64) as usize;
        self.start += size;
        Ok(&self.buffer[self.start - size..self.start])
    }

    /// Takes up to and with `mark`; `None` when the stream ends before it.
    fn take_until(&mut self, mark: &[u8]) -> Result<Option<Vec<u8>>> {
        loop {
            let found = self.unread().windows(mark.len()).position(|w| w == mark);
            if let Some(position) = found {
                let size = (position + mark.len()) as u64;
                return Ok(Some(self.take(size)?.to_vec()));
            }
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    /// Reads more behind what is unread: false at the end of the stream.
    fn fill(&mut self) -> Result<bool> {
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        ensure!(self.end < self.buffer.len(), "a head that never ends");
        let room = self.pace.map_or(usize::MAX, |pace| pace.bytes);
        let until = self.buffer.len().min(self.end.saturating_add(room));
        let read = match self.inner.read(&mut self.buffer[self.end..until]) {
            // As the end: a test that expects an answer finds it cut.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => 0,
            read => read.context("read from the function")?,
        };
        self.end += read;
        if let Some(pace) = self.pace {
            thread::sleep(pace.pause);
        }
        Ok(read > 0)
    }
}

/// Reads one answer, which may be a 1xx. `is_head`: to a HEAD request.
pub fn read_answer<R: Read>(reader: &mut Reader<R>, is_head: bool, sent_ns: u64) -> Result<Answer> {
    ensure!(!reader.is_at_end()?, "closed without an answer");
    let first_byte_ns = monotonic_ns();
    let head = reader.take_until(b"\r\n\r\n")?;
    let (status, headers) = parse_head(&head.context("closed within the head")?)?;
    let mut answer = Answer {
        status,
        headers,
        body_start: Vec::new(),
        body_bytes: 0,
        end: End::Length,
        sent_ns,
        first_byte_ns,
        last_byte_ns: first_byte_ns,
    };
    answer.end = read_body(reader, is_head, &mut answer)?;
    answer.last_byte_ns = monotonic_ns();
    Ok(answer)
}

/// RFC 9112 §6.3.
fn read_body<R: Read>(reader: &mut Reader<R>, is_head: bool, answer: &mut Answer) -> Result<End> {
    if is_head || answer.status < 200 || matches!(answer.status, 204 | 304) {
        return Ok(End::Length);
    }
    if header(&answer.headers, "transfer-encoding") == Some("chunked") {
        return read_chunks(reader, answer);
    }
    if let Some(length) = header(&answer.headers, "content-length") {
        let whole = read_bytes(reader, length.parse()?, answer)?;
        return Ok(if whole { End::Length } else { End::Cut });
    }
    while read_bytes(reader, 1 << 40, answer)? {}
    Ok(End::Close)
}

fn read_chunks<R: Read>(reader: &mut Reader<R>, answer: &mut Answer) -> Result<End> {
    loop {
        let Some(line) = reader.take_until(b"\r\n")? else {
            return Ok(End::Cut);
        };
        let line = String::from_utf8(line)?;
        let size = line.trim_end().split(';').next().unwrap_or_default();
        let size = u64::from_str_radix(size, 16).with_context(|| format!("chunk size {line:?}"))?;
        let whole = read_bytes(reader, size, answer)?;
        // Trailers are not part of the contract: an empty line ends each chunk and the last one.
        if !whole || reader.take_until(b"\r\n")?.is_none() {
            return Ok(End::Cut);
        }
        if size == 0 {
            return Ok(End::Chunks);
        }
    }
}

/// Whether all of `bytes` came.
fn read_bytes<R: Read>(reader: &mut Reader<R>, bytes: u64, answer: &mut Answer) -> Result<bool> {
    let mut left = bytes;
    while left > 0 {
        let piece = reader.take(left)?;
        if piece.is_empty() {
            return Ok(false);
        }
        let room = BODY_KEPT_BYTES - answer.body_start.len();
        answer
            .body_start
            .extend_from_slice(&piece[..piece.len().min(room)]);
        answer.body_bytes += piece.len() as u64;
        left -= piece.len() as u64;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Status, body and end of each answer in `bytes`, read `at_once` bytes at a time.
    fn read(bytes: &[u8], at_once: usize) -> Result<Vec<(u16, String, End)>> {
        let mut reader = Reader::new(bytes);
        reader.pace = Some(Pace {
            bytes: at_once,
            pause: Duration::ZERO,
        });
        let mut answers = Vec::new();
        while !reader.is_at_end()? {
            let answer = read_answer(&mut reader, false, 0)?;
            answers.push((answer.status, answer.text(), answer.end));
        }
        Ok(answers)
    }

    #[test]
    fn answers_are_told_apart_however_they_are_cut() -> Result<()> {
        let bytes = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc\
            HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n1;x=y\r\nf\r\n0\r\n\r\n\
            HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\nHTTP/1.0 200 OK\r\n\r\nrest";
        let expected = [
            (100, "", End::Length),
            (200, "abc", End::Length),
            (200, "def", End::Chunks),
            (304, "", End::Length),
            (200, "rest", End::Close),
        ];
        let expected = expected.map(|(status, body, end)| (status, body.to_owned(), end));
        for at_once in [1, 2, 7, 1000] {
            assert_eq!(read(bytes, at_once)?, expected);
        }
        Ok(())
    }

    #[test]
    fn a_cut_is_seen() -> Result<()> {
        for bytes in [
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
        ] {
            assert_eq!(read(bytes.as_bytes(), 1000)?[0].2, End::Cut);
        }
        assert!(
            read(b"HTTP/1.1 200 OK\r\nContent-", 1000).is_err(),
            "within the head"
        );
        Ok(())
    }
}
