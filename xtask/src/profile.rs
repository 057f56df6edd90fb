//! `cargo xtask profile`: what the agent spends on a request, room by room. In: the replay of `tests/profile`. Out: a
//! table of instructions a request and bytes a span, and a fault for each number that grew by more than a tenth since
//! `tests/profile/costs.txt` was written (`SPANLET_WRITE=1` writes it anew).
//!
//! Instructions, not seconds, so that a busy machine changes nothing. callgrind's files stay in `target/profile/`, for
//! `callgrind_annotate`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{ensure, Context, Result};

use crate::build::static_cargo;
use crate::run::Run;
use crate::{machine, paths};

/// What is replayed, and how much of it: enough that what is done once does not show.
const SHAPES: [(&str, &str); 2] = [("hello", "4000"), ("chain", "100")];
/// Functions of `tests/profile/src/stages.rs`.
const STAGES: [&str; 6] = ["capture", "decode", "enrich", "encode", "gzip", "zstd"];
const BYTES: [&str; 3] = ["bytes_none", "bytes_gzip", "bytes_zstd"];
/// In hundredths of what is written down.
const GROWTH_MAX: u64 = 110;

/// Numbers by shape and what they count.
type Costs = BTreeMap<String, u64>;

/// Builds, measures, shows and compares.
pub fn profile() -> Result<ExitCode> {
    let faults = compare()?;
    faults.iter().for_each(|fault| println!("error: {fault}"));
    Ok(ExitCode::from(u8::from(!faults.is_empty())))
}

/// The same, for other verbs: what grew.
pub fn compare() -> Result<Vec<String>> {
    let costs = measure()?;
    print!("{}", table(&costs));
    let file = paths::root().join("tests/profile/costs.txt");
    if std::env::var_os("SPANLET_WRITE").is_some_and(|value| value == "1") {
        fs::write(&file, listing(&costs))?;
        return Ok(Vec::new());
    }
    let written = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    Ok(grown(&numbers(&written), &costs))
}

fn measure() -> Result<Costs> {
    Run::new("profile", static_cargo("spanlet-profile")?).captured()?;
    fs::create_dir_all(paths::target().join("profile"))?;
    let mut costs = Costs::new();
    for (shape, count) in SHAPES {
        let mut replay = machine::command(program());
        replay.args([shape, count]);
        let told = numbers(&Run::new("profile", replay).captured()?);
        let told = |name: &str| {
            told.get(name)
                .copied()
                .with_context(|| format!("no {name}"))
        };
        let (requests, spans) = (told("requests")?, told("spans")?);
        ensure!(requests > 0 && spans > 0, "nothing was replayed");
        for stage in STAGES {
            let instructions = instructions(shape, count, stage)?;
            costs.insert(format!("{shape} {stage}"), instructions / requests);
        }
        for name in BYTES {
            costs.insert(format!("{shape} {name}"), told(name)? / spans);
        }
    }
    Ok(costs)
}

/// Static, as the agent is shipped.
fn program() -> PathBuf {
    paths::static_release().join("spanlet-profile")
}

/// What callgrind counts while the stage's function runs.
fn instructions(shape: &str, count: &str, stage: &str) -> Result<u64> {
    let place = paths::target().join("profile");
    let (log, out) = (
        place.join(format!("{shape}-{stage}.log")),
        place.join(format!("{shape}-{stage}.out")),
    );
    let mut command = machine::command("valgrind");
    command.args([
        "--tool=callgrind".to_owned(),
        format!("--toggle-collect=spanlet_profile::stages::{stage}*"),
        format!("--log-file={}", log.display()),
        format!("--callgrind-out-file={}", out.display()),
    ]);
    command.arg(program());
    command.args([shape, count]);
    Run::new("profile", command)
        .hint("valgrind counts instructions: `cargo xtask setup` brings it")
        .captured()?;
    let said = fs::read_to_string(&log)?;
    let collected = said.lines().find_map(|line| line.split_once("Collected :"));
    let (_, number) = collected.with_context(|| format!("callgrind counted nothing: {said}"))?;
    let number: u64 = number.trim().parse()?;
    ensure!(number > 0, "{stage} did not run");
    Ok(number)
}

/// Lines of a name, of one word or two, and a number.
fn numbers(text: &str) -> Costs {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let pairs = lines.filter_map(|line| line.rsplit_once(' '));
    pairs
        .filter_map(|(name, number)| Some((name.to_owned(), number.parse().ok()?)))
        .collect()
}

fn listing(costs: &Costs) -> String {
    let mut text = String::from(
        "# Instructions a request, by stage, and bytes a span: see xtask/src/profile.rs.\n",
    );
    for (name, number) in costs {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{name} {number}");
    }
    text
}

fn table(costs: &Costs) -> String {
    let mut text = format!("{:<12}", "a request");
    for (shape, _) in SHAPES {
        let _ = write!(text, "{shape:>10}");
    }
    for name in STAGES.into_iter().chain(BYTES) {
        let _ = write!(text, "\n{name:<12}");
        for (shape, _) in SHAPES {
            let _ = write!(text, "{:>10}", costs[&format!("{shape} {name}")]);
        }
    }
    text + "\ninstructions of each stage, a request; bytes_*: on the wire, a span\n"
}

/// What grew too much, or is not written down.
fn grown(written: &Costs, measured: &Costs) -> Vec<String> {
    let fault = |(name, now): (&String, &u64)| match written.get(name) {
        None => Some(format!("{name}: {now} is not in tests/profile/costs.txt")),
        Some(before) if now * 100 > before * GROWTH_MAX => Some(format!(
            "{name}: grew from {before} to {now}; if it has to, write it down with SPANLET_WRITE=1"
        )),
        Some(_) => None,
    };
    measured.iter().filter_map(fault).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_down_is_read_again() {
        let costs = Costs::from([("hello decode".into(), 6000), ("chain gzip".into(), 1)]);
        assert_eq!(numbers(&listing(&costs)), costs);
    }

    #[test]
    fn a_tenth_may_be_added_and_no_more() {
        let written = Costs::from([("hello decode".into(), 1000)]);
        let measured = |number| Costs::from([("hello decode".into(), number)]);
        assert!(grown(&written, &measured(1100)).is_empty());
        assert!(grown(&written, &measured(500)).is_empty());
        assert_eq!(grown(&written, &measured(1101)).len(), 1);
        assert_eq!(grown(&Costs::new(), &measured(1)).len(), 1);
    }
}
