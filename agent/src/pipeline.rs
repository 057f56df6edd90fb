//! The one place that knows all the rooms: one loop over one closed set of inputs.
//!
//! Records come in; events go through decode, enrich and export in the order they happened. Questions and signals
//! wait their turn; nothing else has any.

use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::Context;
use spanlet_abi::limit::{ANSWER_BYTES_MAX, RING_BYTES, TURN_BYTES_MAX};
use spanlet_abi::settings::Settings;
use tokio::signal::unix::{signal, Signal, SignalKind};
use tokio::time::{interval, Instant, Interval};

use crate::attach::plan::{BackEnd, Wish};
use crate::attach::probes::{Probes, Request};
use crate::attach::{Census, Selection};
use crate::capture::event::HostPid;
use crate::capture::recording::Recorder;
use crate::capture::{Event, Reader, Ring};
use crate::clock::{Monotonic, WallOffset};
use crate::config::{Config, IoBackend, Query};
use crate::control::{Desk, Question};
use crate::decode::{Decoder, Step};
use crate::enrich::{self, Enricher, Span};
use crate::export::Exporter;
use crate::telemetry::Reporter;
use crate::{answer, decode, memory, tally};

/// Events taken before anything else has its turn: those of half as many spans at most. The queue of an output takes twice
/// that, which is more than a full ring holds (4 MiB of two records a span, of some 170 bytes each or more).
const EVENTS_MAX: usize = 16384;
/// Events that go through all rooms before the next ones: what is made of them takes memory at the same time.
const EVENTS_AT_ONCE: usize = 2048;
/// For how long, in each turn, processes are looked at that can wait. While there are any, that is half of the time.
const LOOK: Duration = Duration::from_millis(5);
/// How long a stop may take.
const STOP_DEADLINE: Duration = Duration::from_secs(5);
/// How long `spanlet probes` measures what probes cost. Only then, because measuring costs too.
const MEASURE: Duration = Duration::from_millis(500);

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
}

/// What makes the loop turn.
enum Input {
    /// It is time to look for records.
    Records,
    Question(Question),
    /// Costs have been measured long enough.
    Measured,
    /// It is time to report metrics.
    Report,
    Stop,
}

/// The rooms, and what goes from one to the next.
pub(crate) struct Rooms {
    pub probes: Probes,
    pub census: Census,
    pub decoder: Decoder,
    pub enricher: Enricher,
    pub exporter: Exporter,
    pub began: Instant,
    /// Records of processes that are not traced.
    pub refused: u64,
    wall: WallOffset,
    steps: Vec<Step>,
}

/// Questions whose answer waits for costs to be measured.
struct Measuring {
    questions: Vec<Question>,
    until: Instant,
    // Costs are measured for as long as this is open.
    _descriptor: Option<std::os::fd::OwnedFd>,
}

/// Where inputs come from.
struct Inputs {
    reader: Reader,
    desk: Desk,
    stop: [Signal; 2],
    report: Interval,
    measuring: Option<Measuring>,
}

/// Traces until a signal stops it.
///
/// Errors: only at the start: the kernel refuses the programs, a process that was named is not there, an output
/// cannot be set up, the socket is in use.
pub async fn run(config: Config, trial: Trial) -> anyhow::Result<()> {
    let (mut rooms, ring) = Rooms::open(&config, &trial)?;
    let recorder = trial.record.as_deref().map(Recorder::create).transpose();
    let reader = Reader::new(
        Ring::new(ring, trial.ring_bytes()).context("cannot map the ring buffer")?,
        config.drain_interval,
        recorder.context("cannot create the recording")?,
    )?;
    let reporter = match &config.metrics {
        Some(metrics) => Some(Reporter::start(metrics, rooms.now())?),
        None => None,
    };
    let report_every = config
        .metrics
        .as_ref()
        .map_or(Duration::from_secs(60), |metrics| metrics.interval);
    let mut inputs = Inputs {
        reader,
        desk: Desk::open(&config.socket)?,
        stop: [
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
        ],
        report: interval(report_every),
        measuring: None,
    };
    tracing::info!(
        "ready: {} processes traced, I/O back end {}",
        rooms.census.tracked().count(),
        rooms.probes.back_end.name()
    );
    memory::give_back();
    loop {
        match inputs.next().await {
            Input::Records => {
                rooms.records(&mut inputs.reader);
                // Under load the ring may be a quarter full again: without this, nothing would be delivered meanwhile.
                tokio::task::yield_now().await;
            }
            Input::Question(question) => inputs.measure(question, &rooms.probes),
            Input::Measured => inputs.answer(&rooms),
            Input::Report => {
                rooms.wall = WallOffset::measure();
                rooms.reconcile();
                memory::give_back();
                if let Some(reporter) = &reporter {
                    let costs = rooms.probes.costs();
                    let snapshot = tally::snapshot(&rooms, &inputs.reader, &costs);
                    reporter.report(snapshot, rooms.now());
                }
            }
            Input::Stop => break,
        }
    }
    rooms.close(inputs.reader, reporter).await;
    Ok(())
}

impl Inputs {
    async fn next(&mut self) -> Input {
        let measured = self.measuring.as_ref().map(|measuring| measuring.until);
        let [terminate, interrupt] = &mut self.stop;
        tokio::select! {
            _ = terminate.recv() => Input::Stop,
            _ = interrupt.recv() => Input::Stop,
            () = sleep_until(measured) => Input::Measured,
            question = self.desk.next() => Input::Question(question),
            _ = self.report.tick() => Input::Report,
            () = self.reader.wait() => Input::Records,
        }
    }

