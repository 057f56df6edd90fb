//! A request through nginx and php-fpm to a function that php-fpm calls is one trace, over a Unix socket and over TCP, however many are
//! under way: nginx's span, its call by FastCGI, php-fpm's span, its call, the function's span.

use std::collections::BTreeMap;

use anyhow::{ensure, Context, Result};
use spanlet_e2e::agent::{Agent, Backend, Options};
use spanlet_e2e::function::{self, Function};
use spanlet_e2e::language::Language;
use spanlet_e2e::load::Load;
use spanlet_e2e::message::Request;
use spanlet_e2e::otlp::{Kind, Span};
use spanlet_e2e::process::{executable_name, tree};
use spanlet_e2e::runtime;

use crate::calls::EVIDENCE;
use crate::stage::{index, path};

on_each_back_end!(
    over_a_unix_socket_it_is_one_trace,
    over_tcp_it_is_one_trace,
    processes_that_come_later_are_seen,
);

const REQUESTS: usize = 48;
/// php-fpm has two processes for each.
const IN_FLIGHT: usize = 8;
/// Calls at once of a request of the mark `fan`.
const CALLS: usize = 3;
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// What is sent: a mark, how many at once, what php-fpm is asked to do, and whether requests name their parent.
const MARKS: [(&str, usize, &str, bool); 4] = [
    ("one", 1, "chain?", false),
    ("eight", IN_FLIGHT, "chain?", false),
    ("fan", IN_FLIGHT, "fan?n=3&", false),
    ("named", 1, "chain?", true),
];

/// php-fpm behind nginx, and the function that it calls.
struct Chain {
    first: Function,
    next: Function,
}

/// A process's part in the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Nginx,
    Php,
    Next,
}

fn over_a_unix_socket_it_is_one_trace(backend: Backend) -> Result<()> {
    is_one_trace(backend, "unix", |options| {
        runtime::named("php-fpm")?.start(options)
    })
}

fn over_tcp_it_is_one_trace(backend: Backend) -> Result<()> {
    is_one_trace(backend, "tcp", start_over_tcp)
}

fn start_over_tcp(options: &function::Options) -> Result<Function> {
    Function::start_as("php-fpm", runtime::php_fpm_over_tcp()?, options)
}

impl Chain {
    fn start(by: impl FnOnce(&function::Options) -> Result<Function>) -> Result<Self> {
        let next = Function::start(Language::C, &function::Options::default())?;
        let options = function::Options {
            next: Some(next.address.clone()),
            ..function::Options::default()
        };
        let first = by(&options)?;
        Ok(Self { first, next })
    }

    fn send(&self) -> Result<()> {
        for (mark, in_flight, route, is_named) in MARKS {
            let load = Load {
                in_flight,
                requests: REQUESTS,
                keep_alive: true,
            };
            let request = |index| {
                let prefix = format!("/t/{mark}:{index}");
                let target = format!("{prefix}/{route}path={prefix}/delay%3Fms=2");
                let parent = is_named.then(|| ("traceparent", format!("00-{TRACE}-{PARENT}-01")));
                let request = Request::get(target);
                parent.into_iter().fold(request, |request, (name, value)| {
                    request.header(name, value)
                })
            };
            let answers = load.run(&self.first.address, request)?;
            let all = answers.iter().all(|answer| answer.status == 200);
            ensure!(all, "{answers:?}");
        }
        Ok(())
    }

    /// Which process is which. By now php-fpm has forked all of its own.
    fn parts(&self) -> BTreeMap<u32, Part> {
        let part = |pid: u32| match executable_name(pid)?.as_str() {
            "nginx" => Some((pid, Part::Nginx)),
            name if name.starts_with("php-fpm") => Some((pid, Part::Php)),
            _ => None,
        };
        let parts = tree(self.first.pid()).into_iter().filter_map(part);
        parts.chain([(self.next.pid(), Part::Next)]).collect()
    }
}

fn is_missing() -> Result<bool> {
    let missing = runtime::named("php-fpm")?.missing();
    if let Some(why) = &missing {
        println!("skipped: php-fpm: {why}");
    }
    Ok(missing.is_some())
}

fn is_one_trace(
    backend: Backend,
    transport: &str,
    by: impl FnOnce(&function::Options) -> Result<Function>,
) -> Result<()> {
    if is_missing()? {
        return Ok(());
    }
    let chain = Chain::start(by)?;
    let mut pids = tree(chain.first.pid());
    pids.push(chain.next.pid());
    let agent = Agent::start(&Options::json(backend, &pids))?;
    chain.send()?;
    let parts = chain.parts();
    let spans = agent.finish()?.spans;
    ensure_chained(&spans, &parts, transport)
}

