//! A running test function. In: a language or a command, and options. Out: its address, its pid and its own ground truth.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::client::Address;
use crate::language::Language;
use crate::process::{Process, Stream};
use crate::scratch::Scratch;

/// How a function is started.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Listen address; absent: `127.0.0.1`.
    pub host: Option<&'static str>,
    /// Absent: any free port.
    pub port: Option<u16>,
    /// Listen on a Unix socket instead.
    pub unix: bool,
    /// The function that `/chain` and `/fan` call.
    pub next: Option<Address>,
    /// More environment: `OTEL_SERVICE_NAME` and the like.
    pub environment: Vec<(String, String)>,
    /// Run on this CPU only.
    pub cpu: Option<usize>,
    /// Write no ground truth: what is measured is the function alone.
    pub without_truth: bool,
}

/// A function that serves. Ended with the value.
#[derive(Debug)]
pub struct Function {
    /// Of its language or runtime.
    pub name: &'static str,
    pub address: Address,
    process: Process,
    scratch: Scratch,
}

/// A function that need not serve yet: others can start meanwhile. Ended with the value.
#[derive(Debug)]
pub struct Starting {
    name: &'static str,
    host: Option<&'static str>,
    unix: bool,
    process: Process,
    scratch: Scratch,
}

/// What a function itself says of one request.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Truth {
    /// The request target as it came.
    pub path: String,
    pub pid: u32,
    /// CLOCK_MONOTONIC when the handler began.
    pub started_ns: u64,
    /// CLOCK_MONOTONIC when the last byte of the answer was handed to the socket.
    pub ended_ns: u64,
}

/// The first start of a runtime on a busy machine.
const START: Duration = Duration::from_secs(30);

impl Function {
    /// Builds and starts a function, and waits until it serves.
    pub fn start(language: Language, options: &Options) -> Result<Self> {
        Self::launch(language, options)?.serving()
    }

    /// Builds a function and starts it.
    pub fn launch(language: Language, options: &Options) -> Result<Starting> {
        Starting::new(language.name(), language.command()?, options)
    }

    /// Starts a function by a command of one's own: that of a runtime, a copy of an executable, a script around it.
    pub fn start_as(name: &'static str, command: Command, options: &Options) -> Result<Self> {
        Self::launch_as(name, command, options)?.serving()
    }

    /// The same, without waiting.
    pub fn launch_as(name: &'static str, command: Command, options: &Options) -> Result<Starting> {
        Starting::new(name, command, options)
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// What the function has written down so far, whole lines only.
    pub fn truth(&self) -> Result<Vec<Truth>> {
        let text = match fs::read_to_string(self.truth_path()) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            text => text.context("read ground truth")?,
        };
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let lines = whole.lines().map(|line| {
            serde_json::from_str(line).with_context(|| format!("ground truth: {line}"))
        });
        lines.collect()
    }

    /// Waits for the process to end by itself.
    pub fn wait(&mut self, deadline: Duration) -> Result<ExitStatus> {
        self.process.wait(deadline)
    }

    /// Everything it said, for messages.
    pub fn said(&self) -> String {
        self.process.said()
    }

    fn truth_path(&self) -> PathBuf {
        self.scratch.join("truth")
    }
}

impl Starting {
    fn new(name: &'static str, command: Command, options: &Options) -> Result<Self> {
        let scratch = Scratch::new()?;
        let mut command = on_cpu(command, options.cpu);
        for name in ["PORT", "HOST", "UNIX", "NEXT", "TRUTH"] {
            command.env_remove(name);
        }
        if !options.without_truth {
            command.env("TRUTH", scratch.join("truth"));
        }
        if let Some(host) = options.host {
            command.env("HOST", host);
        }
        if let Some(port) = options.port {
            command.env("PORT", port.to_string());
        }
        if options.unix {
            command.env("UNIX", scratch.join("socket"));
        }
        if let Some(next) = &options.next {
            command.env("NEXT", format!("http://{}", next.authority()));
        }
        command.envs(options.environment.iter().cloned());
        Ok(Self {
            name,
            host: options.host,
            unix: options.unix,
            process: Process::start(name, &mut command)?,
            scratch,
        })
    }

    /// Waits until it serves.
    pub fn serving(mut self) -> Result<Function> {
        let place = self
            .process
            .wait_for_line(Stream::Stdout, START, listening)?;
        Ok(Function {
            name: self.name,
            address: Address::of(self.host, self.unix, &place)?,
            process: self.process,
            scratch: self.scratch,
        })
    }
}

/// The same command, by util-linux's `taskset`, which becomes it.
fn on_cpu(command: Command, cpu: Option<usize>) -> Command {
    let Some(cpu) = cpu else { return command };
    let mut pinned = Command::new("taskset");
    pinned.arg("-c").arg(cpu.to_string());
    pinned.arg(command.get_program()).args(command.get_args());
    let own = command.get_envs();
    pinned.envs(own.filter_map(|(name, value)| Some((name, value?))));
    pinned
}

fn listening(line: &str) -> Option<String> {
    line.strip_prefix("listening ").map(str::to_owned)
}
