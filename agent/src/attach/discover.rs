//! Touches procfs: which processes there are, and the facts of one.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use procfs::process::{FDTarget, MMapPath, Process};
use procfs::ProcError;

use super::process::ProcessFacts;
use super::runtime::{inspect, Runtime};
use super::Error;
use crate::capture::event::HostPid;

/// A process as procfs shows it, before its executable is looked into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub pid: HostPid,
    /// Path of the executable in the process's own view; empty for kernel threads and what cannot be read.
    pub executable_path: String,
}

/// Ports on which a process listens, each with the inode of its network namespace.
pub type Listeners = Vec<(u32, u16)>;

/// Every process of the node. Those that end meanwhile are left out.
pub fn processes() -> Result<Vec<Seen>, Error> {
    let all = procfs::process::all_processes().map_err(|source| Error::Process {
        pid: 0,
        reason: source.to_string(),
    })?;
    Ok(all.flatten().map(|process| seen(&process)).collect())
}

/// One process. Errors: it is gone.
pub fn process(pid: HostPid) -> Result<Seen, Error> {
    open(pid).map(|process| seen(&process))
}

/// When a process was started, in clock ticks since boot. Errors: it is gone.
pub fn start_ticks(pid: HostPid) -> Result<u64, Error> {
    let stat = open(pid)?.stat().map_err(|source| gone(pid, &source))?;
    Ok(stat.starttime)
}

/// The facts of a process and of its runtime, which is looked into unless it is `known`. Errors: it is gone.
pub fn facts(pid: HostPid, known: Option<&Runtime>) -> Result<(ProcessFacts, Runtime), Error> {
    let process = open(pid)?;
    let stat = process.stat().map_err(|source| gone(pid, &source))?;
    let executable_path = seen(&process).executable_path;
    let name = executable_path.rsplit('/').next().unwrap_or_default();
    let link = PathBuf::from(format!("/proc/{}/exe", pid.0));
    let runtime = match known {
        Some(runtime) => runtime.clone(),
        None => inspect(&link, name, &libraries(&process)),
    };
    let environment = environment(&process);
    let variable = |name: &str| {
        environment
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.clone())
            .filter(|value| !value.is_empty())
    };
    let facts = ProcessFacts {
        pid,
        parent: HostPid(stat.ppid as u32),
        start_ticks: stat.starttime,
        command_args: process.cmdline().unwrap_or_default(),
        service_name: variable("OTEL_SERVICE_NAME"),
        resource_attributes: resource_attributes(
            &variable("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default(),
        ),
        container_id: container_id(&process),
        language: runtime.language,
        runtime_name: runtime.name.clone(),
        runtime_version: runtime.version.clone(),
        executable_path,
    };
    Ok((facts, runtime))
}

/// Where a process listens. What cannot be read is left out.
pub fn listeners(pid: HostPid) -> Listeners {
    let Ok(process) = open(pid) else {
        return Vec::new();
    };
    let sockets: HashSet<u64> = process
        .fd()
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|descriptor| match descriptor.target {
            FDTarget::Socket(inode) => Some(inode),
            _ => None,
        })
        .collect();
    let Some(namespace) = network_namespace(pid) else {
        return Vec::new();
    };
    let tables = [process.tcp(), process.tcp6()];
    tables
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.state == procfs::net::TcpState::Listen)
        .filter(|entry| sockets.contains(&entry.inode))
        .map(|entry| (namespace, entry.local_address.port()))
        .collect()
}

/// The ports of [`listeners`], in order, each once.
pub fn ports(pid: HostPid) -> Vec<u16> {
    let mut ports: Vec<u16> = listeners(pid).into_iter().map(|(_, port)| port).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

fn open(pid: HostPid) -> Result<Process, Error> {
    Process::new(pid.0 as i32).map_err(|source| gone(pid, &source))
}

fn gone(pid: HostPid, source: &ProcError) -> Error {
    Error::Process {
        pid: pid.0,
        reason: match source {
            ProcError::NotFound(_) => "there is no such process".to_owned(),
            other => other.to_string(),
        },
    }
}

fn seen(process: &Process) -> Seen {
    let path = process.exe().unwrap_or_default();
    let text = path.to_string_lossy();
    Seen {
        pid: HostPid(process.pid as u32),
        // A program that was replaced on disk while it runs.
        executable_path: text.strip_suffix(" (deleted)").unwrap_or(&text).to_owned(),
    }
}

fn network_namespace(pid: HostPid) -> Option<u32> {
    use std::os::unix::fs::MetadataExt;
    let path = format!("/proc/{}/ns/net", pid.0);
    std::fs::metadata(path)
        .ok()
        .map(|metadata| metadata.ino() as u32)
}

fn environment(process: &Process) -> Vec<(String, String)> {
    process
        .environ()
        .unwrap_or_default()
        .into_iter()
        .map(|(key, value)| {
            (
                key.to_string_lossy().into_owned(),
                value.to_string_lossy().into_owned(),
            )
        })
        .collect()
}

fn libraries(process: &Process) -> Vec<PathBuf> {
    let Ok(maps) = process.maps() else {
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = maps
        .into_iter()
        .filter_map(|map| match map.pathname {
            MMapPath::Path(path) if is_library(&path) => Some(path),
            _ => None,
        })
        .collect();
    paths.dedup();
    paths
}

fn is_library(path: &Path) -> bool {
    path.file_name()
        .and_then(|name| name.to_str())
        .is_some_and(|name| name.starts_with("lib") && name.contains(".so"))
}

/// `key=value,key=value`, values percent-encoded (resource SDK specification). The values stay as they are here.
fn resource_attributes(text: &str) -> Vec<(String, String)> {
    text.split(',')
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()))
        .filter(|(key, _)| !key.is_empty())
        .collect()
}

/// The last 64-digit name in the process's control group path: how container runtimes name containers.
fn container_id(process: &Process) -> Option<String> {
    let groups = process.cgroups().ok()?;
    groups
        .0
        .iter()
        .find_map(|group| container_id_in(&group.pathname))
}

fn container_id_in(path: &str) -> Option<String> {
    path.split(['/', '-', '.', ':'])
        .rev()
        .find(|part| part.len() == 64 && part.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn container_ids_of_the_usual_runtimes() {
        let id = "0123456789abcdef".repeat(4);
        for path in [
            format!("/kubepods/burstable/podx/{id}"),
            format!("/kubepods.slice/cri-containerd-{id}.scope"),
            format!("/system.slice/docker-{id}.scope"),
        ] {
            assert_eq!(container_id_in(&path).as_ref(), Some(&id), "{path}");
        }
        assert_eq!(container_id_in("/user.slice/user-0.slice"), None);
    }

    #[test]
    fn resource_attributes_keep_their_order() {
        let pairs = resource_attributes("a=1, b=x%20y,=z,c");
        assert_eq!(
            pairs,
            [("a".into(), "1".into()), ("b".into(), "x%20y".into())]
        );
    }

    #[test]
    fn this_process_is_found_with_its_facts() {
        let pid = HostPid(std::process::id());
        let (facts, _) = facts(pid, None).unwrap();
        assert_eq!(facts.pid, pid);
        assert!(facts.start_ticks > 0);
        assert!(!facts.executable_name().is_empty());
        assert!(processes().unwrap().iter().any(|seen| seen.pid == pid));
    }
}
