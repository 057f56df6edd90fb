//! `cargo xtask runtimes`: which runtime passes which case. In: a filter. Out: a table of runtimes and cases, a line for
//! what failed or is lacking and why, and `N passed, N failed, N skipped`.

mod print;

use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use anyhow::{bail, Result};
use spanlet_e2e::agent::Backend;
use spanlet_e2e::runtime::{self, Runtime};
use spanlet_e2e::table::{self, Outcome, CASES, STRAYS};

use crate::setup::Purpose;
use crate::{build, doctor, setup};

#[derive(clap::Args)]
pub struct Options {
    /// Only runtimes whose name contains this
    filter: Option<String>,
    /// Print the table as Markdown
    #[arg(long)]
    markdown: bool,
}

/// A runtime with a cell for each column.
pub struct Row {
    name: &'static str,
    cells: Vec<Cell>,
}

/// A case of a runtime, on both back ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    Passed,
    /// What was wrong, on each back end where something was.
    Failed(Vec<String>),
    /// Not in this runtime or not on this machine, and why.
    Skipped(String),
}

/// How many run at once: functions mostly start, wait and sleep.
const AT_ONCE: usize = 2;

/// Sets up, builds and runs the table.
pub fn runtimes(options: &Options) -> Result<ExitCode> {
    if let Some(reason) = doctor::end_to_end_blocked() {
        bail!("nothing can be traced here: {reason}");
    }
    setup::setup(Purpose::Test)?;
    build::compile(build::Options::release())?;
    let filter = options.filter.as_deref().unwrap_or_default();
    let wanted = runtime::all().filter(|runtime| runtime.name.contains(filter));
    let wanted: Vec<_> = wanted.collect();
    if wanted.is_empty() {
        bail!("no runtime's name contains {filter}");
    }
    let rows = run_all(&wanted);
    print!("{}", print::table(&rows, options.markdown));
    let failed = rows.iter().flat_map(|row| &row.cells);
    let failed = failed.filter(|cell| matches!(cell, Cell::Failed(_)));
    Ok(match failed.count() {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

/// The cases, and that there was nothing else.
fn columns() -> Vec<&'static str> {
    let cases = CASES.iter().map(|case| case.name);
    cases.chain([STRAYS]).collect()
}

fn run_all(wanted: &[&'static Runtime]) -> Vec<Row> {
    let next = AtomicUsize::new(0);
    let rows = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some((index, runtime)) = take(wanted, &next) {
                    let started = Instant::now();
                    let row = run(runtime);
                    eprintln!(
                        "{:<24} {:>5.1} s",
                        row.name,
                        started.elapsed().as_secs_f64()
                    );
                    let mut rows = rows.lock().unwrap_or_else(PoisonError::into_inner);
                    rows.push((index, row));
                }
            });
        }
    });
    let mut rows = rows.into_inner().unwrap_or_else(PoisonError::into_inner);
    rows.sort_by_key(|(index, _)| *index);
    rows.into_iter().map(|(_, row)| row).collect()
}

fn take(wanted: &[&'static Runtime], next: &AtomicUsize) -> Option<(usize, &'static Runtime)> {
    let index = next.fetch_add(1, Ordering::Relaxed);
    wanted.get(index).map(|runtime| (index, *runtime))
}

fn run(runtime: &Runtime) -> Row {
    let cells = match runtime.missing() {
        Some(why) => columns()
            .iter()
            .map(|_| Cell::Skipped(why.clone()))
            .collect(),
        None => both(runtime),
    };
    Row {
        name: runtime.name,
        cells,
    }
}

/// What failed on one back end has failed.
fn both(runtime: &Runtime) -> Vec<Cell> {
    let mut cells = vec![Cell::Passed; columns().len()];
    for backend in Backend::ALL {
        match table::run(runtime, backend) {
            Ok(outcomes) => {
                for (cell, (_, outcome)) in cells.iter_mut().zip(outcomes) {
                    cell.take(backend, outcome);
                }
            }
            Err(error) => {
                let failed = Outcome::Failed(format!("{error:#}"));
                let first = cells.first_mut();
                first
                    .into_iter()
                    .for_each(|cell| cell.take(backend, failed.clone()));
                let rest = cells.iter_mut().skip(1);
                rest.for_each(|cell| cell.take(backend, Outcome::Failed("did not start".into())));
            }
        }
    }
    cells
}

impl Cell {
    fn take(&mut self, backend: Backend, outcome: Outcome) {
        match outcome {
            Outcome::Passed => {}
            Outcome::Lacking(why) => *self = Self::Skipped(why.to_owned()),
            Outcome::Failed(why) => {
                let why = format!("{backend}: {why}");
                match self {
                    Self::Failed(all) => all.push(why),
                    other => *other = Self::Failed(vec![why]),
                }
            }
        }
    }
}