/// Both masters are chosen by their name as they start; their workers, which they fork, go with them.
fn processes_that_come_later_are_seen(backend: Backend) -> Result<()> {
    if is_missing()? {
        return Ok(());
    }
    let options = Options::json(backend, &[]);
    let agent = Agent::start(&options.with(&[
        "--exec",
        "nginx*",
        "--exec",
        "php-fpm*",
        "--exec",
        "*/functions/c*",
    ]))?;
    let chain = Chain::start(start_over_tcp)?;
    chain.send()?;
    let parts = chain.parts();
    let spans = agent.finish()?.spans;
    ensure_chained(&spans, &parts, "tcp")
}

/// All spans of each request are there, and each is below the one before, of nine in ten nginx's call too: where the machine is busy,
/// nginx's loop does not go on at once.
fn ensure_chained(spans: &[Span], parts: &BTreeMap<u32, Part>, transport: &str) -> Result<()> {
    let mut known = 0;
    let mut evidence: BTreeMap<_, usize> = BTreeMap::new();
    for (mark, _, route, is_named) in MARKS {
        let calls = if route.starts_with("fan") { CALLS } else { 1 };
        for number in 0..REQUESTS {
            let its = of_request(spans, parts, mark, number);
            let by = chained(&its, calls, is_named, transport)
                .with_context(|| format!("{mark} {number}: {its:?}"))?;
            known += usize::from(![PARENT, ""].contains(&by.as_str()));
            *evidence.entry((mark, by)).or_default() += 1;
        }
    }
    println!("nginx's calls have their parents by: {evidence:?}");
    let all = MARKS.len() * REQUESTS;
    ensure!(
        known * 10 >= all * 9,
        "{known} of nginx's {all} calls are below its requests: {evidence:?}"
    );
    Ok(())
}

type Its<'a> = BTreeMap<(Part, bool), Vec<&'a Span>>;

/// The spans of a request, by part, and whether they are a client's.
fn of_request<'a>(
    spans: &'a [Span],
    parts: &BTreeMap<u32, Part>,
    mark: &str,
    number: usize,
) -> Its<'a> {
    let start = format!("/t/{mark}:");
    let mut its = Its::new();
    for span in spans {
        let is_its = path(span).starts_with(&start) && index(path(span)) == Some(number);
        let part = span.pid().and_then(|pid| parts.get(&pid));
        if let Some(part) = part.filter(|_| is_its) {
            let is_client = span.kind == Kind::Client;
            its.entry((*part, is_client)).or_default().push(span);
        }
    }
    its
}

/// The spans of one request are a chain; by what nginx's call is known to be for it.
fn chained(its: &Its, calls: usize, is_named: bool, transport: &str) -> Result<String> {
    let of = |part, is_client| its.get(&(part, is_client)).map_or(&[][..], Vec::as_slice);
    let one = |part, is_client| match of(part, is_client) {
        [span] => Ok(*span),
        spans => anyhow::bail!("{} spans of {part:?}", spans.len()),
    };
    let (taken, handed_on) = (one(Part::Nginx, false)?, one(Part::Nginx, true)?);
    let served = one(Part::Php, false)?;
    let parent = is_named.then_some(PARENT);
    ensure!(taken.parent_span_id.as_deref() == parent, "{taken:?}");
    ensure!(!is_named || taken.trace_id == TRACE, "{taken:?}");
    // Where it is not known for whom nginx calls, what the call carries may name its parent.
    let by = match handed_on.parent_span_id.as_deref() {
        parent @ (None | Some(PARENT)) => parent.unwrap_or_default().to_owned(),
        Some(_) => below(handed_on, taken)?,
    };
    ensure!(below(served, handed_on)? == "connection", "{served:?}");
    for span in [handed_on, served] {
        let said = ["network.protocol.name", "network.transport"].map(|name| span.text(name));
        ensure!(said == [Some("fastcgi"), Some(transport)], "{span:?}");
        let query = span.text("url.query").unwrap_or_default();
        ensure!(query.ends_with("path=REDACTED"), "{query}");
    }
    let called = of(Part::Php, true);
    let answered = of(Part::Next, false);
    ensure!((called.len(), answered.len()) == (calls, calls), "calls");
    for call in called {
        ensure!(below(call, served)? == "thread", "{call:?}");
        let below_it = |answer: &&&Span| below(answer, call).is_ok_and(|by| by == "connection");
        ensure!(answered.iter().filter(below_it).count() == 1, "{call:?}");
    }
    Ok(by)
}

/// A span is the child of another; by which evidence.
fn below(child: &Span, parent: &Span) -> Result<String> {
    let is_child = child.parent_span_id.as_deref() == Some(&parent.span_id);
    ensure!(
        is_child && child.trace_id == parent.trace_id,
        "{child:?} is not below {parent:?}"
    );
    Ok(child.text(EVIDENCE).unwrap_or_default().to_owned())
}
