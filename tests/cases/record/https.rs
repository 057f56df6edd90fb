//! Recordings of HTTPS, with calls by several requests at once: what TLS carries, and who in the process calls for whom; and of
//! Go's requests that call several times at once, which of its goroutines were born for whom, and its routes.

use std::process::Command;
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use spanlet_e2e::agent::Backend;
use spanlet_e2e::certificate::Certificate;
use spanlet_e2e::function::{Function, Options};
use spanlet_e2e::language::Language;
use spanlet_e2e::runtime;
use spanlet_e2e::wait::wait_until;

use super::{keep_if_asked, list, recorded};
use crate::stage::named;

macro_rules! of_each {
    ($($test:ident: $name:literal, $runtime:literal, $probe:expr),* $(,)?) => {$(
        #[test]
        fn $test() -> anyhow::Result<()> { record($name, $runtime, $probe) }
    )*};
}

of_each!(
    asyncio: "asyncio-https", "python-uvicorn", None,
    go: "go-https", "go", None,
    node: "node-https", "node", Some("uv_turn"),
);

/// Requests one after another, a call alone, and calls at once.
const PLAIN: &str = "[0-2]/hello";
const FIRST_CALL: u32 = 3;
const CALLS: [u32; 4] = [4, 5, 6, 7];
const SOON: Duration = Duration::from_secs(5);

/// `probe`: one that comes with the first call.
fn record(name: &str, row: &str, probe: Option<&str>) -> Result<()> {
    let certificate = Certificate::new()?;
    let next = Function::start(Language::C, &named("next", Options::default()))?;
    let mut options = named("main", Options::default());
    options.next = Some(next.address.clone());
    options.environment.push(certificate.variable());
    let main = runtime::named(row)?.start(&options)?;
    let port = main.address.port().context("a port")?;
    let pids = [main.pid(), next.pid()];
    let files = recorded(name, Backend::SocketTracepoints, &pids, |agent, listing| {
        list(agent, listing)?;
        let at = |path: &str| format!("https://localhost:{port}/t/{path}");
        get(&certificate, 1, &[at(PLAIN)])?;
        let call = |number: u32| at(&format!("{number}/chain?path=/t/{number}/delay%3Fms=20"));
        get(&certificate, 1, &[call(FIRST_CALL)])?;
        if let Some(probe) = probe {
            wait_until(SOON, "a probe that was asked for", || {
                let uprobes = agent.report()?.uprobes;
                let is_there = uprobes.iter().any(|uprobe| uprobe.name == probe);
                Ok(is_there.then_some(()))
            })?;
        }
        get(&certificate, CALLS.len(), &CALLS.map(call))
    })?;
    keep_if_asked(&files)
}

/// Requests that call twice at once. Those beyond so many come over connections that have served others, while others are open.
const FANS: [u32; 5] = [10, 11, 12, 13, 14];
const FANS_AT_ONCE: usize = 3;
/// The same before who is born was looked at.
const MISSED: [u32; 4] = [0, 1, 2, 3];

#[test]
fn go_fans() -> Result<()> {
    let certificate = Certificate::new()?;
    let next = Function::start(Language::C, &named("next", Options::default()))?;
    let mut options = named("main", Options::default());
    options.next = Some(next.address.clone());
    let mux = ("MUX".to_owned(), "1".to_owned());
    options.environment.extend([certificate.variable(), mux]);
    let main = runtime::named("go")?.start(&options)?;
    let port = main.address.port().context("a port")?;
    let pids = [main.pid(), next.pid()];
    let backend = Backend::SocketTracepoints;
    let files = recorded("go-https-fans", backend, &pids, |agent, listing| {
        list(agent, listing)?;
        let fan = |number: u32| {
            let delay = if number.is_multiple_of(3) { 10 } else { 40 };
            let path = format!("/t/{number}/delay%3Fms={delay}");
            format!("https://localhost:{port}/t/{number}/fan?n=2&path={path}")
        };
        wait_until(SOON, "a birth that was missed", || {
            get(&certificate, FANS_AT_ONCE, &MISSED.map(fan))?;
            let missed = agent
                .report()?
                .counter("spanlet.enrich.refused", "birth_unknown");
            Ok(missed.filter(|missed| *missed > 0))
        })?;
        get(&certificate, FANS_AT_ONCE, &FANS.map(fan))
    })?;
    keep_if_asked(&files)
}

/// So many at once, each over a connection of its own until one is free.
fn get(certificate: &Certificate, at_once: usize, urls: &[String]) -> Result<()> {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail", "--http1.1"]);
    curl.arg("--cacert").arg(certificate.path());
    if at_once > 1 {
        curl.args(["--parallel", "--parallel-immediate", "--parallel-max"]);
        curl.arg(at_once.to_string());
    }
    let output = curl.args(urls).output().context("curl")?;
    let why = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{curl:?}: {why}");
    Ok(())
}
