//! The rooms, and what goes from one to the next. In: records, and what the API server told. Out: spans to the outputs. The
//! loop around it is [`super`].

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::cluster::Cluster;
use super::settings::{enrich_config, request, seed, selection};
use super::{Trial, STOP_DEADLINE};
use crate::attach::census::Reconsidered;
use crate::attach::golang;
use crate::attach::probes::{Probes, Request};
use crate::attach::{Census, ProcessFacts, Selection};
use crate::capture::event::HostPid;
use crate::capture::{Event, Reader};
use crate::clock::{Monotonic, WallClock, WallOffset};
use crate::config::Config;
use crate::decode::{self, Decoder, Step};
use crate::enrich::{self, Enricher, Span};
use crate::export::Exporter;
use crate::news::News;
use crate::pods::{self, Index, Update};
use crate::tally;
use crate::telemetry::Reporter;
use crate::verify::Verifier;

/// Events taken before anything else has its turn: those of half as many spans at most. The queue of an output takes twice
/// that, which is more than a full ring holds (4 MiB of two records a span, of some 170 bytes each or more).
const EVENTS_MAX: usize = 16384;
/// Events that go through all rooms before the next ones: what is made of them takes memory at the same time.
const EVENTS_AT_ONCE: usize = 2048;
/// For how long, in each turn, processes are looked at that can wait. While there are any, that is half of the time.
const LOOK: Duration = Duration::from_millis(5);

/// The rooms.
pub(crate) struct Rooms {
    pub probes: Probes,
    /// What was asked of the kernel side.
    pub request: Request,
    pub census: Census,
    pub decoder: Decoder,
    pub enricher: Enricher,
    pub exporter: Exporter,
    pub verifier: Verifier,
    pub news: News,
    pub began: Instant,
    pub started: WallClock,
    /// Records of processes that are not traced.
    pub refused: u64,
    pub wall: WallOffset,
    steps: Vec<Step>,
}

impl Rooms {
    pub fn open(config: &Config, trial: &Trial) -> anyhow::Result<(Self, OwnedFd)> {
        let selection = selection(config)?;
        let exporter = Exporter::start(config.export.clone())?;
        let request = request(config, trial, &selection);
        let (mut probes, ring) = Probes::attach(&request)?;
        let mut census = Census::new(selection, config.kubernetes.clone().map(Index::new));
        let sources = Arc::new(golang::Sources::new(config.go_releases.clone()));
        probes.know(sources.clone());
        census.know(sources);
        let found = census.begin(&mut probes)?;
        let wall = WallOffset::measure();
        let mut rooms = Self {
            probes,
            request,
            census,
            decoder: Decoder::new(decode::Config::default()),
            enricher: Enricher::new(enrich_config(config), seed()),
            exporter,
            verifier: Verifier::new(trial.is_none()),
            news: News::default(),
            began: Instant::now(),
            started: wall.wall(Monotonic::now()),
            refused: 0,
            wall,
            steps: Vec::new(),
        };
        rooms.know(found);
        Ok((rooms, ring))
    }

    pub fn now(&self) -> WallClock {
        self.wall.wall(Monotonic::now())
    }

    /// Takes the records that are there through all the rooms.
    pub fn records(&mut self, reader: &mut Reader) {
        #[cfg(feature = "probe-log")]
        self.probes.flush_log();
        let mut taken = 0;
        while taken < EVENTS_MAX && self.some_records(reader) {
            taken += EVENTS_AT_ONCE;
        }
        let facts = self.census.look(&mut self.probes, LOOK);
        self.know(facts);
        let now = Monotonic::now();
        let overdue = self.census.overdue(&mut self.probes, now);
        self.reconsidered(overdue, now);
        self.verifier.tick(&mut self.probes, now);
        self.probes.tidy();
        if self.census.has_looks() {
            reader.again_in(LOOK);
        }
    }

    /// Takes in what the API server told.
    pub fn told(&mut self, updates: Vec<Update>) {
        self.census.told(updates);
        self.decide_again();
    }

