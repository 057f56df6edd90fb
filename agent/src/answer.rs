//! The answer to `spanlet probes`, put together from what the rooms know. Touches procfs, for who is not traced.

use std::collections::BTreeSet;

use crate::attach::discover::{self, Seen};
use crate::attach::listening::{ports_of, Listening};
use crate::attach::probes::Cost;
use crate::attach::tracked::{Reason, Tracked};
use crate::attach::Selection;
use crate::capture::event::HostPid;
use crate::capture::Reader;
use crate::enrich;
use crate::pipeline::Rooms;
use crate::report::{Counter, Limit, NotAttached, NotTraced, Probe, Process, Report};
use crate::tally;

/// Everything that the rooms know now; who is not traced is found out by [`Others`].
pub(crate) fn report(rooms: &Rooms, reader: &Reader) -> Report {
    let costs = rooms.probes.costs();
    Report {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        commit: env!("SPANLET_COMMIT").to_owned(),
        uptime_seconds: rooms.began.elapsed().as_secs(),
        io_backend: rooms.probes.back_end.name().to_owned(),
        processes: rooms
            .census
            .tracked()
            .map(|(pid, tracked)| process(rooms, pid, tracked))
            .collect(),
        probes: probes(rooms, &costs),
        counters: counters(rooms, reader, &costs),
        not_attached: not_attached(rooms),
        not_traced: Vec::new(),
    }
}

/// Finds the processes that listen on TCP and are not traced: where people look first. Searches procfs, which takes a
/// while.
pub(crate) struct Others {
    traced: BTreeSet<HostPid>,
    selection: Selection,
}

impl Others {
    /// All but those that are traced now.
    pub fn of(rooms: &Rooms) -> Self {
        let own = HostPid(std::process::id());
        let traced = rooms.census.tracked().map(|(pid, _)| pid);
        Self {
            traced: traced.chain([own]).collect(),
            selection: rooms.census.selection().clone(),
        }
    }

    pub fn not_traced(&self) -> Vec<NotTraced> {
        let mut listening = Listening::default();
        let others = discover::processes().unwrap_or_default().into_iter();
        others
            .filter(|seen| !self.traced.contains(&seen.pid))
            .filter_map(|seen| self.listener(seen, &mut listening))
            .collect()
    }

    fn listener(&self, seen: Seen, listening: &mut Listening) -> Option<NotTraced> {
        let ports = ports_of(&listening.of(seen.pid));
        let first = ports.first()?;
        let (reason, remedy) = match self.selection.excludes(&seen.executable_path) {
            true => (
                "an exclusion names it",
                "take it out of --exclude-exec".to_owned(),
            ),
            false => (
                "nothing selects it",
                format!("--pid {} or --port {first}", seen.pid.0),
            ),
        };
        Some(NotTraced {
            pid: seen.pid.0,
            executable: seen.executable_path,
            reason: reason.to_owned(),
            remedy,
            ports,
        })
    }
}

fn process(rooms: &Rooms, pid: HostPid, tracked: &Tracked) -> Process {
    let facts = &tracked.facts;
    let state = rooms.probes.state(pid).unwrap_or_default();
    Process {
        pid: pid.0,
        service: enrich::service_name(facts),
        language: facts.language.name().to_owned(),
        runtime_version: facts.runtime_version.clone(),
        executable: facts.executable_path.clone(),
        reason: match tracked.reason {
            Reason::Selected => "selected".to_owned(),
            Reason::Port(port) => format!("listens on {port}"),
            Reason::Child(parent) => format!("child of {}", parent.0),
        },
        ports: tracked.ports.clone(),
        attached: rooms
            .probes
            .attached
            .iter()
            .map(|probe| probe.name.to_owned())
            .collect(),
        records: tracked.records,
        losses: state.losses.into(),
        spans: tracked.spans,
        opaque_connections: tracked.opaque,
        limits: tracked
            .limits
            .iter()
            .map(|limit| Limit {
                what: limit.what.to_owned(),
                reason: limit.reason.clone(),
                remedy: limit.remedy.to_owned(),
            })
            .collect(),
    }
}

fn probes(rooms: &Rooms, costs: &[Cost]) -> Vec<Probe> {
    let describe = |probe: &crate::attach::plan::Probe| {
        let cost = costs.iter().find(|cost| cost.probe == probe.name);
        Probe {
            name: probe.name.to_owned(),
            at: format!("raw_tp/{}", probe.name),
            enables: probe.enables.to_owned(),
            hits: cost.map_or(0, |cost| cost.hits),
            nanoseconds_per_hit: cost.and_then(per_hit),
            instructions: cost.and_then(|cost| cost.instructions),
            verified_instructions: cost.and_then(|cost| cost.verified_instructions),
        }
    };
    rooms.probes.attached.iter().map(describe).collect()
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
    left.collect()
}

fn counters(rooms: &Rooms, reader: &Reader, costs: &[Cost]) -> Vec<Counter> {
    let snapshot = tally::snapshot(rooms, reader, costs);
    let counters = snapshot.0.iter().map(|sample| Counter {
        room: sample.id.metric().name.to_owned(),
        name: sample.labels.join(" "),
        value: sample.number as u64,
    });
    counters.collect()
}
