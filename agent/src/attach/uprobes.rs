//! Uprobes: one for each probe and file, however many traced processes map it, and gone with the last of them. In: traced
//! processes as they come and go. Out: attached uprobes, and for what is not attached, why. Touches the kernel, and
//! files by [`targets`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aya::programs::uprobe::{
    UProbeAttachLocation, UProbeAttachPoint, UProbeLink, UProbeLinkId, UProbeScope,
};
use aya::programs::{ProgramError, UProbe};
use aya::Ebpf;
use spanlet_abi::golang::Births;

use super::closing::Closing;
use super::fruitless::Fruitless;
use super::golang::client;
use super::golang::programs::Programs;
use super::golang::sources::Sources;
use super::identity::{Identity, Inode};
use super::plan::{Probe, GO, GO_CLIENT, LOOP, PYTHON_TASK, TOKIO};
use super::probes::chain;
use super::process::ProcessFacts;
use super::targets::{self, Site, Target};
use crate::capture::event::HostPid;

/// How long a uprobe stays after the last process that maps its file: a program that is run again and again would have it closed
/// and opened each time, which takes longer than most such programs run.
const STAYS: Duration = Duration::from_millis(300);

/// A probe in a file that is mapped or attached to, by the probe's name.
pub type Spot = (&'static str, Inode);

/// A file that traced processes map.
#[derive(Debug)]
struct Probed {
    probe: Probe,
    file: Identity,
    /// As one of the processes calls it.
    path: String,
    processes: BTreeSet<HostPid>,
    attached: State,
    /// When the last process left.
    left: Option<Instant>,
}

#[derive(Debug)]
enum State {
    /// Nobody has asked for what it tells.
    Idle(Rc<Target>),
    /// There is nothing in it to attach to.
    Nothing,
    Attached(Attached),
    /// Why it is not.
    Refused(String),
}

#[derive(Debug)]
struct Attached {
    link: UProbeLinkId,
    site: Site,
}

/// One attached uprobe, or why it is not attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub probe: Probe,
    pub path: String,
    pub processes: BTreeSet<HostPid>,
    pub site: Result<Site, String>,
}

/// The uprobes of all files.
#[derive(Debug, Default)]
pub struct Uprobes {
    /// Whose programs the kernel has taken.
    loaded: BTreeSet<&'static str>,
    probed: BTreeMap<Spot, Probed>,
    by_process: BTreeMap<HostPid, BTreeSet<Spot>>,
    /// Those that the last process has left, in order; some have been come back to.
    left: VecDeque<(Instant, Spot)>,
    /// Of files that no traced process maps any more.
    fruitless: Fruitless,
    programs: Programs,
    closing: Closing,
}

impl Probed {
    fn join(&mut self, pid: HostPid) {
        self.processes.insert(pid);
        self.left = None;
    }
}

impl Uprobes {
    /// Attaches these, whose programs are loaded.
    pub fn new(loaded: &[Probe]) -> Self {
        Self {
            loaded: loaded.iter().map(|probe| probe.name).collect(),
            ..Self::default()
        }
    }

    /// What is known of Go's releases from now on. What was attached by what was known before is detached: its processes have
    /// to be followed again.
    pub fn know(&mut self, ebpf: &mut Ebpf, sources: Arc<Sources>) {
        self.programs = Programs::new(sources);
        self.leave_go(ebpf, |_| true);
    }

    /// More is known of the release of one file of Go's: the same for its processes.
    pub fn relearn(&mut self, ebpf: &mut Ebpf, file: Identity) {
        self.programs.forget(file);
        self.leave_go(ebpf, |inode| inode == file.inode);
    }

    /// Detaches what is in files of Go's.
    fn leave_go(&mut self, ebpf: &mut Ebpf, is_it: impl Fn(Inode) -> bool) {
        let is_its =
            |(name, inode): &Spot| is_it(*inode) && GO.iter().any(|probe| probe.name == *name);
        let all = self.by_process.iter();
        let its = all.flat_map(|(pid, spots)| spots.iter().map(|spot| (*pid, *spot)));
        let its: Vec<_> = its.filter(|(_, spot)| is_its(spot)).collect();
        for (pid, spot) in its {
            self.leave_spot(ebpf, pid, spot);
        }
        let left = self.left.iter().map(|(_, spot)| *spot);
        let its: Vec<Spot> = left.filter(is_its).collect();
        its.into_iter().for_each(|spot| self.detach(ebpf, spot));
    }

    /// Where a Go process keeps which numbers of goroutines are not used yet.
    pub fn births(&mut self, pid: HostPid) -> Option<Births> {
        targets::births(&mut self.programs, pid)
    }

