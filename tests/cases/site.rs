//! HTTPS for tests: functions with a certificate of their own, requests to them, and what has to be so of their spans.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{ensure, Context, Result};
use spanlet_e2e::agent::{Agent, Backend, Options};
use spanlet_e2e::certificate::Certificate;
use spanlet_e2e::function::{self, Function};
use spanlet_e2e::language;
use spanlet_e2e::otlp::{Kind, Span};
use spanlet_e2e::report::Report;
use spanlet_e2e::runtime;
use spanlet_e2e::system::workspace;

use crate::calls::EVIDENCE;
use crate::stage::{index, path};
use crate::watched::marked;

pub const REQUESTS: usize = 40;
pub const IN_FLIGHT: usize = 8;

/// Functions that serve HTTPS with a certificate of their own.
pub struct Site {
    certificate: Certificate,
}

impl Site {
    pub fn new() -> Result<Self> {
        let certificate = Certificate::new()?;
        Ok(Self { certificate })
    }

    pub fn certificate(&self) -> PathBuf {
        self.certificate.path()
    }

    /// A fixture; it calls `next`.
    pub fn serve(&self, script: &'static str, next: Option<&Function>) -> Result<Function> {
        self.serve_by(interpreter(script)?, script, next)
    }

    /// The same, by a program of one's own.
    pub fn serve_by(
        &self,
        mut program: Command,
        script: &'static str,
        next: Option<&Function>,
    ) -> Result<Function> {
        program.arg(workspace().join("tests/functions/tls").join(script));
        self.start(script, program, next)
    }

    /// Whatever serves by the rules of these fixtures.
    pub fn start(
        &self,
        name: &'static str,
        mut command: Command,
        next: Option<&Function>,
    ) -> Result<Function> {
        command.env("CERTIFICATE", self.certificate());
        if let Some(port) = next.and_then(|next| next.address.port()) {
            command.env("NEXT_PORT", port.to_string());
        }
        Function::start_as(name, command, &function::Options::default())
    }

    /// nginx, which hands on to the next one over TLS.
    pub fn proxy(&self, next: &Function) -> Result<Function> {
        let mut command = runtime::tls_proxy()?;
        command.env("CERTIFICATE", self.certificate());
        let options = function::Options {
            next: Some(next.address.clone()),
            ..function::Options::default()
        };
        Function::start_as("nginx", command, &options)
    }

    /// Requests with a mark, by one curl: over one connection, or over so many at once.
    pub fn send(&self, to: &Function, mark: &str, at_once: usize) -> Result<()> {
        let port = to.address.port().context("a port")?;
        let mut curl = Command::new("curl");
        curl.args([
            "--silent",
            "--show-error",
            "--fail",
            "--http1.1",
            "--cacert",
        ]);
        curl.arg(self.certificate());
        if at_once > 1 {
            curl.args(["--parallel", "--parallel-immediate", "--parallel-max"]);
            curl.arg(at_once.to_string());
        }
        let url = format!("https://localhost:{port}/t/{mark}:[0-{}]/", REQUESTS - 1);
        said(curl.arg(url).args(["--output", "/dev/null"]))
    }
}

/// What runs a script, by its name.
pub fn interpreter(script: &str) -> Result<Command> {
    if script.ends_with(".js") {
        return Ok(Command::new("node"));
    }
    let mut command = Command::new(language::python()?);
    command.arg("-B");
    Ok(command)
}

pub fn said(command: &mut Command) -> Result<()> {
    let output = command.output()?;
    let why = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {why}");
    Ok(())
}

/// Each request of a mark has one span, and it is right.
pub fn served<'a>(spans: &'a [Span], mark: &str, kind: Kind, pid: u32) -> Result<Vec<&'a Span>> {
    let found = marked(spans, mark, kind, pid);
    let mut indices: Vec<_> = found.iter().filter_map(|span| index(path(span))).collect();
    indices.sort_unstable();
    ensure!(
        indices == (0..REQUESTS).collect::<Vec<_>>(),
        "{mark} {kind:?}: {indices:?}"
    );
    for span in &found {
        let facts = (
            span.text("url.scheme"),
            span.text("tls.protocol.version"),
            span.integer("http.response.status_code"),
            span.integer("http.response.body.size"),
        );
        let expected = (Some("https"), Some("1.3"), Some(200), Some(5));
        ensure!(facts == expected, "{span:?}");
    }
    Ok(found)
}

