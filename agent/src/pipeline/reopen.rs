//! Another configuration while the agent runs. In: what was in effect, what is to be. Out: what is in effect now: the new
//! one, or the old one where the new cannot be had. What needs other probes opens them anew, in the same process.

use std::sync::Arc;

use anyhow::Context;
use tokio::time::{Instant, Interval};

use super::cluster::Cluster;
use super::settings::{enrich_config, request, selection};
use super::{report_every, reporter, Inputs, Outside, Rooms, Trial, STOP_DEADLINE};
use crate::attach::probes::{Probes, Request};
use crate::attach::{check_named, Selection};
use crate::capture::WaitedRing;
use crate::clock::Monotonic;
use crate::config::Config;
use crate::control::Desk;
use crate::health;
use crate::telemetry::Reporter;

/// What the new configuration needs anew. `None`: it goes on as it is.
struct Prepared {
    selection: Selection,
    probes: Option<(Request, Probes, WaitedRing)>,
    reporter: Option<(Option<Reporter>, Interval)>,
    desk: Option<Desk>,
}

/// Gives the configuration that is in effect.
pub(super) async fn apply(
    rooms: &mut Rooms,
    inputs: &mut Inputs,
    outside: &mut Outside,
    old: Config,
    new: Config,
    trial: &Trial,
) -> Config {
    match ready(rooms, outside, &old, &new, trial).await {
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

/// All that can fail. On an error nothing has changed.
async fn ready(
    rooms: &mut Rooms,
    outside: &mut Outside,
    old: &Config,
    new: &Config,
    trial: &Trial,
) -> anyhow::Result<Prepared> {
    let prepared = prepare(rooms, old, new, trial)?;
    outside.listen(old, new).await?;
    let export = new.export.clone();
    if let Err(error) = rooms.exporter.reconfigure(export, STOP_DEADLINE) {
        outside.listen(new, old).await?;
        return Err(error.into());
    }
    Ok(prepared)
}

impl Outside {
    /// Moves the endpoint. The old address is freed first: it may be the same port. On an error it is taken back.
    async fn listen(&mut self, old: &Config, new: &Config) -> Result<(), health::Error> {
        if new.health == old.health {
            return Ok(());
        }
        if let Some(endpoint) = self.endpoint.take() {
            endpoint.close().await;
        }
        match self.endpoint_of(new) {
            Ok(endpoint) => self.endpoint = endpoint,
            Err(error) => {
                self.endpoint = self.endpoint_of(old)?;
                return Err(error);
            }
        }
        Ok(())
    }
}

/// Sets up what is new beside what is there.
fn prepare(rooms: &Rooms, old: &Config, new: &Config, trial: &Trial) -> anyhow::Result<Prepared> {
    let selection = selection(new)?;
    let known = &rooms.census.selection().pids;
    let named = selection.pids.iter().filter(|pid| !known.contains(pid));
    named.copied().try_for_each(check_named)?;
    let asked = request(new, trial, &selection);
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
            let (mut probes, ring) = Probes::attach(&asked)?;
            probes.know(rooms.census.sources().clone());
            let ring = WaitedRing::new(ring, trial.ring_bytes());
            let ring = ring.context("cannot read the ring buffer")?;
            Some((asked, probes, ring))
        }
    };
    Ok(Prepared {
        selection,
        probes,
        reporter,
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
    if new.go_releases != old.go_releases {
        let sources = rooms.census.sources().with(new.go_releases.clone());
        let sources = Arc::new(sources);
        rooms.probes.know(sources.clone());
        rooms.census.know(sources);
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
    for (_, tracked) in rooms.census.tracked() {
        probes.follow(&tracked.facts);
    }
    rooms.probes = probes;
    rooms.begin_anew(Monotonic::now());
    rooms.news.reopen(blind);
}
