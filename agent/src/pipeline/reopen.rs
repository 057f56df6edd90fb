//! Another configuration while the agent runs. In: what was in effect, what is to be. Out: what is in effect now: the new
//! one, or the old one where the new cannot be had. What needs other probes opens them anew, in the same process.

use anyhow::Context;
use tokio::time::{Instant, Interval};

use super::cluster::Cluster;
use super::settings::{enrich_config, request, selection};
use super::{report_every, reporter, Inputs, Outside, Rooms, Trial, STOP_DEADLINE};
use crate::attach::probes::{Probes, Request};
use crate::attach::Selection;
use crate::capture::WaitedRing;
use crate::clock::Monotonic;
use crate::config::Config;
use crate::control::Desk;
use crate::health::Endpoint;
use crate::telemetry::Reporter;

/// What the new configuration needs anew. `None`: it goes on as it is.
struct Prepared {
    selection: Selection,
    probes: Option<(Request, Probes, WaitedRing)>,
    reporter: Option<(Option<Reporter>, Interval)>,
    endpoint: Option<Option<Endpoint>>,
    desk: Option<Desk>,
}

/// Gives the configuration that is in effect.
pub(super) fn apply(
    rooms: &mut Rooms,
    inputs: &mut Inputs,
    outside: &mut Outside,
    old: Config,
    new: Config,
    trial: &Trial,
) -> Config {
    let ready = prepare(rooms, outside, &old, &new, trial).and_then(|prepared| {
        // The last that can fail, and it changes nothing then.
        let export = new.export.clone();
        rooms.exporter.reconfigure(export, STOP_DEADLINE)?;
        Ok(prepared)
    });
    match ready {
        Ok(prepared) => {
            take(rooms, inputs, outside, &old, &new, prepared);
            rooms.news.apply();
            new
        }
        Err(error) => {
            rooms.news.refuse(format!("{error:#}"));
            old
        }
    }
}

/// Sets up what is new beside what is there.
fn prepare(
    rooms: &Rooms,
    outside: &Outside,
    old: &Config,
    new: &Config,
    trial: &Trial,
) -> anyhow::Result<Prepared> {
    let selection = selection(new)?;
    let asked = request(new, trial, &selection);
    let endpoint = match new.health == old.health {
        true => None,
        false => Some(outside.endpoint_of(new)?),
    };
    let reporter = match is_same_metrics(old, new) {
        true => None,
        false => Some((reporter(new, rooms)?, report_every(new))),
    };
    let desk = match new.socket == old.socket {
        true => None,
        false => Some(Desk::open(&new.socket)?),
    };
    let probes = match asked == rooms.request {
        true => None,
        false => {
            let (probes, ring) = Probes::attach(&asked)?;
            let ring = WaitedRing::new(ring, trial.ring_bytes());
            let ring = ring.context("cannot read the ring buffer")?;
            Some((asked, probes, ring))
        }
    };
    Ok(Prepared {
        selection,
        probes,
        reporter,
        endpoint,
        desk,
    })
}

fn take(
    rooms: &mut Rooms,
    inputs: &mut Inputs,
    outside: &mut Outside,
    old: &Config,
    new: &Config,
    prepared: Prepared,
) {
    if let Some((request, probes, ring)) = prepared.probes {
        reopen(rooms, inputs, probes, ring);
        rooms.request = request;
    }
    rooms.enricher.configure(enrich_config(new));
    rooms.select(prepared.selection, new.kubernetes.clone());
    if !is_same_cluster(old, new) {
        inputs.cluster = Cluster::follow(new);
    }
    inputs.reader.every(new.drain_interval);
    if let Some((reporter, every)) = prepared.reporter {
        outside.reporter = reporter;
        inputs.report = every;
    }
    if let Some(endpoint) = prepared.endpoint {
        outside.endpoint = endpoint;
    }
    if let Some(desk) = prepared.desk {
        inputs.desk = desk;
    }
}

/// Whether the agent's own metrics are sent as they are.
fn is_same_metrics(old: &Config, new: &Config) -> bool {
    let metrics = |config: &Config| {
        let metrics = config.metrics.as_ref();
        metrics.map(|metrics| (metrics.target.clone(), metrics.interval))
    };
    metrics(old) == metrics(new) && is_same_cluster(old, new)
}

/// Whether the watch goes on as it is.
fn is_same_cluster(old: &Config, new: &Config) -> bool {
    let of_cluster = |config: &Config| {
        let settings = config.settings.iter();
        let settings = settings.filter(|setting| setting.key.starts_with("kubernetes."));
        settings.cloned().collect::<Vec<_>>()
    };
    old.kubernetes.is_some() == new.kubernetes.is_some() && of_cluster(old) == of_cluster(new)
}

/// Puts other probes in the place of those that are there. What is open ends: its end cannot be seen.
fn reopen(rooms: &mut Rooms, inputs: &mut Inputs, mut probes: Probes, ring: WaitedRing) {
    rooms.records(&mut inputs.reader);
    let blind = Instant::now();
    probes.succeed(&rooms.probes);
    let blind = blind.elapsed();
    inputs.reader.reopen(ring);
    // What the old ones saw since is lost.
    rooms.probes = probes;
    rooms.begin_anew(Monotonic::now());
    rooms.news.reopen(blind);
}
