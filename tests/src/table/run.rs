//! One runtime on one back end, through all cases with one agent. In: both. Out: an outcome for each case.

use anyhow::{anyhow, ensure, Result};

use super::cases::{Case, Scene, CASES};
use super::check::{brief, check, strays, Seen};
use super::sent::{Calls, Sent};
use crate::agent::{self, Agent, Backend};
use crate::client::Connection;
use crate::function::{Function, Options};
use crate::language::Language;
use crate::load::Load;
use crate::message::Request;
use crate::process::{executable_name, tree};
use crate::runtime::Runtime;
use crate::system::wall_ahead_ns;

/// What became of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Passed,
    /// What was wrong.
    Failed(String),
    /// Not in this runtime, and why.
    Lacking(&'static str),
}

/// Marks the requests that come before the cases, when compilers and caches have their time.
const WARM_UP: &str = "warm-up";
const WARM_UP_REQUESTS: usize = 10;

/// The cases in their order, with what became of them; the last one is that there were no other spans.
pub fn run(runtime: &Runtime, backend: Backend) -> Result<Vec<(&'static str, Outcome)>> {
    let next = Function::start(Language::C, &Options::default())?;
    let options = Options {
        next: Some(next.address.clone()),
        ..Options::default()
    };
    let main = runtime.start(&options)?;
    // It serves: all its processes are there.
    let answer = Connection::open(&main.address)?.exchange(&Request::get("/hello"))?;
    ensure!(answer.status == 200, "{answer:?}");
    let mut pids = tree(main.pid());
    pids.push(next.pid());
    let agent = Agent::start(&agent::Options::json(backend, &pids))?;
    let ahead_ns = wall_ahead_ns();
    warm_up(runtime, &main, &next)?;
    let sent: Vec<_> = CASES
        .iter()
        .map(|case| (case, send(case, runtime, &main, &next)))
        .collect();
    let (gateway, behind) = tree(main.pid()).into_iter().partition(|pid| {
        let executable = executable_name(*pid);
        runtime.gateway.is_some() && executable.as_deref() == runtime.gateway
    });
    let seen = Seen {
        gateway,
        main: behind,
        next: next.pid(),
        spans: agent.finish()?.spans,
        ahead_ns,
    };
    let mut outcomes: Vec<_> = sent
        .into_iter()
        .map(|(case, sent)| {
            let checked = sent.map(|sent| of(check(case.name, &sent, &seen)));
            (case.name, checked.unwrap_or_else(|outcome| outcome))
        })
        .collect();
    outcomes.push((STRAYS, no_strays(&seen)));
    Ok(outcomes)
}

/// The column after the cases: nothing was invented.
pub const STRAYS: &str = "no more";

fn warm_up(runtime: &Runtime, main: &Function, next: &Function) -> Result<()> {
    let mut calls = Vec::new();
    if !runtime.is_proxy && runtime.lacks("call").is_none() {
        let chain = format!("chain?path=/t/{WARM_UP}:0/delay%3Fms=1");
        calls.push((&main.address, chain));
    }
    let delay = "delay?ms=1".to_owned();
    calls.extend([(&next.address, delay.clone()), (&main.address, delay)]);
    let load = Load {
        in_flight: 1,
        requests: WARM_UP_REQUESTS,
        keep_alive: false,
    };
    for (address, route) in calls {
        load.run(address, |index| {
            Request::get(format!("/t/{WARM_UP}:{index}/{route}"))
        })?;
    }
    Ok(())
}

/// What a case sent; or what became of it already.
fn send(
    case: &Case,
    runtime: &Runtime,
    main: &Function,
    next: &Function,
) -> Result<Vec<Sent>, Outcome> {
    if let Some(why) = runtime.lacks(case.name) {
        return Err(Outcome::Lacking(why));
    }
    let scene = Scene {
        case: case.name,
        address: &main.address,
        next: &next.address,
    };
    let sent = (case.send)(&scene)
        .map_err(|error| Outcome::Failed(format!("sending: {error:#}\n{}", main.said())))?;
    Ok(match runtime.is_proxy {
        true => sent.into_iter().map(passed_on).collect(),
        false => sent,
    })
}

/// A proxy requests the same of the next function.
fn passed_on(sent: Sent) -> Sent {
    let path = sent.path.clone();
    sent.calling(Calls { path, count: 1 })
}

fn no_strays(seen: &Seen) -> Outcome {
    let marks: Vec<_> = CASES
        .iter()
        .map(|case| case.name)
        .chain([WARM_UP])
        .collect();
    let strays = strays(&marks, seen);
    of(match strays.first() {
        Some(first) => Err(anyhow!("{} spans, as {}", strays.len(), brief(first))),
        None => Ok(()),
    })
}

fn of(result: Result<()>) -> Outcome {
    match result {
        Ok(()) => Outcome::Passed,
        Err(error) => Outcome::Failed(format!("{error:#}")),
    }
}
