//! The ground truth. In: every request. Out: a line in the file `TRUTH` when the last piece of its answer was taken.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::pin::Pin;
use std::sync::LazyLock;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;

static TRUTH: LazyLock<Option<File>> = LazyLock::new(|| {
    let path = std::env::var_os("TRUTH")?;
    OpenOptions::new().append(true).create(true).open(path).ok()
});

/// An answer's body, and the line that is written when the server lets go of it.
struct Recorded {
    body: Body,
    path: String,
    started_ns: u64,
}

/// Around every route.
pub async fn record(request: Request, next: Next) -> Response {
    let started_ns = clock_ns(libc::CLOCK_MONOTONIC);
    let path = request.uri().to_string();
    let answer = next.run(request).await;
    answer.map(|body| {
        Body::new(Recorded {
            body,
            path,
            started_ns,
        })
    })
}

/// CLOCK_MONOTONIC or a CPU clock, in nanoseconds.
pub fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the one pointer is to a timespec of ours.
    unsafe { libc::clock_gettime(clock, &mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

impl Drop for Recorded {
    fn drop(&mut self) {
        let Some(mut truth) = TRUTH.as_ref() else {
            return;
        };
        let (path, pid, started_ns) = (&self.path, std::process::id(), self.started_ns);
        let ended_ns = clock_ns(libc::CLOCK_MONOTONIC);
        let line = format!("{{\"path\":\"{path}\",\"pid\":{pid},\"started_ns\":{started_ns},\"ended_ns\":{ended_ns}}}\n");
        if let Err(error) = truth.write_all(line.as_bytes()) {
            eprintln!("TRUTH: {error}");
        }
    }
}

impl HttpBody for Recorded {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}