    /// A process is traced, runs another program than before, or has mapped more. What goes wrong is told of its file; a
    /// process that is gone meanwhile needs nothing.
    pub fn follow(&mut self, ebpf: &mut Ebpf, facts: &ProcessFacts) {
        let before = self.by_process.remove(&facts.pid).unwrap_or_default();
        let mut spots = BTreeSet::new();
        for target in targets::of(facts) {
            let Ok(file) = Identity::of(&target.file) else {
                continue;
            };
            let probes = target.probes.iter();
            let loaded = probes.filter(|probe| self.loaded.contains(probe.name));
            let its: Vec<Spot> = loaded.map(|probe| (probe.name, file.inode)).collect();
            self.look(ebpf, target, file, &its);
            for spot in its {
                if let Some(probed) = self.probed.get_mut(&spot) {
                    probed.join(facts.pid);
                    spots.insert(spot);
                }
            }
        }
        let gone = before.difference(&spots).copied().collect::<Vec<_>>();
        if !spots.is_empty() {
            self.by_process.insert(facts.pid, spots);
        }
        for spot in gone {
            self.leave_spot(ebpf, facts.pid, spot);
        }
    }

    /// Attaches to these spots of a file, unless that is done: by one look into it.
    fn look(&mut self, ebpf: &mut Ebpf, target: Target, file: Identity, spots: &[Spot]) {
        let is_new = |probe: &&Probe| {
            let mut its = spots.iter().filter(|(name, _)| *name == probe.name);
            its.any(|spot| !self.probed.contains_key(spot))
        };
        let fresh: Vec<Probe> = target.probes.iter().filter(is_new).copied().collect();
        let path = target.path.clone();
        let (known, fresh): (Vec<Probe>, Vec<Probe>) = fresh
            .into_iter()
            .partition(|probe| self.fruitless.take((probe.name, file)));
        let known = known.into_iter().map(|probe| (probe, State::Nothing));
        let states: Vec<(Probe, State)> = match fresh[..] {
            [] => Vec::new(),
            _ if are_asked_for(&fresh) => {
                let target = Rc::new(target);
                let idle = |probe| (probe, State::Idle(target.clone()));
                fresh.into_iter().map(idle).collect()
            }
            _ => {
                let names = fresh.iter().map(|probe| probe.name);
                names.for_each(|name| self.closing.wait((name, file.inode)));
                attached(ebpf, &mut self.programs, &target, &fresh)
            }
        };
        for (probe, attached) in known.chain(states) {
            let probed = Probed {
                probe,
                file,
                path: path.clone(),
                processes: BTreeSet::new(),
                attached,
                left: None,
            };
            self.probed.insert((probe.name, file.inode), probed);
        }
    }

    /// What is attached only when it is asked for is asked for of a process.
    pub fn want(&mut self, ebpf: &mut Ebpf, pid: HostPid) {
        let spots = self.by_process.get(&pid).into_iter().flatten();
        let idle = spots.filter_map(|spot| match &self.probed.get(spot)?.attached {
            State::Idle(target) => Some(((spot.1, target.probes.as_ptr()), target.clone())),
            _ => None,
        });
        let targets: BTreeMap<_, _> = idle.collect();
        for ((inode, _), target) in targets {
            self.want_of(ebpf, inode, &target);
        }
    }

    /// In the order of the list, by one look.
    fn want_of(&mut self, ebpf: &mut Ebpf, inode: Inode, target: &Rc<Target>) {
        let is_idle = |probe: &&Probe| {
            let probed = self.probed.get(&(probe.name, inode));
            probed.is_some_and(|probed| matches!(probed.attached, State::Idle(_)))
        };
        let probes: Vec<Probe> = target.probes.iter().filter(is_idle).copied().collect();
        for probe in &probes {
            self.closing.wait((probe.name, inode));
        }
        for (probe, state) in attached(ebpf, &mut self.programs, target, &probes) {
            if let Some(probed) = self.probed.get_mut(&(probe.name, inode)) {
                probed.attached = state;
            }
        }
    }

    /// A process that runs what its parent runs.
    pub fn forked(&mut self, parent: HostPid, child: HostPid) {
        let spots = self.by_process.get(&parent).cloned().unwrap_or_default();
        for spot in spots {
            if let Some(probed) = self.probed.get_mut(&spot) {
                probed.join(child);
                self.by_process.entry(child).or_default().insert(spot);
            }
        }
    }

    /// A process has ended, or is traced no more.
    pub fn leave(&mut self, ebpf: &mut Ebpf, pid: HostPid) {
        let spots = self.by_process.get(&pid).cloned().unwrap_or_default();
        for spot in spots {
            self.leave_spot(ebpf, pid, spot);
        }
    }

    fn leave_spot(&mut self, ebpf: &mut Ebpf, pid: HostPid, spot: Spot) {
        if let Some(spots) = self.by_process.get_mut(&pid) {
            spots.remove(&spot);
            if spots.is_empty() {
                self.by_process.remove(&pid);
            }
        }
        let Some(probed) = self.probed.get_mut(&spot) else {
            return;
        };
        probed.processes.remove(&pid);
        if !probed.processes.is_empty() {
            return;
        }
        match probed.attached {
            // The file is held by the kernel, and its inode no other's.
            State::Attached(_) => {
                let now = Instant::now();
                probed.left = Some(now);
                self.left.push_back((now, spot));
            }
            _ => self.detach(ebpf, spot),
        }
    }

