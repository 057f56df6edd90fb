//! Touches the kernel: loads the programs, attaches the probes, owns the maps. Dropping it detaches everything;
//! nothing is pinned, so the kernel does the same when the agent is killed.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use aya::maps::{HashMap, Map, MapData, MapError, PerCpuArray};
use aya::programs::{RawTracePoint, UProbe};
use aya::{Ebpf, EbpfLoader, Pod};
use spanlet_abi::golang::{asker, Births};
use spanlet_abi::settings::{Offsets, Settings, ABSENT};
use spanlet_abi::state::process_flag;
use spanlet_abi::{loss, state, tls};

use super::btf::Btf;
use super::golang::sources::Sources;
use super::identity::Identity;
use super::listening::Place;
use super::offsets::{missing, missing_for_descriptors, offsets};
use super::plan::{self, BackEnd, Left, Plan, Probe, Wish, GO_CLIENT, TOKIO_WAKES, UPROBES};
use super::uprobes::{self, Uprobes};
use super::{Error, ProcessFacts};
use crate::capture::event::HostPid;
use crate::memory;

/// include/uapi/linux/bpf.h: add, change nothing; change what is there, add nothing.
const BPF_NOEXIST: u64 = 1;
const BPF_EXIST: u64 = 2;

/// The kernel programs, built by `cargo xtask build`; empty when the agent was built without them.
static PROGRAMS: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/spanlet.bpf.o"));

/// Only for the loader, which wants plain memory.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct Plain<T>(T);

// SAFETY of all five: `repr(C)` integers without padding (zerocopy's `IntoBytes` is derived on each).
unsafe impl Pod for Plain<Offsets> {}
unsafe impl Pod for Plain<Settings> {}
unsafe impl Pod for Plain<state::Process> {}
unsafe impl Pod for Plain<state::Connection> {}
unsafe impl Pod for Plain<Births> {}

/// What the agent asks of the kernel side.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    pub wish: Wish,
    pub settings: Settings,
    /// Maps that are to have other sizes than their limits say, by name: what tests use to see them full.
    pub map_sizes: Vec<(String, u32)>,
}

/// Entries of a map that need not be made smaller, and those that are enough for who keeps nothing in it.
const ENTRIES_FEW: u32 = 64;
const ENTRIES_LEAST: u32 = 16;
/// Bytes of the smallest ring.
const RING_BYTES_LEAST: u32 = 4096;

/// All large maps as small as they can be, as [`Request::map_sizes`] has them: for who traces nobody, beside a running agent,
/// where there is little memory.
pub fn small_maps() -> Vec<(String, u32)> {
    // Programs that cannot be read are told of when they are loaded.
    let object = aya_obj::Object::parse(PROGRAMS);
    let maps = object.map(|object| object.maps).unwrap_or_default();
    let large = maps
        .into_iter()
        .filter(|(_, map)| map.max_entries() > ENTRIES_FEW);
    let small = large.map(|(name, map)| match map.key_size() {
        // A ring: its size is in bytes.
        0 => (name, RING_BYTES_LEAST),
        _ => (name, ENTRIES_LEAST),
    });
    small.collect()
}

/// One attached probe and what it has cost so far (while costs are measured).
#[derive(Clone, Debug)]
pub struct Cost {
    pub probe: &'static str,
    pub hits: u64,
    pub nanoseconds: u64,
    /// Instructions that the kernel keeps of it, constants folded.
    pub instructions: Option<u32>,
    /// Instructions that the verifier looked at, on all paths (Linux 5.16 and later).
    pub verified_instructions: Option<u32>,
}

/// A number for each of [`loss::NAMES`].
pub type ByReason = [u64; loss::COUNT as usize];
/// A number for each of [`asker::NAMES`].
pub type Askers = [u64; asker::COUNT as usize];
/// A number for each of [`tls::outcome::NAMES`].
pub type Sessions = [u64; tls::outcome::COUNT as usize];
/// Bytes of an instruction.
const INSTRUCTION_BYTES: u32 = 8;

