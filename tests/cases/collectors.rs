//! A collector that is not there: the agent works on, says so once, and counts what it gives up.

use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use anyhow::{anyhow, ensure, Context, Result};
use spanlet_e2e::agent::{Agent, Backend, Options, Protocol};
use spanlet_e2e::function::{self, Function};
use spanlet_e2e::language::Language;
use spanlet_e2e::otlp::Kind;
use spanlet_e2e::wait::wait_until;

use crate::watched::{each_seen, send};

/// The queue is that of each output: a round is less, so that the terminal's never fills.
const ROUNDS: usize = 8;
const ROUND_REQUESTS: usize = 50;
const REQUESTS: usize = ROUNDS * ROUND_REQUESTS;
const QUEUE_SPANS: usize = 100;

/// By both protocols at once: each agent tries until it has to end, which takes its five seconds.
#[test]
fn nobody_listens() -> Result<()> {
    let protocols = [
        (Protocol::Grpc, Backend::SocketTracepoints),
        (Protocol::HttpProtobuf, Backend::SysExit),
    ];
    thread::scope(|scope| {
        let tries = protocols.map(|(protocol, backend)| {
            scope.spawn(move || nobody_listens_for(protocol, backend).context(backend))
        });
        let ended = tries.map(|one| one.join().map_err(|_| anyhow!("a try panicked"))?);
        ended.into_iter().collect()
    })
}

fn nobody_listens_for(protocol: Protocol, backend: Backend) -> Result<()> {
    let function = Function::start(Language::C, &function::Options::default())?;
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let environment = [
        ("OTEL_BSP_MAX_QUEUE_SIZE", QUEUE_SPANS.to_string()),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "10".to_owned()),
    ];
    let mut agent = Agent::start(&Options {
        otlp: Some((protocol, format!("http://127.0.0.1:{port}"))),
        environment: environment
            .map(|(name, value)| (name.to_owned(), value))
            .to_vec(),
        ..Options::json(backend, &[function.pid()])
    })?;
    for round in 1..=ROUNDS {
        send(&function.address, &format!("round-{round}"), ROUND_REQUESTS)?;
        wait_until(Duration::from_secs(10), "spans of a round", || {
            Ok((agent.spans()?.len() >= round * ROUND_REQUESTS).then_some(()))
        })?;
    }
    let report = agent.report()?;
    let dropped = report.counter("spanlet.export.dropped", "otlp queue_full");
    ensure!(
        dropped.is_some_and(|dropped| dropped as usize >= REQUESTS - 2 * QUEUE_SPANS),
        "dropped {dropped:?}: {:?}",
        report.counters
    );
    ensure!(
        report.counter("spanlet.export.delivered", "otlp") == Some(0),
        "{report:?}"
    );
    ensure!(
        report.counter("spanlet.export.delivered", "terminal") == Some(REQUESTS as u64),
        "{report:?}"
    );
    ensure!(agent.is_alive()?, "the agent ended");
    let ended = agent.finish()?;
    for round in 1..=ROUNDS {
        let mark = format!("round-{round}");
        each_seen(
            &ended.spans,
            &mark,
            Kind::Server,
            function.pid(),
            ROUND_REQUESTS,
        )?;
    }
    let told = ended.log.matches("cannot deliver spans").count();
    ensure!(told == 1, "said {told} times:\n{}", ended.log);
    let summed = format!("otlp: 0 spans delivered, {REQUESTS} dropped");
    ensure!(ended.log.contains(&summed), "{}", ended.log);
    Ok(())
}
