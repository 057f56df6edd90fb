//! What the configuration says, in the words of each room. Touches the host's name.

use spanlet_abi::limit::{ANSWER_BYTES_MAX, TURN_BYTES_MAX};
use spanlet_abi::settings::Settings;

use super::Trial;
use crate::attach::plan::{BackEnd, Wish};
use crate::attach::probes::Request;
use crate::attach::Selection;
use crate::config::{Config, IoBackend, Query};
use crate::enrich;

/// Errors: the globs together are too large to match.
pub fn selection(config: &Config) -> anyhow::Result<Selection> {
    let select = &config.select;
    Ok(Selection::new(
        select.pids.clone(),
        select.ports.clone(),
        select.all,
        &select.exec,
        &select.exclude_exec,
    )?)
}

/// What is asked of the kernel side: if it changes, the probes are opened anew.
pub fn request(config: &Config, trial: &Trial, selection: &Selection) -> Request {
    Request {
        wish: Wish {
            back_end: match config.io_backend {
                IoBackend::Auto => None,
                IoBackend::SocketTracepoints => Some(BackEnd::SocketTracepoints),
                IoBackend::SysExit => Some(BackEnd::SysExit),
            },
            read_wait: config.read_wait,
        },
        settings: Settings {
            provisional_exec: u32::from(selection.by_executable() || config.kubernetes.is_some()),
            agent_process: std::process::id(),
            select_ports: u32::from(!selection.ports.is_empty()),
            thread_clocks: u32::from(config.thread_clocks),
            forced_loss_per_mille: trial.lose_per_mille,
            turn_bytes: TURN_BYTES_MAX,
            answer_bytes: ANSWER_BYTES_MAX,
        },
        map_sizes: trial.map_sizes.clone(),
    }
}

pub fn enrich_config(config: &Config) -> enrich::Config {
    let read = |path: &str| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    };
    enrich::Config {
        query: match config.query {
            Query::Redact => enrich::Query::Redact,
            Query::Keep => enrich::Query::Keep,
            Query::Drop => enrich::Query::Drop,
        },
        // The agent's own are those of its container there; a pod's workload says what its node's machine-id is.
        host_name: match &config.kubernetes {
            Some(kubernetes) => Some(kubernetes.node_name.clone()),
            None => read("/proc/sys/kernel/hostname"),
        },
        host_id: match &config.kubernetes {
            Some(_) => None,
            None => read("/etc/machine-id"),
        },
        ..enrich::Config::default()
    }
}

/// Where span ids start: not the same in two runs.
pub fn seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    let state = std::collections::hash_map::RandomState::new();
    state.build_hasher().finish()
}
