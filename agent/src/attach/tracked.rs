//! What is kept of a traced process: who it is, why it is traced, what is not seen of it and why. Plain data.

use super::process::ProcessFacts;
use super::runtime::Runtime;
use crate::capture::event::HostPid;

/// Why a process is traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Its number, its executable or `--all`.
    Selected,
    /// It listens on a port that was named.
    Port(u16),
    /// A traced process started it.
    Child(HostPid),
}

/// What is not seen of a process, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    pub what: &'static str,
    pub reason: String,
    pub remedy: &'static str,
}

/// A traced process.
#[derive(Clone, Debug)]
pub struct Tracked {
    pub facts: ProcessFacts,
    pub reason: Reason,
    pub limits: Vec<Limit>,
    pub ports: Vec<u16>,
    /// Records taken of what it did with connections.
    pub records: u64,
    /// Spans made of its exchanges.
    pub spans: u64,
    /// Connections that carry something that is not understood.
    pub opaque: u64,
}

/// What is known from the start not to be seen of a process with this runtime.
pub fn limits(runtime: &Runtime) -> Vec<Limit> {
    let goroutines = runtime.goroutines_unknown.iter().map(|reason| Limit {
        what: "goroutines",
        reason: reason.clone(),
        remedy: "parents come from headers, connections and lone requests only",
    });
    goroutines.collect()
}
