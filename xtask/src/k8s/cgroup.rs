//! The control group that holds the whole test cluster: its daemons, and below it its pods. In: processes. Out: whether any is
//! left. Whatever is in it belongs to the cluster, so that ending the cluster can end nothing else.
//! This file touches the world.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};
use spanlet_e2e::system::{signal_process, Signal};

/// Its name in every hierarchy; the kubelet's `cgroupRoot`.
const NAME: &str = "spanlet-k8s";
/// The daemons: in cgroup v2, a group with groups below it holds no processes itself.
const DAEMONS: &str = "daemons";
const ROOT: &str = "/sys/fs/cgroup";
/// An agent's uprobes are closed one by one as it is killed, 0.1 s each and more.
const END: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(20);

/// Makes it in every hierarchy.
pub fn make() -> Result<()> {
    for group in groups()? {
        fs::create_dir_all(&group).with_context(|| format!("cannot make {}", group.display()))?;
    }
    fs::create_dir_all(daemons()?).context("cannot make the daemons' control group")
}

/// Where a daemon writes its number to be of the cluster, and its children with it.
pub fn entry() -> Result<PathBuf> {
    Ok(daemons()?.join("cgroup.procs"))
}

/// Ends every process in it, and removes it.
pub fn end() -> Result<()> {
    let groups = groups()?;
    let until = Instant::now() + END;
    loop {
        // One that is gone meanwhile is what is wanted.
        for pid in groups.iter().flat_map(|group| members(group)) {
            let _ = signal_process(pid, Signal::Kill);
        }
        if groups.iter().all(|group| remove(group).is_ok()) {
            return Ok(());
        }
        if Instant::now() > until {
            let left: Vec<_> = groups.iter().flat_map(|group| members(group)).collect();
            bail!("the cluster's control groups cannot be removed; processes in them: {left:?}");
        }
        sleep(PAUSE);
    }
}

/// One in each hierarchy of cgroup v1, or the one of v2.
fn groups() -> Result<Vec<PathBuf>> {
    if Path::new(ROOT).join("cgroup.controllers").exists() {
        return Ok(vec![Path::new(ROOT).join(NAME)]);
    }
    let mut groups = Vec::new();
    for entry in fs::read_dir(ROOT).with_context(|| format!("cannot read {ROOT}"))? {
        let entry = entry?;
        // The links beside the hierarchies are their other names.
        if entry.file_type()?.is_dir() {
            groups.push(entry.path().join(NAME));
        }
    }
    Ok(groups)
}

/// One hierarchy is enough for the daemons: there, those that nobody limits are free.
fn daemons() -> Result<PathBuf> {
    let groups = groups()?;
    let of_pids = groups
        .iter()
        .find(|group| group.starts_with("/sys/fs/cgroup/pids"));
    let group = of_pids.or(groups.first()).context("no control groups")?;
    Ok(group.join(DAEMONS))
}

fn members(group: &Path) -> Vec<u32> {
    let own = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    let mut pids: Vec<u32> = own.lines().filter_map(|line| line.parse().ok()).collect();
    pids.extend(children(group).iter().flat_map(|child| members(child)));
    pids
}

fn remove(group: &Path) -> std::io::Result<()> {
    for child in children(group) {
        remove(&child)?;
    }
    match fs::remove_dir(group) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn children(group: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(group).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}
