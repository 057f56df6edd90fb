//! `cargo xtask accuracy`: runs and scores, as tables. In: `full`, `quick` or `durations`, `text` or `markdown`, a seed,
//! runtimes.
//! Out: tables; failure when a control fails or a parent is wrong too often.

use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};
use spanlet_e2e::accuracy::drive::Budget;
use spanlet_e2e::accuracy::{
    controls, durations, subjects, table, Front, Habit, Row, Run, Service, Setting,
};
use spanlet_e2e::agent::Backend;
use spanlet_e2e::language::Language;

/// The goal, loss included.
const PRECISION_MIN: f64 = 0.9999;

/// Which runs and rows.
struct Extent {
    in_flight: &'static [usize],
    services: &'static [Service],
    budget: Budget,
}

const FULL: Extent = Extent {
    in_flight: &[1, 8, 64, 256],
    services: &Service::ALL,
    budget: Budget {
        time: Duration::from_millis(1000),
        roots: 2,
    },
};

const QUICK: Extent = Extent {
    in_flight: &[1, 8],
    services: &[Service::Exponential],
    budget: Budget {
        time: Duration::from_millis(400),
        roots: 5,
    },
};

fn main() -> Result<()> {
    // Cargo adds `--bench`.
    let arguments: Vec<_> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    let [extent, form, seed, runtimes @ ..] = arguments.as_slice() else {
        bail!("full, quick or durations, text or markdown, a seed, runtimes");
    };
    if extent == "durations" {
        return durations(&languages(runtimes)?);
    }
    let extent = match extent.as_str() {
        "quick" => QUICK,
        _ => FULL,
    };
    let seed = seed.parse().context("seed")?;
    let began = Instant::now();
    let mut runs = Vec::new();
    print!("{}", table::head());
    for name in chosen(runtimes)? {
        runtime(name, &extent, seed, &mut runs)?;
    }
    println!("\nTotals (seed {seed}, {} s)\n", began.elapsed().as_secs());
    match form.as_str() {
        "markdown" => print!("{}", table::markdown(&runs)),
        _ => print!("{}", table::totals(&runs)),
    }
    let shuffled = runs.iter().filter_map(|run| run.shuffled);
    let most = 100.0 * shuffled.fold(0.0, f64::max);
    println!("\nControl: with the ids of the spans shuffled, {most:.2} % of the edges are right at most.");
    verdict(&runs)
}

/// How true durations and costs are. Half of the errors must be small; the table shows the rest, which is who had to
/// wait for a core.
fn durations(languages: &[Language]) -> Result<()> {
    print!("{}", durations::head());
    let mut verdict = Ok(());
    for language in languages {
        for backend in Backend::ALL {
            let kinds = [&durations::SHORT[..], &durations::LONG[..]].concat();
            let measured = durations::measure(*language, backend, &kinds)?;
            print!("{}", durations::lines(*language, backend, &measured));
            verdict = verdict.and(durations::check(&measured));
        }
    }
    verdict
}

fn chosen(names: &[String]) -> Result<Vec<&'static str>> {
    match names {
        [] => {
            let fronts: Vec<_> = Front::ALL.iter().map(|front| front.name).collect();
            Ok([&subjects::ALL[..], &subjects::OTHERS, &fronts].concat())
        }
        names => names.iter().map(|name| subjects::named(name)).collect(),
    }
}

fn languages(names: &[String]) -> Result<Vec<Language>> {
    if names.is_empty() {
        return Ok(Language::ALL.to_vec());
    }
    let find = |name: &String| {
        Language::ALL
            .into_iter()
            .find(|language| language.name() == name)
            .with_context(|| format!("no runtime {name}"))
    };
    names.iter().map(find).collect()
}

/// All runs of a runtime.
fn runtime(name: &'static str, extent: &Extent, seed: u64, runs: &mut Vec<Run>) -> Result<()> {
    let plain = Setting::plain(name);
    if let Some(front) = Front::named(name) {
        return fronts(front, extent, seed, runs);
    }
    let mut all = Row::all(extent.in_flight, extent.services);
    if name.starts_with("node") {
        all.extend(Row::without_timers(extent.in_flight));
    }
    let some = Row::all(extent.in_flight, &[Service::Exponential]);
    let few = Row::all(&extent.in_flight[..2], &[Service::Exponential]);
    let mut settings = vec![
        (plain, &all),
        (with(plain, |to| to.backend = Backend::SysExit), &some),
        (with(plain, |to| to.lost_per_mille = 10), &some),
        (with(plain, |to| to.lost_per_mille = 100), &some),
        (with(plain, |to| to.secret = true), &few),
    ];
    if name == "go" {
        settings.insert(1, (with(plain, |to| to.pool = true), &some));
    }
    if subjects::OVER_TLS.contains(&name) {
        let pool = name == "go";
        let tls = |to: &mut Setting| (to.tls, to.pool) = (true, pool);
        settings.insert(1, (with(plain, tls), &some));
    }
    let first = runs.len();
    for (setting, rows) in settings {
        let run = setting.run(rows, extent.budget, seed)?;
        print!("{}", table::rows(&run));
        runs.push(run);
    }
    let (plain, secret) = (&runs[first], &runs[runs.len() - 1]);
    controls::secret(&plain.scores, &secret.scores)?;
    habits(name, extent, seed, runs)
}

/// A proxy in front of a function.
fn fronts(front: &Front, extent: &Extent, seed: u64, runs: &mut Vec<Run>) -> Result<()> {
    let plain = Setting::plain(front.name);
    let rows = [Service::Exponential, Service::Bimodal]
        .map(|service| Row::of(extent.in_flight, front.shape, service))
        .concat();
    let settings = [
        plain,
        with(plain, |to| to.backend = Backend::SysExit),
        with(plain, |to| to.lost_per_mille = 10),
        with(plain, |to| to.lost_per_mille = 100),
    ];
    for setting in settings {
        let run = setting.run(&rows, extent.budget, seed)?;
        print!("{}", table::rows(&run));
        runs.push(run);
    }
    Ok(())
}

/// Functions that mislead.
fn habits(name: &'static str, extent: &Extent, seed: u64, runs: &mut Vec<Run>) -> Result<()> {
    for habit in Habit::ALL {
        if !habit.is_of(name) {
            continue;
        }
        let setting = with(Setting::plain(name), |to| to.habit = Some(habit));
        let rows = [Service::Constant, Service::Exponential]
            .map(|service| Row::of(&[1, 4, 16], habit.shape(), service))
            .concat();
        let run = setting.run(&rows, extent.budget, seed)?;
        print!("{}{}", table::rows(&run), table::strays(&run));
        runs.push(run);
    }
    Ok(())
}

fn with(mut setting: Setting, change: impl FnOnce(&mut Setting)) -> Setting {
    change(&mut setting);
    setting
}

fn verdict(runs: &[Run]) -> Result<()> {
    for run in runs {
        let mut score = run.total(|_| true);
        score += run.strays.clone();
        ensure!(
            score.precision() >= PRECISION_MIN,
            "{:?}: {} wrong parents: {:?}",
            run.setting,
            score.wrong_total(),
            score.wrong
        );
    }
    Ok(())
}
