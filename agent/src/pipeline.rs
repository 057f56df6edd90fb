//! The one place that knows all the rooms: one loop over one closed set of inputs.
//!
//! Records come in; events go through decode, enrich and export in the order they happened. What the API server tells, new
//! configurations, questions and signals wait their turn; nothing else has any.

mod cluster;
mod lasting;
mod reopen;
mod rooms;
mod settings;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use spanlet_abi::limit::RING_BYTES;
use tokio::signal::unix::{signal, Signal, SignalKind};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{interval, Instant, Interval};

use crate::attach::probes::Probes;
use crate::capture::recording::Recorder;
use crate::capture::{Reader, WaitedRing};
use crate::clock::{Monotonic, WallOffset};
use crate::config::{Config, ConfigErrors, Reloads, Sources};
use crate::control::{Desk, Question};
use crate::health::{Endpoint, Scrape, Vitals};
use crate::pods::events::{self, OwnPod};
use crate::pods::Update;
use crate::telemetry::{Reporter, Snapshot};
use crate::{answer, memory, prometheus, tally};
pub(crate) use cluster::Cluster;
pub(crate) use rooms::Rooms;

/// How long a stop may take.
const STOP_DEADLINE: Duration = Duration::from_secs(5);
/// How long `spanlet probes` measures what probes cost. Only then, because measuring costs too.
const MEASURE: Duration = Duration::from_millis(500);

/// Scrapes that wait at most; further ones wait to be taken.
const SCRAPES_MAX: usize = 4;

/// What tests ask of a run, besides the configuration.
#[derive(Debug, Default)]
pub struct Trial {
    pub record: Option<std::path::PathBuf>,
    pub lose_per_mille: u32,
    pub map_sizes: Vec<(String, u32)>,
}

impl Trial {
    fn ring_bytes(&self) -> usize {
        let mut sizes = self.map_sizes.iter();
        let size = sizes.find_map(|(map, size)| (map == "EVENTS").then_some(*size));
        size.unwrap_or(RING_BYTES) as usize
    }

    /// Whether what the agent does is what it would do without the test.
    fn is_none(&self) -> bool {
        self.record.is_none() && self.lose_per_mille == 0 && self.map_sizes.is_empty()
    }
}

/// What makes the loop turn.
enum Input {
    /// It is time to look for records.
    Records,
    /// The API server told something.
    Pods(Vec<Update>),
    /// The configuration has another content.
    Configuration(Result<Box<Config>, ConfigErrors>),
    Question(Question),
    /// Costs have been measured long enough.
    Measured,
    /// It was found out which processes there are, for questions.
    Found(Vec<answer::Other>),
    /// Prometheus asks for the metrics.
    Scrape(Scrape),
    /// It is time to report metrics.
    Report,
    Stop,
}

/// Questions whose answer waits for costs to be measured.
struct Measuring {
    questions: Vec<Question>,
    until: Instant,
    /// Costs are measured for as long as this is open; `None`: the agent may not.
    descriptor: Option<std::os::fd::OwnedFd>,
}

/// Questions whose answer waits for procfs to be searched, beside the loop.
struct Searching {
    questions: Vec<Question>,
    has_costs: bool,
    found: JoinHandle<Vec<answer::Other>>,
}

/// Where inputs come from.
struct Inputs {
    reader: Reader,
    cluster: Option<Cluster>,
    reloads: Reloads,
    desk: Desk,
    scrapes: mpsc::Receiver<Scrape>,
    stop: [Signal; 2],
    report: Interval,
    measuring: Option<Measuring>,
    searching: Option<Searching>,
}

/// What is set up beside the rooms, and may be set up anew.
struct Outside {
    reporter: Option<Reporter>,
    vitals: Arc<Vitals>,
    /// Answers for as long as it lives.
    endpoint: Option<Endpoint>,
    /// Where its scrapes go.
    scraping: mpsc::Sender<Scrape>,
}

/// Traces until a signal stops it.
///
/// Errors: only at the start: the kernel refuses the programs, a process that was named is not there, an output
/// cannot be set up, the socket or the health endpoint's address is in use.
pub async fn run(config: Config, sources: Sources, trial: Trial) -> anyhow::Result<()> {
    let (mut rooms, ring) = Rooms::open(&config, &trial)?;
    let recorder = trial.record.as_deref().map(Recorder::create).transpose();
    let reader = Reader::new(
        WaitedRing::new(ring, trial.ring_bytes()).context("cannot read the ring buffer")?,
        config.drain_interval,
        recorder.context("cannot create the recording")?,
    );
    let (scraping, scrapes) = mpsc::channel(SCRAPES_MAX);
    let mut outside = Outside::open(&config, &rooms, scraping)?;
    let mut inputs = Inputs {
        reader,
        cluster: Cluster::follow(&config),
        reloads: Reloads::watch(sources, &config),
        desk: Desk::open(&config.socket)?,
        scrapes,
        stop: [
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
        ],
        report: report_every(&config),
        measuring: None,
        searching: None,
    };
    tell_events(&config, &mut rooms);
    tracing::info!(
        "ready: {} processes traced, I/O back end {}",
        rooms.census.tracked().count(),
        rooms.probes.back_end.name()
    );
    memory::give_back();
    let mut config = config;
    loop {
        match inputs.next().await {
            Input::Records => {
                rooms.records(&mut inputs.reader);
                outside
                    .vitals
                    .turn(Monotonic::now(), rooms.verifier.verified());
                // Under load the ring may be a quarter full again: without this, nothing would be delivered meanwhile.
                tokio::task::yield_now().await;
            }
            Input::Pods(updates) => {
                rooms.told(updates);
                if rooms.census.has_looks() {
                    inputs.reader.again_in(Duration::ZERO);
                }
            }
            Input::Configuration(Ok(new)) => {
                let (inputs, outside) = (&mut inputs, &mut outside);
                config = reopen::apply(&mut rooms, inputs, outside, config, *new, &trial).await;
            }
            Input::Configuration(Err(errors)) => rooms.news.refuse(errors.to_string()),
            Input::Question(question) => inputs.measure(question, &rooms.probes),
            Input::Measured => inputs.search(),
            Input::Found(others) => inputs.answer(&rooms, others),
            Input::Scrape(scrape) => {
                // A scraper that has gone has no use for it.
                let _ = scrape.send(prometheus::text(&snapshot(&rooms, &inputs)));
            }
            Input::Report => outside.report(&mut rooms, &inputs),
            Input::Stop => break,
        }
    }
    let cluster = inputs.cluster.as_ref();
    rooms.close(inputs.reader, cluster, outside.reporter).await;
    Ok(())
}

