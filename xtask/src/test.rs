//! `cargo xtask test`: everything that can run here. In: the checkout and this machine. Out: each tool's own lines, one
//! line for what cannot run here and why, how long each step took, and last of all `N passed, N failed, N skipped`.

use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};

use crate::k8s::beside::Beside;
use crate::libtest::Tally;
use crate::machine::ThisMachine;
use crate::run::{command_line, Run};
use crate::setup::Purpose;
use crate::times::{Slowest, Times};
use crate::{build, doctor, e2e, fuzz, k8s, machine, profile, setup};

/// Sets up, builds, checks and tests. A fault does not stop what comes after it, as far as that can still be done.
pub fn test() -> Result<ExitCode> {
    let blocked = doctor::end_to_end_blocked();
    let mut times = Times::default();
    let ready = match blocked {
        None => prepare(&mut times).map(Some),
        Some(_) => Ok(None),
    };
    let mut faults = Vec::new();
    let (is_ready, beside) = match ready {
        Ok(beside) => (true, beside.flatten()),
        Err(fault) => {
            faults.push(format!("{fault:#}"));
            (false, None)
        }
    };
    faults.extend(check(&mut times));
    let mut tally = Tally::default();
    let mut succeeded = times.of("unit tests", || stream(unit(), &mut tally))?;
    faults.extend(times.of("fuzz targets", || fuzz(&mut tally)));
    // What failed of it is tried again, and said, by the Kubernetes ring.
    if let Some(beside) = beside {
        times.of("cluster's rest", || beside.wait())?;
    }
    match blocked {
        None if is_ready => {
            succeeded &= times.of("end-to-end ring", || stream(e2e::all(), &mut tally))?;
            let grown = times.of("profile", profile::compare);
            faults.extend(grown.unwrap_or_else(|fault| vec![format!("{fault:#}")]));
            faults.extend(times.of("Kubernetes ring", || kubernetes(&mut tally)));
        }
        None => faults.push("the end-to-end ring did not run: setup or build failed".into()),
        Some(reason) => {
            println!("skipped: end-to-end ring: {reason}");
            if std::env::var_os("CI").is_some_and(|value| value == "true") {
                faults.push("continuous integration must run the end-to-end ring".into());
            }
        }
    }
    print!("{times}");
    Ok(verdict(&tally, succeeded, faults))
}

/// Runs tests with their output on the terminal, adds them up, and says whether the command succeeded.
pub fn stream(mut command: Command, tally: &mut Tally) -> Result<bool> {
    let started = || format!("cannot start `{}`", command_line(&command));
    let label = started();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context(label)?;
    let output = child.stdout.take().context("no output to read")?;
    let mut slowest = Slowest::new(Instant::now());
    for line in BufReader::new(output).split(b'\n') {
        let line = line.context("cannot read the tests' output")?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        tally.line(&line);
        slowest.line(&line, Instant::now());
    }
    print!("{slowest}");
    Ok(child.wait().context("cannot wait for the tests")?.success())
}

/// Says what is wrong, then the tally, and nothing after it.
pub fn verdict(tally: &Tally, succeeded: bool, mut faults: Vec<String>) -> ExitCode {
    faults.extend(unjust_skips(tally, doctor::bears_out));
    if !succeeded {
        faults.push("tests failed".into());
    }
    if tally.passed + tally.failed == 0 {
        faults.push("no test ran".into());
    }
    faults.iter().for_each(|fault| println!("error: {fault}"));
    println!("{tally}");
    if faults.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Tests that were skipped although nothing shows that this machine cannot run them.
fn unjust_skips(tally: &Tally, bears_out: impl Fn(&str) -> bool) -> Vec<String> {
    let ignored = tally
        .ignored
        .iter()
        .map(|test| format!("{test} is ignored without looking at this machine"));
    let unproven = tally.cannot.iter().filter(|skip| !bears_out(&skip.what));
    let unproven = unproven.map(|skip| {
        format!(
            "{} was skipped ({}), but this machine has it",
            skip.what, skip.why
        )
    });
    ignored.chain(unproven).collect()
}

/// Brings and builds what the end-to-end ring needs, and begins with what the cluster needs, where one can be.
fn prepare(times: &mut Times) -> Result<Option<Beside>> {
    times.of("setup", || setup::setup(Purpose::Test))?;
    let can = doctor::kubernetes_blocked().is_none();
    let beside = can.then(Beside::start).transpose()?;
    times.of("build", || build::compile(build::Options::static_binary()))?;
    Ok(beside)
}

/// Format and lints.
fn check(times: &mut Times) -> Vec<String> {
    let checks: [(&'static str, &[&str]); 2] = [
        ("format", &["fmt", "--all", "--check"]),
        (
            "lints",
            &[
                "clippy",
                "--quiet",
                "--all-targets",
                "--features",
                "spanlet-e2e/e2e",
                "--",
                "-D",
                "warnings",
            ],
        ),
    ];
    let run = |(step, arguments)| {
        let mut command = machine::command("cargo");
        command.args(arguments);
        let result = times.of(step, || Run::new("check", command).shown());
        result.err().map(|fault| format!("{fault:#}"))
    };
    checks.into_iter().filter_map(run).collect()
}

/// Some seconds of random bytes for each parser of foreign ones; each target counts as a test.
fn fuzz(tally: &mut Tally) -> Vec<String> {
    if let Some(missing) = fuzz::missing(&ThisMachine) {
        println!("skipped: fuzz targets: {missing}");
        tally.skipped += 1;
        return Vec::new();
    }
    let results = match fuzz::smoke() {
        Ok(results) => results,
        Err(fault) => return vec![format!("{fault:#}")],
    };
    let mut faults = Vec::new();
    for (target, result) in results {
        println!(
            "fuzz {target}: {}",
            if result.is_ok() { "ok" } else { "FAILED" }
        );
        tally.passed += u64::from(result.is_ok());
        tally.failed += u64::from(result.is_err());
        faults.extend(result.err().map(|fault| format!("{fault:#}")));
    }
    faults
}

/// The scenario on a real Kubernetes.
fn kubernetes(tally: &mut Tally) -> Vec<String> {
    if let Some(missing) = doctor::kubernetes_blocked() {
        println!("skipped: Kubernetes ring: {missing}");
        tally.skipped += 1;
        return Vec::new();
    }
    match k8s::test::all(tally) {
        Ok(true) => Vec::new(),
        Ok(false) => vec!["tests on Kubernetes failed".into()],
        Err(fault) => vec![format!("the Kubernetes ring: {fault:#}")],
    }
}

fn unit() -> Command {
    let mut command = machine::command("cargo");
    command.args(["test", "--no-fail-fast"]);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(output: &str) -> Tally {
        let mut tally = Tally::default();
        output.lines().for_each(|line| tally.line(line));
        tally
    }

    #[test]
    fn a_skip_needs_a_reason_that_this_machine_bears_out() {
        let skipped = tally("skipped: kprobe back end: lockdown\ntest slow ... ignored");
        assert_eq!(
            unjust_skips(&skipped, |_| true),
            ["slow is ignored without looking at this machine"]
        );
        assert_eq!(unjust_skips(&skipped, |_| false).len(), 2);
    }

    #[test]
    fn lines_are_counted_and_the_end_is_seen() {
        let mut counted = Tally::default();
        let mut shell = Command::new("sh");
        shell.args([
            "-c",
            "echo 'test result: FAILED. 1 passed; 1 failed; 0 ignored'; exit 101",
        ]);
        assert!(!stream(shell, &mut counted).unwrap());
        assert_eq!(counted.to_string(), "1 passed, 1 failed, 0 skipped");
    }
}
