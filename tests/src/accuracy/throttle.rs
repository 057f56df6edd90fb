//! A process that may use a third of a core. In: its pid. Out: a control group, removed with the value.
//! This file touches the world.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{bail, Context, Result};

/// A control group with a limit.
#[derive(Debug)]
pub struct Throttle {
    folder: PathBuf,
    /// Where its process goes back to.
    procs: PathBuf,
    pid: u32,
}

/// The first with a `cpu` controller: version 1, then version 2, which may be beside it.
const ROOTS: [(&str, &str); 3] = [
    ("/sys/fs/cgroup/cpu", "cpu.cfs_quota_us"),
    ("/sys/fs/cgroup", "cpu.max"),
    ("/sys/fs/cgroup/unified", "cpu.max"),
];

impl Throttle {
    pub fn third(pid: u32) -> Result<Self> {
        for (root, limit) in ROOTS {
            let folder = Path::new(root).join(format!("spanlet-e2e-{pid}"));
            if fs::create_dir(&folder).is_err() {
                continue;
            }
            let throttle = Self {
                procs: Path::new(root).join("cgroup.procs"),
                folder,
                pid,
            };
            let file = throttle.folder.join(limit);
            if !file.exists() {
                continue;
            }
            let third = if limit == "cpu.max" {
                "10000 30000"
            } else {
                "10000"
            };
            if limit != "cpu.max" {
                fs::write(throttle.folder.join("cpu.cfs_period_us"), "30000")?;
            }
            fs::write(&file, third).with_context(|| format!("write {}", file.display()))?;
            fs::write(throttle.folder.join("cgroup.procs"), pid.to_string())?;
            return Ok(throttle);
        }
        bail!("no control group with a cpu controller can be made here");
    }
}

impl Drop for Throttle {
    fn drop(&mut self) {
        // Nothing to be done about a group that stays; its process may have ended.
        let _ = fs::write(&self.procs, self.pid.to_string());
        let _ = fs::remove_dir(&self.folder);
    }
}
