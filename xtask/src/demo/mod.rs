//! `cargo xtask demo`: a live trace on this machine. In: how long, which back end. Out: on the terminal, what the
//! agent writes about three functions in two languages under gentle traffic, then `spanlet probes`.
//!
//! All that it starts ends with it: when the time is over, on Ctrl-C, and on errors.

mod agent;
mod cast;
mod interrupt;
mod traffic;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{bail, Result};

use crate::machine::{Machine, ThisMachine};
use crate::setup::{self, Purpose};
use crate::step::{step, Outcome};
use crate::{build, doctor};
use agent::Agent;
use cast::Cast;
use interrupt::{Interrupts, Over};
use traffic::Traffic;

#[derive(clap::Args)]
pub struct Options {
    /// End after this time (`20s`, `2m`); else on Ctrl-C
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    length: Option<Duration>,
    /// How bytes on sockets are seen
    #[arg(long, default_value = "auto", value_parser = ["auto", "socket-tracepoints", "sys-exit"])]
    io_backend: String,
    /// Everything is built already: the part that needs root
    #[arg(long, hide = true)]
    built: bool,
}

const NEXT: &str = "
Now a process of your own, as root; it is neither changed nor restarted:

  target/release/spanlet run --port 8080        what listens there, now or later
  target/release/spanlet run --pid 4711         this one and its children
  target/release/spanlet run --exec 'python*'   by the executable's name

With --otlp-endpoint http://localhost:4318, spans go to a collector as well.
README.md says what a span holds, and what is not seen yet.
";

const LEGEND: &str = "\
← came in, → went out, ✗ failed; last: what the parent is known by

";

/// Sets up, builds, and shows the trace.
pub fn demo(options: Options) -> Result<ExitCode> {
    if !options.built {
        setup::setup(Purpose::Demo)?;
        build::compile(build::Options::release())?;
        step("build: functions", || {
            cast::build().map(|()| Outcome::Done(cast::names()))
        })?;
    }
    if !ThisMachine.is_root() {
        bail!(
            "everything is built, but the kernel lets only root watch processes: go on with\n\n  sudo {} demo --built\n",
            std::env::current_exe()?.display()
        );
    }
    if let Some(reason) = doctor::end_to_end_blocked() {
        bail!("nothing can be traced here: {reason}");
    }
    show(&options).map(|()| ExitCode::SUCCESS)
}

fn show(options: &Options) -> Result<()> {
    let interrupts = Interrupts::watch();
    let cast = Cast::start()?;
    let command = agent::command_line(options, &cast);
    if !interrupts.say(&format!("\n{cast}\n$ {command}\n{LEGEND}")) {
        return Ok(());
    }
    let mut agent = Agent::start(options, &cast)?;
    let traffic = Traffic::start(cast.entrance());
    let over = interrupts.wait(options.length, || agent.has_ended())?;
    // Before it ends: it is the running agent that knows.
    let probes = match over {
        Over::Time | Over::Interrupted => agent.probes()?,
        Over::OutputClosed | Over::Condition => String::new(),
    };
    let failures = traffic.stop();
    let log = agent.stop()?;
    drop(cast);
    if matches!(over, Over::Condition) {
        bail!("the agent ended by itself; it said:\n{log}");
    }
    if let Some(failure) = failures {
        bail!("the sample functions gave no answer: {failure:#}");
    }
    if !probes.is_empty() {
        interrupts.say(&format!("\n$ {}\n{probes}{NEXT}", agent::PROBES));
    }
    Ok(())
}

/// `20s`, `2m`, `90`.
fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.strip_suffix('m') {
        Some(minutes) => (minutes, 60),
        None => (text.strip_suffix('s').unwrap_or(text), 1),
    };
    match number.parse::<u32>() {
        Ok(number @ 1..) => Ok(Duration::from_secs(u64::from(number) * unit)),
        _ => Err("a time is written 20s or 2m".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_as_people_write_them() {
        assert_eq!(duration("20s"), Ok(Duration::from_secs(20)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("90"), Ok(Duration::from_secs(90)));
        for wrong in ["", "s", "0s", "-1s", "1h", "m2"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
