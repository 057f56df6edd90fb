//! The facts of processes, with the runtimes of their executables remembered: many processes run the same file.
//!
//! In: a process. Out: its facts and its runtime. Touches procfs and executables through [`discover`].

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;

use super::discover::{self, Inspected};
use super::process::ProcessFacts;
use super::runtime::Runtime;
use super::Error;
use crate::capture::event::HostPid;

/// Executables that are remembered (about 1 KB each, most of it names of libraries). Full: all are forgotten and looked
/// at again.
const EXECUTABLES_MAX: usize = 1024;

/// What executables were seen to be, by device, inode and time of change.
#[derive(Debug, Default)]
pub struct Executables(HashMap<(u64, u64, i64), Inspected>);

impl Executables {
    /// Errors: the process is gone.
    pub fn facts(&mut self, pid: HostPid) -> Result<(ProcessFacts, Runtime), Error> {
        let key = std::fs::metadata(format!("/proc/{}/exe", pid.0))
            .ok()
            .map(|file| (file.dev(), file.ino(), file.ctime()));
        let known = key.and_then(|key| self.0.get(&key));
        let (facts, inspected) = discover::facts(pid, known)?;
        let runtime = inspected.runtime.clone();
        if let (Some(key), true) = (key, known != Some(&inspected)) {
            if self.0.len() >= EXECUTABLES_MAX {
                self.0.clear();
            }
            self.0.insert(key, inspected);
        }
        Ok((facts, runtime))
    }
}
