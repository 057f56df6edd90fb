//! What a user may write, in a file or as flags. Plain data; everything may be absent, unknown keys are refused.
//! What each key means is in [`super::fields`].

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::export::otlp::{Compression, Protocol};
use crate::export::Output;

/// How bytes on sockets are seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IoBackend {
    /// The cheapest that the kernel allows.
    #[default]
    Auto,
    SocketTracepoints,
    SysExit,
}

/// What becomes of a URL's query.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Query {
    /// Names are kept, values are not.
    #[default]
    Redact,
    Keep,
    Drop,
}

/// A file, or the flags.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawConfig {
    pub select: RawSelect,
    pub output: Option<Output>,
    pub io_backend: Option<IoBackend>,
    pub thread_clocks: Option<bool>,
    pub read_wait: Option<bool>,
    pub query: Option<Query>,
    pub socket: Option<PathBuf>,
    pub go_offsets: Option<PathBuf>,
    pub drain_interval_ms: Option<u64>,
    pub queue_spans: Option<usize>,
    pub batch_spans: Option<usize>,
    pub batch_delay_ms: Option<u64>,
    pub retry_tries_max: Option<u32>,
    pub retry_time_max_ms: Option<u64>,
    pub held_spans: Option<usize>,
    pub trace_quiet_ms: Option<u64>,
    pub otlp: RawOtlp,
    pub otlp_traces: RawOtlp,
    pub otlp_metrics: RawOtlp,
    pub metrics: RawMetrics,
    pub health: RawHealth,
    pub kubernetes: RawKubernetes,
}

/// `[select]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawSelect {
    pub pids: Option<Vec<u32>>,
    pub exec: Option<Vec<String>>,
    pub ports: Option<Vec<u16>>,
    pub all: Option<bool>,
    pub exclude_exec: Option<Vec<String>>,
}

/// `[otlp]`, and `[otlp_traces]` and `[otlp_metrics]` for one signal.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawOtlp {
    pub enabled: Option<bool>,
    pub endpoint: Option<String>,
    pub protocol: Option<Protocol>,
    pub headers: Option<BTreeMap<String, String>>,
    pub headers_file: Option<PathBuf>,
    pub timeout_ms: Option<u64>,
    pub compression: Option<Compression>,
    pub certificate: Option<PathBuf>,
    pub client_certificate: Option<PathBuf>,
    pub client_key: Option<PathBuf>,
    pub insecure: Option<bool>,
}

/// `[metrics]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawMetrics {
    pub enabled: Option<bool>,
    pub interval_ms: Option<u64>,
}

/// `[health]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawHealth {
    pub listen: Option<String>,
}

/// `[kubernetes]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawKubernetes {
    pub enabled: Option<bool>,
    pub node_name: Option<String>,
    pub pod_name: Option<String>,
    pub pod_namespace: Option<String>,
    pub kubeconfig: Option<PathBuf>,
    pub cluster_name: Option<String>,
    pub environment: Option<String>,
    pub label: Option<String>,
    pub exclude_namespaces: Option<Vec<String>>,
    pub select_pods: Option<Vec<String>>,
    pub select_workloads: Option<Vec<String>>,
    pub pod_labels: Option<Vec<String>>,
    pub pod_annotations: Option<Vec<String>>,
    pub well_known_labels: Option<bool>,
    pub cluster_pods: Option<bool>,
    pub pods_max: Option<usize>,
    pub namespaces_max: Option<usize>,
    pub services_max: Option<usize>,
    pub cluster_pods_max: Option<usize>,
}

impl RawSelect {
    /// Whether it names anything to trace.
    pub fn selects(&self) -> bool {
        let some = |length: Option<usize>| length.is_some_and(|length| length > 0);
        some(self.pids.as_ref().map(Vec::len))
            || some(self.exec.as_ref().map(Vec::len))
            || some(self.ports.as_ref().map(Vec::len))
            || self.all == Some(true)
    }

    /// Leaves what is excluded.
    pub(super) fn forget(&mut self) {
        let exclude_exec = self.exclude_exec.take();
        *self = Self {
            exclude_exec,
            ..Self::default()
        };
    }
}
