//! What `spanlet probes --output json` says, as far as the cases ask. In: JSON. Out: plain structs.

use serde::Deserialize;

/// The whole answer.
#[derive(Clone, Debug, Deserialize)]
pub struct Report {
    pub io_backend: String,
    pub verified: String,
    pub configuration_fault: Option<String>,
    pub processes: Vec<Process>,
    pub probes: Vec<Probe>,
    pub uprobes: Vec<Uprobe>,
    pub not_attached: Vec<NotAttached>,
    pub not_traced: Vec<NotTraced>,
    pub counters: Vec<Counter>,
}

/// A traced process.
#[derive(Clone, Debug, Deserialize)]
pub struct Process {
    pub pid: u32,
    pub service: String,
    pub language: String,
    pub runtime_version: Option<String>,
    pub offsets_file: Option<String>,
    pub offsets_of_program: bool,
    pub executable: String,
    pub reason: String,
    pub ports: Vec<u16>,
    pub attached: Vec<String>,
    pub records: u64,
    pub spans: u64,
    pub opaque_connections: u64,
    pub limits: Vec<Limit>,
}

/// What is not seen of a process.
#[derive(Clone, Debug, Deserialize)]
pub struct Limit {
    pub what: String,
    pub reason: String,
}

/// An attached probe.
#[derive(Clone, Debug, Deserialize)]
pub struct Probe {
    pub name: String,
    /// `raw_tp/NAME`, `uprobe/FUNCTION`.
    pub at: String,
    pub hits: u64,
    pub nanoseconds_per_hit: Option<u64>,
    pub instructions: Option<u32>,
    pub verified_instructions: Option<u32>,
}

/// Where in an executable a probe is attached.
#[derive(Clone, Debug, Deserialize)]
pub struct Uprobe {
    pub name: String,
    pub executable: String,
    /// `FUNCTION+0xOFFSET`.
    pub place: String,
    pub file_offset: u64,
    pub instruction: String,
    pub processes: Vec<u32>,
}

/// A probe that is not attached.
#[derive(Clone, Debug, Deserialize)]
pub struct NotAttached {
    pub name: String,
    pub reason: String,
}

/// A process that listens and is not traced.
#[derive(Clone, Debug, Deserialize)]
pub struct NotTraced {
    pub pid: u32,
    pub ports: Vec<u16>,
    pub reason: String,
    pub remedy: String,
}

/// One counter.
#[derive(Clone, Debug, Deserialize)]
pub struct Counter {
    pub room: String,
    pub name: String,
    pub value: u64,
}

impl Report {
    pub fn process(&self, pid: u32) -> Option<&Process> {
        self.processes.iter().find(|process| process.pid == pid)
    }

    /// A counter by its metric and its labels, in their order.
    pub fn counter(&self, room: &str, name: &str) -> Option<u64> {
        let found = self
            .counters
            .iter()
            .find(|counter| (counter.room.as_str(), counter.name.as_str()) == (room, name));
        found.map(|counter| counter.value)
    }

    /// The sum of a metric's counters, over its labels.
    pub fn sum(&self, room: &str) -> u64 {
        self.of(room).map(|counter| counter.value).sum()
    }

    /// A metric's counters that are not 0.
    pub fn of<'a>(&'a self, room: &'a str) -> impl Iterator<Item = &'a Counter> {
        let counters = self.counters.iter();
        counters.filter(move |counter| counter.room == room && counter.value > 0)
    }
}