/// Requests to the first of two functions, for each of which it calls the second: each has its spans, and they are one trace. `by`
/// judges by which evidence calls have their parents, with so many at once. Gives what the agent reported.
pub fn ensure_chain(
    site: &Site,
    backend: Backend,
    [first, next]: [&Function; 2],
    by: impl Fn(usize, &BTreeMap<String, usize>) -> bool,
) -> Result<Report> {
    let agent = Agent::start(&Options::json(backend, &[first.pid(), next.pid()]))?;
    let marks = [("one", 1), ("many", IN_FLIGHT)];
    for (mark, at_once) in marks {
        site.send(first, mark, at_once)?;
    }
    let report = agent.report()?;
    let spans = agent.finish()?.spans;
    ensure_all_found(&report)?;
    for (mark, at_once) in marks {
        let above = served(&spans, mark, Kind::Server, first.pid())?;
        let calls = served(&spans, mark, Kind::Client, first.pid())?;
        let below = served(&spans, mark, Kind::Server, next.pid())?;
        let called_by = parents(&calls, &above)?;
        ensure!(by(at_once, &called_by), "{mark}: {called_by:?}");
        let served_by = parents(&below, &calls)?;
        ensure!(served_by == all_by("connection"), "{mark}: {served_by:?}");
    }
    ensure!(spans.len() == marks.len() * 3 * REQUESTS, "{}", spans.len());
    Ok(report)
}

/// A client that wants no newer version than TLS 1.2 gets it, and it is told.
pub fn ensure_older_is_told(backend: Backend, site: &Site, function: &Function) -> Result<()> {
    let agent = Agent::start(&Options::json(backend, &[function.pid()]))?;
    let port = function.address.port().context("a port")?;
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--fail", "--http1.1", "--tls-max", "1.2"]);
    curl.arg("--cacert").arg(site.certificate());
    curl.args(["--output", "/dev/null"]);
    said(curl.arg(format!("https://localhost:{port}/older")))?;
    let report = agent.report()?;
    let spans = agent.finish()?.spans;
    ensure_all_found(&report)?;
    let [span] = &spans[..] else {
        anyhow::bail!("{spans:?}");
    };
    let facts = (
        span.text("tls.protocol.name"),
        span.text("tls.protocol.version"),
    );
    ensure!(facts == (Some("tls"), Some("1.2")), "{span:?}");
    Ok(())
}

/// Each of these has a parent among those, of the same request; gives by which evidence.
pub fn parents(children: &[&Span], parents: &[&Span]) -> Result<BTreeMap<String, usize>> {
    let by_id: BTreeMap<_, _> = parents.iter().map(|span| (&span.span_id, span)).collect();
    let mut evidence = BTreeMap::new();
    for child in children {
        if let Some(id) = &child.parent_span_id {
            let parent = by_id.get(id).context("its parent is not one of these")?;
            ensure!(
                index(path(parent)) == index(path(child)),
                "{parent:?} of {child:?}"
            );
        }
        let by = child.text(EVIDENCE).unwrap_or_default().to_owned();
        *evidence.entry(by).or_default() += 1;
    }
    Ok(evidence)
}

pub fn all_by(evidence: &str) -> BTreeMap<String, usize> {
    BTreeMap::from([(evidence.to_owned(), REQUESTS)])
}

/// Nothing that a session moved is without its connection.
pub fn ensure_all_found(report: &Report) -> Result<()> {
    let metric = "spanlet.kernel.tls";
    let found = report.counter(metric, "found").unwrap_or_default();
    ensure!(
        found > 0 && report.sum(metric) == found,
        "{:?}",
        report.of(metric).collect::<Vec<_>>()
    );
    Ok(())
}
