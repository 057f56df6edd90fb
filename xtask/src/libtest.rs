//! What Rust's test programs print. In: their lines. Out: how many passed, failed and were skipped, and why.
//!
//! A test that finds that this machine cannot run it prints one line `skipped: what: why` and returns; it is counted
//! as skipped and not as passed. A test with `#[ignore]` is skipped without looking at the machine.

use std::fmt;

/// The sum over all test programs of a run.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub passed: u64,
    pub failed: u64,
    pub skipped: u64,
    /// Tests that never look whether the machine could run them.
    pub ignored: Vec<String>,
    /// What tests said they cannot do here.
    pub cannot: Vec<Skip>,
}

/// A test's own word that it cannot run here.
#[derive(Debug, PartialEq, Eq)]
pub struct Skip {
    pub what: String,
    pub why: String,
}

impl Tally {
    /// Takes one line; lines of other programs change nothing.
    pub fn line(&mut self, line: &str) {
        if let Some(counts) = line.strip_prefix("test result: ") {
            self.add(counts);
        } else if let Some(skip) = line.strip_prefix("skipped: ").and_then(parse_skip) {
            self.cannot.push(skip);
            self.skipped += 1;
            self.passed = self.passed.saturating_sub(1);
        } else if let Some(test) = line.strip_prefix("test ").and_then(ignored_test) {
            self.ignored.push(test);
        }
    }

    fn add(&mut self, counts: &str) {
        self.passed += count(counts, "passed");
        self.failed += count(counts, "failed");
        self.skipped += count(counts, "ignored");
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} passed, {} failed, {} skipped",
            self.passed, self.failed, self.skipped
        )
    }
}

/// The number before a word: `ok. 3 passed; 0 failed` holds 3 for `passed`.
fn count(counts: &str, word: &str) -> u64 {
    let words: Vec<&str> = counts
        .split([' ', ';'])
        .filter(|part| !part.is_empty())
        .collect();
    let pair = words.windows(2).find(|pair| pair.get(1) == Some(&word));
    pair.and_then(|pair| pair.first()?.parse().ok())
        .unwrap_or(0)
}

fn parse_skip(rest: &str) -> Option<Skip> {
    let (what, why) = rest.split_once(": ")?;
    Some(Skip {
        what: what.to_owned(),
        why: why.to_owned(),
    })
}

fn ignored_test(rest: &str) -> Option<String> {
    let (name, outcome) = rest.split_once(" ... ")?;
    outcome.starts_with("ignored").then(|| name.to_owned())
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
    fn sums_over_programs() {
        let summed = tally(
            "running 3 tests\ntest a ... ok\ntest b ... ignored, slow\n\
             test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s\n\
             test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 7 filtered out; finished in 0.01s\n",
        );
        assert_eq!(summed.to_string(), "3 passed, 2 failed, 1 skipped");
        assert_eq!(summed.ignored, ["b"]);
    }

    #[test]
    fn a_test_that_cannot_run_is_not_a_pass() {
        let summed = tally(
            "test result: ok. 2 passed; 0 failed; 0 ignored\nskipped: kprobe back end: the kernel refuses: lockdown\n",
        );
        assert_eq!(summed.to_string(), "1 passed, 0 failed, 1 skipped");
        let why = "the kernel refuses: lockdown".to_owned();
        assert_eq!(
            summed.cannot,
            [Skip {
                what: "kprobe back end".into(),
                why
            }]
        );
    }

    #[test]
    fn other_lines_and_damaged_ones_count_nothing() {
        let output = "test\ntest result:\ntest result: ok. many passed; ; failed\nskipped: no reason\ntest x ... ok";
        assert_eq!(tally(output), Tally::default());
    }
}
