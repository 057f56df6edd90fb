//! Nothing is lost without a word: requests sent = spans delivered + spans dropped + requests lost, exactly, wherever the
//! loss is forced: records thrown away, a full ring while the agent stands still, full tables, a full queue.

use std::collections::HashSet;
use std::fs;
use std::ops::Range;
use std::process::Command;
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use spanlet_e2e::agent::{Agent, Backend, Options, Protocol};
use spanlet_e2e::client::{Address, Connection};
use spanlet_e2e::collector::Collector;
use spanlet_e2e::function::{self, Function};
use spanlet_e2e::language::Language;
use spanlet_e2e::load::Load;
use spanlet_e2e::message::Request;
use spanlet_e2e::otlp::{Kind, Span};
use spanlet_e2e::process::{Process, Stream};
use spanlet_e2e::report::Report;
use spanlet_e2e::scratch::Scratch;
use spanlet_e2e::system::{signal_process, Signal};
use spanlet_e2e::wait::wait_until;

use crate::stage::{index, path};
use crate::watched::{every_language, marked, send};

on_each_back_end!(
    records_thrown_away,
    a_stopped_agent_under_load,
    a_small_ring,
    a_full_table_of_connections,
    a_full_table_of_processes,
    heads_in_pieces,
    records_of_every_language_thrown_away,
    births_thrown_away,
);

const MARK: &str = "sent";
/// Records are drained every 50 ms; on a busy machine later.
const QUIET: Duration = Duration::from_secs(60);

/// The room where requests are lost, and how many must be, for the case to say anything.
fn assert_lost(report: &Report, reason: &str, at_least: u64) -> Result<()> {
    let lost = lost_requests(report, reason);
    ensure!(lost >= at_least, "{lost} requests lost: {reason}");
    let names = [
        "ring_full",
        "connections_full",
        "copy_failed",
        "no_buffer",
        "forced",
    ];
    for other in names.into_iter().filter(|name| *name != reason) {
        let lost = lost_requests(report, other);
        ensure!(lost == 0, "{lost} requests lost: {other}");
    }
    Ok(())
}

fn records_thrown_away(backend: Backend) -> Result<()> {
    let function = server()?;
    let options = json(backend, &function).with(&["--lose-per-mille", "100"]);
    let agent = Agent::start(&options)?;
    load(&function, 0..4000, 8)?;
    let report = quiet(&agent)?;
    assert_lost(&report, "forced", 200)?;
    balance(agent, &report, &function, 4000)
}

/// It is stopped for as long as the requests of several rings come; the burst afterwards is more than its queues hold.
fn a_stopped_agent_under_load(backend: Backend) -> Result<()> {
    let (function, collector) = (server()?, Collector::start()?);
    let options = Options {
        otlp: Some((Protocol::Grpc, collector.grpc_endpoint())),
        environment: vec![("OTEL_BSP_MAX_QUEUE_SIZE".to_owned(), "1000".to_owned())],
        ..json(backend, &function)
    };
    let agent = Agent::start(&options)?;
    load(&function, 0..500, 8)?;
    signal_process(agent.pid(), Signal::Stop)?;
    load(&function, 500..40_000, 8)?;
    signal_process(agent.pid(), Signal::Continue)?;
    load(&function, 40_000..40_500, 8)?;
    let report = quiet(&agent)?;
    assert_lost(&report, "ring_full", 1000)?;
    let ended = agent.finish()?;
    let (delivered, dropped) = outcome(&ended.log, "otlp")?;
    let lost = all_lost_requests(&report, &ended.log)?;
    ensure!(dropped > 0, "its queue was large enough");
    ensure!(
        delivered + dropped + lost == 40_500,
        "{delivered} + {dropped} + {lost}"
    );
    let (spans, _) = collector.finish()?;
    ensure!(
        once(&spans, &function)? == delivered,
        "collector: {}",
        spans.len()
    );
    balanced(&ended.spans, &ended.log, lost, &function, 40_500)
}

/// With heads that fill it, so that the kernel side and the agent are at it at the same time.
fn a_small_ring(backend: Backend) -> Result<()> {
    let function = server()?;
    let agent = Agent::start(&json(backend, &function).with(&["--map-size", "EVENTS=65536"]))?;
    load(&function, 0..6000, 16)?;
    let report = quiet(&agent)?;
    assert_lost(&report, "ring_full", 0)?;
    balance(agent, &report, &function, 6000)
}

