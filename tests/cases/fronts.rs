//! nginx in front of a function while many requests overlap: no call has a wrong parent, whatever puts it off or doubles it; where nothing
//! does, nearly all have theirs.

use std::time::Duration;

use anyhow::{ensure, Context, Result};
use spanlet_e2e::accuracy::drive::Budget;
use spanlet_e2e::accuracy::{table, Front, Row, Service, Setting};
use spanlet_e2e::agent::Backend;
use spanlet_e2e::runtime;

const SEED: u64 = 13;
const RECALL_MIN: f64 = 0.9;
const BUDGET: Budget = Budget {
    time: Duration::from_millis(250),
    roots: 10,
};

on_each_back_end! {
    calls_are_of_the_request_that_was_read,
    several_workers_each_have_their_own,
    what_is_asked_before_is_of_the_same_request,
    requests_that_are_put_off_have_no_wrong_parent,
    attempts_and_copies_have_no_wrong_parent,
    all_of_it_at_once_gives_no_wrong_parent,
}

fn calls_are_of_the_request_that_was_read(backend: Backend) -> Result<()> {
    scored("nginx", backend)?;
    scored("nginx-fresh", backend)
}

fn several_workers_each_have_their_own(backend: Backend) -> Result<()> {
    scored("nginx-workers", backend)
}

fn what_is_asked_before_is_of_the_same_request(backend: Backend) -> Result<()> {
    scored("nginx-asked", backend)
}

fn requests_that_are_put_off_have_no_wrong_parent(backend: Backend) -> Result<()> {
    scored("nginx-limited", backend)
}

fn attempts_and_copies_have_no_wrong_parent(backend: Backend) -> Result<()> {
    scored("nginx-mirrored", backend)?;
    scored("nginx-retried", backend)
}

fn all_of_it_at_once_gives_no_wrong_parent(backend: Backend) -> Result<()> {
    scored("nginx-mixed", backend)
}

fn scored(name: &'static str, backend: Backend) -> Result<()> {
    if let Some(why) = runtime::missing(&["nginx"]) {
        println!("skipped: {why}");
        return Ok(());
    }
    let setting = Setting {
        backend,
        ..Setting::plain(name)
    };
    let front = Front::named(name).context("no such front")?;
    let rows = Row::of(&[1, 8, 64], front.shape, Service::Exponential);
    let run = setting.run(&rows, BUDGET, SEED)?;
    print!("{}", table::rows(&run));
    let all = run.total(|_| true);
    ensure!(all.wrong.is_empty(), "{name}: wrong: {:?}", all.wrong);
    let recall = all.process.recall();
    ensure!(
        !front.is_prompt || recall >= RECALL_MIN,
        "{name}: within nginx {recall:.4} of the parents were found"
    );
    Ok(())
}
