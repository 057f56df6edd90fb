//! Configuration: file, environment and flags in; a checked [`Config`] or every fault at once out. Touches the file
//! system: reads the file and those that it names.
//!
//! Flags win over `OTEL_*` variables, those over the file, and the file over the defaults.

mod check;
mod environment;
pub mod fields;
mod kubernetes;
mod layers;
mod otlp;
mod raw;
pub mod reload;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use globset::Glob;

use crate::attach::golang::releases::Releases;
use crate::capture::event::HostPid;
use crate::export;
use crate::export::otlp::Target;
use crate::pods;
use layers::Layers;
pub use layers::Setting;
pub use raw::{
    IoBackend, Query, RawConfig, RawHealth, RawKubernetes, RawMetrics, RawOtlp, RawSelect,
};
pub use reload::{Reloads, Sources};

/// What the agent is to do.
#[derive(Clone, Debug)]
pub struct Config {
    pub select: Select,
    pub io_backend: IoBackend,
    pub thread_clocks: bool,
    pub read_wait: bool,
    pub query: Query,
    /// Where `spanlet probes` asks.
    pub socket: PathBuf,
    /// What is known of Go's releases.
    pub go_releases: Arc<Releases>,
    pub drain_interval: Duration,
    pub export: export::Config,
    /// `None`: the agent's own metrics are not sent.
    pub metrics: Option<Metrics>,
    /// `None`: the API server is not asked.
    pub kubernetes: Option<Arc<pods::Config>>,
    /// Where `/livez` and `/readyz` are answered; `None`: nowhere.
    pub health: Option<SocketAddr>,
    /// The files that are named: certificates, keys, headers, offsets.
    pub files: Vec<PathBuf>,
    /// What the files held when they were read, as [`reload`] compares it.
    pub content: u64,
    /// Every setting with its value and where that came from, for `spanlet check-config`; secrets are masked.
    pub settings: Vec<Setting>,
}

/// Which processes are traced: those that any of the first four names, unless excluded.
#[derive(Clone, Debug, Default)]
pub struct Select {
    pub pids: Vec<HostPid>,
    /// Match the executable's path; a pattern without a slash matches its last part.
    pub exec: Vec<Glob>,
    pub ports: Vec<u16>,
    pub all: bool,
    /// As `exec`; wins over all of the above.
    pub exclude_exec: Vec<Glob>,
}

/// Where and how often the agent's own metrics are sent.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub target: Target,
    pub interval: Duration,
    /// Where the agent itself runs, if in Kubernetes.
    pub kubernetes: Option<Arc<pods::Config>>,
}

impl Config {
    /// Reads the file, if any, and the environment through `env`, and checks them together with the flags.
    pub fn load(
        path: Option<&Path>,
        env: impl Fn(&str) -> Option<String>,
        flags: RawConfig,
    ) -> Result<Self, ConfigErrors> {
        let in_pod = kubernetes::in_pod(&env);
        let (layers, mut faults) = Layers::gather(path, env, &flags);
        let config = check::config(&layers, in_pod, &mut faults);
        // A fault of `[otlp]` is one of each signal.
        let mut seen = Faults::new();
        faults.retain(|fault| {
            let new = !seen.contains(fault);
            seen.push(fault.clone());
            new
        });
        match faults.is_empty() {
            true => Ok(config),
            false => Err(ConfigErrors(faults)),
        }
    }
}

/// As `spanlet check-config` prints it.
impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings
            .iter()
            .try_for_each(|setting| writeln!(f, "{setting}"))
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The key's path, the variable's name or the file.
    pub at: String,
    pub message: String,
}

/// Everything that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors(pub Vec<Fault>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the configuration has faults")?;
        self.0
            .iter()
            .try_for_each(|Fault { at, message }| write!(f, "\n  {at}: {message}"))
    }
}

/// Where checks put what they find.
type Faults = Vec<Fault>;

fn fault(faults: &mut Faults, at: impl Into<String>, message: impl fmt::Display) {
    faults.push(Fault {
        at: at.into(),
        message: message.to_string(),
    });
}
