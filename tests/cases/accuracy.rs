//! Parents of random trees, scored as `cargo xtask accuracy --quick` does: none may be wrong, and few missing where one
//! request is open or threads wait.

use std::time::Duration;

use anyhow::{ensure, Context, Result};
use spanlet_e2e::accuracy::drive::Budget;
use spanlet_e2e::accuracy::subjects::{self, ASYNCIO};
use spanlet_e2e::accuracy::{durations, table, Habit, Row, Service, Setting, Shape};
use spanlet_e2e::agent::Backend;
use spanlet_e2e::language::Language;
use spanlet_e2e::runtime::{self, cpython};

use crate::scored::none_wrong;

const SEED: u64 = 7;
const RECALL_MIN: f64 = 0.99;
const BUDGET: Budget = Budget {
    time: Duration::from_millis(400),
    roots: 10,
};

macro_rules! in_every_runtime {
    ($($test:ident: $name:literal),* $(,)?) => {
        $(#[test]
        fn $test() -> Result<()> { scored($name) })*

        #[test]
        fn every_runtime_is_scored() {
            assert_eq!(subjects::ALL.to_vec(), [$($name),*]);
        }
    };
}

in_every_runtime! {
    go: "go", python: "python", node: "node", java: "java", c: "c",
    asyncio: "python-asyncio", aiohttp: "python-aiohttp", uvicorn: "python-uvicorn",
    uvicorn_uvloop: "python-uvicorn-uvloop",
    tokio: "rust-tokio", tokio_current_thread: "rust-tokio-current-thread",
}

/// Java's HttpClient writes by threads of a pool: of few requests, one doubt costs the parents of one endpoint.
fn is_by_pool(name: &str, shape: Shape) -> bool {
    name == "java" && shape == Shape::Fan
}

/// Whether each thread, or task, serves one request and makes its calls, or starts those that do; or goroutines, of which those
/// that were started are told apart from the first fans on.
fn is_certain(name: &str, shape: Shape) -> bool {
    match name {
        "java" | "go" => shape == Shape::Chain,
        "node" => false,
        _ => true,
    }
}

macro_rules! by_every_cpython {
    ($($test:ident: $name:literal),* $(,)?) => {
        $(#[test]
        fn $test() -> Result<()> { of_release($name) })*

        #[test]
        fn every_cpython_is_scored() {
            assert_eq!(subjects::RELEASES.to_vec(), [$($name),*]);
        }
    };
}

by_every_cpython! {
    cpython_3_9: "cpython-3.9", cpython_3_10: "cpython-3.10", cpython_3_11: "cpython-3.11",
    cpython_3_12: "cpython-3.12", cpython_3_13: "cpython-3.13", cpython_3_14: "cpython-3.14",
}

#[test]
fn threads_in_contexts_of_their_own() -> Result<()> {
    of_release(subjects::THREADS)
}

fn of_release(name: &'static str) -> Result<()> {
    if let Some(why) = runtime::missing(cpython::NEEDS) {
        println!("skipped: {name}: {why}");
        return Ok(());
    }
    scored(name)
}

fn scored(name: &'static str) -> Result<()> {
    let setting = Setting::plain(name);
    let run = setting.run(&Row::all(&[1, 8], &[Service::Exponential]), BUDGET, SEED)?;
    none_wrong(&run)?;
    for (row, score) in &run.scores {
        ensure!(
            score.network.recall() >= RECALL_MIN,
            "{row:?}: over the network {:.4} of the parents were found",
            score.network.recall()
        );
        let least = match row.in_flight > 1 && name.starts_with("rust") {
            // Who woke a connection's task is not always certain.
            true => 0.97,
            false => RECALL_MIN,
        };
        let is_alone = row.in_flight == 1 && !is_by_pool(name, row.shape);
        let must_be_found = is_alone || is_certain(name, row.shape);
        ensure!(
            !must_be_found || score.process.recall() >= least,
            "{row:?}: within processes {:.4} of the parents were found",
            score.process.recall()
        );
    }
    Ok(())
}

#[test]
fn durations_and_costs() -> Result<()> {
    let late = durations::LONG
        .iter()
        .find(|kind| kind.name == "late 20 ms");
    let kinds = [&durations::SHORT[..], &[*late.context("no such kind")?]].concat();
    let measured = durations::measure(Language::C, Backend::SocketTracepoints, &kinds)?;
    durations::check(&measured)?;
    let late = measured.iter().find(|(kind, _)| kind.name == "late 20 ms");
    let (_, errors) = late.context("not measured")?;
    let waited = durations::quantile(&errors.read_wait, 0.5).context("no wait")?;
    ensure!(
        waited.abs_diff(20_000_000) <= 1_000_000,
        "20 ms unread are told as {waited} ns"
    );
    Ok(())
}

