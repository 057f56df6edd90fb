//! The cases of exchanges that do not come to their end. In: a function. Out: what was sent.

use anyhow::{ensure, Result};

use super::cases::{sent_all, Scene};
use super::sent::Sent;
use crate::client::Connection;
use crate::message::{Answer, End, Request};
use crate::system::monotonic_ns;

pub fn abort(scene: &Scene) -> Result<Vec<Sent>> {
    let request = |index| Request::get(scene.target(index, "abort"));
    let requests: Vec<_> = (0..3).map(request).collect();
    let answers = scene.exchange(&requests)?;
    for answer in &answers {
        ensure!(answer.end == End::Cut && answer.status == 200, "{answer:?}");
    }
    Ok(sent_all(&requests, &answers))
}

/// By a close, and by a reset. A third request shows that the function goes on; it may notice while the next cases run.
pub fn leave(scene: &Scene) -> Result<Vec<Sent>> {
    let stream = |index| Request::get(scene.target(index, "stream?n=100&ms=5"));
    let mut sent = Vec::new();
    for (index, resets) in [false, true].into_iter().enumerate() {
        let request = stream(index);
        let mut connection = Connection::open(scene.address)?;
        let sent_ns = monotonic_ns();
        connection.send(&request)?;
        ensure!(!connection.is_closed()?, "no answer");
        if resets {
            connection.abort()?;
        } else {
            drop(connection);
        }
        sent.push(left(&request, sent_ns));
    }
    let request = Request::get(scene.target(2, "delay?ms=100"));
    let answers = scene.exchange(std::slice::from_ref(&request))?;
    sent.extend(sent_all(&[request], &answers));
    Ok(sent)
}

/// A request whose answer had begun when its client left. How long the function goes on is its own affair.
fn left(request: &Request, sent_ns: u64) -> Sent {
    Sent::of(
        request,
        &Answer {
            status: 200,
            headers: Vec::new(),
            body_start: Vec::new(),
            body_bytes: 0,
            end: End::Cut,
            sent_ns,
            first_byte_ns: sent_ns,
            last_byte_ns: u64::MAX,
        },
    )
}
