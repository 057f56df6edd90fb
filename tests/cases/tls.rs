//! HTTPS where OpenSSL is a shared library: one span for each request, with the parent that it has over plain HTTP; what is
//! encrypted is not decoded, what is secret does not leave, and the probes go with the process.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use spanlet_e2e::agent::{Agent, Backend, Options};
use spanlet_e2e::function::{self, Function};
use spanlet_e2e::language;
use spanlet_e2e::otlp::{Kind, Span};
use spanlet_e2e::report::Report;
use spanlet_e2e::runtime;
use spanlet_e2e::scratch::Scratch;
use spanlet_e2e::system::workspace;
use spanlet_e2e::wait::wait_until;

use crate::calls::EVIDENCE;
use crate::stage::{index, path};
use crate::watched::marked;

on_each_back_end!(
    a_chain_of_threads_is_one_trace,
    a_chain_of_event_loops_is_one_trace,
    releases_of_the_library_may_differ,
    a_client_that_lives_for_one_request_is_seen,
    clients_in_other_languages_are_seen,
    secrets_do_not_leave,
    probes_come_when_it_listens_and_go_with_it,
);

const SEEN: Duration = Duration::from_secs(10);
/// After the end of a process; a report takes half a second itself.
const GONE: Duration = Duration::from_secs(2);
const REQUESTS: usize = 40;
const IN_FLIGHT: usize = 8;
/// Whatever may not leave has this in it.
const CANARY: &str = "canary";

/// Functions that serve HTTPS with a certificate of their own.
struct Site {
    scratch: Scratch,
}

impl Site {
    fn new() -> Result<Self> {
        let scratch = Scratch::new()?;
        let site = Self { scratch };
        let pem = site.certificate();
        let mut openssl = Command::new("openssl");
        openssl.args([
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
        ]);
        openssl.args(["-subj", "/CN=localhost"]);
        openssl.args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]);
        let key = site.scratch.join("key.pem");
        openssl.arg("-keyout").arg(&key).arg("-out").arg(&pem);
        let made = openssl.output().context("openssl")?;
        ensure!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        let both = [std::fs::read(&pem)?, std::fs::read(key)?].concat();
        std::fs::write(pem, both)?;
        Ok(site)
    }

    fn certificate(&self) -> PathBuf {
        self.scratch.join("both.pem")
    }

    /// A fixture; it calls `next`.
    fn serve(&self, script: &'static str, next: Option<&Function>) -> Result<Function> {
        self.serve_with(script, next, None)
    }

    /// The same, with the libraries in a folder.
    fn serve_with(
        &self,
        script: &'static str,
        next: Option<&Function>,
        libraries: Option<&Path>,
    ) -> Result<Function> {
        let mut command = Command::new(language::python()?);
        command
            .arg("-B")
            .arg(workspace().join("tests/functions/tls").join(script));
        command.env("CERTIFICATE", self.certificate());
        if let Some(port) = next.and_then(|next| next.address.port()) {
            command.env("NEXT_PORT", port.to_string());
        }
        if let Some(libraries) = libraries {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        Function::start_as(script, command, &function::Options::default())
    }

    /// Requests with a mark, by one curl: over one connection, or over so many at once.
    fn send(&self, to: &Function, mark: &str, at_once: usize) -> Result<()> {
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

fn said(command: &mut Command) -> Result<()> {
    let output = command.output()?;
    let why = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {why}");
    Ok(())
}

/// Each request of a mark has one span, and it is right.
fn served<'a>(spans: &'a [Span], mark: &str, kind: Kind, pid: u32) -> Result<Vec<&'a Span>> {
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
            span.integer("http.response.status_code"),
            span.integer("http.response.body.size"),
        );
        ensure!(facts == (Some("https"), Some(200), Some(5)), "{span:?}");
    }
    Ok(found)
}

