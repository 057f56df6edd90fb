//! HTTPS by Go's `crypto/tls`, by each release: one span for each request, with the parent and the route that it has over plain
//! HTTP; by two uprobes that are cheap where they are. What is negotiated to be HTTP/2 is not taken for anything else.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use spanlet_e2e::accuracy::drive::Budget;
use spanlet_e2e::accuracy::{Row, Service, Setting, Shape};
use spanlet_e2e::agent::{Agent, Backend, Options};
use spanlet_e2e::certificate::Certificate;
use spanlet_e2e::client::Connection;
use spanlet_e2e::function::Function;
use spanlet_e2e::otlp::{Kind, Span};
use spanlet_e2e::overlay::Overlay;
use spanlet_e2e::report::Report;
use spanlet_e2e::runtime::go::TLS;
use spanlet_e2e::runtime::{self, Runtime};
use spanlet_e2e::scratch::Scratch;

use crate::go_client::RECALL_MIN;
use crate::go_routes;
use crate::site::{
    all_by, ensure_all_found, ensure_chain, ensure_older_is_told, parents, said, served, Site,
};

on_each_back_end!(
    a_chain_is_one_trace,
    sessions_from_before_are_seen,
    http_2_is_nothing_else,
    an_older_version_is_told,
    containers_of_one_image_share_probes,
    calls_at_once_have_parents,
    routes_name_spans,
    who_was_there_before_the_agent_is_found,
);

fn chain_of(name: &'static str, backend: Backend) -> Result<()> {
    let Some(build) = build(name)? else {
        return Ok(());
    };
    let site = Site::new()?;
    let next = site.start(name, (build.command)()?, None)?;
    let first = site.start(name, (build.command)()?, Some(&next))?;
    let report = ensure_chain(&site, backend, [&first, &next], |_, found| {
        *found == all_by("goroutine")
    })?;
    ensure_cheap(&report, &first)
}

fn an_older_version_is_told(backend: Backend) -> Result<()> {
    let Some(build) = build("go-tls")? else {
        return Ok(());
    };
    let site = Site::new()?;
    let function = site.start("go-tls", (build.command)()?, None)?;
    ensure_older_is_told(backend, &site, &function)
}

/// Each container sees the file as one of a device of its own. Were the probes of each attached, all would be told twice.
fn containers_of_one_image_share_probes(backend: Backend) -> Result<()> {
    let Some(build) = build("go-tls")? else {
        return Ok(());
    };
    let site = Site::new()?;
    let image = Scratch::new()?;
    let program = (build.command)()?.get_program().to_owned();
    fs::copy(program, image.join("function"))?;
    let containers = [Overlay::of(image.path())?, Overlay::of(image.path())?];
    let devices = containers
        .each_ref()
        .map(|container| fs::metadata(container.join("function")));
    let [one, another] = devices;
    ensure!(one?.dev() != another?.dev(), "both are of one device");
    let [first, next] = &containers;
    let next = site.start("go-tls", Command::new(next.join("function")), None)?;
    let first = site.start("go-tls", Command::new(first.join("function")), Some(&next))?;
    let report = ensure_chain(&site, backend, [&first, &next], |_, found| {
        *found == all_by("goroutine")
    })?;
    let reads = report
        .uprobes
        .iter()
        .filter(|uprobe| uprobe.name == "go_tls_read");
    let processes: Vec<_> = reads.map(|uprobe| uprobe.processes.len()).collect();
    ensure!(processes == [2], "{processes:?}");
    ensure_cheap(&report, &first)
}

/// How to run it; `None` where it cannot be had.
fn build(name: &str) -> Result<Option<&'static Runtime>> {
    let build = TLS.iter().find(|build| build.name == name);
    let build = build.context("no such build")?;
    if let Some(why) = build.missing() {
        println!("skipped: {name}: {why}");
        return Ok(None);
    }
    Ok(Some(build))
}

/// Reads are told on a call, writes mostly on a push.
fn ensure_cheap(report: &Report, function: &Function) -> Result<()> {
    let its = report.uprobes.iter();
    let its = its.filter(|uprobe| {
        uprobe.name.starts_with("go_tls_") && uprobe.processes.contains(&function.pid())
    });
    let on: Vec<_> = its.map(|uprobe| uprobe.instruction.as_str()).collect();
    ensure!(
        on.len() == 2
            && on.contains(&"call")
            && on.iter().all(|on| ["call", "push", "jmp"].contains(on)),
        "{on:?}, {:?}",
        report.not_attached
    );
    Ok(())
}

fn a_chain_is_one_trace(backend: Backend) -> Result<()> {
    chain_of("go-tls", backend)
}

macro_rules! by_every_build {
    ($($test:ident: $name:literal),* $(,)?) => {$(
        #[test]
        fn $test() -> Result<()> { chain_of($name, Backend::SocketTracepoints) }
    )*};
}

by_every_build!(
    stripped: "go-tls-stripped",
    position_independent: "go-tls-pie",
    go_1_19: "go-tls-1.19",
    go_1_21: "go-tls-1.21",
    go_1_22: "go-tls-1.22",
    go_1_23: "go-tls-1.23",
    go_1_24: "go-tls-1.24",
    go_1_25: "go-tls-1.25",
);

