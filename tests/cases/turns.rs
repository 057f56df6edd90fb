//! Node.js: parents by turns of the event loop, in every way of calling and every release; the probes that tell of turns are cheap,
//! come with the first call and go with the process.

use std::time::Duration;

use anyhow::{ensure, Context, Result};
use spanlet_e2e::accuracy::drive::Budget;
use spanlet_e2e::accuracy::subjects;
use spanlet_e2e::accuracy::{table, Habit, Row, Run, Service, Setting, Shape};
use spanlet_e2e::agent::{Agent, Backend, Options};
use spanlet_e2e::client::Connection;
use spanlet_e2e::function::{self, Function};
use spanlet_e2e::message::Request;
use spanlet_e2e::runtime::{self, node};
use spanlet_e2e::wait::wait_until;

use crate::scored;
use crate::watched::places;

const SEED: u64 = 11;
const RECALL_MIN: f64 = 0.99;
const BUDGET: Budget = Budget {
    time: Duration::from_millis(600),
    roots: 10,
};
const SEEN: Duration = Duration::from_secs(10);
/// After the end of a process; a report takes half a second itself.
const GONE: Duration = Duration::from_secs(2);
/// Each probe, and the instruction that it is on.
fn probes(name: &str) -> [(&'static str, &'static str); 4] {
    let connect = match name {
        "node-25" => "push",
        _ => "jcc",
    };
    [
        ("uv_polled", "push"),
        ("uv_tcp_connect", connect),
        ("uv_tcp_init", "push"),
        ("uv_turn", "push"),
    ]
}

/// Nothing but the loop's turns tells of most: many requests are open at once.
fn run(name: &'static str) -> Result<Run> {
    let rows = Row::without_timers(&[1, 8, 64]);
    let run = Setting::plain(name).run(&rows, BUDGET, SEED)?;
    print!("{}", table::rows(&run));
    scored::none_wrong(&run)?;
    Ok(run)
}

/// None wrong, and few missing, of those that have no timer between.
fn found(name: &'static str) -> Result<()> {
    scored::found(&run(name)?, RECALL_MIN)
}

#[test]
fn kept_connections() -> Result<()> {
    found("node")
}

#[test]
fn a_connection_for_each_call() -> Result<()> {
    found("node-direct")
}

#[test]
fn names_that_are_looked_up() -> Result<()> {
    found("node-named")
}

#[test]
fn fetch() -> Result<()> {
    found("node-fetch")
}

#[test]
fn calls_that_wait_for_a_connection_have_no_wrong_parent() -> Result<()> {
    let run = run("node-pooled")?;
    let alone = run.total(|row| row.in_flight == 1 && row.shape != Shape::Fan);
    ensure!(alone.process.recall() >= RECALL_MIN, "{alone:?}");
    Ok(())
}

#[test]
fn timers_between_make_no_wrong_parent() -> Result<()> {
    for name in [
        "node",
        "node-direct",
        "node-named",
        "node-pooled",
        "node-fetch",
    ] {
        let shapes = [Shape::Chain, Shape::Fan, Shape::Sequence];
        let rows = shapes.map(|shape| Row::of(&[8, 64], shape, Service::Exponential));
        let run = Setting::plain(name).run(&rows.concat(), BUDGET, SEED)?;
        print!("{}", table::rows(&run));
        let wrong = run.total(|_| true).wrong;
        ensure!(wrong.is_empty(), "{name}: wrong: {wrong:?}");
    }
    Ok(())
}

#[test]
fn habits_that_mislead_make_no_wrong_parents() -> Result<()> {
    for habit in Habit::ALL.into_iter().filter(|habit| habit.is_of("node")) {
        let setting = Setting {
            habit: Some(habit),
            ..Setting::plain("node")
        };
        let rows = Row::of(&[1, 16], habit.shape(), Service::Prompt);
        let run = setting.run(&rows, BUDGET, SEED)?;
        print!("{}", table::rows(&run));
        let mut all = run.total(|_| true);
        all += run.strays.clone();
        ensure!(all.wrong.is_empty(), "{habit}: wrong: {:?}", all.wrong);
    }
    Ok(())
}

#[test]
fn every_release() -> Result<()> {
    if let Some(why) = runtime::missing(node::NEEDS) {
        println!("skipped: Node.js by release: {why}");
        return Ok(());
    }
    for name in subjects::NODES {
        found(name)?;
        come_and_go(name).with_context(|| name)?;
    }
    Ok(())
}

/// Calls itself.
fn call(function: &Function) -> Result<()> {
    let port = function.address.port().context("a port")?;
    let plan = format!("{port};/hop/1/0;0;0;s;1|{port};/hop/2/1;0;0;s;");
    let request = Request::get("/hop/1/0")
        .header("X-Plan", plan)
        .header("X-Node", "0");
    let answer = Connection::open(&function.address)?.exchange(&request)?;
    ensure!(answer.status == 200, "{answer:?}");
    Ok(())
}

fn come_and_go(name: &'static str) -> Result<()> {
    let function = subjects::start(name, &function::Options::default())?;
    let pid = function.pid();
    let agent = Agent::start(&Options::json(Backend::SocketTracepoints, &[pid]))?;
    ensure!(places(&agent.report()?, pid).is_empty());
    call(&function)?;
    wait_until(SEEN, "place of the probes", || {
        let report = agent.report()?;
        Ok((places(&report, pid) == probes(name)).then_some(()))
    })?;
    drop(function);
    std::thread::sleep(GONE);
    let left = agent.report()?.uprobes;
    let is_gone = left.iter().all(|uprobe| !uprobe.processes.contains(&pid));
    ensure!(is_gone, "{left:?}");
    agent.finish()?;
    Ok(())
}
