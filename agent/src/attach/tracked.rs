//! What is kept of a traced process: who it is, why it is traced, what is not seen of it and why. Plain data.

use std::fmt;

use super::golang::releases::Teller;
use super::process::{Language, ProcessFacts};
use super::runtime::Runtime;
use crate::capture::event::HostPid;
use crate::clock::Monotonic;
use crate::pods::Why;

/// Why a process is traced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Reason {
    /// Its number, its executable or `--all`.
    #[default]
    Selected,
    /// It listens on a port that was named.
    Port(u16),
    /// A traced process started it.
    Child(HostPid),
    /// Its pod.
    Pod(Why),
    /// It is not known yet whether its pod is chosen.
    Pending,
}

impl Reason {
    /// Whether its pod is the reason, or may be.
    pub fn is_of_pod(&self) -> bool {
        matches!(self, Self::Pod(_) | Self::Pending)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Selected => f.write_str("selected"),
            Self::Port(port) => write!(f, "listens on {port}"),
            Self::Child(parent) => write!(f, "child of {}", parent.0),
            Self::Pod(why) => why.fmt(f),
            Self::Pending => f.write_str("its pod is not known yet"),
        }
    }
}

/// What is not seen of a process, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    pub what: &'static str,
    pub reason: String,
    pub remedy: &'static str,
}

/// Ports that are told of a process at most: some open one after the other, and no record tells the end of one.
const PORTS_MAX: usize = 64;

/// A traced process.
#[derive(Clone, Debug, Default)]
pub struct Tracked {
    pub facts: ProcessFacts,
    pub reason: Reason,
    /// Its own number was named, or that of a process it descends from: no pod's choice is above that.
    pub is_named: bool,
    /// Since when it waits to be decided.
    pub pending_since: Option<Monotonic>,
    pub limits: Vec<Limit>,
    /// Where it was seen to listen, in order.
    pub ports: Vec<u16>,
    /// Records taken of what it did with connections.
    pub records: u64,
    /// Spans made of its exchanges.
    pub spans: u64,
    /// Connections that carry something that is not understood.
    pub opaque: u64,
    /// It was not looked at since it was first seen to use TLS.
    pub may_map_tls: bool,
    /// Go: who tells where it keeps what is read.
    pub told_by: Option<Teller>,
    /// Go: its debug information is being read.
    pub is_being_read: bool,
}

impl Tracked {
    /// It may have been looked at before it had mapped what is of interest.
    pub fn maps_late(&self) -> bool {
        self.facts.language == Language::Python
    }

    /// It listens on a port.
    pub fn listens(&mut self, port: u16) {
        if let (Err(index), true) = (
            self.ports.binary_search(&port),
            self.ports.len() < PORTS_MAX,
        ) {
            self.ports.insert(index, port);
        }
    }
}

/// What is known from the start not to be seen of a process with this runtime.
pub fn limits(runtime: &Runtime) -> Vec<Limit> {
    let goroutines = runtime
        .release
        .iter()
        .filter_map(|release| release.as_ref().err());
    let goroutines = goroutines.map(|unknown| Limit {
        what: "goroutines",
        reason: unknown.to_string(),
        remedy: unknown.remedy(),
    });
    let tasks = runtime
        .tasks
        .iter()
        .filter_map(|tasks| tasks.as_ref().err());
    let tasks = tasks.map(|reason| no_tasks(reason.clone()));
    let tokio = runtime
        .tokio
        .iter()
        .filter_map(|tokio| tokio.as_ref().err());
    let tokio = tokio.map(|fault| Limit {
        what: "tasks",
        reason: fault.to_string(),
        remedy: "parents in tokio come from headers, connections and lone requests only; leave the symbols in the program \
                 (`strip = false`)",
    });
    let orphans = has_no_parents(runtime).then(|| Limit {
        what: "parents of goroutines",
        reason: "its release does not keep which goroutine started another".to_owned(),
        remedy: "build it with Go 1.21 or newer",
    });
    goroutines
        .chain(tasks)
        .chain(tokio)
        .chain(orphans)
        .collect()
}

/// A Go whose goroutines are known, but not who started them.
fn has_no_parents(runtime: &Runtime) -> bool {
    let release = runtime
        .release
        .as_ref()
        .and_then(|known| known.as_ref().ok());
    release.is_some_and(|known| known.release.goroutine.parent.is_none())
}

/// Which goroutines a request started cannot be told.
pub fn no_births() -> Limit {
    Limit {
        what: "births of goroutines",
        reason: "where its runtime keeps their numbers is not known, or too many processes have such calls".to_owned(),
        remedy: "calls by goroutines that a request started have no parent while requests overlap, unless the request is \
                 its connection's first",
    }
}

/// Whether it is one of [`limits`].
pub fn is_of_runtime(limit: &Limit) -> bool {
    ["goroutines", "tasks", "parents of goroutines"].contains(&limit.what)
}

/// The tasks of a CPython cannot be told apart.
pub fn no_tasks(reason: String) -> Limit {
    Limit {
        what: "tasks",
        reason,
        remedy: "parents in asyncio come from headers, connections and lone requests only",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_told_once_in_order_and_not_without_end() {
        let mut tracked = Tracked::default();
        for port in [443, 80, 443] {
            tracked.listens(port);
        }
        assert_eq!(tracked.ports, [80, 443]);
        (1000..2000).for_each(|port| tracked.listens(port));
        assert_eq!(tracked.ports.len(), PORTS_MAX);
    }
}