    /// Detaches what no process has come back to for a while.
    pub fn tidy(&mut self, ebpf: &mut Ebpf) {
        let is_over = |(left, _): &mut (Instant, Spot)| left.elapsed() >= STAYS;
        while let Some((left, spot)) = self.left.pop_front_if(is_over) {
            let probed = self.probed.get(&spot);
            if probed.is_some_and(|probed| probed.left == Some(left)) {
                self.detach(ebpf, spot);
            }
        }
    }

    /// Nobody maps the file, unless it has been come back to.
    fn detach(&mut self, ebpf: &mut Ebpf, spot: Spot) {
        let is_left = |probed: &Probed| probed.processes.is_empty();
        if !self.probed.get(&spot).is_some_and(is_left) {
            return;
        }
        let Some(probed) = self.probed.remove(&spot) else {
            return;
        };
        match probed.attached {
            State::Attached(attached) => {
                if let Some(link) = taken(ebpf, probed.probe, attached.link) {
                    self.closing.begin(spot, link);
                }
            }
            State::Nothing => self.fruitless.keep((probed.probe.name, probed.file)),
            State::Idle(_) | State::Refused(_) => {}
        }
    }

    /// The probes that are attached anywhere.
    pub fn attached(&self) -> BTreeSet<&'static str> {
        let attached = self.told().filter(|told| told.site.is_ok());
        attached.map(|told| told.probe.name).collect()
    }

    /// The probes that see a process.
    pub fn of(&self, pid: HostPid) -> impl Iterator<Item = &'static str> + '_ {
        let spots = self.by_process.get(&pid).into_iter().flatten();
        let probed = spots.filter_map(|spot| self.probed.get(spot));
        let attached = probed.filter(|probed| matches!(probed.attached, State::Attached(_)));
        attached.map(|probed| probed.probe.name)
    }

    /// All of them, but those that no process needs.
    pub fn told(&self) -> impl Iterator<Item = Told> + '_ {
        let needed = self.probed.values().filter(|probed| probed.left.is_none());
        needed.filter_map(|probed| {
            let site = match &probed.attached {
                State::Idle(_) | State::Nothing => return None,
                State::Attached(attached) => Ok(attached.site),
                State::Refused(reason) => Err(reason.clone()),
            };
            Some(Told {
                probe: probed.probe,
                path: probed.path.clone(),
                processes: probed.processes.clone(),
                site,
            })
        })
    }
}

/// Whether they cost too much for those who may not need them.
fn are_asked_for(probes: &[Probe]) -> bool {
    let is_asked_for =
        |probe: &Probe| *probe == PYTHON_TASK || LOOP.contains(probe) || TOKIO.contains(probe);
    probes.iter().any(is_asked_for)
}

/// Whether the kernel lets a uprobe be attached: tried where this program itself starts.
pub fn try_own(ebpf: &mut Ebpf) -> Result<(), String> {
    let file = File::open("/proc/self/exe").map_err(|error| error.to_string())?;
    let start = client::start(&file).ok_or("this program's start is not found")?;
    let link = link(ebpf, GO_CLIENT, &file, start, 0)?;
    drop(taken(ebpf, GO_CLIENT, link));
    Ok(())
}

fn attached(
    ebpf: &mut Ebpf,
    programs: &mut Programs,
    target: &Target,
    probes: &[Probe],
) -> Vec<(Probe, State)> {
    let mut attach = |probe: Probe, site: Site| {
        let (offset, cookie) = (site.file_offset, site.cookie);
        let link = link(ebpf, probe, &target.file, offset, cookie)?;
        Ok(Attached { link, site })
    };
    let found = targets::sites(programs, target, probes).into_iter();
    let states = found.map(|(probe, found)| {
        let attached = found.map(|site| site.and_then(|site| attach(probe, site)));
        let state = match attached {
            None => State::Nothing,
            Some(Ok(attached)) => State::Attached(attached),
            Some(Err(reason)) => State::Refused(reason),
        };
        (probe, state)
    });
    states.collect()
}

/// Attaches to the file that is open, whatever has its name by now.
fn link(
    ebpf: &mut Ebpf,
    probe: Probe,
    file: &File,
    offset: u64,
    cookie: u64,
) -> Result<UProbeLinkId, String> {
    let point = UProbeAttachPoint {
        location: UProbeAttachLocation::AbsoluteOffset(offset),
        cookie: Some(cookie),
    };
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let link = program(ebpf, probe)?.attach(point, path, UProbeScope::AllProcesses);
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

/// Detached when it is dropped. `None`: it is gone.
fn taken(ebpf: &mut Ebpf, probe: Probe, link: UProbeLinkId) -> Option<UProbeLink> {
    program(ebpf, probe).ok()?.take_link(link).ok()
}

fn program(ebpf: &mut Ebpf, probe: Probe) -> Result<&mut UProbe, String> {
    let program = ebpf.program_mut(probe.name);
    let program = program.ok_or("the programs do not hold it")?;
    program.try_into().map_err(|error| chain(&error))
}
