//! Touches procfs: which processes there are, and the facts of one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use procfs::process::{MMapPath, MemoryMap, Process};
use procfs::ProcError;

use super::golang::sources::Sources;
use super::process::{Language, ProcessFacts, Standing};
use super::runtime::{inspect, Runtime};
use super::{tokio, Error};
use crate::capture::event::HostPid;
use crate::pods::{cgroup, Place};

/// Its inode is always the same (include/linux/proc_ns.h, PROC_PID_INIT_INO).
const INITIAL_PID_NAMESPACE: &str = "pid:[4026531836]";

/// Bytes of a process's arguments that are kept; what comes after is left out.
const COMMAND_BYTES_MAX: usize = 4096;

/// A process as procfs shows it, before its executable is looked into.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub pid: HostPid,
    pub parent: HostPid,
    /// Path of the executable in the process's own view; empty for kernel threads and what cannot be read.
    pub executable_path: String,
}

/// What an executable turned out to be, and with which libraries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspected {
    libraries: Vec<PathBuf>,
    pub runtime: Runtime,
}

/// Every process of the node. Those that end meanwhile are left out.
pub fn processes() -> Result<Vec<Seen>, Error> {
    let all = procfs::process::all_processes().map_err(|source| Error::Process {
        pid: 0,
        reason: source.to_string(),
    })?;
    Ok(all.flatten().map(|process| seen(&process)).collect())
}

/// The numbers of all processes of the node.
pub fn pids() -> Vec<HostPid> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.map(HostPid).collect()
}

/// Whether numbers of processes mean here what they mean to the kernel.
pub fn in_initial_pid_namespace() -> bool {
    std::fs::read_link("/proc/self/ns/pid")
        .is_ok_and(|name| name == Path::new(INITIAL_PID_NAMESPACE))
}

/// Whether this is the number of a thread that is not its process's first.
pub fn is_thread(pid: HostPid) -> bool {
    let status =
        open(pid).and_then(|process| process.status().map_err(|source| gone(pid, &source)));
    status.is_ok_and(|status| status.tgid as u32 != pid.0)
}

/// One process. Errors: it is gone.
pub fn process(pid: HostPid) -> Result<Seen, Error> {
    open(pid).map(|process| seen(&process))
}

/// The pod and the container of a process, by its control group. None where that cannot be read.
pub fn place(pid: HostPid) -> Place {
    let groups = std::fs::read_to_string(format!("/proc/{}/cgroup", pid.0));
    cgroup::place(&groups.unwrap_or_default())
}

/// When a process was started, in clock ticks since boot. Errors: it is gone.
pub fn start_ticks(pid: HostPid) -> Result<u64, Error> {
    let stat = open(pid)?.stat().map_err(|source| gone(pid, &source))?;
    Ok(stat.starttime)
}

/// The facts of a process and of its runtime, of which is `known` what its executable was the last time. Errors: it is
/// gone.
pub fn facts(
    pid: HostPid,
    known: Option<&Inspected>,
    sources: &Sources,
) -> Result<(ProcessFacts, Inspected), Error> {
    let process = open(pid)?;
    let stat = process.stat().map_err(|source| gone(pid, &source))?;
    let executable_path = seen(&process).executable_path;
    let inspected = inspected(&process, &executable_path, known, sources);
    let runtime = &inspected.runtime;
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
        command_args: command_args(&process),
        service_name: variable("OTEL_SERVICE_NAME"),
        resource_attributes: resource_attributes(
            &variable("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default(),
        ),
        place: place(pid),
        workload: None,
        standing: Standing::Known,
        language: runtime.language,
        runtime_name: runtime.name.clone(),
        runtime_version: runtime.version.clone(),
        executable_path,
    };
    Ok((facts, inspected))
}

