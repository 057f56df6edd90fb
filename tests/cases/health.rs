//! Health: the agent verifies its probes on a request to itself, and says so where it is asked.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use spanlet_e2e::agent::{Agent, Backend, Options};
use spanlet_e2e::function::{self, Function};
use spanlet_e2e::language::Language;
use spanlet_e2e::wait::wait_until;

use crate::watched::send;

on_each_back_end!(
    it_is_ready_when_it_has_seen_its_own_request,
    its_own_request_is_no_span,
    who_asks_badly_holds_nobody_up,
);

const READY: Duration = Duration::from_secs(10);
/// How long the kubelet waits.
const KUBELET: Duration = Duration::from_secs(5);
/// More than are answered at once.
const ASKERS: usize = 40;

fn it_is_ready_when_it_has_seen_its_own_request(backend: Backend) -> Result<()> {
    let (agent, address) = agent(backend)?;
    wait_until(READY, "readiness", || {
        let answer = get(address, "/readyz")?;
        Ok(answer.starts_with("HTTP/1.1 200 ").then_some(()))
    })?;
    ensure!(get(address, "/livez")?.ends_with("\r\n\r\nok\n"));
    let page = get(address, "/metrics")?;
    ensure!(page.contains("\nspanlet_probes_verified 1\n"), "{page}");
    ensure!(get(address, "/")?.starts_with("HTTP/1.1 404 "));
    let report = agent.report()?;
    ensure!(report.verified == "yes", "{report:?}");
    let log = agent.finish()?.log;
    ensure!(log.contains("verified"), "{log}");
    Ok(())
}

fn its_own_request_is_no_span(backend: Backend) -> Result<()> {
    let function = Function::start(Language::C, &function::Options::default())?;
    let address = free()?;
    let listen = configuration(&format!("[health]\nlisten = \"{address}\"\n"))?;
    let options = Options::json(backend, &[]).with(&["--all", "--config", listen.path()]);
    let agent = Agent::start(&options)?;
    wait_until(READY, "readiness", || {
        let answer = get(address, "/readyz")?;
        Ok(answer.starts_with("HTTP/1.1 200 ").then_some(()))
    })?;
    send(&function.address, "seen", 3)?;
    let pid = agent.pid();
    let report = agent.report()?;
    ensure!(
        report.process(pid).is_none(),
        "it traces itself: {report:?}"
    );
    let spans = agent.finish()?.spans;
    let own = spans.iter().filter(|span| span.pid() == Some(pid));
    ensure!(own.count() == 0, "spans of the agent: {spans:?}");
    ensure!(spans.iter().any(|span| span.pid() == Some(function.pid())));
    Ok(())
}

fn who_asks_badly_holds_nobody_up(backend: Backend) -> Result<()> {
    let (agent, address) = agent(backend)?;
    let mut silent = Vec::new();
    for _ in 0..ASKERS {
        silent.push(TcpStream::connect(address)?);
    }
    let mut endless = TcpStream::connect(address)?;
    // More than is read; it may be cut off before all is written.
    let _ = endless.write_all(&[b'a'; 64 << 10]);
    let answer = get(address, "/livez")?;
    ensure!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    drop(silent);
    agent.finish().map(drop)
}

/// An agent that traces nothing of note, and where it is asked.
fn agent(backend: Backend) -> Result<(Agent, SocketAddr)> {
    let address = free()?;
    let file = configuration(&format!("[health]\nlisten = \"{address}\"\n"))?;
    let own = [std::process::id()];
    let options = Options::json(backend, &own).with(&["--config", file.path()]);
    Ok((Agent::start(&options)?, address))
}

fn free() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn get(address: SocketAddr, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(KUBELET))?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// A configuration file in a folder of its own.
pub struct Configuration {
    scratch: spanlet_e2e::scratch::Scratch,
    path: String,
}

pub fn configuration(text: &str) -> Result<Configuration> {
    let scratch = spanlet_e2e::scratch::Scratch::new()?;
    let path = scratch.join("spanlet.toml");
    std::fs::write(&path, text)?;
    let path = path.to_str().context("its path is no text")?.to_owned();
    Ok(Configuration { scratch, path })
}

impl Configuration {
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Puts another content in its place, as a ConfigMap does: by a link that is replaced.
    pub fn replace(&self, text: &str) -> Result<()> {
        let next = self.scratch.join("next");
        std::fs::write(&next, text)?;
        Ok(std::fs::rename(next, &self.path)?)
    }
}
