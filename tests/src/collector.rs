//! A real OpenTelemetry Collector that writes what it receives to files. In: OTLP on loopback ports. Out: spans
//! and metrics.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{ensure, Context, Result};

use crate::metrics::{self, Metric};
use crate::otlp::{self, Span};
use crate::process::{Process, Stream};
use crate::scratch::Scratch;
use crate::system::{target, Signal};

/// A running collector. Ended with the value.
#[derive(Debug)]
pub struct Collector {
    process: Process,
    scratch: Scratch,
    grpc_port: u16,
    http_port: u16,
}

/// Overrides the collector's path; absent: `target/tools/otelcol`, where `cargo xtask setup` puts it.
pub const BINARY: &str = "SPANLET_OTELCOL";

const START: Duration = Duration::from_secs(30);
const STOP: Duration = Duration::from_secs(10);

impl Collector {
    /// Starts one on free ports, and waits until it is ready.
    pub fn start() -> Result<Self> {
        let scratch = Scratch::new()?;
        let (grpc_port, http_port) = free_ports()?;
        let config = scratch.join("config.yaml");
        let folder = scratch.path().display().to_string();
        fs::write(&config, configuration(grpc_port, http_port, &folder))?;
        let mut command = Command::new(binary()?);
        command.arg("--config").arg(&config);
        let mut process = Process::start("collector", &mut command)?;
        process.wait_for_line(Stream::Stderr, START, |line| {
            line.contains("Everything is ready").then_some(())
        })?;
        Ok(Self {
            process,
            scratch,
            grpc_port,
            http_port,
        })
    }

    /// For OTEL_EXPORTER_OTLP_PROTOCOL=grpc.
    pub fn grpc_endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.grpc_port)
    }

    /// For OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf: the base URL.
    pub fn http_endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.http_port)
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The spans in its file so far.
    pub fn spans(&self) -> Result<Vec<Span>> {
        let text = fs::read_to_string(self.scratch.join("spans.json")).context("read spans")?;
        otlp::parse(&text)
    }

    /// The metrics in its file so far, the latest value of each.
    pub fn metrics(&self) -> Result<Vec<Metric>> {
        let text = fs::read_to_string(self.scratch.join("metrics.json")).context("read metrics")?;
        metrics::parse(&text)
    }

    /// Stops it, so that everything it received is in its files, and reads them.
    pub fn finish(mut self) -> Result<(Vec<Span>, Vec<Metric>)> {
        self.stop()?;
        Ok((self.spans()?, self.metrics()?))
    }

    /// Stops it, and gives its file of spans as it is: [`otlp::parse`] takes it line by line.
    pub fn finish_text(mut self) -> Result<String> {
        self.stop()?;
        fs::read_to_string(self.scratch.join("spans.json")).context("read spans")
    }

    fn stop(&mut self) -> Result<()> {
        let status = self.process.stop(Signal::Terminate, STOP)?;
        ensure!(
            status.success(),
            "collector: {status}: {}",
            self.process.said()
        );
        Ok(())
    }
}

/// The executable.
pub fn binary() -> Result<PathBuf> {
    let path =
        std::env::var_os(BINARY).map_or_else(|| target().join("tools/otelcol"), PathBuf::from);
    ensure!(
        path.exists(),
        "no collector at {}: run `cargo xtask setup`, or set {BINARY}",
        path.display()
    );
    Ok(path)
}

/// Two ports that are free now. Another process can take one before the collector does: it then fails to start, loudly.
fn free_ports() -> Result<(u16, u16)> {
    let (first, second) = (
        TcpListener::bind("127.0.0.1:0")?,
        TcpListener::bind("127.0.0.1:0")?,
    );
    Ok((first.local_addr()?.port(), second.local_addr()?.port()))
}

fn configuration(grpc_port: u16, http_port: u16, folder: &str) -> String {
    format!(
        "receivers:
  otlp:
    protocols:
      grpc:
        endpoint: 127.0.0.1:{grpc_port}
      http:
        endpoint: 127.0.0.1:{http_port}
exporters:
  file/spans:
    path: {folder}/spans.json
    format: json
    flush_interval: 50ms
  file/metrics:
    path: {folder}/metrics.json
    format: json
    flush_interval: 50ms
service:
  telemetry:
    metrics:
      level: none
  pipelines:
    traces:
      receivers: [otlp]
      exporters: [file/spans]
    metrics:
      receivers: [otlp]
      exporters: [file/metrics]
"
    )
}
