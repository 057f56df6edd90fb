//! Memory as a container has it: what the kernel takes for a process is counted with its own. In: how much. Out: a control group
//! for commands, removed with the value. This file touches the world.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

/// Where version 1 and version 2 are, how they call the limit, and where they count who was killed for it.
const ROOTS: [(&str, &str, &str); 3] = [
    (
        "/sys/fs/cgroup/memory",
        "memory.limit_in_bytes",
        "memory.oom_control",
    ),
    ("/sys/fs/cgroup", "memory.max", "memory.events"),
    ("/sys/fs/cgroup/unified", "memory.max", "memory.events"),
];

/// A control group with a limit.
#[derive(Debug)]
pub struct MemoryGroup {
    folder: PathBuf,
    kills: PathBuf,
}

impl MemoryGroup {
    /// `None`: no group with a memory controller can be made here.
    pub fn new(bytes: u64) -> Result<Option<Self>> {
        for (root, limit, kills) in ROOTS {
            let folder = Path::new(root).join(format!("spanlet-e2e-{}", std::process::id()));
            if fs::create_dir(&folder).is_err() {
                continue;
            }
            let group = Self {
                kills: folder.join(kills),
                folder,
            };
            let limit = group.folder.join(limit);
            if limit.exists() {
                fs::write(&limit, bytes.to_string())
                    .with_context(|| format!("write {}", limit.display()))?;
                return Ok(Some(group));
            }
        }
        Ok(None)
    }

    /// Runs a program in it.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("sh");
        command.args(["-ec", "echo $$ >\"$0\"; exec \"$@\""]);
        command.arg(self.folder.join("cgroup.procs")).arg(program);
        command
    }

    /// How many processes were killed for the limit.
    pub fn kills(&self) -> Result<u64> {
        let text = fs::read_to_string(&self.kills)?;
        let mut lines = text.lines();
        let count = lines.find_map(|line| line.strip_prefix("oom_kill "));
        Ok(count.context("no oom_kill is counted")?.parse()?)
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        // Nothing to be done about a group that stays.
        let _ = fs::remove_dir(&self.folder);
    }
}