/// Connections of the pool that were there before the agent: what they carry is seen from then on.
fn sessions_from_before_are_seen(backend: Backend) -> Result<()> {
    let Some(build) = build("go-tls")? else {
        return Ok(());
    };
    let site = Site::new()?;
    let next = site.start("go-tls", (build.command)()?, None)?;
    let first = site.start("go-tls", (build.command)()?, Some(&next))?;
    site.send(&first, "before", 1)?;
    let agent = Agent::start(&Options::json(backend, &[first.pid(), next.pid()]))?;
    site.send(&first, "one", 1)?;
    let spans = agent.finish()?.spans;
    let above = served(&spans, "one", Kind::Server, first.pid())?;
    let calls = served(&spans, "one", Kind::Client, first.pid())?;
    served(&spans, "one", Kind::Server, next.pid())?;
    let found = parents(&calls, &above)?;
    ensure!(found == all_by("goroutine"), "{found:?}");
    Ok(())
}

fn http_2_is_nothing_else(backend: Backend) -> Result<()> {
    let Some(build) = build("go-tls")? else {
        return Ok(());
    };
    let site = Site::new()?;
    let with_http_2 = || -> Result<Command> {
        let mut command = (build.command)()?;
        command.env("HTTP2", "1");
        Ok(command)
    };
    let next = site.start("go-tls", with_http_2()?, None)?;
    let first = site.start("go-tls", with_http_2()?, Some(&next))?;
    let agent = Agent::start(&Options::json(backend, &[first.pid(), next.pid()]))?;
    let port = first.address.port().context("a port")?;
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail", "--http2", "--cacert"]);
    curl.arg(site.certificate());
    curl.arg(format!("https://localhost:{port}/t/two:[0-9]/"));
    said(curl.args(["--output", "/dev/null"]))?;
    let report = agent.report()?;
    let spans = agent.finish()?.spans;
    ensure!(spans.is_empty(), "{spans:?}");
    // Encrypted they were, too, until they were seen decrypted.
    for (function, connections) in [(&first, 2), (&next, 1)] {
        let process = report.process(function.pid()).context("not there")?;
        ensure!(process.opaque_connections == connections, "{process:?}");
    }
    ensure_all_found(&report)
}

/// Whether a build of the function that is asked over plain HTTP elsewhere can be had.
fn is_there(name: &str) -> Result<bool> {
    let missing = runtime::named(name)?.missing();
    if let Some(why) = &missing {
        println!("skipped: {name}: {why}");
    }
    Ok(missing.is_none())
}

const BUDGET: Budget = Budget {
    time: Duration::from_millis(400),
    roots: 10,
};

/// Requests that make four calls at once, by goroutines of their own, over connections that have served others before. For which
/// request each is made, no path tells.
fn fans_of(name: &'static str, backend: Backend) -> Result<()> {
    if !is_there(name)? {
        return Ok(());
    }
    let setting = Setting {
        backend,
        secret: true,
        pool: true,
        tls: true,
        ..Setting::plain(name)
    };
    // Which goroutines are born is looked at once it was missed.
    let [missed, known] = [Service::Constant, Service::Exponential].map(|service| Row {
        in_flight: 8,
        shape: Shape::Fan,
        service,
    });
    let run = setting.run(&[missed, known], BUDGET, 11)?;
    let all = run.total(|_| true);
    ensure!(all.wrong.is_empty() && run.strays.wrong.is_empty());
    let found = run.total(|row| *row == known).process;
    ensure!(found.recall() >= RECALL_MIN, "{name}: {found:?}");
    Ok(())
}

fn calls_at_once_have_parents(backend: Backend) -> Result<()> {
    fans_of("go", backend)
}

/// Over two connections, one after the other.
fn routes_of(name: &'static str, backend: Backend) -> Result<()> {
    if !is_there(name)? {
        return Ok(());
    }
    let certificate = Certificate::new()?;
    let trust = certificate.trusted()?;
    let function = go_routes::function(name, Some(&certificate))?;
    let agent = Agent::start(&Options::json(backend, &[function.pid()]))?;
    for _ in 0..2 {
        go_routes::ask(&mut Connection::open_over(&function.address, Some(&trust))?)?;
    }
    let spans = agent.finish()?.spans;
    let spans = go_routes::served(&spans, function.pid());
    let is_tls = |span: &&Span| span.text("url.scheme") == Some("https");
    ensure!(spans.iter().all(is_tls), "{spans:?}");
    go_routes::check(&spans, 2).context(name)
}

fn routes_name_spans(backend: Backend) -> Result<()> {
    routes_of("go-stripped", backend)
}

fn who_was_there_before_the_agent_is_found(backend: Backend) -> Result<()> {
    let certificate = Certificate::new()?;
    let trust = certificate.trusted()?;
    let function = go_routes::function("go-static", Some(&certificate))?;
    let mut connection = Connection::open_over(&function.address, Some(&trust))?;
    go_routes::ask(&mut connection)?;
    let agent = Agent::start(&Options::json(backend, &[function.pid()]))?;
    go_routes::ask(&mut connection)?;
    go_routes::ask(&mut connection)?;
    let spans = agent.finish()?.spans;
    go_routes::check(&go_routes::served(&spans, function.pid()), 2)
}

macro_rules! by_every_release {
    ($($module:ident: $of:ident: { $($test:ident: $name:literal),* $(,)? })*) => {$(
        mod $module {
            $(#[test]
            fn $test() -> anyhow::Result<()> {
                super::$of($name, spanlet_e2e::agent::Backend::SocketTracepoints)
            })*
        }
    )*};
}

by_every_release! {
    fans: fans_of: {
        stripped: "go-stripped", position_independent: "go-pie",
        go_1_21: "go-1.21", go_1_22: "go-1.22", go_1_23: "go-1.23", go_1_24: "go-1.24", go_1_25: "go-1.25",
    }
    routes: routes_of: {
        position_independent: "go-pie",
        go_1_22: "go-1.22", go_1_23: "go-1.23", go_1_24: "go-1.24", go_1_25: "go-1.25",
    }
}
