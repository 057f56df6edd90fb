//! What traced functions and the agent spend. In: which functions, loads and routes. Out: a table with a group for each of them.

use anyhow::Result;
use spanlet_e2e::bench_options::{LoadName, Route, Runtime, Settings};
use spanlet_e2e::generator::Pace;
use spanlet_e2e::sheet::Sheet;
use spanlet_e2e::sink::Sink;

use crate::beside::{empty, Beside, Hooks, Spent, Watcher};
use crate::result::{Line, Pair, COLUMNS};
use crate::show;
use crate::subject::{Load, Run, Subject};
use crate::summary;

const TITLE: &str = "\
What a traced function pays. 16 connections. Medians of alternating runs (least to most); without → with.
  kept: requests a second, with / without. +µs: CPU time added to a request, of the function (with a call: of both) and of the
  load generator. agent µs: CPU time of the agent a request, export included. MiB: its memory. the rest: what else was lost,
  by name.";

/// Everything that one group of lines shares.
struct Bench<'a> {
    settings: &'a Settings,
    sink: &'a Sink,
    subject: &'a Subject,
    hooks: &'a [Hooks],
    load: Load,
}

pub fn measure(settings: &Settings) -> Result<()> {
    let sink = Sink::start()?;
    let mut table = Sheet::new(&COLUMNS);
    let mut summary = Vec::new();
    for &runtime in &settings.functions {
        for &route in &settings.routes {
            let subject = Subject::start(runtime, route)?;
            let hooks = settings
                .backends
                .iter()
                .map(|&backend| Hooks::of(backend, &subject.pids(), &sink))
                .collect::<Result<Vec<_>>>()?;
            let saturated = warm_up(settings, &subject)?;
            for &load in &settings.loads {
                let bench = Bench {
                    settings,
                    sink: &sink,
                    subject: &subject,
                    hooks: &hooks,
                    load: Load {
                        pace: pace(load, saturated),
                        time: settings.time,
                        burn_each: None,
                    },
                };
                let title = title(runtime, load, route);
                let lines = bench.lines(&title, route)?;
                summary.extend(summary::rows(&title, &lines));
                table.group(
                    described(&title, &lines),
                    lines.iter().map(Line::cells).collect(),
                );
            }
        }
    }
    show(settings, TITLE, &table);
    show(settings, summary::TITLE, &summary::table(summary));
    Ok(())
}

impl Bench<'_> {
    /// Runs all kinds in turn, as often as asked.
    fn lines(&self, title: &str, route: Route) -> Result<Vec<Line>> {
        let mut without = vec![self.subject.run(&self.load)?];
        let kinds = self.kinds(without[0], route);
        let mut lines: Vec<Line> = kinds.iter().map(|&kind| Line::new(Some(kind))).collect();
        for pair in 1..=self.settings.pairs {
            eprintln!("{title}: {pair} of {}", self.settings.pairs);
            for (&kind, line) in kinds.iter().zip(&mut lines) {
                let (with, spent) = self.with(kind)?;
                let before = without[without.len() - 1];
                let after = self.subject.run(&self.load)?;
                without.push(after);
                line.pairs
                    .push(compared(with, before.between(after), spent.as_ref()));
                if let Some(spent) = &spent {
                    line.account.add(self.subject.spans(with.requests), spent);
                }
            }
        }
        lines.insert(0, nothing(&without));
        Ok(lines)
    }

    fn kinds(&self, without: Run, route: Route) -> Vec<Beside> {
        // A request that burns makes no call: only where none does.
        let known = (route != Route::Call).then(|| Beside::Known(without.burn_each()));
        let rest = self.hooks.iter().flat_map(|hooks| {
            let backend = hooks.backend;
            let entries = hooks.have_entries().then_some(Beside::Entries(backend));
            let around = [Some(Beside::Empty(backend)), entries];
            around.into_iter().flatten().chain([Beside::Agent(backend)])
        });
        known.into_iter().chain(rest).collect()
    }

    fn with(&self, kind: Beside) -> Result<(Run, Option<Spent>)> {
        match kind {
            Beside::Known(each) => {
                let load = Load {
                    burn_each: Some(each),
                    ..self.load
                };
                Ok((self.subject.run(&load)?, None))
            }
            Beside::Empty(_) | Beside::Entries(_) => {
                let _attached = empty(self.hooks, kind)?;
                Ok((self.subject.run(&self.load)?, None))
            }
            Beside::Agent(backend) => {
                let mut watcher = Watcher::start(backend, &self.subject.pids(), self.sink)?;
                let run = self.subject.run(&self.load)?;
                let spent = watcher.spent(self.subject.spans(run.requests))?;
                watcher.finish()?;
                Ok((run, Some(spent)))
            }
        }
    }
}

/// Runtimes that compile while they run do it now. How much it serves.
fn warm_up(settings: &Settings, subject: &Subject) -> Result<f64> {
    let load = Load {
        pace: Pace::Saturated,
        time: settings.time,
        burn_each: None,
    };
    subject.run(&load)?;
    Ok(subject.run(&load)?.per_second)
}

fn pace(load: LoadName, saturated: f64) -> Pace {
    match load {
        LoadName::Saturated => Pace::Saturated,
        LoadName::Third => Pace::PerSecond(saturated / 3.0),
    }
}

/// Runs without, each beside its neighbours without.
fn nothing(without: &[Run]) -> Line {
    let pairs = without.windows(3).map(|runs| Pair {
        with: runs[1],
        without: runs[0].between(runs[2]),
        agent_us: None,
        agent_mib: None,
    });
    Line {
        pairs: pairs.collect(),
        ..Line::new(None)
    }
}

fn compared(with: Run, without: Run, spent: Option<&Spent>) -> Pair {
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    Pair {
        with,
        without,
        agent_us: spent.map(|spent| spent.cpu_ns as f64 / 1e3 / with.requests as f64),
        agent_mib: spent.map(|spent| (mib(spent.memory.now), mib(spent.memory.peak))),
    }
}

fn title(runtime: Runtime, load: LoadName, route: Route) -> String {
    let load = match load {
        LoadName::Saturated => "saturated",
        LoadName::Third => "at a third",
    };
    let route = match route {
        Route::Plain => "plain",
        Route::Call => "with a call",
        Route::Https => "over TLS",
    };
    format!("{}, {route}, {load}", runtime.name())
}

fn described(title: &str, lines: &[Line]) -> String {
    let (function_us, per_second) = lines[0].without();
    format!(
        "{title}: {per_second:.0} requests/s, {function_us:.1} µs of the function's CPU a request"
    )
}