impl Outside {
    fn open(
        config: &Config,
        rooms: &Rooms,
        scraping: mpsc::Sender<Scrape>,
    ) -> anyhow::Result<Self> {
        let mut outside = Self {
            reporter: reporter(config, rooms)?,
            vitals: Arc::new(Vitals::new()),
            endpoint: None,
            scraping,
        };
        outside.endpoint = outside.endpoint_of(config)?;
        Ok(outside)
    }

    fn endpoint_of(&self, config: &Config) -> Result<Option<Endpoint>, crate::health::Error> {
        let open = |address| Endpoint::open(address, self.vitals.clone(), self.scraping.clone());
        config.health.map(open).transpose()
    }

    fn report(&self, rooms: &mut Rooms, inputs: &Inputs) {
        rooms.wall = WallOffset::measure();
        rooms.reconcile();
        lasting::note(rooms, inputs.cluster.as_ref());
        memory::give_back();
        if let Some(reporter) = &self.reporter {
            reporter.report(snapshot(rooms, inputs), rooms.now());
        }
    }
}

fn snapshot(rooms: &Rooms, inputs: &Inputs) -> Snapshot {
    let costs = rooms.probes.costs();
    tally::snapshot(rooms, &inputs.reader, inputs.cluster.as_ref(), &costs)
}

fn reporter(config: &Config, rooms: &Rooms) -> Result<Option<Reporter>, crate::export::Error> {
    let metrics = config.metrics.as_ref();
    metrics
        .map(|metrics| Reporter::start(metrics, rooms.started))
        .transpose()
}

fn report_every(config: &Config) -> Interval {
    let every = config.metrics.as_ref().map(|metrics| metrics.interval);
    interval(every.unwrap_or(Duration::from_secs(60)))
}

/// What goes wrong becomes Events, where there is somebody to take them.
fn tell_events(config: &Config, rooms: &mut Rooms) {
    let own = OwnPod::of(|name| std::env::var(name).ok());
    if let (Some(kubernetes), Some(own)) = (&config.kubernetes, own) {
        if let Some(notices) = rooms.news.take_notices() {
            events::start(kubernetes, own, notices);
        }
    }
}

impl Inputs {
    async fn next(&mut self) -> Input {
        let measured = self.measuring.as_ref().map(|measuring| measuring.until);
        let [terminate, interrupt] = &mut self.stop;
        tokio::select! {
            _ = terminate.recv() => Input::Stop,
            _ = interrupt.recv() => Input::Stop,
            () = sleep_until(measured) => Input::Measured,
            others = found(&mut self.searching) => Input::Found(others),
            question = self.desk.next() => Input::Question(question),
            updates = cluster::next(&mut self.cluster) => Input::Pods(updates),
            config = self.reloads.next() => Input::Configuration(config.map(Box::new)),
            // Its other end is kept.
            Some(scrape) = self.scrapes.recv() => Input::Scrape(scrape),
            _ = self.report.tick() => Input::Report,
            () = self.reader.wait() => Input::Records,
        }
    }

    fn measure(&mut self, question: Question, probes: &Probes) {
        let measuring = self.measuring.get_or_insert_with(|| Measuring {
            questions: Vec::new(),
            until: Instant::now() + MEASURE,
            descriptor: probes.measure().ok(),
        });
        measuring.questions.push(question);
    }

    /// Procfs is searched beside the loop, which is not to wait for it.
    fn search(&mut self) {
        let Some(measuring) = self.measuring.take() else {
            return;
        };
        match &mut self.searching {
            Some(searching) => searching.questions.extend(measuring.questions),
            None => {
                self.searching = Some(Searching {
                    questions: measuring.questions,
                    has_costs: measuring.descriptor.is_some(),
                    found: tokio::task::spawn_blocking(answer::others),
                });
            }
        }
    }

    fn answer(&mut self, rooms: &Rooms, others: Vec<answer::Other>) {
        let Some(searching) = self.searching.take() else {
            return;
        };
        let mut report = answer::report(rooms, &self.reader, self.cluster.as_ref(), others);
        report.has_costs = searching.has_costs;
        for question in searching.questions {
            // An asker that has gone has no use for it.
            let _ = question.answer.send(report.clone());
        }
    }
}

async fn sleep_until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

async fn found(searching: &mut Option<Searching>) -> Vec<answer::Other> {
    match searching {
        Some(searching) => (&mut searching.found).await.unwrap_or_default(),
        None => std::future::pending().await,
    }
}
