//! One language on one back end: its functions, the agent that watches them and the collector that hears of it. In: a
//! language and a back end. Out: addresses to send requests to, and at the end everything that was seen.

use anyhow::{ensure, Result};
use spanlet_e2e::agent::{Agent, Backend, Options as AgentOptions, Protocol};
use spanlet_e2e::collector::Collector;
use spanlet_e2e::function::{Function, Options, Truth};
use spanlet_e2e::language::Language;
use spanlet_e2e::otlp::{Kind, Span};

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
}

/// What came out.
pub struct Seen {
    pub spans: Vec<Span>,
    /// Of `main`.
    pub truth: Vec<Truth>,
    /// Of `next`.
    pub next_truth: Vec<Truth>,
    pub agent_log: String,
}

impl Stage {
    pub fn start(language: Language, backend: Backend) -> Result<Self> {
        let next_language = next_of(language);
        let next = Function::start(next_language, &named("next", Options::default()))?;
        let calls_next = Options {
            next: Some(next.address.clone()),
            ..Options::default()
        };
        let main = Function::start(language, &named("main", calls_next))?;
        let dying = Function::start(language, &Options::default())?;
        let ipv6 = Function::start(language, &on_host("::1"))?;
        let mapped = Function::start(language, &on_host("::"))?;
        let unix = match language.has_unix_sockets() {
            true => Some(Function::start(language, &on_unix())?),
            false => None,
        };
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
        Ok(Self {
            language,
            main,
            next,
            unix,
            ipv6,
            mapped,
            dying,
            agent,
            collector,
        })
    }

    /// Stops the agent, which flushes, then the collector, and reads what there is.
    pub fn finish(self) -> Result<Seen> {
        let agent_log = self.agent.finish()?;
        Ok(Seen {
            spans: self.collector.finish()?,
            truth: self.main.truth()?,
            next_truth: self.next.truth()?,
            agent_log,
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
