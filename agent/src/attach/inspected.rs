//! The facts of processes, with the runtimes of their executables remembered: many processes run the same file.
//!
//! In: a process. Out: its facts and its runtime. Touches procfs and executables through [`discover`].

use std::collections::HashMap;
use std::fs::File;
use std::sync::Arc;

use super::discover::{self, Inspected};
use super::golang::sources::Sources;
use super::identity::Identity;
use super::process::ProcessFacts;
use super::runtime::Runtime;
use super::Error;
use crate::capture::event::HostPid;

/// Executables that are remembered (about 1 KB each, most of it names of libraries). Full: all are forgotten and looked
/// at again.
const EXECUTABLES_MAX: usize = 1024;

/// What executables were seen to be.
#[derive(Debug, Default)]
pub struct Executables {
    sources: Arc<Sources>,
    seen: HashMap<Identity, Inspected>,
}

impl Executables {
    /// With what is known of Go's releases.
    pub fn new(sources: Arc<Sources>) -> Self {
        let seen = HashMap::new();
        Self { sources, seen }
    }

    /// What is known of Go's releases.
    pub fn sources(&self) -> &Arc<Sources> {
        &self.sources
    }

    /// More is known of a file: it is looked into again.
    pub fn forget(&mut self, file: Identity) {
        self.seen.remove(&file);
    }

    /// Errors: the process is gone.
    pub fn facts(&mut self, pid: HostPid) -> Result<(ProcessFacts, Runtime), Error> {
        let file = File::open(format!("/proc/{}/exe", pid.0));
        let key = file.and_then(|file| Identity::of(&file)).ok();
        let known = key.and_then(|key| self.seen.get(&key));
        let (facts, inspected) = discover::facts(pid, known, &self.sources)?;
        let runtime = inspected.runtime.clone();
        if let (Some(key), true) = (key, known != Some(&inspected)) {
            if self.seen.len() >= EXECUTABLES_MAX {
                self.seen.clear();
            }
            self.seen.insert(key, inspected);
        }
        Ok((facts, runtime))
    }
}
