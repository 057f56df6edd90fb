//! One step of a set-up or build, printed with how long it took. In: a name and the work. Out: the same result,
//! and one line on the terminal.

use std::io::{stdout, IsTerminal, Write};
use std::time::{Duration, Instant};

use anyhow::Result;

/// What a step found or did, in a few words.
pub enum Outcome {
    AlreadyThere(String),
    Done(String),
}

/// Runs the work and prints its line; on a terminal, its name meanwhile: a step may take minutes.
pub fn step(name: &str, work: impl FnOnce() -> Result<Outcome>) -> Result<()> {
    let started = Instant::now();
    if stdout().is_terminal() {
        print!("{name:<22}       … \r");
        // Only the name is late where this fails.
        let _ = stdout().flush();
    }
    let result = work();
    println!("{}", line(name, &result, started.elapsed()));
    result.map(|_| ())
}

fn line(name: &str, result: &Result<Outcome>, took: Duration) -> String {
    let said = match result {
        Ok(Outcome::AlreadyThere(what)) => format!("already there: {what}"),
        Ok(Outcome::Done(what)) => format!("done: {what}"),
        Err(_) => "FAILED".to_owned(),
    };
    format!("{name:<22} {:>7.1} s  {said}", took.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_name_time_and_outcome() {
        let there = Ok(Outcome::AlreadyThere("go 1.26".into()));
        let said = line("runtimes", &there, Duration::from_millis(1500));
        assert_eq!(
            said,
            "runtimes                   1.5 s  already there: go 1.26"
        );
        assert!(line("x", &Err(anyhow::anyhow!("no")), Duration::ZERO).ends_with("FAILED"));
    }
}
