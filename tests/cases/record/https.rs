//! Recordings of HTTPS, with calls by several requests at once: what TLS carries, and who in the process calls for whom.

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
        get(&certificate, &[at(PLAIN)])?;
        let call = |number: u32| at(&format!("{number}/chain?path=/t/{number}/delay%3Fms=20"));
        get(&certificate, &[call(FIRST_CALL)])?;
        if let Some(probe) = probe {
            wait_until(SOON, "a probe that was asked for", || {
                let uprobes = agent.report()?.uprobes;
                let is_there = uprobes.iter().any(|uprobe| uprobe.name == probe);
                Ok(is_there.then_some(()))
            })?;
        }
        get(&certificate, &CALLS.map(call))
    })?;
    keep_if_asked(&files)
}

/// All at once where there are several.
fn get(certificate: &Certificate, urls: &[String]) -> Result<()> {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail", "--http1.1"]);
    curl.arg("--cacert").arg(certificate.path());
    if urls.len() > 1 {
        curl.args(["--parallel", "--parallel-immediate"]);
    }
    let output = curl.args(urls).output().context("curl")?;
    let why = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{curl:?}: {why}");
    Ok(())
}