/// The attached probes and their maps.
pub struct Probes {
    ebpf: Ebpf,
    pub back_end: BackEnd,
    pub attached: Vec<Probe>,
    pub left: Vec<Left>,
    processes: HashMap<MapData, u32, Plain<state::Process>>,
    births: HashMap<MapData, u32, Plain<Births>>,
    listeners: HashMap<MapData, u64, u32>,
    ports: HashMap<MapData, u16, u32>,
    connections: HashMap<MapData, u64, Plain<state::Connection>>,
    unix_connections: HashMap<MapData, u64, Plain<state::Connection>>,
    losses: PerCpuArray<MapData, u64>,
    lost_requests: PerCpuArray<MapData, u64>,
    askers: PerCpuArray<MapData, u64>,
    sessions: PerCpuArray<MapData, u64>,
    uprobes: Uprobes,
    /// What was lost by the probes that these follow.
    losses_before: ByReason,
    lost_requests_before: ByReason,
    askers_before: Askers,
    sessions_before: Sessions,
    #[cfg(feature = "probe-log")]
    log: aya_log::EbpfLogger<&'static dyn log::Log>,
}

impl Probes {
    /// Loads the programs and attaches what the kernel lets; the first back end that works is used. Gives the ring
    /// buffer's descriptor too.
    pub fn attach(request: &Request) -> Result<(Self, OwnedFd), Error> {
        if PROGRAMS.is_empty() {
            return Err(Error::NoPrograms);
        }
        let btf = Btf::of_kernel()?;
        let offsets = offsets(&btf);
        let lacking = missing(&offsets);
        if !lacking.is_empty() {
            return Err(Error::Fields(lacking));
        }
        let plan = plan::plan(request.wish, |name| btf.has_tracepoint(name));
        drop(btf);
        let mut ebpf = load(&offsets, request)?;
        // The reader has to be there before the programs are, and as long.
        #[cfg(feature = "probe-log")]
        let log = aya_log::EbpfLogger::init(&mut ebpf).map_err(|source| Error::Map {
            map: "AYA_LOGS",
            reason: chain(&source),
        })?;
        for probe in plan::LIFE {
            attach(&mut ebpf, probe)?;
        }
        let back_end = attach_back_end(&mut ebpf, &plan, &offsets)?;
        let (extras, mut refused) = attach_extras(&mut ebpf, &plan.extras);
        let (uprobes, no_uprobes) = load_uprobes(&mut ebpf, &offsets);
        refused.extend(no_uprobes);
        let ring = take(&mut ebpf, "EVENTS", descriptor)?;
        let probes = Self {
            back_end,
            attached: plan::LIFE
                .iter()
                .chain(back_end.probes())
                .chain(&extras)
                .copied()
                .collect(),
            left: plan.left.into_iter().chain(refused).collect(),
            processes: take(&mut ebpf, "PROCESSES", HashMap::try_from)?,
            births: take(&mut ebpf, "BIRTHS", HashMap::try_from)?,
            listeners: take(&mut ebpf, "LISTENERS", HashMap::try_from)?,
            ports: take(&mut ebpf, "PORTS", HashMap::try_from)?,
            connections: take(&mut ebpf, "CONNECTIONS", HashMap::try_from)?,
            unix_connections: take(&mut ebpf, "UNIX_CONNECTIONS", HashMap::try_from)?,
            losses: take(&mut ebpf, "LOSSES", PerCpuArray::try_from)?,
            lost_requests: take(&mut ebpf, "LOST_REQUESTS", PerCpuArray::try_from)?,
            askers: take(&mut ebpf, "ASKERS", PerCpuArray::try_from)?,
            sessions: take(&mut ebpf, "TLS", PerCpuArray::try_from)?,
            uprobes,
            losses_before: ByReason::default(),
            lost_requests_before: ByReason::default(),
            askers_before: Askers::default(),
            sessions_before: Sessions::default(),
            ebpf,
            #[cfg(feature = "probe-log")]
            log,
        };
        Ok((probes, ring))
    }

    /// Traces a process from now on.
    pub fn trace(&mut self, pid: HostPid, state: state::Process) -> Result<(), Error> {
        self.processes
            .insert(pid.0, Plain(state), 0)
            .map_err(|source| map_error("PROCESSES", source))
    }

