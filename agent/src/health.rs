//! Touches the network: `/livez` and `/readyz` for Kubernetes, `/metrics` for Prometheus. In: when the loop turned last,
//! whether the probes are verified, the loop's answer to who scrapes. Out: 200 or 503, and why; a page.
//!
//! Who asks may be hostile: a request is read for so long and so far, and so many ask at once: one more takes the place of
//! the one who came first.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::clock::Monotonic;
use crate::prometheus::CONTENT_TYPE;
use crate::verify::Verified;

/// The loop turns ten times a second and more: when it has not for so long, the agent does not live.
const TURN_MAX: Duration = Duration::from_secs(10);
/// Bytes of a request at most.
const REQUEST_BYTES_MAX: usize = 4096;
/// How long a request may take to arrive.
const REQUEST_PATIENCE: Duration = Duration::from_secs(1);
/// How long a request and its answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Who asks at once at most.
const ASKERS_MAX: usize = 16;

/// How the agent is: written by the loop, read by who asks.
#[derive(Debug)]
pub struct Vitals {
    /// [`Monotonic`]
    turned: AtomicU64,
    verified: Mutex<Verified>,
}

/// Who scrapes, and waits for the page.
pub type Scrape = oneshot::Sender<String>;

/// The answering end; stops when it is dropped.
pub struct Endpoint(JoinHandle<()>);

/// Why the endpoint cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source} (health.listen names it)")]
pub struct Error {
    address: SocketAddr,
    source: std::io::Error,
}

impl Vitals {
    pub fn new() -> Self {
        Self {
            turned: AtomicU64::new(Monotonic::now().0),
            verified: Mutex::new(Verified::NotYet),
        }
    }

    /// The loop turned.
    pub fn turn(&self, now: Monotonic, verified: &Verified) {
        self.turned.store(now.0, Relaxed);
        let mut known = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        if *known != *verified {
            *known = verified.clone();
        }
    }

    /// Status and body of the answer to a request's first line.
    fn answer(&self, line: &str, now: Monotonic) -> (&'static str, String) {
        let mut words = line.split(' ');
        let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        if !matches!(method, "GET" | "HEAD") {
            return ("405 Method Not Allowed", "GET it\n".to_owned());
        }
        let healthy = match path.split('?').next().unwrap_or("") {
            "/livez" => self.lives(now),
            "/readyz" => self.lives(now).and_then(|()| self.is_ready()),
            _ => {
                let what = "there are /livez, /readyz and /metrics\n".to_owned();
                return ("404 Not Found", what);
            }
        };
        match healthy {
            Ok(()) => ("200 OK", "ok\n".to_owned()),
            Err(why) => ("503 Service Unavailable", format!("{why}\n")),
        }
    }

    fn lives(&self, now: Monotonic) -> Result<(), String> {
        let still = now.since(Monotonic(self.turned.load(Relaxed)));
        match still <= TURN_MAX {
            true => Ok(()),
            false => Err(format!("the loop stands still for {} s", still.as_secs())),
        }
    }

    fn is_ready(&self) -> Result<(), String> {
        let verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        match &*verified {
            Verified::Yes | Verified::NotAsked => Ok(()),
            other => Err(format!("probes verified: {other}")),
        }
    }
}

impl Default for Vitals {
    fn default() -> Self {
        Self::new()
    }
}

impl Endpoint {
    /// Listens. Must be called inside a tokio runtime.
    pub fn open(
        address: SocketAddr,
        vitals: Arc<Vitals>,
        scrapes: mpsc::Sender<Scrape>,
    ) -> Result<Self, Error> {
        let failed = |source| Error { address, source };
        let listener = std::net::TcpListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let listener = TcpListener::from_std(listener).map_err(failed)?;
        Ok(Self(tokio::spawn(serve(listener, vitals, scrapes))))
    }
}

