//! Births and deaths: children of a traced process, a program that becomes another, processes that live for one request.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use spanlet_e2e::agent::{Agent, Backend, Options};
use spanlet_e2e::client::Address;
use spanlet_e2e::function::{self, Function};
use spanlet_e2e::language::{program, python_program, Language};
use spanlet_e2e::otlp::Kind;
use spanlet_e2e::process::{Process, Stream};
use spanlet_e2e::scratch::Scratch;

use crate::calls::EVIDENCE;
use crate::watched::{each_seen, marked, resource_text, send};

on_each_back_end!(
    a_forked_child_is_seen_from_its_first_request,
    a_started_child_is_seen_from_its_first_request,
    a_shell_that_becomes_a_function_is_seen,
    clients_that_live_for_one_request_are_seen,
    children_that_live_for_one_request_are_seen,
);

const START: Duration = Duration::from_secs(30);

/// How many short-lived clients there are.
const CLIENTS: usize = 20;

/// Goes on when the file is there: then the agent is.
const WAIT_FOR_FILE: &str = "until [ -e \"$0\" ]; do sleep 0.02; done; ";

fn a_forked_child_is_seen_from_its_first_request(backend: Backend) -> Result<()> {
    let scratch = Scratch::new()?;
    let (mut command, function) = python_program("forking")?;
    command.arg(scratch.join("go")).arg(function);
    let started = Started::watched(command, &scratch, backend)?;
    send(&started.address, "child", 5)?;
    let child = started.only_child()?;
    let (spans, parent) = started.finish()?;
    each_seen(&spans, "child", Kind::Server, child, 5)?;
    ensure!(child != parent, "no child");
    for span in marked(&spans, "child", Kind::Server, child) {
        let name = resource_text(span, "process.runtime.name")?;
        ensure!(name == "cpython", "{span:?}");
    }
    Ok(())
}

fn a_started_child_is_seen_from_its_first_request(backend: Backend) -> Result<()> {
    let scratch = Scratch::new()?;
    let command = shell(&scratch, "\"$@\" & wait", Language::C)?;
    let started = Started::watched(command, &scratch, backend)?;
    send(&started.address, "child", 5)?;
    let child = started.only_child()?;
    let report = started.agent.report()?;
    let reason = report.process(child).map(|process| process.reason.clone());
    let expected = format!("child of {}", started.process.pid());
    ensure!(reason.as_ref() == Some(&expected), "{reason:?}");
    let (spans, _) = started.finish()?;
    each_seen(&spans, "child", Kind::Server, child, 5)
}

fn a_shell_that_becomes_a_function_is_seen(backend: Backend) -> Result<()> {
    for language in [Language::Python, Language::Go] {
        let scratch = Scratch::new()?;
        let command = shell(&scratch, "exec \"$@\"", language)?;
        let started = Started::watched(command, &scratch, backend)?;
        send(&started.address, "became", 5)?;
        let (spans, pid) = started.finish()?;
        each_seen(&spans, "became", Kind::Server, pid, 5)?;
        for span in marked(&spans, "became", Kind::Server, pid) {
            let is = resource_text(span, "telemetry.sdk.language")?;
            ensure!(is == language.name(), "a shell still: {span:?}");
        }
    }
    Ok(())
}

/// Selected by their executable, and mostly gone before the agent can look at them.
fn clients_that_live_for_one_request_are_seen(backend: Backend) -> Result<()> {
    let function = Function::start(Language::C, &function::Options::default())?;
    // Of one that has ended, the path it was called by is what is known.
    let client = program("client")?.canonicalize()?;
    let glob = client.display().to_string();
    let options = Options::json(backend, &[function.pid()]).with(&["--exec", &glob]);
    let agent = Agent::start(&options)?;
    for index in 0..CLIENTS {
        let port = function.address.port().context("no port")?.to_string();
        let target = format!("/t/short:{index}/hello");
        let ended = Command::new(&client).args([&port, &target, "0"]).status()?;
        ensure!(ended.success(), "client {index}: {ended}");
    }
    linked_clients(agent, &function)
}

/// Known from their birth.
fn children_that_live_for_one_request_are_seen(backend: Backend) -> Result<()> {
    let scratch = Scratch::new()?;
    let function = Function::start(Language::C, &function::Options::default())?;
    let script =
        "for i in $(seq 0 19); do \"$1\" \"$2\" \"/t/short:$i/hello\" 0 || exit 1; done; echo all";
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("{WAIT_FOR_FILE}{script}"));
    command.arg(scratch.join("go")).arg(program("client")?);
    command.arg(function.address.port().context("no port")?.to_string());
    let mut shell = Process::start("shell", &mut command)?;
    let agent = Agent::start(&Options::json(backend, &[function.pid(), shell.pid()]))?;
    fs::write(scratch.join("go"), "")?;
    shell.wait_for_line(Stream::Stdout, START, |line| (line == "all").then_some(()))?;
    linked_clients(agent, &function)
}

/// Each request has a client span, and under it a server span that is known by their connection.
fn linked_clients(agent: Agent, function: &Function) -> Result<()> {
    let spans = agent.finish()?.spans;
    each_seen(&spans, "short", Kind::Server, function.pid(), CLIENTS)?;
    // Other tests start the same program.
    let port = function.address.port().map(i64::from);
    let clients: HashMap<_, _> = spans
        .iter()
        .filter(|span| span.kind == Kind::Client && span.integer("network.peer.port") == port)
        .map(|span| (span.span_id.as_str(), span))
        .collect();
    ensure!(clients.len() == CLIENTS, "{} client spans", clients.len());
    for server in marked(&spans, "short", Kind::Server, function.pid()) {
        let parent = server.parent_span_id.as_deref();
        let client = parent.and_then(|id| clients.get(id));
        let client = client.with_context(|| format!("no client above {server:?}"))?;
        ensure!(
            client.text("url.path") == server.text("url.path"),
            "{client:?} of {server:?}"
        );
        ensure!(server.text(EVIDENCE) == Some("connection"), "{server:?}");
    }
    Ok(())
}

/// A process that was traced while it waited, and then came to serve.
struct Started {
    process: Process,
    agent: Agent,
    address: Address,
}

impl Started {
    fn watched(mut command: Command, scratch: &Scratch, backend: Backend) -> Result<Self> {
        let mut process = Process::start("function", &mut command)?;
        let agent = Agent::start(&Options::json(backend, &[process.pid()]))?;
        fs::write(scratch.join("go"), "")?;
        let port = process.wait_for_line(Stream::Stdout, START, |line| {
            line.strip_prefix("listening ").map(str::to_owned)
        })?;
        Ok(Self {
            process,
            agent,
            address: Address::of(None, false, &port)?,
        })
    }

    fn only_child(&self) -> Result<u32> {
        let pid = self.process.pid();
        let children = Path::new("/proc").join(format!("{pid}/task/{pid}/children"));
        let text = fs::read_to_string(children)?;
        text.trim()
            .parse()
            .with_context(|| format!("children {text:?}"))
    }

    /// The spans, and the process that was traced at first.
    fn finish(self) -> Result<(Vec<spanlet_e2e::otlp::Span>, u32)> {
        Ok((self.agent.finish()?.spans, self.process.pid()))
    }
}

/// A shell that waits for the file `go`, and then does `script` with the command of a function.
fn shell(scratch: &Scratch, script: &str, language: Language) -> Result<Command> {
    let function = language.command()?;
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("{WAIT_FOR_FILE}{script}"));
    command.arg(scratch.join("go"));
    command
        .arg(function.get_program())
        .args(function.get_args());
    Ok(command)
}