    /// Decides again of all whose choice may be another now.
    pub fn decide_again(&mut self) {
        let again = self.census.reconsider(&mut self.probes);
        self.reconsidered(again, Monotonic::now());
        let census = &self.census;
        self.enricher.resolve(|facts| census.resolution(facts));
    }

    fn reconsidered(&mut self, again: Reconsidered, now: Monotonic) {
        self.know(again.facts);
        if again.left.is_empty() {
            return;
        }
        let left: BTreeSet<HostPid> = again.left.into_iter().collect();
        // What is open is told as far as it was seen: it may be the parent of what was told already.
        self.decoder.leave(&left, now, &mut self.steps);
        self.follow();
        self.enricher.left(&left, now);
    }

    /// Whether there may be more.
    fn some_records(&mut self, reader: &mut Reader) -> bool {
        let mut latest = Monotonic::default();
        let taken = reader.drain(EVENTS_AT_ONCE, |event| {
            latest = latest.max(self.event(event));
        });
        // With records still to come, time is not later than the last one.
        let now = match taken < EVENTS_AT_ONCE {
            true => Monotonic::now(),
            false => latest,
        };
        self.decoder.tick(now, &mut self.steps);
        self.follow();
        let mut spans = Vec::new();
        self.enricher.spans(now, self.wall, &mut spans);
        for pid in self.enricher.take_untold() {
            self.probes.want(pid);
        }
        self.tell(spans);
        taken == EVENTS_AT_ONCE
    }

    /// Gives spans to the outputs. Whose other end was not known when they ended are looked at once more: the API server tells
    /// of a new pod a moment after it can be called.
    fn tell(&mut self, mut spans: Vec<Span>) {
        if let Some(index) = self.census.pods() {
            for span in spans.iter_mut().filter(|span| span.peer.is_none()) {
                let address = span.exchange.link.remote.address();
                span.peer = address.and_then(|address| index.peer(address));
            }
        }
        self.exporter.offer(spans);
    }

    /// Gives the event's time.
    fn event(&mut self, event: &Event<'_>) -> Monotonic {
        if self.verifier.takes(event) {
            return Monotonic::default();
        }
        match event {
            Event::Io(io) => {
                self.decode(io.origin.process, event);
                io.origin.time
            }
            Event::Opened(opened) => {
                self.decode(opened.origin.process, event);
                opened.origin.time
            }
            Event::Closed(closed) => {
                self.decoder.apply(event, &mut self.steps);
                self.follow();
                closed.time
            }
            Event::Exec { origin, path } => {
                let facts = self.census.executed(&mut self.probes, origin.process, path);
                self.know(facts);
                origin.time
            }
            Event::Fork { origin, child } => {
                self.census.forked(&mut self.probes, origin.process, *child);
                self.decoder.forked(origin.process, *child);
                self.enricher.forked(origin.process, *child);
                origin.time
            }
            Event::Exit { origin, .. } => {
                self.decode(origin.process, event);
                self.enricher.gone(origin.process, origin.time);
                self.census.ended(&mut self.probes, origin.process);
                origin.time
            }
            Event::ThreadBorn { origin, child } => {
                self.enricher.thread_born(*origin, *child);
                origin.time
            }
            Event::Unborn { origin, unborn } => {
                self.enricher.unborn(origin.process, unborn.clone());
                origin.time
            }
            Event::Route {
                origin,
                name,
                pattern,
            } => {
                self.enricher.route(origin.process, *name, pattern);
                origin.time
            }
            Event::ThreadEnded { origin } => {
                self.enricher.thread_ended(*origin);
                origin.time
            }
            Event::TaskBorn { origin, birth } => {
                self.enricher.task_born(origin.process, *birth);
                origin.time
            }
            Event::Listen { origin, port, .. } => {
                let facts = self.census.listens(&mut self.probes, origin.process, *port);
                self.know(facts);
                origin.time
            }
            Event::IoUring { origin } => {
                self.census.uses_io_uring(origin.process);
                origin.time
            }
        }
    }

