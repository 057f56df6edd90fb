//! What this room is told at the start.

use std::time::Duration;

use super::redact::Query;

/// The configuration of this room.
#[derive(Clone, Debug)]
pub struct Config {
    /// How long a span is held after its end, so that the other end of its connection can still be found.
    pub grace: Duration,
    /// What leaves of the queries of requests.
    pub query: Query,
    /// How long a span is held at most, after its end, while its parent may still have to be taken back.
    pub hold: Duration,
    /// `host.name`
    pub host_name: Option<String>,
    /// `host.id`
    pub host_id: Option<String>,
    pub limits: Limits,
}

/// Every bound of this room, and what happens when it is reached.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Levels of a tree on this node. Reached: the child has no parent.
    pub depth: u32,
    /// Time from a parent's start to its child's. Reached: the child has no parent.
    pub parent_age: Duration,
    /// Children of a parent. Reached: further children have no parent.
    pub children: u32,
    /// How long after a loss the process's threads and goroutines prove nothing. Meanwhile no parents by them.
    pub loss_shadow: Duration,
    /// How long a span is held at most, after its end, while the task that made its call may still tell for which request.
    /// Reached, or half of `waiting` wait: it is told with what is known.
    pub task: Duration,
    /// Exchanges open or waiting at once (about 300 bytes each). Reached: a new one has only the parent its headers
    /// name, and is no parent.
    pub exchanges: usize,
    /// Finished exchanges waiting for their grace (about 500 bytes each). Reached: the newest gets no span.
    pub waiting: usize,
    /// Finished exchanges waiting for Kubernetes, among those. Reached: one that is not known to be meant gets no span,
    /// another is told with what is known.
    pub held: usize,
    /// How long a process is waited for of whose pod nobody has told. Over: no span.
    pub pending: Duration,
    /// How long spans wait for the name of their container. Over: they are told without it.
    pub incomplete: Duration,
    /// Processes known at once. Reached: a new one has no facts and no parents by thread or process.
    pub processes: usize,
    /// Names of spans of one process. Reached: a new name is the method alone.
    pub names: usize,
    /// How long a process is remembered after its end, for exchanges that are still to be finished.
    pub gone: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            grace: Duration::from_millis(100),
            hold: Duration::from_secs(2),
            query: Query::Redact,
            host_name: None,
            host_id: None,
            limits: Limits::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            depth: 64,
            parent_age: Duration::from_secs(600),
            children: 1000,
            loss_shadow: Duration::from_secs(30),
            task: Duration::from_secs(30),
            exchanges: 65536,
            waiting: 65536,
            held: 16384,
            pending: Duration::from_secs(32),
            incomplete: Duration::from_secs(10),
            processes: 8192,
            names: 100,
            gone: Duration::from_secs(60),
        }
    }
}
