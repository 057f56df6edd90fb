//! Go: by which pattern of a ServeMux a request was routed, in each form in which programs are shipped.

use anyhow::{ensure, Context, Result};
use spanlet_e2e::agent::{Agent, Backend, Options};
use spanlet_e2e::certificate::Certificate;
use spanlet_e2e::client::Connection;
use spanlet_e2e::function::{self, Function};
use spanlet_e2e::language::Language;
use spanlet_e2e::load::Load;
use spanlet_e2e::message::Request;
use spanlet_e2e::otlp::{Kind, Span};
use spanlet_e2e::runtime;

use crate::stage::path;

on_each_back_end!(
    routes_name_spans,
    what_is_not_routed_has_no_route,
    who_was_there_before_the_agent_is_found,
);

/// What is asked for, how it is answered, and its route.
const REQUESTS: [(&str, &str, u16, Option<&str>); 8] = [
    ("GET", "/t/1/hello", 200, Some("/t/{mark}/hello")),
    ("HEAD", "/t/2/hello", 200, Some("/t/{mark}/hello")),
    // Another host's pattern would not match; this one's host is not of its route.
    ("GET", "/t/3/delay?ms=1", 200, Some("/t/{mark}/delay")),
    // Their answers begin within the handler.
    ("GET", "/t/4/stream?n=2&ms=1", 200, Some("/t/{mark}/stream")),
    ("GET", "/t/5/big?bytes=100000", 200, Some("/t/{mark}/big")),
    // Served by the function's own 404.
    ("GET", "/files/a/b", 404, Some("/files/")),
    // Served by the mux's: no method, no pattern.
    ("POST", "/t/6/hello", 405, None),
    ("GET", "/nowhere", 404, None),
];

/// One that routes; over TLS, if it is given a certificate.
pub fn function(name: &'static str, certificate: Option<&Certificate>) -> Result<Function> {
    let mux = ("MUX".to_owned(), "1".to_owned());
    let certificate = certificate.map(Certificate::variable);
    let options = function::Options {
        environment: [mux].into_iter().chain(certificate).collect(),
        ..function::Options::default()
    };
    Function::start_as(name, (runtime::named(name)?.command)()?, &options)
}

/// All of them, over one connection.
pub fn ask(connection: &mut Connection) -> Result<()> {
    for (method, target, status, _) in REQUESTS {
        let answer = connection.exchange(&Request::new(method, target))?;
        ensure!(answer.status == status, "{method} {target}: {answer:?}");
    }
    Ok(())
}

pub fn served(spans: &[Span], pid: u32) -> Vec<&Span> {
    let its = |span: &&Span| span.kind == Kind::Server && span.pid() == Some(pid);
    spans.iter().filter(its).collect()
}

/// Each of them has its route, and is named by it, as often as it was asked.
pub fn check(spans: &[&Span], times: usize) -> Result<()> {
    for (method, target, _, route) in REQUESTS {
        let wanted = target.split('?').next().unwrap_or_default();
        let is_it = |span: &&&Span| {
            path(span) == wanted && span.text("http.request.method") == Some(method)
        };
        let of_it: Vec<_> = spans.iter().filter(is_it).collect();
        ensure!(of_it.len() == times, "{method} {target}: {of_it:?}");
        for span in of_it {
            ensure!(span.text("http.route") == route, "{span:?}");
            // What has all that is below a path as its pattern says less than the path.
            let names =
                |route: &str| route.ends_with('/') || span.name == format!("{method} {route}");
            let is_named = route.is_none_or(names);
            ensure!(is_named, "{span:?}");
        }
    }
    Ok(())
}

fn routes_name_spans(backend: Backend) -> Result<()> {
    let function = function("go-stripped", None)?;
    let agent = Agent::start(&Options::json(backend, &[function.pid()]))?;
    for _ in 0..3 {
        ask(&mut Connection::open(&function.address)?)?;
    }
    // Many connections at once, whose goroutines are used again and grow.
    let load = Load {
        in_flight: 16,
        requests: 1600,
        keep_alive: true,
    };
    load.run(&function.address, |index| {
        Request::get(format!("/t/many{index}/hello"))
    })?;
    let spans = agent.finish()?.spans;
    let spans = served(&spans, function.pid());
    check(&spans, 3)?;
    let many = spans
        .iter()
        .filter(|span| path(span).starts_with("/t/many"));
    let routed = many.filter(|span| span.name == "GET /t/{mark}/hello");
    ensure!(routed.count() == 1600, "not all are routed");
    Ok(())
}

fn what_is_not_routed_has_no_route(backend: Backend) -> Result<()> {
    let function = Function::start(Language::Go, &function::Options::default())?;
    let agent = Agent::start(&Options::json(backend, &[function.pid()]))?;
    let mut connection = Connection::open(&function.address)?;
    for _ in 0..3 {
        connection.exchange(&Request::get("/t/1/hello"))?;
    }
    let spans = agent.finish()?.spans;
    let spans = served(&spans, function.pid());
    ensure!(spans.len() == 3);
    ensure!(
        spans.iter().all(|span| span.text("http.route").is_none()),
        "{spans:?}"
    );
    Ok(())
}

fn who_was_there_before_the_agent_is_found(backend: Backend) -> Result<()> {
    let function = function("go-static", None)?;
    let mut connection = Connection::open(&function.address)?;
    ask(&mut connection)?;
    let agent = Agent::start(&Options::json(backend, &[function.pid()]))?;
    ask(&mut connection)?;
    ask(&mut connection)?;
    let spans = agent.finish()?.spans;
    check(&served(&spans, function.pid()), 2)
}

macro_rules! in_every_build {
    ($($test:ident: $runtime:literal),* $(,)?) => {$(
        #[test]
        fn $test() -> Result<()> { built($runtime) }
    )*};
}

in_every_build!(
    optimised: "go",
    position_independent: "go-pie",
    unoptimised: "go-unoptimised",
    go_1_22: "go-1.22",
    go_1_23: "go-1.23",
    go_1_24: "go-1.24",
    go_1_25: "go-1.25",
);

fn built(name: &'static str) -> Result<()> {
    if let Some(missing) = runtime::named(name)?.missing() {
        println!("skipped: runtime {name}: {missing}");
        return Ok(());
    }
    let function = function(name, None)?;
    let agent = Agent::start(&Options::json(
        Backend::SocketTracepoints,
        &[function.pid()],
    ))?;
    for _ in 0..2 {
        ask(&mut Connection::open(&function.address)?)?;
    }
    let spans = agent.finish()?.spans;
    check(&served(&spans, function.pid()), 2).context(name)
}
