//! Functions that compete for a core: their spans say how long they waited for it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{ensure, Context, Result};
use spanlet_e2e::agent::{Agent, Backend, Options};
use spanlet_e2e::function::{self, Function};
use spanlet_e2e::language::Language;
use spanlet_e2e::load::Load;
use spanlet_e2e::message::Request;
use spanlet_e2e::otlp::Kind;

use crate::costs::{agree, burned, costs, mostly_told};
use crate::stage::{index, path};
use crate::watched::marked;

on_each_back_end!(a_wait_for_a_core_is_told);

const REQUESTS: usize = 6;
const ROUNDS: usize = 3;

/// Two that burn on one core: each waits for the other about half of the time.
fn a_wait_for_a_core_is_told(backend: Backend) -> Result<()> {
    let rival = pinned(Language::C)?;
    for language in [Language::C, Language::Python, Language::Java] {
        // A host that takes the core away meanwhile spoils the CPU times of a round; a fault of the agent spoils those of
        // all. What else is wrong is wrong at once.
        let mut told = agree(&round(backend, language, &rival)?);
        for _ in 1..ROUNDS {
            if told.is_err() {
                told = agree(&round(backend, language, &rival)?);
            }
        }
        told?;
    }
    Ok(())
}

/// CPU times as told and as burned.
fn round(backend: Backend, language: Language, rival: &Function) -> Result<Vec<(u64, u64)>> {
    let function = pinned(language)?;
    let burn = |requests| {
        Load::serial(requests).run(&function.address, |index| {
            Request::get(format!("/t/burn:{index}/burn?ms=50"))
        })
    };
    burn(10).context("warm-up")?;
    let agent = Agent::start(&Options::json(backend, &[function.pid()]))?;
    let answers = beside(rival, || burn(REQUESTS))?;
    let spans = agent.finish()?.spans;
    let spans = marked(&spans, "burn", Kind::Server, function.pid());
    ensure!(spans.len() == REQUESTS, "{} spans", spans.len());
    let mut told = Vec::new();
    for span in spans {
        let answer = index(path(span)).and_then(|index| answers.get(index));
        let Some((cpu, wait)) = costs(span)? else {
            continue;
        };
        told.push((cpu, burned(answer.context("no answer")?)?));
        ensure!(wait * 5 >= span.duration_ns(), "{wait} ns: {span:?}");
    }
    mostly_told(language, told.len(), REQUESTS)?;
    Ok(told)
}

fn pinned(language: Language) -> Result<Function> {
    let options = function::Options {
        cpu: Some(0),
        ..Default::default()
    };
    Function::start(language, &options)
}

/// Does `work` while the rival burns.
fn beside<T>(rival: &Function, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| -> Result<()> {
            while !done.load(Ordering::Relaxed) {
                Load::serial(1).run(&rival.address, |_| Request::get("/burn?ms=100"))?;
            }
            Ok(())
        });
        let result = work();
        done.store(true, Ordering::Relaxed);
        result
    })
}
