//! How long each step of a run took, and which tests took longest. In: steps, as they are done; test programs' lines, as they
//! come. Out: a line for each.

use std::fmt;
use std::time::{Duration, Instant};

/// Steps that are over.
#[derive(Default)]
pub struct Times(Vec<(&'static str, Duration)>);

impl Times {
    /// Does one step.
    pub fn of<T>(&mut self, step: &'static str, work: impl FnOnce() -> T) -> T {
        let started = Instant::now();
        let result = work();
        self.0.push((step, started.elapsed()));
        result
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Duration = self.0.iter().map(|(_, took)| *took).sum();
        for (step, took) in self.0.iter().chain([&("all", all)]) {
            writeln!(f, "time: {step:<16} {:>7.1} s", took.as_secs_f64())?;
        }
        Ok(())
    }
}

/// How many tests are shown.
const SLOWEST: usize = 12;
/// What takes less is not worth a line: nor is any test of a program that runs them side by side.
const SLOW: Duration = Duration::from_secs(5);

/// The tests that took longest, of a program that runs one at a time: from one line that tells of a test to the next.
pub struct Slowest {
    since: Instant,
    tests: Vec<(Duration, String)>,
}

impl Slowest {
    pub fn new(now: Instant) -> Self {
        Self {
            since: now,
            tests: Vec::new(),
        }
    }

    /// Takes one line; those that end no test only set the time.
    pub fn line(&mut self, line: &str, now: Instant) {
        if line.starts_with("running ") {
            self.since = now;
        }
        let test = line.strip_prefix("test ");
        let Some((name, _)) = test.and_then(|test| test.split_once(" ... ")) else {
            return;
        };
        let took = now.duration_since(std::mem::replace(&mut self.since, now));
        if took >= SLOW {
            self.tests.push((took, name.to_owned()));
        }
    }
}

impl fmt::Display for Slowest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut tests: Vec<_> = self.tests.iter().collect();
        tests.sort_by_key(|(took, _)| std::cmp::Reverse(*took));
        for (took, name) in tests.into_iter().take(SLOWEST) {
            writeln!(f, "time: {:>7.1} s  {name}", took.as_secs_f64())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_tests_are_named_and_no_others() {
        let start = Instant::now();
        let mut slowest = Slowest::new(start);
        for (second, line) in [
            (30, "running 3 tests"),
            (31, "test quick ... ok"),
            (40, "test slow ... FAILED"),
            (43, "time: what a test printed"),
            (60, "test slower ... ok"),
        ] {
            slowest.line(line, start + Duration::from_secs(second));
        }
        assert_eq!(
            slowest.to_string(),
            "time:    20.0 s  slower\ntime:     9.0 s  slow\n"
        );
    }

    #[test]
    fn each_step_has_a_line_and_the_sum_is_last() {
        let times = Times(vec![
            ("clippy", Duration::from_millis(1_500)),
            ("end-to-end ring", Duration::from_secs(400)),
        ]);
        assert_eq!(
            times.to_string(),
            "time: clippy               1.5 s\ntime: end-to-end ring    400.0 s\ntime: all                401.5 s\n"
        );
    }

    #[test]
    fn a_step_gives_what_it_made() {
        let mut times = Times::default();
        assert_eq!(times.of("sum", || 1 + 1), 2);
        assert!(times.to_string().starts_with("time: sum "));
    }
}
