//! What the agent spends on a request, room by room, without root: recorded traffic, replayed many times.
//!
//! In: a shape of traffic and how many rounds. Out: requests, spans, bytes, and for each stage the least time it took,
//! as lines of `name value`. `cargo xtask profile` runs it plainly and under callgrind, which counts the instructions
//! of one stage (`stages.rs`: a stage is a function).

mod stages;
mod traffic;

use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};
use stages::{Compression, Packers, Rooms};
use traffic::Traffic;

/// Records that the rooms take at once: about what comes between two turns of the pipeline.
const RECORDS_AT_ONCE: usize = 512;
/// Spans in one OTLP request: the agent's default.
const BATCH_SPANS: usize = 512;

const USAGE: &str =
    "arguments: hello or chain, then the number of requests (hello) or laps (chain)";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [shape, count] = arguments.as_slice() else {
        bail!(USAGE);
    };
    let count = count.parse().context(USAGE)?;
    let traffic = match shape.as_str() {
        "hello" => Traffic::hello(count)?,
        "chain" => Traffic::chain(count)?,
        _ => bail!(USAGE),
    };
    let totals = replay(&traffic)?;
    println!("requests {}", traffic.requests);
    println!("spans {}", totals.spans);
    println!("bytes_none {}", totals.plain);
    for (name, bytes) in &totals.compressed {
        println!("bytes_{name} {bytes}");
    }
    for (name, time) in &totals.times {
        println!("ns_{name} {}", time.as_nanos());
    }
    Ok(())
}

struct Totals {
    packers: Packers,
    message: Vec<u8>,
    spans: usize,
    plain: usize,
    compressed: Vec<(&'static str, usize)>,
    times: Vec<(&'static str, Duration)>,
}

impl Totals {
    fn new() -> Result<Self> {
        Ok(Self {
            packers: Packers::new()?,
            message: Vec::new(),
            spans: 0,
            plain: 0,
            compressed: Vec::new(),
            times: Vec::new(),
        })
    }

    fn timed<T>(&mut self, name: &'static str, stage: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let result = stage();
        self.took(name, began.elapsed());
        result
    }

    fn took(&mut self, name: &'static str, took: Duration) {
        match self.times.iter_mut().find(|(known, _)| *known == name) {
            Some((_, time)) => *time += took,
            None => self.times.push((name, took)),
        }
    }

    fn send(&mut self, spans: Vec<spanlet::enrich::Span>) {
        self.spans += spans.len();
        let mut message = std::mem::take(&mut self.message);
        message.clear();
        self.timed("encode", || stages::encode(spans, &mut message));
        self.plain += message.len();
        for how in Compression::ALL {
            let began = Instant::now();
            let sent = stages::compress(&mut self.packers, &message, how);
            self.took(how.name(), began.elapsed());
            match self
                .compressed
                .iter_mut()
                .find(|(name, _)| *name == how.name())
            {
                Some((_, bytes)) => *bytes += sent.len(),
                None => self.compressed.push((how.name(), sent.len())),
            }
        }
        self.message = message;
    }
}

fn replay(traffic: &Traffic) -> Result<Totals> {
    let mut rooms = Rooms::new(&traffic.processes);
    let mut totals = Totals::new()?;
    let mut waiting = Vec::new();
    let (mut steps, mut spans) = (Vec::new(), Vec::new());
    for records in traffic.records.chunks(RECORDS_AT_ONCE) {
        let mut events = Vec::with_capacity(records.len());
        totals.timed("capture", || stages::capture(records, &mut events));
        totals.timed("decode", || stages::decode(&mut rooms, &events, &mut steps));
        totals.timed("enrich", || {
            stages::enrich(&mut rooms, &mut steps, &mut spans)
        });
        waiting.append(&mut spans);
        while waiting.len() >= BATCH_SPANS {
            totals.send(waiting.drain(..BATCH_SPANS).collect());
        }
    }
    totals.timed("enrich", || {
        stages::finish(&mut rooms, &mut steps, &mut spans)
    });
    waiting.append(&mut spans);
    totals.send(waiting);
    Ok(totals)
}
