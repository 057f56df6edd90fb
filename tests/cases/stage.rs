//! One language on one back end: its functions, the agent that watches them and the collector that hears of it. In: a
//! language and a back end. Out: addresses to send requests to, and at the end everything that was seen.

use std::thread;
use std::time::Duration;

use anyhow::{ensure, Result};
use spanlet_e2e::agent::{Agent, Backend, Options as AgentOptions, Protocol};
use spanlet_e2e::collector::Collector;
use spanlet_e2e::function::{Function, Options, Starting, Truth};
use spanlet_e2e::language::Language;
use spanlet_e2e::load::Load;
use spanlet_e2e::message::Request;
use spanlet_e2e::metrics::Metric;
use spanlet_e2e::otlp::{Kind, Span};
use spanlet_e2e::system::wall_ahead_ns;

/// Everything of one run. Ended with the value.
pub struct Stage {
    pub language: Language,
    /// The function under test: calls `next`.
    pub main: Function,
    /// In another language.
    pub next: Function,
    pub unix: Option<Function>,
    pub ipv6: Function,
    /// Listens for both families: over IPv4 its sockets have mapped addresses.
    pub mapped: Function,
    /// Ends in the middle of a request.
    pub dying: Function,
    agent: Agent,
    collector: Collector,
    ahead_ns: u64,
}

/// What came out.
pub struct Seen {
    pub spans: Vec<Span>,
    /// Of `main`.
    pub truth: Vec<Truth>,
    /// Of `next`.
    pub next_truth: Vec<Truth>,
    pub agent_log: String,
    /// The agent's own.
    pub metrics: Vec<Metric>,
    /// How far the spans' clock is ahead of the ground truth's.
    pub ahead_ns: u64,
}

/// Marks the requests that come before the cases.
pub const WARM_UP: &str = "warm-up";

/// Requests of each kind before the cases: compilers and caches have their time, and durations are compared after it.
const WARM_UP_REQUESTS: usize = 30;

/// A wall clock that was set while a run lasted leaves nothing to compare.
const CLOCK_STEP_NS_MAX: u64 = 100_000;

/// How long the agent holds a span at most until its parent is certain (`hold` in `agent/src/enrich/config.rs`), and a bit: an
/// agent that is stopped before takes back what is not, such as the parent of a call whose thread has not ended yet.
const CERTAIN_AFTER: Duration = Duration::from_millis(2200);

impl Stage {
    pub fn start(language: Language, backend: Backend) -> Result<Self> {
        let next_language = next_of(language);
        let next = Function::launch(next_language, &named("next", Options::default()))?;
        let dying = Function::launch(language, &Options::default())?;
        let ipv6 = Function::launch(language, &on_host("::1"))?;
        let mapped = Function::launch(language, &on_host("::"))?;
        let unix = match language.has_unix_sockets() {
            true => Some(Function::launch(language, &on_unix())?),
            false => None,
        };
        let next = next.serving()?;
        let calls_next = Options {
            next: Some(next.address.clone()),
            ..Options::default()
        };
        let main = Function::start(language, &named("main", calls_next))?;
        let (dying, ipv6, mapped) = (dying.serving()?, ipv6.serving()?, mapped.serving()?);
        let unix = unix.map(Starting::serving).transpose()?;
        let collector = Collector::start()?;
        let functions = [&main, &next, &dying, &ipv6, &mapped];
        let agent = Agent::start(&AgentOptions {
            pids: functions
                .into_iter()
                .chain(&unix)
                .map(Function::pid)
                .collect(),
            backend,
            otlp: Some(endpoint(backend, &collector)),
            output: "none",
            environment: Vec::new(),
            arguments: Vec::new(),
        })?;
        let stage = Self {
            language,
            main,
            next,
            unix,
            ipv6,
            mapped,
            dying,
            agent,
            collector,
            ahead_ns: wall_ahead_ns(),
        };
        stage.warm_up()?;
        Ok(stage)
    }

