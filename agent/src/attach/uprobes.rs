//! Uprobes: one for each executable file, however many traced processes run it, and gone with the last of them. In: traced
//! processes as they come and go. Out: attached uprobes, and for what is not attached, why. Touches the kernel, and
//! executables by [`client`].

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;

use aya::programs::uprobe::{UProbeAttachLocation, UProbeAttachPoint, UProbeLinkId, UProbeScope};
use aya::programs::{ProgramError, UProbe};
use aya::Ebpf;

use super::golang::client::{self, Site};
use super::plan::GO_CLIENT;
use super::probes::chain;
use super::process::{Language, ProcessFacts};
use crate::capture::event::HostPid;

/// A file by device, inode and time of change.
type FileName = (u64, u64, i64);

/// An executable that traced processes run.
#[derive(Debug)]
struct Executable {
    /// As one of the processes calls it.
    path: String,
    processes: BTreeSet<HostPid>,
    /// `None`: there is nothing in it to attach to.
    attached: Option<Result<Attached, String>>,
}

#[derive(Debug)]
struct Attached {
    link: UProbeLinkId,
    site: Site,
}

/// One attached uprobe, or why it is not attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub path: String,
    pub processes: BTreeSet<HostPid>,
    pub site: Result<Site, String>,
}

/// The uprobes of all files.
#[derive(Debug, Default)]
pub struct Uprobes {
    executables: BTreeMap<FileName, Executable>,
    by_process: BTreeMap<HostPid, FileName>,
}

impl Uprobes {
    /// A process is traced, or runs another program than before. What goes wrong is told of its file; a process that is
    /// gone meanwhile needs nothing.
    pub fn follow(&mut self, ebpf: &mut Ebpf, facts: &ProcessFacts) {
        let opened = (facts.language == Language::Go)
            .then(|| File::open(format!("/proc/{}/exe", facts.pid.0)).ok())
            .flatten();
        let named = opened.and_then(|file| Some((name(&file)?, file)));
        let before = self.by_process.get(&facts.pid).copied();
        if before == named.as_ref().map(|(name, _)| *name) {
            return;
        }
        self.leave(ebpf, facts.pid);
        let Some((name, file)) = named else {
            return;
        };
        self.by_process.insert(facts.pid, name);
        let executable = self.executables.entry(name).or_insert_with(|| Executable {
            path: facts.executable_path.clone(),
            processes: BTreeSet::new(),
            attached: attached(ebpf, &file),
        });
        executable.processes.insert(facts.pid);
    }

    /// A process that runs what its parent runs.
    pub fn forked(&mut self, parent: HostPid, child: HostPid) {
        let name = self.by_process.get(&parent).copied();
        let executable = name.and_then(|name| Some((name, self.executables.get_mut(&name)?)));
        if let Some((name, executable)) = executable {
            executable.processes.insert(child);
            self.by_process.insert(child, name);
        }
    }

    /// A process has ended, or is traced no more.
    pub fn leave(&mut self, ebpf: &mut Ebpf, pid: HostPid) {
        let Some(name) = self.by_process.remove(&pid) else {
            return;
        };
        let Some(executable) = self.executables.get_mut(&name) else {
            return;
        };
        executable.processes.remove(&pid);
        if executable.processes.is_empty() {
            let executable = self.executables.remove(&name);
            if let Some(Ok(attached)) = executable.and_then(|executable| executable.attached) {
                detach(ebpf, attached.link);
            }
        }
    }

    /// Whether any is attached.
    pub fn is_any(&self) -> bool {
        self.told().any(|told| told.site.is_ok())
    }

    /// Whether one sees a process.
    pub fn sees(&self, pid: HostPid) -> bool {
        let name = self.by_process.get(&pid);
        let executable = name.and_then(|name| self.executables.get(name));
        executable.is_some_and(|executable| matches!(executable.attached, Some(Ok(_))))
    }

    /// All of them.
    pub fn told(&self) -> impl Iterator<Item = Told> + '_ {
        self.executables.values().filter_map(|executable| {
            let site = match executable.attached.as_ref()? {
                Ok(attached) => Ok(attached.site),
                Err(reason) => Err(reason.clone()),
            };
            Some(Told {
                path: executable.path.clone(),
                processes: executable.processes.clone(),
                site,
            })
        })
    }
}

fn name(file: &File) -> Option<FileName> {
    let metadata = file.metadata().ok()?;
    Some((metadata.dev(), metadata.ino(), metadata.ctime()))
}

/// Whether the kernel lets a uprobe be attached: tried where this program itself starts.
pub fn try_own(ebpf: &mut Ebpf) -> Result<(), String> {
    let file = File::open("/proc/self/exe").map_err(|error| error.to_string())?;
    let start = client::start(&file).ok_or("this program's start is not found")?;
    let link = link(ebpf, &file, start, 0)?;
    detach(ebpf, link);
    Ok(())
}

fn attached(ebpf: &mut Ebpf, file: &File) -> Option<Result<Attached, String>> {
    match client::site(file) {
        Ok(site) => Some(attach(ebpf, file, site)),
        Err(fault) if fault.is_harmless() => None,
        Err(fault) => Some(Err(fault.to_string())),
    }
}

fn attach(ebpf: &mut Ebpf, file: &File, site: Site) -> Result<Attached, String> {
    let link = link(ebpf, file, site.file_offset, site.offsets.cookie())?;
    Ok(Attached { link, site })
}

/// Attaches to the file that is open, whatever has its name by now.
fn link(ebpf: &mut Ebpf, file: &File, offset: u64, cookie: u64) -> Result<UProbeLinkId, String> {
    let point = UProbeAttachPoint {
        location: UProbeAttachLocation::AbsoluteOffset(offset),
        cookie: Some(cookie),
    };
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let link = program(ebpf)?.attach(point, path, UProbeScope::AllProcesses);
    link.map_err(|error| refused(&error))
}

/// Kernels ask for more here than for tracepoints.
fn refused(error: &ProgramError) -> String {
    let hint = match error {
        ProgramError::SyscallError(call) if call.io_error.kind() == ErrorKind::PermissionDenied => {
            " (it asks for CAP_SYS_ADMIN)"
        }
        _ => "",
    };
    format!("the kernel refused it: {}{hint}", chain(error))
}

fn detach(ebpf: &mut Ebpf, link: UProbeLinkId) {
    // Not an error: it is gone.
    let _ = program(ebpf).map(|program| program.detach(link));
}

fn program(ebpf: &mut Ebpf) -> Result<&mut UProbe, String> {
    let program = ebpf.program_mut(GO_CLIENT.name);
    let program = program.ok_or("the programs do not hold it")?;
    program.try_into().map_err(|error| chain(&error))
}
