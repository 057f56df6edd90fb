//! HTTPS by OpenSSL, a library or within Node: one span for each request, with the parent that it has over plain HTTP; what is
//! encrypted is not decoded, what is secret does not leave, and the probes go with the process.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use spanlet_e2e::agent::{Agent, Backend, Options};
use spanlet_e2e::otlp::{Kind, Span};
use spanlet_e2e::report::Report;
use spanlet_e2e::runtime;
use spanlet_e2e::wait::wait_until;

use crate::calls::EVIDENCE;
use crate::site::{
    all_by, ensure_all_found, ensure_chain, ensure_older_is_told, interpreter, parents, said,
    served, Site, IN_FLIGHT,
};
use crate::stage::path;

on_each_back_end!(
    a_chain_of_threads_is_one_trace,
    a_chain_of_event_loops_is_one_trace,
    releases_of_the_library_may_differ,
    a_chain_of_node_is_one_trace,
    releases_of_node_may_differ,
    nginx_in_front_is_seen,
    an_older_version_is_told,
    a_client_that_lives_for_one_request_is_seen,
    clients_in_other_languages_are_seen,
    secrets_do_not_leave,
    probes_come_when_it_listens_and_go_with_it,
);

const SEEN: Duration = Duration::from_secs(10);
/// After the end of a process; a report takes half a second itself.
const GONE: Duration = Duration::from_secs(2);
/// Whatever may not leave has this in it.
const CANARY: &str = "canary";

fn chain(backend: Backend, script: &'static str, libraries: Option<&Path>, by: &str) -> Result<()> {
    let mut program = interpreter(script)?;
    if let Some(libraries) = libraries {
        program.env("LD_LIBRARY_PATH", libraries);
    }
    let site = Site::new()?;
    let next = site.serve(script, None)?;
    let first = site.serve_by(program, script, Some(&next))?;
    ensure_chain(&site, backend, [&first, &next], |_, found| {
        *found == all_by(by)
    })
    .map(drop)
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

/// Node's sessions read and write memory, and hardly ever is one begun by a call of its own.
fn chain_of_node(backend: Backend, program: Command) -> Result<()> {
    let site = Site::new()?;
    let next = site.serve("node.js", None)?;
    let first = site.serve_by(program, "node.js", Some(&next))?;
    ensure_chain(&site, backend, [&first, &next], |at_once, found| {
        at_once > 1 || !found.contains_key("")
    })
    .map(drop)
}

fn a_chain_of_node_is_one_trace(backend: Backend) -> Result<()> {
    chain_of_node(backend, Command::new("node"))
}

/// Compilers have put OpenSSL together in different ways, and its sessions are laid out otherwise.
fn releases_of_node_may_differ(backend: Backend) -> Result<()> {
    if let Some(why) = runtime::missing(runtime::node::NEEDS) {
        println!("skipped: releases of Node: {why}");
        return Ok(());
    }
    for release in runtime::node::RELEASES {
        let node = runtime::node::interpreter(release)?;
        chain_of_node(backend, node).with_context(|| format!("Node {release}"))?;
    }
    Ok(())
}

/// Its worker reads and writes without waiting, and the program is a child of the one that was traced.
fn nginx_in_front_is_seen(backend: Backend) -> Result<()> {
    if let Some(why) = runtime::missing(&["nginx"]) {
        println!("skipped: {why}");
        return Ok(());
    }
    let site = Site::new()?;
    let next = site.serve("threads.py", None)?;
    let options = Options::json(backend, &[next.pid()]).with(&["--exec", "nginx*"]);
    let agent = Agent::start(&options)?;
    let first = site.proxy(&next)?;
    let marks = [("one", 1), ("many", IN_FLIGHT)];
    for (mark, at_once) in marks {
        site.send(&first, mark, at_once)?;
    }
    let report = agent.report()?;
    let spans = agent.finish()?.spans;
    ensure_all_found(&report)?;
    let worker = spans.iter().find(|span| span.kind == Kind::Client);
    let worker = worker.and_then(Span::pid).context("no client's span")?;
    for (mark, _) in marks {
        served(&spans, mark, Kind::Server, worker)?;
        let calls = served(&spans, mark, Kind::Client, worker)?;
        let below = served(&spans, mark, Kind::Server, next.pid())?;
        let found = parents(&below, &calls)?;
        ensure!(found == all_by("connection"), "{mark}: {found:?}");
    }
    Ok(())
}

fn an_older_version_is_told(backend: Backend) -> Result<()> {
    let site = Site::new()?;
    for script in ["threads.py", "loop.py", "node.js"] {
        let function = site.serve(script, None)?;
        ensure_older_is_told(backend, &site, &function).context(script)?;
    }
    Ok(())
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
    secrets_of(backend, "threads.py")?;
    secrets_of(backend, "node.js")
}

fn secrets_of(backend: Backend, script: &'static str) -> Result<()> {
    let site = Site::new()?;
    let next = site.serve(script, None)?;
    let first = site.serve(script, Some(&next))?;
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
