//! The rooms as the pipeline joins them, a function for each stage, so that a profiler can tell them apart. In: what
//! the stage before gave. Out: what the next one takes.

use spanlet::attach::ProcessFacts;
use spanlet::capture::convert::convert;
use spanlet::capture::Event;
use spanlet::clock::{Monotonic, WallOffset};
use spanlet::decode::{self, Decoder, Step};
use spanlet::enrich::{self, Enricher, Span};
use spanlet::export::otlp::compress::Packer;
use spanlet::export::otlp::encode;

pub use spanlet::export::otlp::Compression;

/// 2026-03-01: a wall clock's numbers, so that times are as long on the wire as they really are.
const OFFSET: WallOffset = WallOffset(1_772_366_671_218_000_000);

/// What the stages keep.
pub struct Rooms {
    decoder: Decoder,
    enricher: Enricher,
    latest: Monotonic,
}

impl Rooms {
    pub fn new(processes: &[ProcessFacts]) -> Self {
        let mut enricher = Enricher::new(enrich::Config::default(), 1);
        for facts in processes {
            enricher.process(facts.clone());
        }
        Self {
            decoder: Decoder::new(decode::Config::default()),
            enricher,
            latest: Monotonic(0),
        }
    }
}

/// Records to events. The ring itself is left out.
#[inline(never)]
pub fn capture<'a>(records: &'a [Vec<u8>], events: &mut Vec<Event<'a>>) {
    events.extend(records.iter().filter_map(|record| convert(record).ok()));
}

/// Events to steps.
#[inline(never)]
pub fn decode(rooms: &mut Rooms, events: &[Event<'_>], steps: &mut Vec<Step>) {
    for event in events {
        rooms.decoder.apply(event, steps);
        if let Event::Io(io) = event {
            rooms.latest = rooms.latest.max(io.origin.time);
        }
    }
    rooms.decoder.tick(rooms.latest, steps);
}

/// Steps to spans.
#[inline(never)]
pub fn enrich(rooms: &mut Rooms, steps: &mut Vec<Step>, spans: &mut Vec<Span>) {
    for step in steps.drain(..) {
        rooms.enricher.apply(step);
    }
    rooms.enricher.spans(rooms.latest, OFFSET, spans);
}

/// What is open and waiting, to spans.
#[inline(never)]
pub fn finish(rooms: &mut Rooms, steps: &mut Vec<Step>, spans: &mut Vec<Span>) {
    rooms.decoder.stop(rooms.latest, steps);
    enrich(rooms, steps, spans);
    rooms.enricher.flush(OFFSET, spans);
}

/// Spans to one OTLP message. They are dropped here, as the exporter does.
#[inline(never)]
pub fn encode(spans: Vec<Span>, message: &mut Vec<u8>) {
    encode::traces(&spans, message);
}

/// What makes messages smaller.
pub struct Packers {
    none: Packer,
    gzip: Packer,
    zstd: Packer,
}

impl Packers {
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            none: Packer::new(Compression::None)?,
            gzip: Packer::new(Compression::Gzip)?,
            zstd: Packer::new(Compression::Zstd)?,
        })
    }
}

/// A message to what is sent.
#[inline(never)]
pub fn compress(packers: &mut Packers, message: &[u8], how: Compression) -> Vec<u8> {
    let mut message = message.to_vec();
    match how {
        Compression::None => packers.none.pack(&mut message),
        Compression::Gzip => gzip(packers, &mut message),
        Compression::Zstd => zstd(packers, &mut message),
    }
}

#[inline(never)]
fn gzip(packers: &mut Packers, message: &mut Vec<u8>) -> Vec<u8> {
    packers.gzip.pack(message)
}

#[inline(never)]
fn zstd(packers: &mut Packers, message: &mut Vec<u8>) -> Vec<u8> {
    packers.zstd.pack(message)
}
