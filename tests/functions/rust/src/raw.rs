//! A client whose calls are written by the task that makes them, over a few connections that all share. In: a request's place. Out:
//! whether it was answered with 200.

use std::io;
use std::sync::{LazyLock, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

/// Connections at once: who waits for one is woken by who gives it back.
const CONNECTIONS: usize = 4;

pub static IS_ASKED_FOR: LazyLock<bool> =
    LazyLock::new(|| std::env::var("CLIENT").is_ok_and(|client| client == "raw"));
static PERMITS: Semaphore = Semaphore::const_new(CONNECTIONS);
static IDLE: Mutex<Vec<(String, TcpStream)>> = Mutex::new(Vec::new());

/// `/hop` of another function.
pub async fn visit(port: &str, target: &str, plan: &str, index: &str) -> Option<()> {
    let _permit = PERMITS.acquire().await.ok()?;
    let mut stream = match idle(port) {
        Some(stream) => stream,
        None => TcpStream::connect(format!("127.0.0.1:{port}")).await.ok()?,
    };
    let lines = [
        format!("GET {target} HTTP/1.1"),
        format!("Host: 127.0.0.1:{port}"),
        format!("X-Plan: {plan}"),
        format!("X-Node: {index}"),
        "\r\n".to_owned(),
    ];
    stream.write_all(lines.join("\r\n").as_bytes()).await.ok()?;
    let answer = answer(&mut stream).await.ok()?;
    IDLE.lock().ok()?.push((port.to_owned(), stream));
    answer.starts_with("HTTP/1.1 200").then_some(())
}

fn idle(port: &str) -> Option<TcpStream> {
    let mut idle = IDLE.lock().ok()?;
    let place = idle.iter().position(|(its, _)| its == port)?;
    Some(idle.swap_remove(place).1)
}

/// All of it: head and body, which the functions give a length.
async fn answer(stream: &mut TcpStream) -> io::Result<String> {
    let mut answer = Vec::new();
    loop {
        if stream.read_buf(&mut answer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let text = String::from_utf8_lossy(&answer);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_ascii_lowercase();
            let length = head.split_once("content-length: ");
            let length = length.and_then(|(_, rest)| rest.lines().next()?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return Ok(text.into_owned());
            }
        }
    }
}