    /// Goes on tracing a process; false when the kernel side has seen its end.
    pub fn retrace(&mut self, pid: HostPid, state: state::Process) -> bool {
        self.processes
            .insert(pid.0, Plain(state), BPF_EXIST)
            .is_ok()
    }

    /// The processes in the kernel side's table.
    pub fn traced(&self) -> Vec<HostPid> {
        self.processes.keys().flatten().map(HostPid).collect()
    }

    /// Leaves a process alone from now on. Not an error when it is gone.
    pub fn leave(&mut self, pid: HostPid) {
        let _ = self.processes.remove(&pid.0);
    }

    /// What the kernel side keeps of a traced process.
    pub fn state(&self, pid: HostPid) -> Option<state::Process> {
        self.processes.get(&pid.0, 0).ok().map(|state| state.0)
    }

    /// Tells the kernel side of a listener that was there before it; false when it knows of one in that place.
    pub fn listener(&mut self, place: Place) -> Result<bool, Error> {
        let entered = self.listeners.insert(key(place), 1, BPF_NOEXIST);
        match entered {
            Ok(()) => Ok(true),
            Err(MapError::SyscallError(error))
                if error.io_error.kind() == std::io::ErrorKind::AlreadyExists =>
            {
                Ok(false)
            }
            Err(source) => Err(map_error("LISTENERS", source)),
        }
    }

    /// What [`Self::listener`] told is no longer so. The kernel side may have counted others in that place.
    pub fn no_listener(&mut self, place: Place) {
        let count = self.listeners.get(&key(place), 0).unwrap_or_default();
        // Not errors: it is gone.
        let _ = match count {
            0 | 1 => self.listeners.remove(&key(place)),
            more => self.listeners.insert(key(place), more - 1, BPF_EXIST),
        };
    }

    /// Nobody who is traced listens there any more.
    pub fn forget_listener(&mut self, place: Place) {
        // Not an error: it is gone.
        let _ = self.listeners.remove(&key(place));
    }

    /// Forgets the connections of processes that were left: should they be traced again, their connections are told of
    /// as any that was open before.
    pub fn forget_connections(&mut self, processes: &BTreeSet<HostPid>) {
        for connections in [&mut self.connections, &mut self.unix_connections] {
            let its = connections.iter().flatten();
            let its = its.filter(|(_, state)| processes.contains(&HostPid(state.0.process)));
            let sockets: Vec<u64> = its.map(|(socket, _)| socket).collect();
            for socket in sockets {
                // Not an error: it is gone.
                let _ = connections.remove(&socket);
            }
        }
    }

    /// Traces nobody for listening on this port.
    pub fn no_port(&mut self, port: u16) {
        // Not an error: it is gone.
        let _ = self.ports.remove(&port);
    }

    /// Traces whoever comes to listen on this port.
    pub fn port(&mut self, port: u16) -> Result<(), Error> {
        self.ports
            .insert(port, 0, 0)
            .map_err(|source| map_error("PORTS", source))
    }

    /// What is known of Go's releases from now on. Its processes have to be followed again.
    pub fn know(&mut self, sources: Arc<Sources>) {
        self.uprobes.know(&mut self.ebpf, sources);
        for pid in self.traced() {
            self.forget_births(pid);
        }
    }

    /// More is known of the release of one file of Go's. Its processes have to be followed again.
    pub fn relearn(&mut self, file: Identity) {
        self.uprobes.relearn(&mut self.ebpf, file);
    }

    /// They may be elsewhere than it was told.
    pub fn forget_births(&mut self, pid: HostPid) {
        let asked = process_flag::BIRTHS | process_flag::BIRTHS_UNFIT;
        let Some(mut state) = self.state(pid).filter(|state| state.flags & asked != 0) else {
            return;
        };
        state.flags &= !asked;
        self.retrace(pid, state);
        // Not an error: there was no place for them.
        let _ = self.births.remove(&pid.0);
    }

