//! The command line: flags in, a command and the settings it carries out. Pure.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::{IoBackend, Query, RawConfig, RawOtlp, RawSelect};
use crate::export::otlp::Protocol;
use crate::export::Output;

/// The commit and the kernel programs this executable was built from.
pub const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (commit ",
    env!("SPANLET_COMMIT"),
    ", BPF build ",
    env!("SPANLET_BPF_BUILD"),
    ")"
);

/// Traces functions without touching them: HTTP requests in and out of processes become OpenTelemetry spans.
#[derive(Debug, Parser)]
#[command(name = "spanlet", version = VERSION, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Trace processes of this node until interrupted.
    Run(Box<Run>),
    /// Ask the running agent what is traced, what is attached and what it costs; and what is not, and why.
    Probes(Probes),
    /// Try each kernel feature: what it enables, what its absence costs.
    Doctor(Doctor),
    /// Ask every agent behind a name whether it has verified its own probes; fails unless all have.
    Ready {
        /// Its health endpoint, NAME:PORT; each address of the name is asked.
        place: String,
        /// How long they may take to become ready.
        #[arg(long, value_name = "SECONDS", default_value_t = 60)]
        wait: u64,
    },
    /// Print where Go programs keep what is read, by their debug information, as a table for `--go-offsets`.
    GoOffsets {
        /// Executables that were built with it, each by another version.
        #[arg(required = true, value_name = "PROGRAM")]
        programs: Vec<PathBuf>,
    },
    /// Check a configuration file (with the environment) and print every setting and where it comes from.
    CheckConfig {
        /// What `spanlet run --config` would read.
        file: PathBuf,
    },
}

const RUN_EXAMPLES: &str = "\
Name at least one of --pid, --exec, --port and --all, here or in the file. Needs root.

Examples:
  spanlet run --port 8080
  spanlet run --exec 'python*' --output lines
  OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4317 spanlet run --all --output none

Also heeded: the other OTEL_EXPORTER_OTLP_* and OTEL_BSP_* variables; NO_COLOR and COLUMNS; \
SPANLET_LOG (warn, info, debug) for the agent's own log, which goes to standard error.";

#[derive(Args, Debug)]
#[command(after_help = RUN_EXAMPLES)]
pub struct Run {
    /// Trace this process and its children (repeatable).
    #[arg(long, value_name = "N")]
    pub pid: Vec<u32>,
    /// Trace processes whose executable matches, by its name, or by its path if the pattern has a `/` (repeatable).
    #[arg(long, value_name = "GLOB")]
    pub exec: Vec<String>,
    /// Trace processes that listen on this port, now or later (repeatable).
    #[arg(long, value_name = "P")]
    pub port: Vec<u16>,
    /// Trace every process.
    #[arg(long)]
    pub all: bool,
    /// Never trace executables that match (repeatable).
    #[arg(long, value_name = "GLOB")]
    pub exclude_exec: Vec<String>,
    /// What is written to standard output: traces as waterfalls (text, the default), a line a span, JSON, or nothing.
    #[arg(long, value_enum, value_name = "FORM")]
    pub output: Option<OutputFlag>,
    /// Send spans to this OpenTelemetry Protocol endpoint (also OTEL_EXPORTER_OTLP_ENDPOINT).
    #[arg(long, value_name = "URL")]
    pub otlp_endpoint: Option<String>,
    /// How to speak to it; unset: grpc if its port is 4317 (also OTEL_EXPORTER_OTLP_PROTOCOL).
    #[arg(long, value_enum, value_name = "PROTOCOL")]
    pub otlp_protocol: Option<ProtocolFlag>,
    /// How bytes on sockets are seen; auto, the default, takes the cheapest that the kernel allows.
    #[arg(long, value_enum, value_name = "HOW")]
    pub io_backend: Option<BackendFlag>,
    /// What becomes of a URL's query: values replaced (redact, the default), all kept, or all dropped.
    #[arg(long, value_enum, value_name = "WHAT")]
    pub query: Option<QueryFlag>,
    /// Do not read CPU time and run-queue wait.
    #[arg(long)]
    pub no_thread_clocks: bool,
    /// Do not measure how long requests wait before they are read.
    #[arg(long)]
    pub no_read_wait: bool,
    /// The Unix socket where `spanlet probes` asks; unset: /run/spanlet.sock (also SPANLET_SOCKET).
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Offsets of Go's releases that the agent does not know, or that win over its own (also SPANLET_GO_OFFSETS).
    #[arg(long, value_name = "FILE")]
    pub go_offsets: Option<PathBuf>,
    /// Read settings from this file; flags win over it.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Save the kernel's records to this file, for tests to replay.
    #[arg(long, value_name = "FILE", hide = true)]
    pub record: Option<PathBuf>,
    /// Lose this many of 1000 records on purpose, to see what loss does.
    #[arg(long, value_name = "N", hide = true, default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=1000))]
    pub lose_per_mille: u32,
    /// Make a map of the kernel programs this large, to see what happens when it is full (repeatable).
    #[arg(long, value_name = "MAP=N", hide = true, value_parser = map_size)]
    pub map_size: Vec<(String, u32)>,
}

