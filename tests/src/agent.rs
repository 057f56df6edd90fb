//! The agent under test. In: what it is to watch and where to send. Out: its output, its report and how it ended.

use std::fmt;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{ensure, Result};

use crate::otlp::Span;
use crate::process::{Process, Stream};
use crate::report::Report;
use crate::scratch::Scratch;
use crate::system::{target, Signal};
use crate::{bpf, json};

/// How the agent sees system calls on sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Backend {
    SocketTracepoints,
    SysExit,
}

/// How spans leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Grpc,
    HttpProtobuf,
}

/// How the agent is started.
#[derive(Clone, Debug)]
pub struct Options {
    pub pids: Vec<u32>,
    pub backend: Backend,
    /// OTLP protocol and endpoint; `None`: no OTLP.
    pub otlp: Option<(Protocol, String)>,
    /// `text`, `lines`, `json` or `none`.
    pub output: &'static str,
    pub environment: Vec<(String, String)>,
    /// More arguments of `spanlet run`.
    pub arguments: Vec<String>,
}

/// What an agent left that was stopped.
#[derive(Debug)]
pub struct Ended {
    pub log: String,
    /// With the output `json`; else none.
    pub spans: Vec<Span>,
}

/// A running agent. Ended with the value.
#[derive(Debug)]
pub struct Agent {
    process: Process,
    scratch: Scratch,
    json: bool,
}

/// Overrides the agent's path; absent: `target/release/spanlet`, where `cargo xtask build` puts it.
pub const BINARY: &str = "SPANLET_BIN";

const START: Duration = Duration::from_secs(20);
const STOP: Duration = Duration::from_secs(20);

impl Options {
    /// Spans as JSON, read from its standard output; nothing is sent.
    pub fn json(backend: Backend, pids: &[u32]) -> Self {
        Self {
            pids: pids.to_vec(),
            backend,
            otlp: None,
            output: "json",
            environment: Vec::new(),
            arguments: Vec::new(),
        }
    }

    /// More arguments of `spanlet run`.
    pub fn with(mut self, arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|argument| (*argument).to_owned());
        self.arguments.extend(arguments);
        self
    }
}

impl Agent {
    /// Starts it, and waits until its probes are attached.
    pub fn start(options: &Options) -> Result<Self> {
        Self::start_by(Command::new(binary()?), options)
    }

    /// The same by a command that becomes the agent when it is given the agent's arguments.
    pub fn start_by(mut command: Command, options: &Options) -> Result<Self> {
        let scratch = Scratch::new()?;
        command.arg("run");
        for pid in &options.pids {
            command.arg("--pid").arg(pid.to_string());
        }
        command.args(["--output", options.output]);
        command.args(["--io-backend", &options.backend.to_string()]);
        command.arg("--socket").arg(scratch.join("agent.sock"));
        command.args(&options.arguments);
        if let Some((protocol, endpoint)) = &options.otlp {
            command.env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint);
            command.env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol.name());
        }
        command.envs(options.environment.iter().cloned());
        let mut process = Process::start("agent", &mut command)?;
        process.wait_for_line(Stream::Stderr, START, |line| {
            line.contains("ready").then_some(())
        })?;
        Ok(Self {
            process,
            scratch,
            json: options.output == "json",
        })
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Where it answers `spanlet probes`.
    pub fn socket(&self) -> PathBuf {
        self.scratch.join("agent.sock")
    }

    /// What `spanlet probes --output json` says of it.
    pub fn report(&self) -> Result<Report> {
        let output = self.probes("json")?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "spanlet probes failed:\n{said}");
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// Runs `spanlet probes` in one of its forms.
    pub fn probes(&self, form: &str) -> Result<Output> {
        let mut command = Command::new(binary()?);
        command.args(["probes", "--output", form, "--socket"]);
        Ok(command.arg(self.socket()).output()?)
    }

    /// The spans that it has written so far.
    pub fn spans(&self) -> Result<Vec<Span>> {
        self.process
            .lines(Stream::Stdout)
            .iter()
            .map(|line| json::parse(line))
            .collect()
    }

    /// The BPF programs that it holds, by their numbers.
    pub fn programs(&self) -> Result<Vec<u32>> {
        Ok(bpf::programs_of(self.pid())?)
    }

    /// Whether it runs, as it should.
    pub fn is_alive(&mut self) -> Result<bool> {
        Ok(self.process.ended()?.is_none())
    }

    /// Stops it by SIGTERM; it must flush and end with success.
    pub fn finish(mut self) -> Result<Ended> {
        let status = self.process.stop(Signal::Terminate, STOP)?;
        let log = self.process.lines(Stream::Stderr).join("\n");
        ensure!(status.success(), "agent: {status}:\n{log}");
        let spans = match self.json {
            true => self.spans()?,
            false => Vec::new(),
        };
        Ok(Ended { log, spans })
    }

    /// Ends it by SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        self.process.stop(Signal::Kill, STOP).map(drop)
    }
}

impl Backend {
    pub const ALL: [Self; 2] = [Self::SocketTracepoints, Self::SysExit];
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SocketTracepoints => "socket-tracepoints",
            Self::SysExit => "sys-exit",
        })
    }
}

impl Protocol {
    fn name(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::HttpProtobuf => "http/protobuf",
        }
    }
}

/// The executable under test.
pub fn binary() -> Result<PathBuf> {
    let path =
        std::env::var_os(BINARY).map_or_else(|| target().join("release/spanlet"), PathBuf::from);
    ensure!(
        path.exists(),
        "no agent at {}: run `cargo xtask build`, or set {BINARY}",
        path.display()
    );
    Ok(path)
}
