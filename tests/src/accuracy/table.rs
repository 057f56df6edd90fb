//! The score as tables, for a terminal and as Markdown. In: runs. Out: text.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::run::{Run, Setting};
use super::score::Score;
use super::{Row, Shape};

const COLUMNS: &str = "runtime               back end            lost  in flight  shape  service      traces  whole %      spans  precision %  recall %  network  process  unknown  double  wrong";

/// A line for each row of a run.
pub fn rows(run: &Run) -> String {
    let mut text = String::new();
    for (row, score) in &run.scores {
        let Row {
            in_flight,
            shape,
            service,
        } = row;
        let _ = writeln!(
            text,
            "{} {in_flight:>9}  {shape:<5}  {service:<11} {}",
            what(&run.setting),
            figures(score)
        );
    }
    text
}

/// The head of all lines.
pub fn head() -> String {
    format!("{COLUMNS}\n")
}

/// A line for each run and number in flight.
pub fn totals(runs: &[Run]) -> String {
    let mut text = head();
    for run in runs {
        for in_flight in in_flights(run) {
            for shape in shapes(run) {
                let score = run.total(|row| row.in_flight == in_flight && row.shape == shape);
                let _ = writeln!(
                    text,
                    "{} {in_flight:>9}  {shape:<5}  {:<11} {}",
                    what(&run.setting),
                    "all",
                    figures(&score)
                );
            }
        }
        text += &strays(run);
    }
    text
}

/// The summary of a README: what was found of the edges within processes, by number in flight; what was wrong.
pub fn markdown(runs: &[Run]) -> String {
    let mut text = String::new();
    let all: Vec<_> = runs.first().map(in_flights).unwrap_or_default();
    let _ = write!(
        text,
        "| runtime | back end | records lost | edges | wrong |"
    );
    for shape in [Shape::Chain, Shape::Fan] {
        for in_flight in &all {
            let _ = write!(text, " {shape}, {in_flight} |");
        }
    }
    let columns = 5 + 2 * all.len();
    let _ = writeln!(text, "\n|{}", "---|".repeat(columns));
    for run in runs {
        let total = run.total(|_| true);
        let setting = run.setting;
        let _ = write!(
            text,
            "| {} | {} | {} % | {} | {} |",
            name(&setting),
            setting.backend,
            f64::from(setting.lost_per_mille) / 10.0,
            total.network.sent + total.process.sent,
            total.wrong_total()
        );
        for shape in [Shape::Chain, Shape::Fan] {
            for in_flight in &all {
                let score = run.total(|row| row.in_flight == *in_flight && row.shape == shape);
                let _ = match score.traces {
                    0 => write!(text, " |"),
                    _ => write!(text, " {} |", percent(score.process.recall())),
                };
            }
        }
        text.push('\n');
    }
    text
}

/// The calls of functions on their own, where there are any.
pub fn strays(run: &Run) -> String {
    match run.strays.spans_seen {
        0 => String::new(),
        _ => format!(
            "{} {:>9}  {:<5}  {:<11} {}\n",
            what(&run.setting),
            "",
            "own",
            "",
            figures(&run.strays)
        ),
    }
}

fn in_flights(run: &Run) -> Vec<usize> {
    let mut all: Vec<_> = run.scores.keys().map(|row| row.in_flight).collect();
    all.dedup();
    all
}

fn shapes(run: &Run) -> Vec<Shape> {
    let all: BTreeSet<_> = run.scores.keys().map(|row| row.shape).collect();
    all.into_iter().collect()
}

fn name(setting: &Setting) -> String {
    let secret = if setting.secret {
        " (ids encrypted)"
    } else {
        ""
    };
    let pool = if setting.pool {
        " (keep-alive pool)"
    } else {
        ""
    };
    let tls = if setting.tls { " (over TLS)" } else { "" };
    match setting.habit {
        None => format!("{}{secret}{pool}{tls}", setting.runtime),
        Some(habit) => format!("{} {habit}", setting.runtime),
    }
}

fn what(setting: &Setting) -> String {
    let lost = f64::from(setting.lost_per_mille) / 10.0;
    let backend = match (setting.secret, setting.pool, setting.tls) {
        (true, _, _) => "ids encrypted".to_owned(),
        (_, true, false) => "keep-alive pool".to_owned(),
        (_, true, true) => "TLS, a pool".to_owned(),
        (_, _, true) => "over TLS".to_owned(),
        _ => setting.backend.to_string(),
    };
    let backend = setting.habit.map_or(backend, |habit| habit.to_string());
    format!("{:<21} {backend:<18} {lost:>3} %", setting.runtime)
}

fn figures(score: &Score) -> String {
    format!(
        "{:>7} {:>8} {:>10} {:>12} {:>9} {:>8} {:>8} {:>8} {:>7}  {}",
        score.traces,
        percent(score.traces_whole as f64 / score.traces.max(1) as f64),
        format!("{}/{}", score.spans_seen, score.spans_sent),
        percent(score.precision()),
        percent(score.recall()),
        percent(score.network.recall()),
        percent(score.process.recall()),
        score.unknown,
        score.spans_double,
        wrong(&score.wrong)
    )
}

fn wrong(wrong: &BTreeMap<String, u64>) -> String {
    let list: Vec<_> = wrong
        .iter()
        .map(|(evidence, count)| format!("{count} by {evidence}"))
        .collect();
    match list.is_empty() {
        true => "-".to_owned(),
        false => list.join(", "),
    }
}

/// Never rounded up to 100.
fn percent(share: f64) -> String {
    let hundredths = (share * 10_000.0).floor() / 100.0;
    match share {
        1.0 => "100".to_owned(),
        _ => format!("{hundredths:.2}"),
    }
}