#[derive(Args, Debug)]
pub struct Probes {
    /// Tables, tables with everything in them, or JSON.
    #[arg(long, value_enum, value_name = "FORM", default_value_t = ReportForm::Text)]
    pub output: ReportForm,
    /// The agent's socket; unset: what SPANLET_SOCKET says, else /run/spanlet.sock.
    #[arg(long, value_name = "PATH", conflicts_with = "cluster")]
    pub socket: Option<PathBuf>,
    #[command(flatten)]
    pub of: Cluster,
    /// With --cluster: show the processes of this namespace's pods; unset: of the context's namespace.
    #[arg(short, long, value_name = "NAME", conflicts_with = "all_namespaces")]
    pub namespace: Option<String>,
    /// With --cluster: show the processes of all namespaces.
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
}

#[derive(Args, Debug)]
pub struct Doctor {
    /// A table or JSON.
    #[arg(long, value_enum, value_name = "FORM", default_value_t = ReportForm::Text)]
    pub output: ReportForm,
    #[command(flatten)]
    pub of: Cluster,
}

/// A cluster in place of this node.
#[derive(Args, Debug)]
pub struct Cluster {
    /// Ask the agents of all nodes of a cluster, through its API server, as kubectl would.
    #[arg(long)]
    pub cluster: bool,
    /// With --cluster: only this node (repeatable).
    #[arg(long, value_name = "NAME")]
    pub node: Vec<String>,
    /// With --cluster: the context in the kubeconfig; unset: the current one.
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// With --cluster: the kubeconfig; unset: as kubectl finds it.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// With --cluster: the agents' namespace, where not all pods may be listed.
    #[arg(long, value_name = "NAME")]
    pub agent_namespace: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReportForm {
    Text,
    Wide,
    Json,
}

/// Mirrors of configuration words, as flag values.
macro_rules! flag_values {
    ($($flag:ident = $word:ident { $($value:ident),* })*) => {$(
        #[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
        pub enum $flag { $($value),* }

        impl From<$flag> for $word {
            fn from(flag: $flag) -> Self {
                match flag { $($flag::$value => Self::$value),* }
            }
        }
    )*};
}

flag_values! {
    OutputFlag = Output { Text, Lines, Json, None }
    BackendFlag = IoBackend { Auto, SocketTracepoints, SysExit }
    QueryFlag = Query { Redact, Keep, Drop }
}

/// As OTEL_EXPORTER_OTLP_PROTOCOL spells them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProtocolFlag {
    #[value(name = "grpc")]
    Grpc,
    #[value(name = "http/protobuf")]
    HttpProtobuf,
}

impl From<ProtocolFlag> for Protocol {
    fn from(flag: ProtocolFlag) -> Self {
        match flag {
            ProtocolFlag::Grpc => Self::Grpc,
            ProtocolFlag::HttpProtobuf => Self::HttpProtobuf,
        }
    }
}

impl Run {
    /// The settings that the flags make; what is not given is left to the file, the environment and the defaults.
    pub fn settings(&self) -> RawConfig {
        RawConfig {
            select: RawSelect {
                pids: given(&self.pid),
                exec: given(&self.exec),
                ports: given(&self.port),
                all: self.all.then_some(true),
                exclude_exec: given(&self.exclude_exec),
            },
            output: self.output.map(Into::into),
            io_backend: self.io_backend.map(Into::into),
            thread_clocks: self.no_thread_clocks.then_some(false),
            read_wait: self.no_read_wait.then_some(false),
            query: self.query.map(Into::into),
            socket: self.socket.clone(),
            go_offsets: self.go_offsets.clone(),
            otlp: RawOtlp {
                endpoint: self.otlp_endpoint.clone(),
                protocol: self.otlp_protocol.map(Into::into),
                ..RawOtlp::default()
            },
            ..RawConfig::default()
        }
    }
}

fn map_size(text: &str) -> Result<(String, u32), String> {
    let (map, size) = text.split_once('=').ok_or("give MAP=N")?;
    let size = size
        .parse()
        .map_err(|_| format!("`{size}` is not a number"))?;
    Ok((map.to_owned(), size))
}

fn given<T: Clone>(values: &[T]) -> Option<Vec<T>> {
    (!values.is_empty()).then(|| values.to_vec())
}