    /// A process is traced, or runs another program: what is attached to executables follows.
    pub fn follow(&mut self, facts: &ProcessFacts) {
        self.uprobes.follow(&mut self.ebpf, facts);
    }

    /// What is attached only when it is asked for is asked for of a process.
    pub fn want(&mut self, pid: HostPid) {
        self.uprobes.want(&mut self.ebpf, pid);
        let Some(state) = self.state(pid) else {
            return;
        };
        if is_go(&state) {
            self.want_births(pid, state);
        } else if state.tokio.words != 0 && state.flags & process_flag::WAKERS == 0 {
            self.want_wakers(pid, state);
        }
    }

    /// By half of what wakes a task, the wrong one would be told.
    fn want_wakers(&mut self, pid: HostPid, mut state: state::Process) {
        let attached: BTreeSet<_> = self.uprobes.of(pid).collect();
        let is_there = |probe: &Probe| attached.contains(probe.name);
        if TOKIO_WAKES.iter().all(is_there) {
            state.flags |= process_flag::WAKERS;
            self.retrace(pid, state);
        }
    }

    /// Once for what a process runs, whatever comes of it.
    fn want_births(&mut self, pid: HostPid, mut state: state::Process) {
        if state.flags & (process_flag::BIRTHS | process_flag::BIRTHS_UNFIT) != 0 {
            return;
        }
        let entered = self.uprobes.births(pid).is_some_and(|births| {
            let entered = self.births.insert(pid.0, Plain(births), 0);
            entered.is_ok()
        });
        state.flags |= match entered {
            true => process_flag::BIRTHS,
            false => process_flag::BIRTHS_UNFIT,
        };
        self.retrace(pid, state);
    }

    /// A traced process was forked.
    pub fn follow_child(&mut self, parent: HostPid, child: HostPid) {
        self.uprobes.forked(parent, child);
    }

    /// A process has ended, or is traced no more.
    pub fn unfollow(&mut self, pid: HostPid) {
        self.uprobes.leave(&mut self.ebpf, pid);
        // Not an error: it was not asked for.
        let _ = self.births.remove(&pid.0);
    }

    /// What was attached for processes that are gone is detached.
    pub fn tidy(&mut self) {
        self.uprobes.tidy(&mut self.ebpf);
    }

    /// Whether the kernel lets programs be attached to executables.
    pub fn try_uprobe(&mut self) -> Result<(), String> {
        match self.left.iter().find(|left| left.probe == GO_CLIENT) {
            Some(left) => Err(left.reason.clone()),
            None => uprobes::try_own(&mut self.ebpf),
        }
    }

    /// What is attached to executables and libraries.
    pub fn uprobes(&self) -> &Uprobes {
        &self.uprobes
    }

    /// All that is attached.
    pub fn all_attached(&self) -> impl Iterator<Item = &Probe> {
        let attached = self.uprobes.attached();
        let is_attached = move |probe: &&Probe| attached.contains(probe.name);
        self.attached
            .iter()
            .chain(UPROBES.iter().filter(is_attached))
    }

    /// What became of the askers of Go's client requests so far.
    pub fn askers(&self) -> Askers {
        sum(by_reason(&self.askers), self.askers_before)
    }

    /// What became of what TLS sessions moved so far.
    pub fn sessions(&self) -> Sessions {
        sum(by_reason(&self.sessions), self.sessions_before)
    }

    /// What the kernel side lost so far, by reason.
    pub fn losses(&self) -> ByReason {
        sum(by_reason(&self.losses), self.losses_before)
    }

    /// Goes on in the place of other probes: counts go on, and every process that they traced is traced.
    pub fn succeed(&mut self, before: &Self) {
        self.losses_before = before.losses();
        self.lost_requests_before = before.lost_requests();
        self.askers_before = before.askers();
        self.sessions_before = before.sessions();
        for pid in before.traced() {
            // Not errors: it has ended meanwhile. Where there is no room there was none before.
            if let Some(state) = before.state(pid) {
                let _ = self.trace(pid, state);
            }
        }
    }

    /// How many requests to traced processes were lost with that.
    pub fn lost_requests(&self) -> ByReason {
        sum(by_reason(&self.lost_requests), self.lost_requests_before)
    }

