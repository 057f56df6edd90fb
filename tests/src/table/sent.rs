//! What the harness itself knows of a request that it sent: the truth that spans are held to. In: a request and its
//! answer. Out: plain facts.

use std::time::Duration;

use crate::message::{Answer, End, Request};

/// A request that was sent and answered.
#[derive(Clone, Debug)]
pub struct Sent {
    pub method: &'static str,
    /// Without its query.
    pub path: String,
    pub status: u16,
    /// The answer did not come to its end.
    pub is_cut: bool,
    /// Where the request said it.
    pub request_bytes: Option<u64>,
    /// Where the answer said it and came to its end.
    pub answer_bytes: Option<u64>,
    /// CLOCK_MONOTONIC before the first byte was sent, and after the last one was read.
    pub sent_ns: u64,
    pub last_byte_ns: u64,
    /// The function takes no less.
    pub least: Duration,
    /// Nothing else was being served meanwhile, so that a call's parent can be known.
    pub alone: bool,
    pub calls: Option<Calls>,
}

/// What the function requests of the next one, before it answers.
#[derive(Clone, Debug)]
pub struct Calls {
    pub path: String,
    pub count: usize,
}

impl Sent {
    pub fn of(request: &Request, answer: &Answer) -> Self {
        let length = request
            .headers
            .iter()
            .find(|(name, _)| *name == "Content-Length");
        let is_cut = answer.end == End::Cut;
        let counted = answer.header("content-length").is_some() && !is_cut;
        Self {
            method: request.method,
            path: path_of(&request.target),
            status: answer.status,
            is_cut,
            request_bytes: length.and_then(|(_, bytes)| bytes.parse().ok()),
            answer_bytes: counted.then_some(answer.body_bytes),
            sent_ns: answer.sent_ns,
            last_byte_ns: answer.last_byte_ns,
            least: Duration::ZERO,
            alone: true,
            calls: None,
        }
    }

    /// The function works at least so long.
    pub fn taking(self, least: Duration) -> Self {
        Self { least, ..self }
    }

    /// So many were in flight.
    pub fn among(self, in_flight: usize) -> Self {
        let alone = in_flight == 1;
        Self { alone, ..self }
    }

    pub fn calling(self, calls: Calls) -> Self {
        Self {
            calls: Some(calls),
            ..self
        }
    }
}

fn path_of(target: &str) -> String {
    target.split('?').next().unwrap_or_default().to_owned()
}
