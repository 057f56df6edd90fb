//! The answer to `spanlet probes`, put together from what the rooms know. Touches procfs, for who is not traced.

use spanlet_abi::state::process_flag;

use crate::attach::discover::{self, Seen};
use crate::attach::golang::releases::Teller;
use crate::attach::listening::{ports_of, Listening};
use crate::attach::probes::Cost;
use crate::attach::tracked::{no_births, no_tasks, Tracked};
use crate::capture::event::HostPid;
use crate::capture::Reader;
use crate::enrich;
use crate::export::health::{Condition, State};
use crate::pipeline::{Cluster, Rooms};
use crate::pods::{Place, Workload};
use crate::report::{
    Collector, Counter, Kubernetes, Limit, NotAttached, NotTraced, Pod, Probe, Process, Report,
    Uprobe,
};
use crate::tally;

/// The kernel side found otherwise.
const UNFIT: &str = "its memory does not look as that of its release on glibc";

/// Everything that the rooms know now. `others`: what [`others`] found.
pub(crate) fn report(
    rooms: &Rooms,
    reader: &Reader,
    cluster: Option<&Cluster>,
    others: Vec<Other>,
) -> Report {
    let costs = rooms.probes.costs();
    Report {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        commit: env!("SPANLET_COMMIT").to_owned(),
        uptime_seconds: rooms.began.elapsed().as_secs(),
        io_backend: rooms.probes.back_end.name().to_owned(),
        verified: rooms.verifier.verified().to_string(),
        kubernetes: kubernetes(rooms, cluster),
        collectors: collector(rooms).into_iter().collect(),
        configuration_fault: rooms.news.fault.clone(),
        processes: rooms
            .census
            .tracked()
            .map(|(pid, tracked)| process(rooms, pid, tracked))
            .collect(),
        has_costs: true,
        probes: probes(rooms, &costs),
        counters: counters(rooms, reader, cluster, &costs),
        uprobes: uprobes(rooms),
        not_attached: not_attached(rooms),
        not_traced: not_traced(rooms, others),
    }
}

fn kubernetes(rooms: &Rooms, cluster: Option<&Cluster>) -> Option<Kubernetes> {
    let index = rooms.census.pods()?;
    let counts = rooms.enricher.counts();
    let status = cluster?.status(index);
    Some(Kubernetes {
        is_good: status.is_good(),
        status: status.to_string(),
        held_spans: rooms.enricher.held_for_pods() as u64,
        dropped_spans: counts.dropped_unknown + counts.dropped_held_full,
    })
}

fn collector(rooms: &Rooms) -> Option<Collector> {
    let Condition { endpoint, state } = rooms.exporter.collector()?;
    let mut collector = Collector {
        output: "otlp".to_owned(),
        endpoint,
        delivers: state == State::Delivers,
        ..Collector::default()
    };
    if let State::Failing { since, error } = state {
        collector.failing_seconds = Some(since.elapsed().as_secs());
        collector.last_error = Some(error);
    }
    Some(collector)
}

/// A process that may have to be told of though it is not traced: it listens, or is in a pod.
#[derive(Debug, Default)]
pub(crate) struct Other {
    seen: Seen,
    place: Place,
    ports: Vec<u16>,
}

/// Finds them, traced or not. Searches procfs, which takes a while.
pub(crate) fn others() -> Vec<Other> {
    let mut listening = Listening::default();
    let all = discover::processes().unwrap_or_default().into_iter();
    let other = |seen: Seen| Other {
        place: discover::place(seen.pid),
        ports: ports_of(&listening.of(seen.pid)),
        seen,
    };
    all.map(other)
        .filter(|other| !other.ports.is_empty() || other.place.pod.is_some())
        .collect()
}

fn not_traced(rooms: &Rooms, others: Vec<Other>) -> Vec<NotTraced> {
    let own = std::process::id();
    let index = rooms.census.pods();
    let is_told = |other: &Other| {
        let is_traced = rooms.census.traces(other.seen.pid) || other.seen.pid.0 == own;
        !is_traced && (index.is_some() || !other.ports.is_empty())
    };
    let others = others.into_iter().filter(is_told);
    others
        .map(|other| {
            let left = rooms.census.why_left(&other.seen, &other.place);
            let workload = index.and_then(|index| index.workload(&other.place));
            NotTraced {
                pid: other.seen.pid.0,
                pod: match index {
                    Some(_) => pod(workload.as_deref()).or_else(|| unknown_pod(&other.place)),
                    None => None,
                },
                reason: left.to_string(),
                remedy: left.remedy(other.seen.pid, other.ports.first().copied()),
                executable: other.seen.executable_path,
                ports: other.ports,
            }
        })
        .collect()
}

/// A pod that the API server has not told of: by its UID.
fn unknown_pod(place: &Place) -> Option<Pod> {
    let uid = place.pod.as_ref()?;
    Some(Pod {
        name: uid.0.to_string(),
        ..Pod::default()
    })
}

