//! The agent under test. In: what it is to watch and where to send. Out: its output and how it ended.

use std::fmt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{ensure, Result};

use crate::process::{Process, Stream};
use crate::scratch::Scratch;
use crate::system::{target, Signal};

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

/// A running agent. Ended with the value.
#[derive(Debug)]
pub struct Agent {
    process: Process,
    scratch: Scratch,
}

/// Overrides the agent's path; absent: `target/release/spanlet`, where `cargo xtask build` puts it.
pub const BINARY: &str = "SPANLET_BIN";

const START: Duration = Duration::from_secs(20);
const STOP: Duration = Duration::from_secs(20);

impl Agent {
    /// Starts it, and waits until its probes are attached.
    pub fn start(options: &Options) -> Result<Self> {
        let scratch = Scratch::new()?;
        let mut command = Command::new(binary()?);
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
        Ok(Self { process, scratch })
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// What `spanlet probes --output json` says of it.
    pub fn probes(&self) -> Result<serde_json::Value> {
        let mut command = Command::new(binary()?);
        command.args(["probes", "--output", "json", "--socket"]);
        let output = command.arg(self.scratch.join("agent.sock")).output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "spanlet probes failed:\n{said}");
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// Its lines on a stream so far.
    pub fn lines(&self, stream: Stream) -> Vec<String> {
        self.process.lines(stream)
    }

    /// Stops it by SIGTERM; it must flush and end with success. Its log.
    pub fn finish(mut self) -> Result<String> {
        let status = self.process.stop(Signal::Terminate, STOP)?;
        let said = self.process.lines(Stream::Stderr).join("\n");
        ensure!(status.success(), "agent: {status}:\n{said}");
        Ok(said)
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

fn binary() -> Result<PathBuf> {
    let path =
        std::env::var_os(BINARY).map_or_else(|| target().join("release/spanlet"), PathBuf::from);
    ensure!(
        path.exists(),
        "no agent at {}: run `cargo xtask build`, or set {BINARY}",
        path.display()
    );
    Ok(path)
}