/// Each of these has a parent among those, of the same request; gives by which evidence.
fn parents(children: &[&Span], parents: &[&Span]) -> Result<BTreeMap<String, usize>> {
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

fn all_by(evidence: &str) -> BTreeMap<String, usize> {
    BTreeMap::from([(evidence.to_owned(), REQUESTS)])
}

/// Nothing that a session moved is without its connection.
fn ensure_all_found(report: &Report) -> Result<()> {
    let metric = "spanlet.kernel.tls";
    let found = report.counter(metric, "found").unwrap_or_default();
    ensure!(
        found > 0 && report.sum(metric) == found,
        "{:?}",
        report.of(metric).collect::<Vec<_>>()
    );
    Ok(())
}

fn chain(backend: Backend, script: &'static str, libraries: Option<&Path>, by: &str) -> Result<()> {
    let site = Site::new()?;
    let next = site.serve(script, None)?;
    let first = site.serve_with(script, Some(&next), libraries)?;
    let agent = Agent::start(&Options::json(backend, &[first.pid(), next.pid()]))?;
    let marks = [("one", 1), ("many", IN_FLIGHT)];
    for (mark, at_once) in marks {
        site.send(&first, mark, at_once)?;
    }
    let report = agent.report()?;
    let spans = agent.finish()?.spans;
    ensure_all_found(&report)?;
    for (mark, _) in marks {
        let above = served(&spans, mark, Kind::Server, first.pid())?;
        let calls = served(&spans, mark, Kind::Client, first.pid())?;
        let below = served(&spans, mark, Kind::Server, next.pid())?;
        let found = (parents(&calls, &above)?, parents(&below, &calls)?);
        ensure!(
            found == (all_by(by), all_by("connection")),
            "{mark}: {found:?}"
        );
    }
    ensure!(spans.len() == marks.len() * 3 * REQUESTS, "{}", spans.len());
    Ok(())
}

fn a_chain_of_threads_is_one_trace(backend: Backend) -> Result<()> {
    chain(backend, "threads.py", None, "thread")
}

fn a_chain_of_event_loops_is_one_trace(backend: Backend) -> Result<()> {
    chain(backend, "loop.py", None, "task")
}

/// What differs between releases is found in each: this one keeps what a session reads from elsewhere, and has one argument more.
fn releases_of_the_library_may_differ(backend: Backend) -> Result<()> {
    if let Some(why) = runtime::missing(runtime::openssl::NEEDS) {
        println!("skipped: OpenSSL 3.5: {why}");
        return Ok(());
    }
    let libraries = runtime::openssl::release_3_5()?;
    chain(backend, "threads.py", Some(&libraries), "thread")?;
    chain(backend, "loop.py", Some(&libraries), "task")
}

fn a_client_that_lives_for_one_request_is_seen(backend: Backend) -> Result<()> {
    let site = Site::new()?;
    let server = site.serve("threads.py", None)?;
    let options = Options::json(backend, &[server.pid()]).with(&["--exec", "curl"]);
    let agent = Agent::start(&options)?;
    site.send(&server, "lives", 1)?;
    let spans = agent.finish()?.spans;
    let answers = served(&spans, "lives", Kind::Server, server.pid())?;
    let curl = spans.iter().find(|span| span.kind == Kind::Client);
    let curl = curl.and_then(Span::pid).context("no client's span")?;
    let calls = served(&spans, "lives", Kind::Client, curl)?;
    let found = parents(&answers, &calls)?;
    ensure!(found == all_by("connection"), "{found:?}");
    Ok(())
}

/// Programs that use the library in ways of their own, each with a request to the path of its name.
fn clients_in_other_languages_are_seen(backend: Backend) -> Result<()> {
    const RUBY: &str = r#"
        uri = URI(ENV["TO"] + "/ruby")
        options = { use_ssl: true, ca_file: ENV["CERTIFICATE"] }
        Net::HTTP.start(uri.host, uri.port, options) { |http| http.get(uri.path).value }"#;
    const PHP: &str = r#"
        $context = stream_context_create(["ssl" => ["cafile" => getenv("CERTIFICATE")]]);
        exit(file_get_contents(getenv("TO") . "/php", false, $context) === "hello" ? 0 : 1);"#;
    let site = Site::new()?;
    let server = site.serve("threads.py", None)?;
    let port = server.address.port().context("a port")?;
    let options = Options::json(backend, &[server.pid()]);
    let agent = Agent::start(&options.with(&["--exec", "ruby*", "--exec", "php*"]))?;
    let programs: [(&str, &[&str]); 2] =
        [("ruby", &["-rnet/http", "-e", RUBY]), ("php", &["-r", PHP])];
    let mut expected = Vec::new();
    for (program, arguments) in programs {
        if let Some(why) = runtime::missing(&[program]) {
            println!("skipped: {why}");
            continue;
        }
        let mut command = Command::new(program);
        command.env("CERTIFICATE", site.certificate());
        command.env("TO", format!("https://localhost:{port}"));
        said(command.args(arguments))?;
        expected.extend([(program, Kind::Client), (program, Kind::Server)]);
    }
    let spans = agent.finish()?.spans;
    ensure!(spans.len() == expected.len(), "{spans:?}");
    for (program, kind) in expected {
        let name = format!("/{program}");
        let found = spans
            .iter()
            .find(|span| span.kind == kind && path(span) == name);
        let span = found.with_context(|| format!("{program} {kind:?}"))?;
        let facts = (
            span.text("url.scheme"),
            span.integer("http.response.status_code"),
            kind == Kind::Client || span.text(EVIDENCE) == Some("connection"),
        );
        ensure!(facts == (Some("https"), Some(200), true), "{span:?}");
    }
    Ok(())
}

fn secrets_do_not_leave(backend: Backend) -> Result<()> {
    let site = Site::new()?;
    let next = site.serve("threads.py", None)?;
    let first = site.serve("threads.py", Some(&next))?;
    let agent = Agent::start(&Options::json(backend, &[first.pid(), next.pid()]))?;
    let port = first.address.port().context("a port")?;
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--fail", "--cacert"])
        .arg(site.certificate());
    curl.args(["--header", "Authorization: Bearer canary"]);
    curl.args(["--header", "Cookie: session=canary", "--data", "canary"]);
    curl.args(["--output", "/dev/null"]);
    said(curl.arg(format!("https://localhost:{port}/secret?token=canary")))?;
    let spans = wait_until(SEEN, "three spans", || {
        let spans = agent.spans()?;
        Ok((spans.len() == 3).then_some(spans))
    })?;
    ensure!(spans
        .iter()
        .all(|span| span.text("url.query") == Some("token=REDACTED")));
    let said: Vec<Vec<u8>> = ["json", "wide"]
        .map(|form| agent.probes(form).map(|output| output.stdout))
        .into_iter()
        .collect::<Result<_>>()?;
    let ended = agent.finish()?;
    let told = format!(
        "{:?}{}{}",
        ended.spans,
        ended.log,
        String::from_utf8_lossy(&said.concat())
    );
    ensure!(!told.contains(CANARY), "{told}");
    Ok(())
}

/// The places of the probes of OpenSSL in a process.
fn places(report: &Report, pid: u32) -> Vec<(&str, &str)> {
    let uprobes = report.uprobes.iter();
    let its = uprobes.filter(|uprobe| uprobe.processes.contains(&pid));
    let of_openssl = its.filter(|uprobe| uprobe.name.starts_with("tls_"));
    of_openssl
        .map(|uprobe| (uprobe.name.as_str(), uprobe.instruction.as_str()))
        .collect()
}

fn probes_come_when_it_listens_and_go_with_it(backend: Backend) -> Result<()> {
    let site = Site::new()?;
    let options = Options::json(backend, &[]).with(&["--exec", "python*"]);
    let agent = Agent::start(&options)?;
    let function = site.serve("threads.py", None)?;
    let pid = function.pid();
    let report = wait_until(SEEN, "place of seven probes", || {
        let report = agent.report()?;
        Ok((places(&report, pid).len() == 7).then_some(report))
    })?;
    let dear = places(&report, pid);
    let dear: Vec<_> = dear
        .iter()
        .filter(|(_, on)| !matches!(*on, "push" | "jcc"))
        .collect();
    ensure!(dear.is_empty(), "{dear:?}");
    site.send(&function, "listens", 1)?;
    drop(function);
    let report = wait_until(GONE, "end of the probes", || {
        let report = agent.report()?;
        Ok(report.uprobes.is_empty().then_some(report))
    })?;
    ensure!(report.process(pid).is_none(), "{:?}", report.processes);
    let spans = agent.finish()?.spans;
    served(&spans, "listens", Kind::Server, pid).map(drop)
}
