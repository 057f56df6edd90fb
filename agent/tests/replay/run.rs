//! The rooms as the pipeline joins them, without the kernel and the network. In: records, facts of processes. Out:
//! everything the rooms told, with the invariants that hold for any input checked on the way.

use std::collections::{BTreeMap, HashMap, VecDeque};

use spanlet::attach::ProcessFacts;
use spanlet::capture::convert::convert;
use spanlet::capture::event::{ConnectionId, HostPid};
use spanlet::capture::Event;
use spanlet::clock::{Monotonic, WallOffset};
use spanlet::decode::exchange::{Exchange, Side, Started};
use spanlet::decode::{self, Decoder, Step};
use spanlet::enrich::span::Kind;
use spanlet::enrich::{self, Enricher, Span};

const SEED: u64 = 1;
/// Span times are those of the records.
const OFFSET: WallOffset = WallOffset(0);

/// A request at one end: where its first byte was seen. The same in every replay of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    pub process: HostPid,
    pub connection: ConnectionId,
    pub is_server: bool,
    pub position: u32,
}

/// One exchange with its span.
pub struct Told {
    pub exchange: Exchange,
    pub span: Span,
    /// The request that its parent is, where that is on this node.
    pub parent: Option<Name>,
}

/// What the rooms told.
pub struct Replay {
    pub told: BTreeMap<Name, Told>,
    /// The most bytes that the decoder held.
    pub held_bytes: usize,
    pub counts: enrich::Counts,
    /// Of the decoder.
    pub noted: decode::Counts,
}

/// Replays records.
pub fn replay<R: AsRef<[u8]>>(
    processes: &[ProcessFacts],
    records: impl IntoIterator<Item = R>,
) -> Replay {
    let mut rooms = Rooms::new(processes);
    for record in records {
        if let Ok(event) = convert(record.as_ref()) {
            rooms.event(&event);
        }
    }
    rooms.finish()
}