impl Endpoint {
    /// Its address is free afterwards.
    pub async fn close(mut self) {
        self.0.abort();
        let _ = (&mut self.0).await;
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn serve(listener: TcpListener, vitals: Arc<Vitals>, scrapes: mpsc::Sender<Scrape>) {
    let mut askers: VecDeque<JoinHandle<()>> = VecDeque::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let (vitals, scrapes) = (vitals.clone(), scrapes.clone());
                let asker = async move {
                    let answer = answer(stream, &vitals, &scrapes);
                    let _ = timeout(PATIENCE, answer).await;
                };
                askers.retain(|asker| !asker.is_finished());
                if askers.len() >= ASKERS_MAX {
                    askers.pop_front().inspect(JoinHandle::abort);
                }
                askers.push_back(tokio::spawn(asker));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept on the health endpoint");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn answer(
    mut stream: TcpStream,
    vitals: &Vitals,
    scrapes: &mpsc::Sender<Scrape>,
) -> std::io::Result<()> {
    let request = timeout(REQUEST_PATIENCE, head(&mut stream)).await??;
    let text = String::from_utf8_lossy(&request);
    let line = text.lines().next().unwrap_or("");
    let is_scrape = line.starts_with("GET /metrics ");
    let (status, body) = match is_scrape {
        true => ("200 OK", page(scrapes).await.unwrap_or_default()),
        false => vitals.answer(line, Monotonic::now()),
    };
    let kind = if is_scrape {
        CONTENT_TYPE
    } else {
        "text/plain"
    };
    let shown = if line.starts_with("HEAD ") { "" } else { &body };
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{shown}"
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

/// The head of a request, as far as it is read.
async fn head(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut request = Vec::new();
    let mut reading = stream.take(REQUEST_BYTES_MAX as u64);
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        if reading.read_buf(&mut request).await? == 0 {
            break;
        }
    }
    Ok(request)
}

/// The metrics now. `None`: the loop ends.
async fn page(scrapes: &mpsc::Sender<Scrape>) -> Option<String> {
    let (scrape, page) = oneshot::channel();
    scrapes.send(scrape).await.ok()?;
    page.await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Monotonic = Monotonic(1_000_000_000_000);

    fn status(vitals: &Vitals, line: &str, now: Monotonic) -> String {
        let (status, body) = vitals.answer(line, now);
        format!("{status}: {}", body.trim_end())
    }

    #[test]
    fn it_is_ready_when_its_probes_are_verified() {
        let vitals = Vitals::new();
        vitals.turn(NOW, &Verified::NotYet);
        assert_eq!(
            status(&vitals, "GET /readyz HTTP/1.1", NOW),
            "503 Service Unavailable: probes verified: not yet"
        );
        assert_eq!(status(&vitals, "GET /livez HTTP/1.1", NOW), "200 OK: ok");
        vitals.turn(NOW, &Verified::No("the client's half".to_owned()));
        assert_eq!(
            status(&vitals, "GET /readyz HTTP/1.1", NOW),
            "503 Service Unavailable: probes verified: no: the client's half"
        );
        vitals.turn(NOW, &Verified::Yes);
        assert_eq!(
            status(&vitals, "GET /readyz?verbose HTTP/1.1", NOW),
            "200 OK: ok"
        );
    }

    #[test]
    fn it_does_not_live_when_its_loop_stands_still() {
        let vitals = Vitals::new();
        vitals.turn(NOW, &Verified::Yes);
        let later = NOW.after(TURN_MAX + Duration::from_secs(1));
        for path in ["livez", "readyz"] {
            assert_eq!(
                status(&vitals, &format!("GET /{path} HTTP/1.1"), later),
                "503 Service Unavailable: the loop stands still for 11 s"
            );
        }
    }

    #[test]
    fn nothing_else_is_answered() {
        let vitals = Vitals::new();
        assert!(status(&vitals, "POST /livez HTTP/1.1", NOW).starts_with("405"));
        assert!(status(&vitals, "GET / HTTP/1.1", NOW).starts_with("404"));
        assert!(status(&vitals, "", NOW).starts_with("405"));
    }
}
