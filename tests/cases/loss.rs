//! Records that are lost: spans may be missing, never wrong.

use std::collections::HashMap;

use anyhow::{ensure, Context, Result};
use spanlet_e2e::agent::{Agent, Backend, Options};
use spanlet_e2e::function::{self, Function};
use spanlet_e2e::language::Language;
use spanlet_e2e::load::Load;
use spanlet_e2e::message::Request;

use crate::stage::{index, path};
use crate::watched::{caller, no_wrong_parent};

on_each_back_end!(one_record_in_a_hundred, one_record_in_ten);

const REQUESTS: usize = 160;

fn one_record_in_a_hundred(backend: Backend) -> Result<()> {
    lose(backend, "10")
}

fn one_record_in_ten(backend: Backend) -> Result<()> {
    lose(backend, "100")
}

/// Chains at 8 in flight, in every language.
fn lose(backend: Backend, per_mille: &str) -> Result<()> {
    let next = Function::start(Language::C, &function::Options::default())?;
    let callers: Vec<_> = Language::ALL
        .into_iter()
        .map(|language| caller(language, &next))
        .collect::<Result<_>>()?;
    let functions = callers.iter().chain([&next]);
    let pids: Vec<_> = functions.map(Function::pid).collect();
    let options = Options::json(backend, &pids).with(&["--lose-per-mille", per_mille]);
    let mut agent = Agent::start(&options)?;
    for function in &callers {
        let name = function.name;
        let load = Load {
            in_flight: 8,
            requests: REQUESTS,
            keep_alive: true,
        };
        load.run(&function.address, |index| {
            Request::get(format!(
                "/t/{name}:{index}/chain?path=/t/{name}:{index}/delay%3Fms=2"
            ))
        })?;
    }
    let lost = agent.report()?.counter("spanlet.kernel.losses", "forced");
    ensure!(lost.is_some_and(|lost| lost > 0), "lost {lost:?}");
    ensure!(agent.is_alive()?, "the agent ended");
    let spans = agent.finish()?.spans;
    no_wrong_parent(&spans)?;
    let mut seen = HashMap::new();
    for span in &spans {
        let Some(index) = index(path(span)) else {
            continue;
        };
        let mark = path(span).split(':').next().context("no mark")?;
        *seen
            .entry((mark, index, span.kind, span.pid()))
            .or_insert(0) += 1;
    }
    let twice: Vec<_> = seen.iter().filter(|(_, times)| **times > 1).collect();
    ensure!(twice.is_empty(), "seen more than once: {twice:?}");
    let (all, most) = (spans.len(), 3 * REQUESTS * callers.len());
    // At one in ten, a request that is seen at all has some of its dozen records left.
    ensure!((most / 4..=most).contains(&all), "{all} spans of {most}");
    Ok(())
}