/// Connections that are open all the time, twice as many as there is room for.
fn a_full_table_of_connections(backend: Backend) -> Result<()> {
    let function = server()?;
    let agent = Agent::start(&json(backend, &function).with(&["--map-size", "CONNECTIONS=8"]))?;
    load(&function, 0..2000, 16)?;
    let report = quiet(&agent)?;
    assert_lost(&report, "connections_full", 100)?;
    balance(agent, &report, &function, 2000)
}

/// Of two processes one has no room: it is named, and of the other nothing is missing.
fn a_full_table_of_processes(backend: Backend) -> Result<()> {
    let functions = [server()?, server()?];
    let pids = functions.each_ref().map(Function::pid);
    let options = Options::json(backend, &pids).with(&["--map-size", "PROCESSES=1"]);
    let agent = Agent::start(&options)?;
    functions
        .iter()
        .try_for_each(|function| load(function, 0..500, 4))?;
    let report = quiet(&agent)?;
    let missed = report.counter("spanlet.processes.missed", "table_full");
    ensure!(matches!(missed, Some(1..)), "processes missed: {missed:?}");
    let traced: Vec<_> = report.processes.iter().map(|process| process.pid).collect();
    ensure!(traced.len() == 1, "{traced:?}");
    let function = functions.iter().find(|function| traced == [function.pid()]);
    balance(
        agent,
        &report,
        function.context("another process is traced")?,
        500,
    )
}

/// Heads that come in pieces, any of which may be missing: with too few of them there is no request to be read.
fn heads_in_pieces(backend: Backend) -> Result<()> {
    const REQUESTS: usize = 300;
    let function = server()?;
    let options = json(backend, &function).with(&["--lose-per-mille", "300"]);
    let agent = Agent::start(&options)?;
    let mut connection = Connection::open(&function.address)?;
    for number in 0..REQUESTS {
        connection.send_split(&request(number), 3, Duration::from_micros(50))?;
        ensure!(
            connection.receive()?.status == 200,
            "request {number} failed"
        );
    }
    drop(connection);
    let report = quiet(&agent)?;
    let unread = report.counter("spanlet.decode.noted", "unread_requests");
    ensure!(
        unread.is_some_and(|unread| unread > 0),
        "unread: {unread:?}"
    );
    balance(agent, &report, &function, REQUESTS as u64)
}

/// Servers that read in their own ways: Go the first byte of a request alone.
fn records_of_every_language_thrown_away(backend: Backend) -> Result<()> {
    const REQUESTS: usize = 300;
    let functions = every_language()?;
    let pids: Vec<_> = functions.iter().map(Function::pid).collect();
    let options = Options::json(backend, &pids).with(&["--lose-per-mille", "100"]);
    let agent = Agent::start(&options)?;
    functions
        .iter()
        .try_for_each(|function| load(function, 0..REQUESTS, 4))?;
    let report = quiet(&agent)?;
    assert_lost(&report, "forced", 50)?;
    let ended = agent.finish()?;
    let (delivered, dropped) = outcome(&ended.log, "terminal")?;
    let lost = all_lost_requests(&report, &ended.log)?;
    let sent = (REQUESTS * functions.len()) as u64;
    ensure!(
        delivered + dropped + lost == sent,
        "{delivered} + {dropped} + {lost}, not {sent}"
    );
    ensure!(
        ended.spans.len() as u64 == delivered,
        "{} spans",
        ended.spans.len()
    );
    Ok(())
}

/// The record that tells of a child is lost like any other: the child is traced all the same, as the kernel side does.
fn births_thrown_away(backend: Backend) -> Result<()> {
    (0..2).try_for_each(|_| {
        let scratch = Scratch::new()?;
        let go = scratch.join("go");
        let mut command = Command::new("sh");
        command.args([
            "-c",
            "until [ -e \"$0\" ]; do sleep 0.02; done; \"$@\" & wait",
        ]);
        let function = Language::C.command()?;
        command
            .arg(&go)
            .arg(function.get_program())
            .args(function.get_args());
        command.env("PORT", "0");
        let mut parent = Process::start("parent", &mut command)?;
        let options = Options::json(backend, &[parent.pid()]).with(&["--lose-per-mille", "800"]);
        let agent = Agent::start(&options)?;
        fs::write(&go, "")?;
        let port = parent.wait_for_line(Stream::Stdout, QUIET, |line| {
            line.strip_prefix("listening ").map(str::to_owned)
        })?;
        send(&Address::of(None, false, &port)?, MARK, 100)?;
        let report = quiet(&agent)?;
        let log = agent.finish()?.log;
        let (delivered, dropped) = outcome(&log, "terminal")?;
        let lost = all_lost_requests(&report, &log)?;
        ensure!(
            delivered + dropped + lost == 100,
            "{delivered} + {dropped} + {lost}"
        );
        Ok(())
    })
}

