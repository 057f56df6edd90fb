//! What is known of a process before any of its requests: the first output of this room. Plain data.

use std::sync::Arc;

use crate::capture::event::HostPid;
use crate::pods::{Place, Workload};

/// The language a function is written in, by its runtime.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Language {
    Go,
    Python,
    Node,
    Java,
    Rust,
    Ruby,
    Php,
    DotNet,
    /// C or C++, or another compiled language without a mark of its own.
    Native,
    #[default]
    Unknown,
}

impl Language {
    /// As `telemetry.sdk.language` and people spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Go => "go",
            Self::Python => "python",
            Self::Node => "nodejs",
            Self::Java => "java",
            Self::Rust => "rust",
            Self::Ruby => "ruby",
            Self::Php => "php",
            Self::DotNet => "dotnet",
            Self::Native => "native",
            Self::Unknown => "unknown",
        }
    }
}

/// How much Kubernetes has told of a process that is in a pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// All that spans wait for; also outside pods, and without Kubernetes.
    #[default]
    Known,
    /// More of its workload may come soon: its spans wait a little.
    Incomplete,
    /// Not even whether it is to be traced.
    Pending,
}

/// What became of a process of which not all was known.
#[derive(Clone, Debug, PartialEq)]
pub enum Resolution {
    Traced(Standing, Option<Arc<Workload>>),
    /// It is not to be traced: nothing of it may be told.
    Refused,
}

/// A process as procfs and its executable show it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProcessFacts {
    pub pid: HostPid,
    pub parent: HostPid,
    /// Start time in clock ticks since boot: with the pid, names the process for good.
    pub start_ticks: u64,
    /// Path of the executable in the process's own view; empty where it cannot be read.
    pub executable_path: String,
    /// Arguments, the program first.
    pub command_args: Vec<String>,
    /// `OTEL_SERVICE_NAME` of the process.
    pub service_name: Option<String>,
    /// `OTEL_RESOURCE_ATTRIBUTES` of the process, in order.
    pub resource_attributes: Vec<(String, String)>,
    /// The pod and the container it runs in.
    pub place: Place,
    /// What Kubernetes says of them, as far as it is known.
    pub workload: Option<Arc<Workload>>,
    pub standing: Standing,
    pub language: Language,
    /// Runtime, as `process.runtime.name` has it: `go`, `cpython`, `nodejs`, `OpenJDK Runtime Environment`.
    pub runtime_name: Option<String>,
    /// Its version: `1.26.8`, `3.11.7`.
    pub runtime_version: Option<String>,
}

impl ProcessFacts {
    /// The last part of the executable's path.
    pub fn executable_name(&self) -> &str {
        self.executable_path.rsplit('/').next().unwrap_or_default()
    }
}