    /// What each attached probe has cost while costs were measured.
    pub fn costs(&self) -> Vec<Cost> {
        self.all_attached()
            .filter_map(|probe| {
                let info = self.ebpf.program(probe.name)?.info().ok()?;
                Some(Cost {
                    probe: probe.name,
                    hits: info.run_count(),
                    nanoseconds: info.run_time().as_nanos() as u64,
                    instructions: info
                        .size_translated()
                        .map(|bytes| bytes / INSTRUCTION_BYTES),
                    verified_instructions: info.verified_instruction_count(),
                })
            })
            .collect()
    }

    /// Has the kernel measure what probes cost for as long as the result lives. Measuring costs a little itself.
    pub fn measure(&self) -> Result<std::os::fd::OwnedFd, Error> {
        aya::sys::enable_stats(aya::sys::Stats::RunTime).map_err(|source| Error::Load {
            reason: format!("measuring costs: {source}"),
        })
    }

    /// Passes on what the probes have logged, to the agent's log at level debug.
    #[cfg(feature = "probe-log")]
    pub fn flush_log(&mut self) {
        self.log.flush();
    }
}

/// Whether a process's goroutines are told.
fn is_go(state: &state::Process) -> bool {
    state.goroutine_id != 0
}

/// As `place` in the programs' `life.rs` makes it.
fn key((network_namespace, port): Place) -> u64 {
    u64::from(network_namespace) << 16 | u64::from(port)
}

fn by_reason<const REASONS: usize>(counts: &PerCpuArray<MapData, u64>) -> [u64; REASONS] {
    std::array::from_fn(|reason| {
        let cpus = counts.get(&(reason as u32), 0);
        cpus.map_or(0, |cpus| cpus.iter().sum())
    })
}

fn sum<const REASONS: usize>(these: [u64; REASONS], others: [u64; REASONS]) -> [u64; REASONS] {
    std::array::from_fn(|reason| these[reason] + others[reason])
}

fn load(offsets: &Offsets, request: &Request) -> Result<Ebpf, Error> {
    let settings = Plain(request.settings);
    let offsets = Plain(*offsets);
    let mut loader = EbpfLoader::new();
    // It has read all of the kernel's types, which these programs do not ask for: they would lie beside the maps and what the
    // verifier takes, and all of that is charged to the agent.
    loader.btf(None);
    memory::give_back();
    loader
        .override_global("OFFSETS", &offsets, true)
        .override_global("SETTINGS", &settings, true);
    for (map, size) in &request.map_sizes {
        loader.map_max_entries(map, *size);
    }
    loader.load(PROGRAMS).map_err(|source| Error::Load {
        reason: chain(&source),
    })
}

fn attach(ebpf: &mut Ebpf, probe: Probe) -> Result<(), Error> {
    load_probe(ebpf, probe)?;
    attach_loaded(ebpf, probe)
}

fn load_probe(ebpf: &mut Ebpf, probe: Probe) -> Result<(), Error> {
    let program = program(ebpf, probe)?;
    program
        .load()
        .map_err(|source| refused(probe, chain(&source)))
}

fn attach_loaded(ebpf: &mut Ebpf, probe: Probe) -> Result<(), Error> {
    let attached = program(ebpf, probe)?.attach(probe.name);
    attached.map_err(|source| refused(probe, chain(&source)))?;
    Ok(())
}

fn program(ebpf: &mut Ebpf, probe: Probe) -> Result<&mut RawTracePoint, Error> {
    ebpf.program_mut(probe.name)
        .ok_or_else(|| refused(probe, "the programs do not hold it".to_owned()))?
        .try_into()
        .map_err(|source| refused(probe, chain(&source)))
}

fn refused(probe: Probe, reason: String) -> Error {
    Error::Probe {
        probe: probe.name,
        reason,
    }
}

