//! The agent of the demo. In: the functions to watch. Out: their spans on standard output, as anyone's agent writes
//! them; ended with the value.

use std::process::Command;
use std::time::Duration;

use anyhow::{ensure, Result};
use spanlet_e2e::process::{Process, Stream};
use spanlet_e2e::system::Signal;

use super::{Cast, Options};
use crate::machine;
use crate::run::{self, Run};

/// What is shown at the end, as it can be typed meanwhile in another terminal.
pub const PROBES: &str = "target/release/spanlet probes --socket /run/spanlet-demo.sock";

const BINARY: &str = "target/release/spanlet";
const SOCKET: [&str; 2] = ["--socket", "/run/spanlet-demo.sock"];
const START: Duration = Duration::from_secs(20);
const STOP: Duration = Duration::from_secs(20);

pub struct Agent(Process);

/// What is run, as it would be typed: in two lines, for narrow screens.
pub fn command_line(options: &Options, cast: &Cast) -> String {
    run::command_line(&command(options, cast)).replace(" --socket", " \\\n    --socket")
}

impl Agent {
    /// Starts it, and waits until its probes are attached.
    pub fn start(options: &Options, cast: &Cast) -> Result<Self> {
        let mut process = Process::start_showing("spanlet", &mut command(options, cast))?;
        process.wait_for_line(Stream::Stderr, START, |line| {
            line.contains("ready").then_some(())
        })?;
        Ok(Self(process))
    }

    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self.0.ended()?.is_some())
    }

    /// What `spanlet probes` says of it.
    pub fn probes(&self) -> Result<String> {
        let mut command = machine::command(BINARY);
        command.arg("probes").args(SOCKET);
        Run::new("spanlet probes", command).captured()
    }

    /// Stops it as a service manager would: it writes down what it holds, and must succeed. Its log.
    pub fn stop(mut self) -> Result<String> {
        let status = match self.0.ended()? {
            Some(status) => status,
            None => self.0.stop(Signal::Terminate, STOP)?,
        };
        let log = self.0.said();
        ensure!(
            status.success(),
            "the agent ended with {status}; it said:\n{log}"
        );
        Ok(log)
    }
}

fn command(options: &Options, cast: &Cast) -> Command {
    let mut command = machine::command(BINARY);
    command.arg("run");
    for pid in cast.pids() {
        command.args(["--pid", &pid.to_string()]);
    }
    if options.io_backend != "auto" {
        command.args(["--io-backend", &options.io_backend]);
    }
    command.args(SOCKET);
    command
}
