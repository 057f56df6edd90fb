//! What every room has counted, gathered: one list for the agent's metrics and for `spanlet probes`.

use spanlet_abi::golang::asker;
use spanlet_abi::loss;
use spanlet_abi::tls::outcome;

use crate::attach::probes::Cost;
use crate::capture::Reader;
use crate::pipeline::{Cluster, Rooms};
use crate::telemetry::{Id, Snapshot};
use crate::verify::Verified;

/// The counters of all rooms now, and what probes have cost.
pub(crate) fn snapshot(
    rooms: &Rooms,
    reader: &Reader,
    cluster: Option<&Cluster>,
    costs: &[Cost],
) -> Snapshot {
    let mut snapshot = Snapshot::default();
    kernel(&mut snapshot, rooms, costs);
    capture(&mut snapshot, rooms, reader);
    decode(&mut snapshot, rooms);
    enrich(&mut snapshot, rooms);
    snapshot.add_export(&rooms.exporter.counts());
    processes(&mut snapshot, rooms);
    configuration(&mut snapshot, rooms);
    if let (Some(cluster), Some(index)) = (cluster, rooms.census.pods()) {
        snapshot.add_kubernetes(&cluster.status(index));
    }
    snapshot.add_own_usage();
    snapshot
}

fn kernel(snapshot: &mut Snapshot, rooms: &Rooms, costs: &[Cost]) {
    for (reason, lost) in loss::NAMES.into_iter().zip(rooms.probes.losses()) {
        snapshot.add_one(Id::KernelLosses, reason, lost as f64);
    }
    for (reason, lost) in loss::NAMES.into_iter().zip(rooms.probes.lost_requests()) {
        snapshot.add_one(Id::KernelRequestsLost, reason, lost as f64);
    }
    for (outcome, number) in asker::NAMES.into_iter().zip(rooms.probes.askers()) {
        snapshot.add_one(Id::KernelAskers, outcome, number as f64);
    }
    for (outcome, number) in outcome::NAMES.into_iter().zip(rooms.probes.sessions()) {
        snapshot.add_one(Id::KernelSessions, outcome, number as f64);
    }
    for cost in costs {
        snapshot.add_one(Id::ProbeHits, cost.probe, cost.hits as f64);
        snapshot.add_one(Id::ProbeTime, cost.probe, cost.nanoseconds as f64);
    }
}

fn capture(snapshot: &mut Snapshot, rooms: &Rooms, reader: &Reader) {
    let counts = reader.counts();
    snapshot.add(Id::KernelRecords, counts.records as f64);
    snapshot.add(Id::RingBytes, counts.bytes as f64);
    for (reason, number) in [
        ("short", counts.skipped_short),
        ("unknown_kind", counts.skipped_unknown_kind),
        ("not_traced", rooms.refused),
        ("recording_failed", counts.recording_failed),
    ] {
        snapshot.add_one(Id::CaptureSkipped, reason, number as f64);
    }
}

fn decode(snapshot: &mut Snapshot, rooms: &Rooms) {
    let counts = rooms.decoder.counts();
    for (outcome, number) in [
        ("connections", counts.connections),
        ("opaque_connections", counts.opaque),
        ("malformed", counts.malformed),
        ("incomplete_heads", counts.incomplete_heads),
        ("answers_without_request", counts.answers_without_request),
        ("unread_requests", counts.unread_requests),
        ("pipeline_full", counts.pipeline_full),
        ("gaps", counts.gaps),
        ("lost_bytes", counts.lost_bytes),
        ("repeated_bytes", counts.repeated_bytes),
        ("connections_evicted", counts.evicted),
    ] {
        snapshot.add_one(Id::DecodeNoted, outcome, number as f64);
    }
    snapshot.add_one(Id::DecodeExchanges, "started", counts.exchanges as f64);
    snapshot.add_one(Id::DecodeExchanges, "finished", counts.finished as f64);
    let (connections, bytes) = rooms.decoder.held();
    snapshot.add(Id::DecodeOpen, connections as f64);
    snapshot.add(Id::DecodeHeld, bytes as f64);
}

fn enrich(snapshot: &mut Snapshot, rooms: &Rooms) {
    let counts = rooms.enricher.counts();
    snapshot.add(Id::EnrichHeld, rooms.enricher.held_for_pods() as f64);
    snapshot.add(Id::EnrichSpans, counts.spans as f64);
    for (evidence, number) in counts.linked() {
        snapshot.add_one(Id::EnrichParents, evidence, number as f64);
    }
    for (reason, number) in counts.refused() {
        snapshot.add_one(Id::EnrichRefused, reason, number as f64);
    }
    for (reason, number) in [
        ("waiting_full", counts.dropped_waiting_full),
        ("pod_refused", counts.dropped_refused),
        ("pods_unknown", counts.dropped_unknown),
        ("pods_held_full", counts.dropped_held_full),
        ("unnamed_late", counts.unnamed_late),
        ("unnamed_held_full", counts.unnamed_held_full),
        ("exchanges_full", counts.exchanges_full),
        ("processes_full", counts.processes_full),
        ("abandoned", counts.abandoned),
        ("unannounced", counts.unannounced),
        ("context_malformed", counts.context_malformed),
        ("links_undone", counts.undone),
    ] {
        snapshot.add_one(Id::EnrichDropped, reason, number as f64);
    }
}

fn configuration(snapshot: &mut Snapshot, rooms: &Rooms) {
    let news = &rooms.news;
    snapshot.add_one(Id::Configurations, "applied", news.applied as f64);
    snapshot.add_one(Id::Configurations, "refused", news.refused as f64);
    snapshot.add(
        Id::ConfigurationFault,
        f64::from(u8::from(news.fault.is_some())),
    );
    snapshot.add(Id::ProbesReopened, news.reopened as f64);
    snapshot.add(Id::ProbesBlind, news.blind.as_secs_f64());
    let verified = *rooms.verifier.verified() == Verified::Yes;
    snapshot.add(Id::ProbesVerified, f64::from(u8::from(verified)));
}

fn processes(snapshot: &mut Snapshot, rooms: &Rooms) {
    let mut by_language = std::collections::BTreeMap::<&str, f64>::new();
    for (_, tracked) in rooms.census.tracked() {
        *by_language
            .entry(tracked.facts.language.name())
            .or_default() += 1.0;
    }
    for (reason, number) in [
        ("gone_before_known", rooms.census.unidentified()),
        ("pods_unknown", rooms.census.pods_unknown()),
        ("table_full", rooms.census.full()),
    ] {
        snapshot.add_one(Id::ProcessesMissed, reason, number as f64);
    }
    for (language, number) in by_language {
        snapshot.add_one(Id::ProcessesTraced, language, number);
    }
}