/// Replays what records would say.
#[allow(dead_code)] // For the fuzzer, which includes this file.
pub fn replay_events(processes: &[ProcessFacts], events: &[Event<'_>]) -> Replay {
    let mut rooms = Rooms::new(processes);
    events.iter().for_each(|event| rooms.event(event));
    rooms.finish()
}

/// How much there was of what.
#[allow(dead_code)] // The fuzzer does not ask.
pub struct Totals {
    pub started: u64,
    pub finished: u64,
    pub spans: u64,
    pub counts: enrich::Counts,
}

/// Replays records through rooms that may lose something.
#[allow(dead_code)] // The fuzzer does not ask.
pub fn replay_with<R: AsRef<[u8]>>(
    config: enrich::Config,
    processes: &[ProcessFacts],
    records: impl IntoIterator<Item = R>,
) -> Totals {
    let mut rooms = Rooms::with(config, processes);
    for record in records {
        if let Ok(event) = convert(record.as_ref()) {
            rooms.event(&event);
        }
    }
    rooms.stop();
    Totals {
        started: rooms.started.len() as u64,
        finished: rooms.finished.len() as u64,
        spans: rooms.spans.len() as u64,
        counts: rooms.enricher.counts(),
    }
}

struct Rooms {
    decoder: Decoder,
    enricher: Enricher,
    latest: Monotonic,
    steps: Vec<Step>,
    started: Vec<Started>,
    finished: Vec<Exchange>,
    spans: Vec<Span>,
    held_bytes: usize,
}

impl Rooms {
    fn new(processes: &[ProcessFacts]) -> Self {
        Self::with(enrich::Config::default(), processes)
    }

    fn with(config: enrich::Config, processes: &[ProcessFacts]) -> Self {
        let mut enricher = Enricher::new(config, SEED);
        let mut decoder = Decoder::new(decode::Config::default());
        for facts in processes {
            decoder.is_proxy(facts.pid, enrich::is_proxy(facts));
            enricher.process(facts.clone());
        }
        Self {
            decoder,
            enricher,
            latest: Monotonic(0),
            steps: Vec::new(),
            started: Vec::new(),
            finished: Vec::new(),
            spans: Vec::new(),
            held_bytes: 0,
        }
    }

    /// As the pipeline does, with a drain after each record.
    fn event(&mut self, event: &Event<'_>) {
        let time = time(event);
        self.decoder.apply(event, &mut self.steps);
        self.follow();
        match event {
            Event::Fork { origin, child } => {
                self.decoder.forked(origin.process, *child);
                self.enricher.forked(origin.process, *child);
            }
            Event::Exit { origin, .. } => self.enricher.gone(origin.process, time),
            Event::ThreadBorn { origin, child } => self.enricher.thread_born(*origin, *child),
            Event::ThreadEnded { origin } => self.enricher.thread_ended(*origin),
            Event::TaskBorn { origin, birth } => self.enricher.task_born(origin.process, *birth),
            Event::Unborn { origin, unborn } => {
                self.enricher.unborn(origin.process, unborn.clone());
            }
            Event::Route {
                origin,
                name,
                pattern,
            } => self.enricher.route(origin.process, *name, pattern),
            _ => {}
        }
        self.latest = self.latest.max(time);
        self.decoder.tick(self.latest, &mut self.steps);
        self.follow();
        self.enricher.spans(self.latest, OFFSET, &mut self.spans);
        self.held_bytes = self.held_bytes.max(self.decoder.held().1);
    }

    fn follow(&mut self) {
        for step in self.steps.drain(..) {
            match &step {
                Step::Started(started) => self.started.push(started.clone()),
                Step::Finished(exchange) => self.finished.push((**exchange).clone()),
                Step::Answering(_)
                | Step::Turning(_)
                | Step::Moving(_)
                | Step::Opaque { .. }
                | Step::OpaqueEnded { .. } => {}
            }
            self.enricher.apply(step);
        }
    }

    /// Puts spans into the order of their exchanges: some are held, so they come in another.
    fn sort_spans(&mut self) {
        let key = |exchange: &Exchange| {
            let times = (exchange.started, exchange.ended);
            (
                OFFSET.wall(times.0),
                OFFSET.wall(times.1),
                exchange.side == Side::Server,
            )
        };
        let mut places: HashMap<_, VecDeque<usize>> = HashMap::new();
        for (place, exchange) in self.finished.iter().enumerate() {
            places.entry(key(exchange)).or_default().push_back(place);
        }
        self.spans.sort_by_cached_key(|span| {
            let key = (span.started(), span.ended(), span.kind() == Kind::Server);
            places.get_mut(&key).and_then(VecDeque::pop_front)
        });
    }

    fn stop(&mut self) {
        self.decoder.stop(self.latest, &mut self.steps);
        self.follow();
        self.enricher.flush(OFFSET, &mut self.spans);
    }

    fn finish(mut self) -> Replay {
        self.stop();
        assert_eq!(self.decoder.held(), (0, 0), "held at the end");
        assert_eq!(self.started.len(), self.finished.len(), "started, finished");
        assert_eq!(self.finished.len(), self.spans.len(), "finished, spans");
        let names: HashMap<_, _> = self
            .started
            .iter()
            .map(|started| (started.id, name(started)))
            .collect();
        self.sort_spans();
        let exchanges = self.finished.iter().map(|exchange| names[&exchange.id]);
        let by_span: HashMap<_, _> = self
            .spans
            .iter()
            .map(|span| span.span_id)
            .zip(exchanges)
            .collect();
        let spans = self.finished.into_iter().zip(self.spans);
        let told = spans.map(|(exchange, span)| {
            assert!(
                span.started() <= span.ended(),
                "ends before it starts: {span:?}"
            );
            let parent = span
                .parent_span_id
                .and_then(|parent| by_span.get(&parent).copied());
            (
                names[&exchange.id],
                Told {
                    exchange,
                    span,
                    parent,
                },
            )
        });
        Replay {
            told: told.collect(),
            held_bytes: self.held_bytes,
            counts: self.enricher.counts(),
            noted: self.decoder.counts(),
        }
    }
}

fn name(started: &Started) -> Name {
    Name {
        process: started.origin.process,
        connection: started.link.id,
        is_server: started.side == Side::Server,
        position: started.position,
    }
}

/// When an event took place.
pub fn time(event: &Event<'_>) -> Monotonic {
    match event {
        Event::Closed(closed) => closed.time,
        other => other.origin().expect("all others have one").time,
    }
}
