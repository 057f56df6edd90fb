//! Who is traced: by executable, by port, or all; from the first request on.

use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use spanlet_e2e::agent::{Agent, Backend, Options, Protocol};
use spanlet_e2e::collector::Collector;
use spanlet_e2e::function::{self, Function};
use spanlet_e2e::language::Language;
use spanlet_e2e::otlp::Kind;
use spanlet_e2e::wait::wait_until;

use crate::watched::{each_seen, every_language, send};

on_each_back_end!(
    an_executable_that_starts_later_is_seen_from_its_first_request,
    a_port_that_is_taken_later_is_seen_from_its_first_request,
    a_port_that_is_taken_already_is_seen,
    an_excluded_executable_is_not_seen,
    all_sees_everything_but_the_agent,
);

fn an_executable_that_starts_later_is_seen_from_its_first_request(backend: Backend) -> Result<()> {
    let globs: Vec<_> = Language::ALL
        .into_iter()
        .map(executable)
        .collect::<Result<_>>()?;
    let arguments = globs.iter().flat_map(|glob| ["--exec", glob.as_str()]);
    let options = Options::json(backend, &[]).with(&arguments.collect::<Vec<_>>());
    let agent = Agent::start(&options)?;
    let mut functions = Vec::new();
    for language in Language::ALL {
        let function = Function::start(language, &function::Options::default())?;
        send(&function.address, "first", 3)?;
        functions.push(function);
    }
    seen(agent, &functions, "first")
}

fn a_port_that_is_taken_later_is_seen_from_its_first_request(backend: Backend) -> Result<()> {
    let ports: Vec<_> = Language::ALL
        .into_iter()
        .map(|_| free_port())
        .collect::<Result<_>>()?;
    let agent = Agent::start(&by_ports(backend, &ports))?;
    let mut functions = Vec::new();
    for (language, port) in Language::ALL.into_iter().zip(ports) {
        let options = function::Options {
            port: Some(port),
            ..Default::default()
        };
        let function = Function::start(language, &options)?;
        send(&function.address, "first", 3)?;
        functions.push(function);
    }
    seen(agent, &functions, "first")
}

fn a_port_that_is_taken_already_is_seen(backend: Backend) -> Result<()> {
    let functions = every_language()?;
    let ports: Vec<_> = functions
        .iter()
        .filter_map(|function| function.address.port())
        .collect();
    let agent = Agent::start(&by_ports(backend, &ports))?;
    for function in &functions {
        send(&function.address, "first", 3)?;
    }
    seen(agent, &functions, "first")
}

fn an_excluded_executable_is_not_seen(backend: Backend) -> Result<()> {
    let (go, c) = (executable(Language::Go)?, executable(Language::C)?);
    let arguments = ["--exec", &go, "--exec", &c, "--exclude-exec", &go];
    let agent = Agent::start(&Options::json(backend, &[]).with(&arguments))?;
    let excluded = Function::start(Language::Go, &function::Options::default())?;
    let selected = Function::start(Language::C, &function::Options::default())?;
    send(&excluded.address, "first", 3)?;
    send(&selected.address, "first", 3)?;
    let spans = agent.finish()?.spans;
    each_seen(&spans, "first", Kind::Server, excluded.pid(), 0)?;
    each_seen(&spans, "first", Kind::Server, selected.pid(), 3)
}

/// By HTTP, which the agent would see of itself and of the collector: spans of spans without end.
fn all_sees_everything_but_the_agent(backend: Backend) -> Result<()> {
    let functions = every_language()?;
    let collector = Collector::start()?;
    let endpoint = (Protocol::HttpProtobuf, collector.http_endpoint());
    let options = Options {
        otlp: Some(endpoint),
        environment: vec![("OTEL_BSP_SCHEDULE_DELAY".to_owned(), "100".to_owned())],
        ..Options::json(backend, &[]).with(&["--all"])
    };
    let agent = Agent::start(&options)?;
    let own = [agent.pid(), collector.pid()];
    // When a round has arrived, its deliveries are over, each of which a loop would turn into spans of the next ones.
    for round in ["first", "second", "third"] {
        for function in &functions {
            send(&function.address, round, 3)?;
        }
        let arrived = || -> Result<_> {
            let spans = collector.spans().unwrap_or_default();
            let each = functions
                .iter()
                .map(|function| each_seen(&spans, round, Kind::Server, function.pid(), 3));
            Ok(each.collect::<Result<()>>().ok())
        };
        wait_until(Duration::from_secs(10), "spans at the collector", arrived)?;
    }
    let spans = agent.finish()?.spans;
    let loops: Vec<_> = spans
        .iter()
        .filter(|span| span.pid().is_some_and(|pid| own.contains(&pid)))
        .collect();
    ensure!(
        loops.is_empty(),
        "{} spans of the agent's own deliveries: {loops:?}",
        loops.len()
    );
    Ok(())
}

fn seen(agent: Agent, functions: &[Function], mark: &str) -> Result<()> {
    let spans = agent.finish()?.spans;
    functions.iter().try_for_each(|function| {
        each_seen(&spans, mark, Kind::Server, function.pid(), 3).context(function.name)
    })
}

/// The path of the executable that runs a function. Others may run it too: their spans have other processes.
fn executable(language: Language) -> Result<String> {
    let command = language.command()?;
    let program = Path::new(command.get_program());
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let in_folders = std::env::split_paths(&folders).map(|folder| folder.join(program));
    let found = in_folders
        .chain([program.to_owned()])
        .find(|path| path.is_file());
    let found = found.with_context(|| format!("no {}", program.display()))?;
    Ok(found.canonicalize()?.display().to_string())
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn by_ports(backend: Backend, ports: &[u16]) -> Options {
    let ports: Vec<_> = ports.iter().map(u16::to_string).collect();
    let arguments = ports.iter().flat_map(|port| ["--port", port.as_str()]);
    Options::json(backend, &[]).with(&arguments.collect::<Vec<_>>())
}