    fn measure(&mut self, question: Question, probes: &Probes) {
        let measuring = self.measuring.get_or_insert_with(|| Measuring {
            questions: Vec::new(),
            until: Instant::now() + MEASURE,
            _descriptor: probes.measure().ok(),
        });
        measuring.questions.push(question);
    }

    fn answer(&mut self, rooms: &Rooms) {
        let Some(measuring) = self.measuring.take() else {
            return;
        };
        let mut report = answer::report(rooms, &self.reader);
        let others = answer::Others::of(rooms);
        // Procfs is searched beside the loop, which is not to wait for it.
        tokio::task::spawn_blocking(move || {
            report.not_traced = others.not_traced();
            for question in measuring.questions {
                // An asker that has gone has no use for it.
                let _ = question.answer.send(report.clone());
            }
        });
    }
}

async fn sleep_until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

impl Rooms {
    fn open(config: &Config, trial: &Trial) -> anyhow::Result<(Self, OwnedFd)> {
        let select = &config.select;
        let selection = Selection::new(
            select.pids.clone(),
            select.ports.clone(),
            select.all,
            &select.exec,
            &select.exclude_exec,
        )?;
        let exporter = Exporter::start(config.export.clone())?;
        let (mut probes, ring) = Probes::attach(&request(config, trial, &selection))?;
        let mut census = Census::new(selection);
        let mut enricher = Enricher::new(enrich_config(config), seed());
        for facts in census.begin(&mut probes)? {
            enricher.process(facts);
        }
        let rooms = Self {
            probes,
            census,
            decoder: Decoder::new(decode::Config::default()),
            enricher,
            exporter,
            began: Instant::now(),
            refused: 0,
            wall: WallOffset::measure(),
            steps: Vec::new(),
        };
        Ok((rooms, ring))
    }

    fn now(&self) -> crate::clock::WallClock {
        self.wall.wall(Monotonic::now())
    }

    /// Takes the records that are there through all the rooms.
    fn records(&mut self, reader: &mut Reader) {
        #[cfg(feature = "probe-log")]
        self.probes.flush_log();
        let mut taken = 0;
        while taken < EVENTS_MAX && self.some_records(reader) {
            taken += EVENTS_AT_ONCE;
        }
        for facts in self.census.look(&mut self.probes, LOOK) {
            self.enricher.process(facts);
        }
        if self.census.has_looks() {
            reader.again_in(LOOK);
        }
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
        self.exporter.offer(spans);
        taken == EVENTS_AT_ONCE
    }

    /// Gives the event's time.
    fn event(&mut self, event: &Event<'_>) -> Monotonic {
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
            Event::ThreadEnded { origin } => {
                self.enricher.thread_ended(*origin);
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
    fn reconcile(&mut self) {
        let (facts, gone) = self.census.reconcile(&mut self.probes);
        let now = Monotonic::now();
        for facts in facts {
            self.enricher.process(facts);
        }
        for pid in gone {
            self.enricher.gone(pid, now);
        }
    }

    fn know(&mut self, facts: Option<crate::attach::ProcessFacts>) {
        if let Some(facts) = facts {
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
            match &step {
                Step::Finished(exchange) => self.census.span(exchange.process),
                Step::Opaque { process, .. } => self.census.opaque(*process),
                Step::Started(_) | Step::OpaqueEnded { .. } => {}
            }
            self.enricher.apply(step);
        }
    }

    /// Takes what is left through all the rooms, and says what became of it.
    async fn close(mut self, mut reader: Reader, reporter: Option<Reporter>) {
        self.records(&mut reader);
        self.decoder.stop(Monotonic::now(), &mut self.steps);
        self.follow();
        let mut spans: Vec<Span> = Vec::new();
        self.enricher.flush(self.wall, &mut spans);
        self.exporter.offer(spans);
        let snapshot = tally::snapshot(&self, &reader, &self.probes.costs());
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

fn request(config: &Config, trial: &Trial, selection: &Selection) -> Request {
    Request {
        wish: Wish {
            back_end: match config.io_backend {
                IoBackend::Auto => None,
                IoBackend::SocketTracepoints => Some(BackEnd::SocketTracepoints),
                IoBackend::SysExit => Some(BackEnd::SysExit),
            },
            read_wait: config.read_wait,
        },
        settings: Settings {
            provisional_exec: u32::from(selection.by_executable()),
            agent_process: std::process::id(),
            select_ports: u32::from(!selection.ports.is_empty()),
            thread_clocks: u32::from(config.thread_clocks),
            forced_loss_per_mille: trial.lose_per_mille,
            turn_bytes: TURN_BYTES_MAX,
            answer_bytes: ANSWER_BYTES_MAX,
        },
        map_sizes: trial.map_sizes.clone(),
    }
}

fn enrich_config(config: &Config) -> enrich::Config {
    let read = |path: &str| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    };
    enrich::Config {
        query: match config.query {
            Query::Redact => enrich::Query::Redact,
            Query::Keep => enrich::Query::Keep,
            Query::Drop => enrich::Query::Drop,
        },
        host_name: read("/proc/sys/kernel/hostname"),
        host_id: read("/etc/machine-id"),
        ..enrich::Config::default()
    }
}

/// Where span ids start: not the same in two runs.
fn seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    let state = std::collections::hash_map::RandomState::new();
    state.build_hasher().finish()
}
