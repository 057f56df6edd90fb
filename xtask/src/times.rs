//! How long each step of a run took. In: steps, as they are done. Out: a line for each, in their order.

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

#[cfg(test)]
mod tests {
    use super::*;

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