fn attach_back_end(ebpf: &mut Ebpf, plan: &Plan, offsets: &Offsets) -> Result<BackEnd, Error> {
    let mut reasons: Vec<String> = plan
        .left
        .iter()
        .map(|left| format!("{}: {}", left.probe.name, left.reason))
        .collect();
    for back_end in &plan.back_ends {
        match try_back_end(ebpf, *back_end, offsets) {
            Ok(()) => return Ok(*back_end),
            Err(error) => reasons.push(error.to_string()),
        }
    }
    Err(Error::NoBackEnd(reasons))
}

fn try_back_end(ebpf: &mut Ebpf, back_end: BackEnd, offsets: &Offsets) -> Result<(), Error> {
    if back_end == BackEnd::SysExit {
        let lacking = missing_for_descriptors(offsets);
        if !lacking.is_empty() {
            return Err(Error::Fields(lacking));
        }
    }
    // All are loaded before one is attached: half a back end would double what the other sees.
    back_end
        .probes()
        .iter()
        .try_for_each(|probe| load_probe(ebpf, *probe))?;
    back_end
        .probes()
        .iter()
        .try_for_each(|probe| attach_loaded(ebpf, *probe))
}

fn attach_extras(ebpf: &mut Ebpf, extras: &[Probe]) -> (Vec<Probe>, Vec<Left>) {
    let mut attached = Vec::new();
    let mut refused = Vec::new();
    for probe in extras {
        match attach(ebpf, *probe) {
            Ok(()) => attached.push(*probe),
            Err(error) => refused.push(left(*probe, &error)),
        }
    }
    (attached, refused)
}

fn left(probe: Probe, error: &Error) -> Left {
    Left {
        probe,
        reason: error.to_string(),
    }
}

/// Loads the uprobes' programs; they are attached to one file after the other.
fn load_uprobes(ebpf: &mut Ebpf, offsets: &Offsets) -> (Uprobes, Vec<Left>) {
    let (mut loaded, mut refused) = (Vec::new(), Vec::new());
    for probe in UPROBES {
        match load_uprobe(ebpf, probe, offsets) {
            Ok(()) => loaded.push(probe),
            Err(error) => refused.push(left(probe, &error)),
        }
    }
    (Uprobes::new(&loaded), refused)
}

/// They find sockets by descriptors.
fn load_uprobe(ebpf: &mut Ebpf, probe: Probe, offsets: &Offsets) -> Result<(), Error> {
    let lacking = missing_for_descriptors(offsets);
    if !lacking.is_empty() {
        return Err(Error::Fields(lacking));
    }
    let refuse = |source: &dyn std::error::Error| refused(probe, chain(source));
    let program = ebpf.program_mut(probe.name);
    let program: Result<&mut UProbe, _> = program
        .ok_or_else(|| refused(probe, "the programs do not hold it".to_owned()))?
        .try_into();
    let program = program.map_err(|source| refuse(&source))?;
    program.load().map_err(|source| refuse(&source))
}

fn take<T>(
    ebpf: &mut Ebpf,
    name: &'static str,
    convert: impl FnOnce(Map) -> Result<T, aya::maps::MapError>,
) -> Result<T, Error> {
    let map = ebpf.take_map(name).ok_or_else(|| Error::Map {
        map: name,
        reason: "the programs do not hold it".to_owned(),
    })?;
    convert(map).map_err(|source| map_error(name, source))
}

fn descriptor(map: Map) -> Result<OwnedFd, MapError> {
    match map {
        Map::RingBuf(data) => Ok(data.fd().as_fd().try_clone_to_owned()?),
        _ => Err(MapError::InvalidMapType { map_type: 0 }),
    }
}

fn map_error(map: &'static str, source: aya::maps::MapError) -> Error {
    Error::Map {
        map,
        reason: chain(&source),
    }
}

/// An error and its causes in one line; the verifier's log is in there.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text = format!("{text}: {source}");
        cause = source.source();
    }
    text
}

/// Whether the running kernel's types name every field that CPU time and run-queue wait need.
pub fn has_thread_clocks(offsets: &Offsets) -> bool {
    [
        offsets.task_runtime,
        offsets.task_exec_start,
        offsets.task_run_delay,
    ]
    .iter()
    .all(|offset| *offset != ABSENT)
}