fn pod(workload: Option<&Workload>) -> Option<Pod> {
    let workload = workload?;
    Some(Pod {
        namespace: workload.namespace.to_string(),
        name: workload.pod.to_string(),
        container: workload.container.to_string(),
    })
}

fn process(rooms: &Rooms, pid: HostPid, tracked: &Tracked) -> Process {
    let facts = &tracked.facts;
    let state = rooms.probes.state(pid).unwrap_or_default();
    let is_unfit = state.flags & process_flag::TASKS_UNFIT != 0;
    let unfit = is_unfit.then(|| no_tasks(UNFIT.to_owned()));
    let has_no_births = state.flags & process_flag::BIRTHS_UNFIT != 0;
    let unborn = has_no_births.then(no_births);
    Process {
        pid: pid.0,
        pod: pod(facts.workload.as_deref()),
        service: enrich::service_name(facts),
        language: facts.language.name().to_owned(),
        runtime_version: facts.runtime_version.clone(),
        offsets_file: offsets_file(rooms, tracked),
        offsets_of_program: tracked.told_by == Some(Teller::Program),
        executable: facts.executable_path.clone(),
        reason: tracked.reason.to_string(),
        ports: tracked.ports.clone(),
        attached: attached(rooms, pid),
        records: tracked.records,
        losses: state.losses.into(),
        spans: tracked.spans,
        opaque_connections: tracked.opaque,
        limits: tracked
            .limits
            .iter()
            .chain(unfit.as_ref())
            .chain(unborn.as_ref())
            .map(|limit| Limit {
                what: limit.what.to_owned(),
                reason: limit.reason.clone(),
                remedy: limit.remedy.to_owned(),
            })
            .collect(),
    }
}

fn offsets_file(rooms: &Rooms, tracked: &Tracked) -> Option<String> {
    let teller = tracked.told_by.filter(|by| *by == Teller::User);
    let file = teller.and_then(|_| rooms.census.sources().releases().file());
    Some(file?.display().to_string())
}

/// Names of the probes that see a process.
fn attached(rooms: &Rooms, pid: HostPid) -> Vec<String> {
    let probes = rooms.probes.attached.iter().map(|probe| probe.name);
    let probes = probes.chain(rooms.probes.uprobes().of(pid));
    probes.map(str::to_owned).collect()
}

fn probes(rooms: &Rooms, costs: &[Cost]) -> Vec<Probe> {
    let describe = |probe: &crate::attach::plan::Probe| {
        let cost = costs.iter().find(|cost| cost.probe == probe.name);
        Probe {
            name: probe.name.to_owned(),
            at: probe.at(),
            enables: probe.enables.to_owned(),
            hits: cost.map_or(0, |cost| cost.hits),
            nanoseconds_per_hit: cost.and_then(per_hit),
            instructions: cost.and_then(|cost| cost.instructions),
            verified_instructions: cost.and_then(|cost| cost.verified_instructions),
        }
    };
    rooms.probes.all_attached().map(describe).collect()
}

fn per_hit(cost: &Cost) -> Option<u64> {
    cost.nanoseconds.checked_div(cost.hits)
}

fn not_attached(rooms: &Rooms) -> Vec<NotAttached> {
    let left = rooms.probes.left.iter().map(|left| NotAttached {
        name: left.probe.name.to_owned(),
        reason: left.reason.clone(),
        without: left.probe.without.to_owned(),
    });
    left.chain(uprobes_left(rooms)).collect()
}

fn uprobes(rooms: &Rooms) -> Vec<Uprobe> {
    let told = rooms.probes.uprobes().told();
    told.filter_map(|told| {
        let site = told.site.ok()?;
        let place = site.place;
        Some(Uprobe {
            name: told.probe.name.to_owned(),
            executable: told.path,
            place: format!("{}+{:#x}", told.probe.function(), place.offset),
            file_offset: site.file_offset,
            instruction: place.instruction.to_string(),
            processes: told.processes.iter().map(|pid| pid.0).collect(),
        })
    })
    .collect()
}

/// Executables that it could not be attached to.
fn uprobes_left(rooms: &Rooms) -> impl Iterator<Item = NotAttached> + '_ {
    let told = rooms.probes.uprobes().told();
    told.filter_map(|told| {
        Some(NotAttached {
            name: told.probe.name.to_owned(),
            reason: format!("{}: {}", told.path, told.site.err()?),
            without: told.probe.without.to_owned(),
        })
    })
}

fn counters(
    rooms: &Rooms,
    reader: &Reader,
    cluster: Option<&Cluster>,
    costs: &[Cost],
) -> Vec<Counter> {
    let snapshot = tally::snapshot(rooms, reader, cluster, costs);
    let counters = snapshot.0.iter().map(|sample| Counter {
        room: sample.id.metric().name.to_owned(),
        name: sample.labels.join(" "),
        value: sample.number as u64,
    });
    counters.collect()
}
