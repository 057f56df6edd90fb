//! The test function in Rust (axum on tokio). Contract: ../../CONTRACT.md. `RUNTIME=current-thread`: tokio on one thread.
//! `CLIENT=raw`: see `raw.rs`.

mod calls;
mod raw;
mod truth;

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Query;
use axum::http::{header, HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use axum::{middleware, Router};
use futures_util::{stream, StreamExt};
use serde::Deserialize;
use tokio::task::yield_now;
use tokio::time::sleep;

/// The parameters of all routes; absent ones count as 0.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Parameters {
    ms: u64,
    n: usize,
    sse: u8,
    bytes: usize,
    delay: u64,
    status: u16,
}

static BUFFER: [u8; 65536] = [b'x'; 65536];

fn main() -> io::Result<()> {
    let current_thread = std::env::var("RUNTIME").is_ok_and(|runtime| runtime == "current-thread");
    let mut builder = if current_thread {
        tokio::runtime::Builder::new_current_thread()
    } else {
        tokio::runtime::Builder::new_multi_thread()
    };
    builder.enable_all().build()?.block_on(serve())
}

async fn serve() -> io::Result<()> {
    let variable = |name, default: &str| std::env::var(name).unwrap_or_else(|_| default.into());
    let host = variable("HOST", "127.0.0.1");
    let port = variable("PORT", "0").parse().map_err(io::Error::other)?;
    let listener = tokio::net::TcpListener::bind((host, port)).await?;
    println!("listening {}", listener.local_addr()?.port());
    let routes = Router::new()
        .route("/hello", get(|| async { "hello from rust\n" }))
        .route("/delay", get(delay))
        .route("/stream", get(stream))
        .route("/big", get(big))
        .route("/upload", any(upload))
        .route("/error", get(error))
        .route("/abort", get(abort))
        .route("/burn", get(burn))
        .route("/echo-headers", get(echo_headers))
        .route("/chain", get(calls::chain))
        .route("/fan", get(calls::fan));
    let application = routes
        .clone()
        .nest("/t/{anything}", routes)
        .route("/hop/{*anything}", get(calls::hop))
        .layer(middleware::from_fn(truth::record));
    axum::serve(listener, application).await
}

async fn delay(Query(parameters): Query<Parameters>) -> String {
    sleep(Duration::from_millis(parameters.ms)).await;
    format!("delayed {}\n", parameters.ms)
}

async fn stream(Query(parameters): Query<Parameters>) -> Response {
    let sse = parameters.sse != 0;
    let kind = if sse {
        "text/event-stream"
    } else {
        "text/plain"
    };
    let pieces = stream::iter(1..=parameters.n).then(move |i| async move {
        if i > 1 {
            sleep(Duration::from_millis(parameters.ms)).await;
        }
        let piece = if sse {
            format!("data: piece {i}\n\n")
        } else {
            format!("piece {i}\n")
        };
        io::Result::Ok(piece)
    });
    ([(header::CONTENT_TYPE, kind)], Body::from_stream(pieces)).into_response()
}

async fn big(Query(parameters): Query<Parameters>) -> Response {
    of_length(
        parameters.bytes,
        stream::iter(pieces(parameters.bytes).map(Ok)),
    )
}

/// Its stream breaks off, and with it the connection. hyper sends what it has when the stream has nothing yet.
async fn abort() -> Response {
    let start = stream::iter([Ok(Bytes::from_static(&BUFFER[..100]))]);
    let end = stream::once(async {
        yield_now().await;
        Err(io::Error::other("aborted"))
    });
    of_length(1000, start.chain(end))
}

fn pieces(bytes: usize) -> impl Iterator<Item = Bytes> {
    let starts = (0..bytes).step_by(BUFFER.len());
    starts.map(move |start| Bytes::from_static(&BUFFER[..BUFFER.len().min(bytes - start)]))
}

fn of_length(
    bytes: usize,
    pieces: impl stream::Stream<Item = io::Result<Bytes>> + Send + 'static,
) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/plain".to_owned()),
        (header::CONTENT_LENGTH, bytes.to_string()),
    ];
    (headers, Body::from_stream(pieces)).into_response()
}

async fn upload(Query(parameters): Query<Parameters>, body: Body) -> Result<String, StatusCode> {
    let mut bytes = 0;
    let mut pieces = body.into_data_stream();
    while let Some(piece) = pieces.next().await {
        bytes += piece.map_err(|_| StatusCode::BAD_REQUEST)?.len();
    }
    sleep(Duration::from_millis(parameters.delay)).await;
    Ok(format!("bytes={bytes}\n"))
}

async fn error(Query(parameters): Query<Parameters>) -> Response {
    match StatusCode::from_u16(parameters.status) {
        Ok(status @ (StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)) => status.into_response(),
        Ok(status) => (status, format!("status {}\n", status.as_u16())).into_response(),
        Err(_) => StatusCode::BAD_REQUEST.into_response(),
    }
}

async fn burn(Query(parameters): Query<Parameters>) -> String {
    let began = truth::clock_ns(libc::CLOCK_THREAD_CPUTIME_ID);
    let burned = || truth::clock_ns(libc::CLOCK_THREAD_CPUTIME_ID) - began;
    while burned() < parameters.ms * 1_000_000 {}
    format!("cpu_ns={}\n", burned())
}

async fn echo_headers(headers: HeaderMap) -> String {
    let lines = headers
        .iter()
        .map(|(name, value)| format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes())));
    lines.collect()
}

/// A query parameter of text.
fn text<'a>(query: &'a HashMap<String, String>, name: &str) -> &'a str {
    query.get(name).map_or("", String::as_str)
}