    fn warm_up(&self) -> Result<()> {
        for route in [
            "delay?ms=1",
            "stream?n=2",
            "big?bytes=1048576",
            "burn?ms=1",
            "upload",
        ] {
            let target = |index| format!("/t/{WARM_UP}:{index}/{route}");
            Load::serial(WARM_UP_REQUESTS)
                .run(&self.main.address, |index| Request::get(target(index)))?;
            Load::serial(WARM_UP_REQUESTS)
                .run(&self.next.address, |index| Request::get(target(index)))?;
        }
        Load::serial(WARM_UP_REQUESTS).run(&self.main.address, |index| {
            Request::get(format!(
                "/t/{WARM_UP}:{index}/chain?path=/t/{WARM_UP}:{index}/hello"
            ))
        })?;
        Ok(())
    }

    /// Stops the agent, which flushes, then the collector, and reads what there is.
    pub fn finish(self) -> Result<Seen> {
        let step = wall_ahead_ns().abs_diff(self.ahead_ns);
        ensure!(step <= CLOCK_STEP_NS_MAX, "the clock was set by {step} ns");
        thread::sleep(CERTAIN_AFTER);
        let agent_log = self.agent.finish()?.log;
        let (spans, metrics) = self.collector.finish()?;
        Ok(Seen {
            spans,
            metrics,
            truth: self.main.truth()?,
            next_truth: self.next.truth()?,
            agent_log,
            ahead_ns: self.ahead_ns,
        })
    }
}

impl Seen {
    /// The spans of a case: it marks its requests by `/t/CASE:INDEX/`.
    pub fn of(&self, case: &str) -> Vec<&Span> {
        let mark = format!("/t/{case}:");
        let spans = self.spans.iter();
        spans.filter(|span| path(span).starts_with(&mark)).collect()
    }

    /// The spans of a case that are all of one kind and process, and as many as expected.
    pub fn exactly(&self, case: &str, kind: Kind, pid: u32, count: usize) -> Result<Vec<&Span>> {
        let all = self.of(case);
        let spans: Vec<_> = all
            .iter()
            .copied()
            .filter(|span| span.kind == kind && span.pid() == Some(pid))
            .collect();
        ensure!(
            spans.len() == count,
            "{} {kind:?} spans of process {pid} for {count} requests ({} spans in all)",
            spans.len(),
            all.len()
        );
        Ok(spans)
    }
}

/// A span's path; empty where it has none.
pub fn path(span: &Span) -> &str {
    let full = span.text("url.path").or_else(|| {
        // Client spans carry the whole URL.
        let (_, rest) = span.text("url.full")?.split_once("://")?;
        rest.find('/').map(|start| &rest[start..])
    });
    full.and_then(|full| full.split('?').next())
        .unwrap_or_default()
}

/// The index that a case gave a request.
pub fn index(path: &str) -> Option<usize> {
    let (_, rest) = path.strip_prefix("/t/")?.split_once(':')?;
    rest.split('/').next()?.parse().ok()
}

/// Each language calls another one.
pub fn next_of(language: Language) -> Language {
    match language {
        Language::Go => Language::Python,
        Language::Python => Language::Node,
        Language::Node => Language::Java,
        Language::Java => Language::C,
        Language::C => Language::Go,
    }
}

/// Both protocols are in use: one with each back end.
fn endpoint(backend: Backend, collector: &Collector) -> (Protocol, String) {
    match backend {
        Backend::SocketTracepoints => (Protocol::Grpc, collector.grpc_endpoint()),
        Backend::SysExit => (Protocol::HttpProtobuf, collector.http_endpoint()),
    }
}

pub fn named(service: &str, options: Options) -> Options {
    let name = ("OTEL_SERVICE_NAME".to_owned(), service.to_owned());
    Options {
        environment: vec![name],
        ..options
    }
}

fn on_host(host: &'static str) -> Options {
    Options {
        host: Some(host),
        ..Options::default()
    }
}

fn on_unix() -> Options {
    Options {
        unix: true,
        ..Options::default()
    }
}
