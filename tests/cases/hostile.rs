//! Bytes that no client should send: the agent lives, and the requests after them are all seen.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use spanlet_e2e::agent::{Agent, Backend, Options};
use spanlet_e2e::client::Address;
use spanlet_e2e::function::Function;
use spanlet_e2e::otlp::Kind;

use crate::watched::{each_seen, every_language, send};

on_each_back_end!(good_requests_are_seen_after_bad_ones);

/// How long a server may take to say what it thinks.
const PATIENCE: Duration = Duration::from_millis(300);

fn good_requests_are_seen_after_bad_ones(backend: Backend) -> Result<()> {
    let functions = every_language()?;
    let pids: Vec<_> = functions.iter().map(Function::pid).collect();
    let mut agent = Agent::start(&Options::json(backend, &pids))?;
    for function in &functions {
        let Address::Tcp(address) = function.address else {
            continue;
        };
        for (name, bytes) in shapes() {
            throw(address, &bytes).with_context(|| name.to_owned())?;
            ensure!(agent.is_alive()?, "the agent ended after {name}");
        }
        send(&function.address, "good", 10).context(function.name)?;
    }
    let report = agent.report()?;
    ensure!(report.processes.len() == functions.len(), "{report:?}");
    let opaque: Vec<_> = report
        .processes
        .iter()
        .map(|process| process.opaque_connections)
        .collect();
    ensure!(
        opaque.iter().all(|number| *number >= 2),
        "opaque connections: {opaque:?}"
    );
    let spans = agent.finish()?.spans;
    functions.iter().try_for_each(|function| {
        each_seen(&spans, "good", Kind::Server, function.pid(), 10).context(function.name)
    })
}

/// What is sent, each over a connection of its own.
fn shapes() -> Vec<(&'static str, Vec<u8>)> {
    let get = |rest: &str| format!("GET /t/bad:0/hello HTTP/1.1\r\nHost: a\r\n{rest}").into_bytes();
    let post =
        |rest: &str| format!("POST /t/bad:0/upload HTTP/1.1\r\nHost: a\r\n{rest}").into_bytes();
    let smuggled = "0\r\n\r\nGET /t/bad:1/hello HTTP/1.1\r\nHost: a\r\n\r\n";
    let both = format!("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n{smuggled}");
    let obscured = format!("Content-Length: 5\r\nTransfer-Encoding:\tchunked, x\r\n\r\n{smuggled}");
    let mut garbage_behind = get("\r\n");
    garbage_behind.extend(noise(4096));
    vec![
        ("binary noise", noise(64 << 10)),
        ("zeroes", vec![0; 4096]),
        ("half a request line", b"GET /t/bad:0/he".to_vec()),
        ("half a head", get("X-Half: ")),
        ("half a body", post("Content-Length: 1000\r\n\r\nabc")),
        (
            "a header line of 64 KiB",
            get(&format!("X-Long: {}\r\n\r\n", "x".repeat(64 << 10))),
        ),
        (
            "ten thousand headers",
            get(&format!("{}\r\n", "X-Many: x\r\n".repeat(10_000))),
        ),
        (
            "a URL of 32 KiB",
            format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "u".repeat(32 << 10)).into(),
        ),
        ("two kinds of length", post(&both)),
        ("two kinds of length, one obscured", post(&obscured)),
        (
            "two lengths",
            post("Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef"),
        ),
        ("a length below zero", post("Content-Length: -1\r\n\r\n")),
        (
            "a length beyond all",
            post("Content-Length: 99999999999999999999999\r\n\r\n"),
        ),
        (
            "a chunk beyond all",
            post("Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nabc"),
        ),
        (
            "bare line feeds",
            b"GET /t/bad:0/hello HTTP/1.1\nHost: a\n\n".to_vec(),
        ),
        (
            "bare carriage returns",
            b"GET /t/bad:0/hello HTTP/1.1\rHost: a\r\r".to_vec(),
        ),
        ("a zero in a header", get("X-Zero: a\0b\r\n\r\n")),
        ("a folded header", get("X-Folded: a\r\n b\r\n\r\n")),
        ("a name with a space", get("X Space: a\r\n\r\n")),
        (
            "a version that is none",
            b"GET / HTTP/9.9\r\nHost: a\r\n\r\n".to_vec(),
        ),
        (
            "an answer",
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec(),
        ),
        (
            "HTTP/2",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec(),
        ),
        ("TLS", client_hello()),
        ("garbage behind a request", garbage_behind),
        ("empty lines", b"\r\n".repeat(1000)),
        ("nothing", Vec::new()),
    ]
}

/// Sends, half-closes, and waits for the end, if it comes soon: what the server does is its own affair.
fn throw(address: SocketAddr, bytes: &[u8]) -> Result<()> {
    let mut socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    let _ = socket.write_all(bytes);
    let _ = socket.shutdown(Shutdown::Write);
    let mut answer = [0; 4096];
    while matches!(socket.read(&mut answer), Ok(1..)) {}
    Ok(())
}

/// The same in every run: a linear congruential generator.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..bytes).map(|_| next()).collect()
}

/// The start of a TLS 1.2 handshake (RFC 5246 §7.4.1.2).
fn client_hello() -> Vec<u8> {
    let mut hello = vec![0x16, 3, 1, 0, 49, 1, 0, 0, 45, 3, 3];
    hello.extend(noise(32));
    hello.extend([0, 0, 4, 0xc0, 0x2f, 0, 0x9c, 1, 0, 0, 0]);
    hello
}
