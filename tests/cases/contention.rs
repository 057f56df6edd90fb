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

use crate::costs::{agree, costs, cpu_times, metered, mostly_told};
use crate::watched::marked;

on_each_back_end!(a_wait_for_a_core_is_told);

/// Half of them are to have costs, and here the clocks forbid it now and then.
const REQUESTS: usize = 12;

/// Two that burn on one core: each waits for the other about half of the time, which is no part of its CPU time.
fn a_wait_for_a_core_is_told(backend: Backend) -> Result<()> {
    let rival = pinned(Language::C)?;
    for language in [Language::C, Language::Python, Language::Java] {
        let function = pinned(language)?;
        let burn = |requests| {
            metered(&function, requests, |index| {
                Request::get(format!("/t/burn:{index}/burn?ms=50"))
            })
        };
        burn(10).context("warm-up")?;
        let agent = Agent::start(&Options::json(backend, &[function.pid()]))?;
        let metered = beside(&rival, || burn(REQUESTS))?;
        let spans = agent.finish()?.spans;
        let spans = marked(&spans, "burn", Kind::Server, function.pid());
        ensure!(spans.len() == REQUESTS, "{} spans", spans.len());
        for span in &spans {
            let wait = costs(span)?.map(|(_, wait)| wait);
            let is_told = wait.is_none_or(|wait| wait * 5 >= span.duration_ns());
            ensure!(is_told, "{wait:?} ns: {span:?}");
        }
        let told = cpu_times(spans, &metered)?;
        mostly_told(language, told.len(), REQUESTS)?;
        agree(&told)?;
    }
    Ok(())
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
