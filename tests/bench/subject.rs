//! The function that is measured, and the one it calls. In: a runtime and a route. Out: runs of a load, with the CPU time
//! that the functions and the load generator spent.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{bail, Result};
use spanlet_e2e::bench_options::{Route, Runtime};
use spanlet_e2e::certificate::Certificate;
use spanlet_e2e::client::Address;
use spanlet_e2e::function::{self, Function};
use spanlet_e2e::generator::{Pace, Plan};
use spanlet_e2e::runtime;
use spanlet_e2e::statistics::percentile;
use spanlet_e2e::usage::process_cpu_ns;

/// Go's client keeps as many, so that calls go over connections that are used again, as in programs that are tuned.
const CONNECTIONS: usize = 16;

/// CPU time that one `/burn?ms=1` adds, microseconds.
const BURN_US: f64 = 1000.0;

/// One or two functions that serve.
pub struct Subject {
    /// The one under load first.
    functions: Vec<Function>,
    route: Route,
    certificate: Option<Certificate>,
}

/// How it is loaded.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub pace: Pace,
    pub time: Duration,
    /// One request in so many burns 1 ms of CPU time.
    pub burn_each: Option<u64>,
}

/// What one run showed. Times of a request are microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    pub requests: u64,
    pub per_second: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    /// CPU time of the functions a request.
    pub function_us: f64,
    /// CPU time of the load generator a request.
    pub client_us: f64,
}

impl Subject {
    pub fn start(runtime: Runtime, route: Route) -> Result<Self> {
        let mut options = function::Options {
            without_truth: true,
            environment: vec![("POOL".to_owned(), CONNECTIONS.to_string())],
            ..function::Options::default()
        };
        let certificate = match route {
            Route::Https => Some(Certificate::new()?),
            Route::Plain | Route::Call => None,
        };
        let variable = certificate.as_ref().map(Certificate::variable);
        options.environment.extend(variable);
        let mut functions = Vec::new();
        if route == Route::Call {
            functions.push(start(runtime, &options)?);
            options.next = functions.first().map(|next| next.address.clone());
        }
        functions.insert(0, start(runtime, &options)?);
        Ok(Self {
            functions,
            route,
            certificate,
        })
    }

    pub fn pids(&self) -> Vec<u32> {
        self.functions.iter().map(Function::pid).collect()
    }

    /// Spans of so many requests: each function's own, and that of each call between them.
    pub fn spans(&self, requests: u64) -> u64 {
        requests * (self.functions.len() as u64 * 2 - 1)
    }

    pub fn run(&self, load: &Load) -> Result<Run> {
        let plan = Plan {
            address: self.address()?,
            trust: self
                .certificate
                .as_ref()
                .map(Certificate::trusted)
                .transpose()?,
            connections: CONNECTIONS,
            pace: load.pace,
            time: load.time,
            target: target(self.route).to_owned(),
            seldom: load.burn_each.map(|each| (each, "/burn?ms=1".to_owned())),
        };
        let before = self.cpu_ns()?;
        let mut outcome = plan.run()?;
        let requests = outcome.requests as f64;
        Ok(Run {
            requests: outcome.requests,
            per_second: requests / outcome.seconds,
            function_us: (self.cpu_ns()? - before) as f64 / 1e3 / requests,
            client_us: outcome.cpu_ns as f64 / 1e3 / requests,
            p50_us: percentile(&mut outcome.latencies_ns, 0.50) as f64 / 1e3,
            p99_us: percentile(&mut outcome.latencies_ns, 0.99) as f64 / 1e3,
        })
    }

    fn cpu_ns(&self) -> Result<u64> {
        let pids = self.pids().into_iter();
        Ok(pids.map(process_cpu_ns).sum::<std::io::Result<u64>>()?)
    }

    fn address(&self) -> Result<SocketAddr> {
        match self.functions.first().map(|function| &function.address) {
            Some(Address::Tcp(address)) => Ok(*address),
            other => bail!("a TCP address is needed, not {other:?}"),
        }
    }
}

impl Run {
    /// The mean of two.
    pub fn between(self, other: Self) -> Self {
        let mean = |one: f64, two: f64| (one + two) / 2.0;
        Self {
            requests: (self.requests + other.requests) / 2,
            per_second: mean(self.per_second, other.per_second),
            p50_us: mean(self.p50_us, other.p50_us),
            p99_us: mean(self.p99_us, other.p99_us),
            function_us: mean(self.function_us, other.function_us),
            client_us: mean(self.client_us, other.client_us),
        }
    }

    /// One request in how many must burn, so that it adds about a tenth of what this function spends.
    pub fn burn_each(self) -> u64 {
        (BURN_US / (self.function_us / 10.0)).round().max(2.0) as u64
    }
}

/// CPU time that burning adds a request, microseconds.
pub fn burned_us(each: u64) -> f64 {
    BURN_US / each as f64
}

fn target(route: Route) -> &'static str {
    match route {
        Route::Plain | Route::Https => "/hello",
        Route::Call => "/chain?path=/hello",
    }
}

/// Each as it is used where requests are many: Python under uvicorn.
fn start(kind: Runtime, options: &function::Options) -> Result<Function> {
    let row = match kind {
        Runtime::Go => "go",
        Runtime::Node => "node",
        Runtime::Python => "python-uvicorn",
    };
    runtime::named(row)?.start(options)
}