/// Looks into an executable again only if its libraries could tell more.
fn inspected(
    process: &Process,
    executable_path: &str,
    known: Option<&Inspected>,
    sources: &Sources,
) -> Inspected {
    if let Some(known) = known.filter(|known| known.runtime.is_complete()) {
        return known.clone();
    }
    let libraries = libraries(process);
    if let Some(known) = known.filter(|known| known.libraries == libraries) {
        return known.clone();
    }
    let name = executable_path.rsplit('/').next().unwrap_or_default();
    let link = PathBuf::from(format!("/proc/{}/exe", process.pid));
    let mut runtime = inspect(&link, name, &libraries, sources);
    if runtime.language == Language::Rust {
        // Whatever its libraries: its symbols may be many.
        let known = known.filter(|known| known.runtime.language == Language::Rust);
        runtime.tokio = match known {
            Some(known) => known.runtime.tokio.clone(),
            None => tokio::of(&link),
        };
    }
    Inspected { runtime, libraries }
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
        parent: HostPid(process.stat().map_or(0, |stat| stat.ppid as u32)),
        executable_path: given(&text).to_owned(),
    }
}

/// The first arguments: what names a program is among them.
fn command_args(process: &Process) -> Vec<String> {
    let mut left = COMMAND_BYTES_MAX;
    let args = process.cmdline().unwrap_or_default().into_iter();
    args.take_while(|arg| {
        let fits = arg.len() <= left;
        left = left.saturating_sub(arg.len());
        fits
    })
    .collect()
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
            MMapPath::Path(path) => Some(PathBuf::from(given(path.to_str()?))),
            _ => None,
        })
        .filter(|path| is_library(path))
        .collect();
    paths.dedup();
    paths
}

/// The path of a file that may have been replaced on disk since it was mapped: the kernel says so behind it.
fn given(path: &str) -> &str {
    path.strip_suffix(" (deleted)").unwrap_or(path)
}

/// The files that a process maps, by their paths; each with where procfs has the very file that is mapped, whatever has its
/// name by now (which asks for CAP_SYS_ADMIN, as uprobes do). None where the process is gone.
pub fn mapped(pid: HostPid) -> BTreeMap<String, PathBuf> {
    let maps = open(pid).ok().and_then(|process| process.maps().ok());
    let files = maps.into_iter().flatten().filter_map(|map| {
        let MMapPath::Path(path) = &map.pathname else {
            return None;
        };
        let (start, end) = map.address;
        let file = format!("/proc/{}/map_files/{start:x}-{end:x}", pid.0);
        Some((given(path.to_str()?).to_owned(), file.into()))
    });
    files.collect()
}

/// Where a process maps the first byte of a library, or (`None`) of its executable.
pub fn mapped_at(pid: HostPid, library: Option<&Path>) -> Option<u64> {
    let process = open(pid).ok()?;
    let file = match library {
        Some(library) => library.to_owned(),
        None => process.exe().ok()?,
    };
    let file = given(file.to_str()?);
    let is_its = |map: &MemoryMap| match &map.pathname {
        MMapPath::Path(path) => map.offset == 0 && path.to_str().map(given) == Some(file),
        _ => false,
    };
    let maps = process.maps().ok()?;
    maps.into_iter().find(is_its).map(|map| map.address.0)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resource_attributes_keep_their_order() {
        let pairs = resource_attributes("a=1, b=x%20y,=z,c");
        assert_eq!(
            pairs,
            [("a".into(), "1".into()), ("b".into(), "x%20y".into())]
        );
    }

    #[test]
    fn a_file_that_is_replaced_is_known_by_its_name() {
        let folder = std::env::temp_dir().join(format!("spanlet-mapped-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("libssl.so.3");
        std::fs::copy("/bin/sleep", &file).unwrap();
        let mut child = std::process::Command::new(&file).arg("60").spawn().unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        let pid = HostPid(child.id());
        let name = file.to_str().unwrap();
        // It is there before its program is mapped.
        let is_mapped = (0..500).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            mapped_at(pid, Some(&file)).is_some()
        });
        let maps = mapped(pid);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(is_mapped, "{maps:?}");
        assert!(maps.contains_key(name), "{maps:?}");
    }

    #[test]
    fn this_process_is_found_with_its_facts() {
        let pid = HostPid(std::process::id());
        let (facts, _) = facts(pid, None, &Sources::default()).unwrap();
        assert_eq!(facts.pid, pid);
        assert!(facts.start_ticks > 0);
        assert!(!facts.executable_name().is_empty());
        assert!(processes().unwrap().iter().any(|seen| seen.pid == pid));
    }
}