fn server() -> Result<Function> {
    Function::start(Language::C, &function::Options::default())
}

fn json(backend: Backend, function: &Function) -> Options {
    Options::json(backend, &[function.pid()])
}

/// Requests with these numbers; each must succeed.
fn load(function: &Function, numbers: Range<usize>, in_flight: usize) -> Result<()> {
    let load = Load {
        in_flight,
        requests: numbers.len(),
        keep_alive: true,
    };
    let answers = load.run(&function.address, |index| request(numbers.start + index))?;
    let all = answers.iter().all(|answer| answer.status == 200);
    ensure!(all, "a request failed");
    Ok(())
}

fn request(number: usize) -> Request {
    Request::get(format!("/t/{MARK}:{number}/hello"))
}

/// What the agent says when everything that the kernel side wrote has been taken.
fn quiet(agent: &Agent) -> Result<Report> {
    let counted = |report: &Report| report.counter("spanlet.kernel.records", "");
    let mut before = None;
    wait_until(QUIET, "quiet ring", || {
        // On a busy machine it may not answer in time.
        let Ok(report) = agent.report() else {
            return Ok(None);
        };
        let is_quiet = counted(&report).is_some() && counted(&report) == before;
        before = counted(&report);
        Ok(is_quiet.then_some(report))
    })
}

/// Stops the agent and does the sum for its JSON.
fn balance(agent: Agent, report: &Report, function: &Function, sent: u64) -> Result<()> {
    let ended = agent.finish()?;
    let lost = all_lost_requests(report, &ended.log)?;
    balanced(&ended.spans, &ended.log, lost, function, sent)
}

fn balanced(spans: &[Span], log: &str, lost: u64, function: &Function, sent: u64) -> Result<()> {
    let (delivered, dropped) = outcome(log, "terminal")?;
    let seen = once(spans, function)?;
    println!("{sent} sent = {delivered} spans + {dropped} dropped + {lost} lost");
    ensure!(
        seen == delivered,
        "{seen} spans written, {delivered} counted"
    );
    ensure!(
        delivered + dropped + lost == sent,
        "{sent} requests, but {delivered} spans + {dropped} dropped + {lost} lost"
    );
    Ok(())
}

/// How many spans there are, all of which must be of one of the requests each. A target may have been lost.
fn once(spans: &[Span], function: &Function) -> Result<u64> {
    let mut seen = HashSet::new();
    let mut of_it = marked(spans, MARK, Kind::Server, function.pid()).into_iter();
    let twice = of_it.find(|span| index(path(span)).is_some_and(|index| !seen.insert(index)));
    ensure!(twice.is_none(), "seen twice: {twice:?}");
    let others = spans.iter().find(|span| span.kind != Kind::Server);
    ensure!(others.is_none(), "no request: {others:?}");
    Ok(spans.len() as u64)
}

fn lost_requests(report: &Report, reason: &str) -> u64 {
    let lost = report.counter("spanlet.kernel.requests_lost", reason);
    lost.unwrap_or_default()
}

/// By the kernel side, and by the decoder where the rest of a head was lost. That the last request of a connection will
/// not be read is known when the connection closes: where that is lost too, at the agent's end.
fn all_lost_requests(report: &Report, log: &str) -> Result<u64> {
    let counters = report.counters.iter();
    let lost = counters.filter(|counter| counter.room == "spanlet.kernel.requests_lost");
    let unread = last_words(log, "stopped: ", "requests")?;
    Ok(lost.map(|counter| counter.value).sum::<u64>() + unread)
}

/// Spans delivered and dropped by an output, as the agent says at its end.
fn outcome(log: &str, output: &str) -> Result<(u64, u64)> {
    let start = format!("stopped: {output}: ");
    let delivered = last_words(log, &start, "delivered")?;
    Ok((delivered, last_words(log, &start, "dropped")?))
}

/// The number before a word in the line that has this start.
fn last_words(log: &str, start: &str, word: &str) -> Result<u64> {
    let line = log.lines().find_map(|line| line.split_once(start));
    let words: Vec<&str> = line
        .context("no last words")?
        .1
        .split([' ', ',', ';'])
        .collect();
    let at = words.iter().position(|found| *found == word);
    at.and_then(|at| words[..at].iter().rev().find_map(|word| word.parse().ok()))
        .with_context(|| format!("no {word}: {words:?}"))
}