#[test]
fn who_asks_over_a_pool_of_connections_is_known() -> Result<()> {
    let setting = Setting {
        pool: true,
        ..Setting::plain("go")
    };
    let run = setting.run(&Row::all(&[8, 64], &[Service::Exponential]), BUDGET, SEED)?;
    none_wrong(&run)?;
    // What tells of goroutines that a request started is asked for at the first fan.
    let known = run.total(|row| row.shape == Shape::Chain || row.in_flight == 64);
    let recall = known.process.recall();
    ensure!(
        recall >= RECALL_MIN,
        "{recall:.4} of the parents were found"
    );
    Ok(())
}

/// Whether the program itself carries what a session encrypts. On which connection one from before is, is known once it has read:
/// its first call is not seen.
fn carries_bytes(name: &str) -> bool {
    name == "node" || name.starts_with("python-uvicorn")
}

/// Of ten trees and more, the first is missing.
const RECALL_MIN_OF_CARRIED: f64 = 0.9;

macro_rules! over_tls {
    ($($test:ident: $name:literal),* $(,)?) => {
        /// What OpenSSL and Go encrypt tells as much as what is sent in the open.
        mod over_tls {
            $(#[test]
            fn $test() -> anyhow::Result<()> { super::scored_over_tls($name) })*

            #[test]
            fn each_is_scored() {
                assert_eq!(super::subjects::OVER_TLS.to_vec(), [$($name),*]);
            }
        }
    };
}

over_tls! {
    go: "go", python: "python", node: "node",
    uvicorn: "python-uvicorn", uvicorn_uvloop: "python-uvicorn-uvloop",
}

fn scored_over_tls(name: &'static str) -> Result<()> {
    let setting = Setting {
        tls: true,
        ..Setting::plain(name)
    };
    let rows = match name {
        "node" => Row::without_timers(&[1, 8]),
        // Which goroutines are born is looked at once it was missed: of fans at once, in those before the last.
        "go" => Row::all(&[1, 8], &[Service::Constant, Service::Exponential]),
        _ => Row::all(&[1, 8], &[Service::Exponential]),
    };
    let run = setting.run(&rows, BUDGET, SEED)?;
    print!("{}", table::rows(&run));
    none_wrong(&run)?;
    for (row, score) in &run.scores {
        let least = match row.in_flight {
            1 if carries_bytes(name) => RECALL_MIN_OF_CARRIED,
            _ => RECALL_MIN,
        };
        let recall = score.network.recall();
        ensure!(
            recall >= least,
            "{name}, {row:?}: over the network {recall:.4} of the parents were found"
        );
        let least = match (row.shape, row.in_flight) {
            // Tasks that start others are looked at from the first fan on, which comes late here.
            (Shape::Fan, _) if name.starts_with("python-uvicorn") => 0.0,
            (Shape::Fan, 8) if name == "go" && row.service == Service::Constant => 0.0,
            _ => least,
        };
        let recall = score.process.recall();
        ensure!(
            recall >= least,
            "{name}, {row:?}: within processes {recall:.4} of the parents were found"
        );
    }
    Ok(())
}

#[test]
fn losses_cost_parents_and_make_none() -> Result<()> {
    for lost_per_mille in [10, 100] {
        let setting = Setting {
            lost_per_mille,
            ..Setting::plain("python")
        };
        let rows = Row::all(&[1, 8], &[Service::Exponential]);
        none_wrong(&setting.run(&rows, BUDGET, SEED)?)?;
    }
    Ok(())
}

#[test]
fn the_other_back_end_scores_as_well() -> Result<()> {
    let setting = Setting {
        backend: Backend::SysExit,
        ..Setting::plain("c")
    };
    let run = setting.run(&Row::all(&[1, 8], &[Service::Exponential]), BUDGET, SEED)?;
    none_wrong(&run)?;
    let recall = run.total(|_| true).recall();
    ensure!(
        recall >= RECALL_MIN,
        "{recall:.4} of the parents were found"
    );
    Ok(())
}

#[test]
fn habits_that_mislead_make_no_wrong_parents() -> Result<()> {
    for name in ["python", "node", "go", "rust-tokio", ASYNCIO] {
        for habit in Habit::ALL.into_iter().filter(|habit| habit.is_of(name)) {
            let setting = Setting {
                habit: Some(habit),
                ..Setting::plain(name)
            };
            let rows = Row::of(&[1, 4, 8], habit.shape(), Service::Exponential);
            none_wrong(&setting.run(&rows, BUDGET, SEED)?)?;
        }
    }
    Ok(())
}