    /// A lost record may have left a process to one side alone.
    pub fn reconcile(&mut self) {
        let (facts, gone) = self.census.reconcile(&mut self.probes);
        let now = Monotonic::now();
        self.know(facts);
        for pid in gone {
            self.enricher.gone(pid, now);
        }
    }

    fn know(&mut self, facts: impl IntoIterator<Item = ProcessFacts>) {
        for facts in facts {
            self.decoder.is_proxy(facts.pid, enrich::is_proxy(&facts));
            self.enricher.process(facts);
        }
    }

    /// What a process did before it was refused is of no interest.
    fn decode(&mut self, process: HostPid, event: &Event<'_>) {
        if !self.census.traces(process) {
            let facts = self.census.stranger(&mut self.probes, process);
            self.know(facts);
        }
        if self.census.record(process) {
            self.decoder.apply(event, &mut self.steps);
            self.follow();
        } else {
            self.refused += 1;
        }
    }

    fn follow(&mut self) {
        for step in self.steps.drain(..) {
            match step {
                Step::Finished(exchange) => {
                    self.census.span(exchange.process);
                    let pods = self.census.pods();
                    let peer = pods.and_then(|index| index.peer(exchange.link.remote.address()?));
                    self.enricher.finished(exchange, peer);
                    continue;
                }
                Step::Opaque { process, tls, .. } => self.census.opaque(process, tls),
                Step::OpaqueEnded {
                    process,
                    decrypted: true,
                    ..
                } => self.census.decrypted(process),
                Step::Started(_)
                | Step::Answering(_)
                | Step::Turning(_)
                | Step::Moving(_)
                | Step::OpaqueEnded { .. } => {}
            }
            self.enricher.apply(step);
        }
    }

    /// Chooses by this from now on.
    pub fn select(&mut self, selection: Selection, kubernetes: Option<Arc<pods::Config>>) {
        let again = self.census.select(&mut self.probes, selection, kubernetes);
        self.reconsidered(again, Monotonic::now());
        self.decide_again();
    }

    /// The probes are others: connections are seen as if for the first time, and what happened meanwhile was not seen.
    pub fn begin_anew(&mut self, now: Monotonic) {
        self.end_all(now);
        self.census.reopened(&mut self.probes);
        let traced: Vec<HostPid> = self.census.tracked().map(|(pid, _)| pid).collect();
        for pid in traced {
            self.enricher.lost(pid, now);
        }
        self.verifier.again();
    }

    /// Ends what is open, because nothing more will be seen of it.
    pub fn end_all(&mut self, now: Monotonic) {
        self.decoder.stop(now, &mut self.steps);
        self.follow();
    }

    /// Takes what is left through all the rooms, and says what became of it.
    pub async fn close(
        mut self,
        mut reader: Reader,
        cluster: Option<&Cluster>,
        reporter: Option<Reporter>,
    ) {
        self.records(&mut reader);
        self.end_all(Monotonic::now());
        let mut spans: Vec<Span> = Vec::new();
        self.enricher.flush(self.wall, &mut spans);
        self.exporter.offer(spans);
        let snapshot = tally::snapshot(&self, &reader, cluster, &self.probes.costs());
        let now = self.now();
        let kernel_losses: u64 = self.probes.losses().iter().sum();
        let unread = self.decoder.counts().unread_requests;
        drop(self.probes);
        let counts = self.exporter.shutdown(STOP_DEADLINE).await;
        if let Some(reporter) = reporter {
            reporter.report(snapshot, now);
            reporter.shutdown(STOP_DEADLINE).await;
        }
        for (output, counts) in counts.outputs() {
            tracing::info!(
                "stopped: {output}: {} spans delivered, {} dropped; {kernel_losses} records lost in the kernel, {unread} requests not read",
                counts.delivered,
                counts.dropped_total()
            );
        }
    }
}
