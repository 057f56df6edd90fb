//! Traffic made of the recordings of the repository. In: how much of it. Out: records as the kernel would write them.
//!
//! `hello`: one request and its answer of the Go recording, on many connections that stay open. `chain`: the whole Go
//! recording (37 requests, of which some call the next function), again and again. What tells one request from another
//! is changed: times (and how long it takes), places in streams, sockets; nothing else.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use spanlet::attach::{Language, ProcessFacts};
use spanlet::capture::event::{Direction, HostPid, Io};
use spanlet::capture::recording::Recording;
use spanlet::capture::{convert::convert, Event};
use spanlet_abi::record::{kind, Closed, Header, Io as IoRecord, Opened};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

const RECORDING: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../recordings/go-socket-tracepoints"
);
/// Connections of `hello`.
const CONNECTIONS: u64 = 64;
/// Nanoseconds from one request to the next: what a busy function takes.
const PACE: u64 = 100_000;
/// Longer than the recording, and than a span waits for its other end.
const LAP: u64 = 1_000_000_000;

/// See the file.
pub struct Traffic {
    pub records: Vec<Vec<u8>>,
    pub processes: Vec<ProcessFacts>,
    pub requests: usize,
}

impl Traffic {
    pub fn hello(requests: usize) -> Result<Self> {
        let (recording, processes) = load()?;
        let records: Vec<&[u8]> = recording.records().collect();
        let (opened, read, written) = example(&records).context("no GET in the recording")?;
        let began = time_of(read);
        let mut all = Vec::new();
        for number in 0..requests as u64 {
            let (connection, turn) = (number % CONNECTIONS, number / CONNECTIONS);
            let shift = Shift {
                began,
                time: number * PACE,
                stretch: stretch(number),
                socket: connection << 12,
                generation: connection,
                port: connection as u16,
                position: turn as u32,
            };
            if turn == 0 {
                all.push(shift.applied(opened));
            }
            all.push(shift.applied(read));
            all.push(shift.applied(written));
        }
        all.sort_by_key(|record| time_of(record));
        Ok(Self {
            records: all,
            processes,
            requests,
        })
    }

    pub fn chain(laps: usize) -> Result<Self> {
        let (recording, processes) = load()?;
        let records: Vec<&[u8]> = recording
            .records()
            .filter(|record| is_traffic(record))
            .collect();
        let began = records.first().map_or(0, |record| time_of(record));
        let mut all = Vec::new();
        for lap in 0..laps as u64 {
            let shift = Shift {
                began,
                time: lap * LAP,
                stretch: stretch(lap),
                socket: 0,
                generation: lap * LAP,
                port: 0,
                position: 0,
            };
            all.extend(records.iter().map(|record| shift.applied(record)));
        }
        let asked = |record: &&&[u8]| io(record).is_some_and(|io| starts_request(&io));
        let requests = laps * records.iter().filter(asked).count();
        Ok(Self {
            records: all,
            processes,
            requests,
        })
    }
}

fn load() -> Result<(Recording, Vec<ProcessFacts>)> {
    let recording = format!("{RECORDING}.recording");
    let recording = Recording::read(Path::new(&recording)).context(recording)?;
    let listing = fs::read_to_string(format!("{RECORDING}.processes"))?;
    let processes = listing.lines().map(process).collect::<Result<_>>()?;
    Ok((recording, processes))
}

/// A line of the list: pid, service, language, version of the runtime, name of the executable.
fn process(line: &str) -> Result<ProcessFacts> {
    let words: Vec<&str> = line.split(' ').collect();
    let [pid, service, language, version, executable] = words[..] else {
        anyhow::bail!("not a process: {line}");
    };
    Ok(ProcessFacts {
        pid: HostPid(pid.parse()?),
        start_ticks: 1,
        executable_path: executable.to_owned(),
        service_name: Some(service.to_owned()),
        language: match language {
            "go" => Language::Go,
            "python" => Language::Python,
            _ => Language::Unknown,
        },
        runtime_version: Some(version.to_owned()),
        ..ProcessFacts::default()
    })
}

/// A connection's opening, and of its first plain request in one piece the read and the write of the answer.
fn example<'a>(records: &[&'a [u8]]) -> Option<(&'a [u8], &'a [u8], &'a [u8])> {
    records.iter().enumerate().find_map(|(index, read)| {
        let request = io(read).filter(starts_request)?;
        let id = request.connection;
        let opened = records.iter().find(|record| {
            matches!(convert(record), Ok(Event::Opened(opened)) if opened.connection == id)
        })?;
        let answer = records[index..].iter().find(|record| {
            io(record).is_some_and(|io| io.connection == id && io.direction == Direction::Egress)
        })?;
        let whole =
            io(answer)?.data.starts_with(b"HTTP/1.1 200") && request.data.ends_with(b"\r\n\r\n");
        whole.then_some((*opened, *read, *answer))
    })
}

fn io(record: &[u8]) -> Option<Io<'_>> {
    match convert(record) {
        Ok(Event::Io(io)) => Some(io),
        _ => None,
    }
}

fn starts_request(io: &Io<'_>) -> bool {
    io.direction == Direction::Ingress
        && io.turn_start
        && [&b"GET "[..], b"POST ", b"HEAD "]
            .iter()
            .any(|method| io.data.starts_with(method))
}

fn is_traffic(record: &[u8]) -> bool {
    let header = Header::read_from_prefix(record).map(|(header, _)| header.kind);
    matches!(header, Ok(kind::IO | kind::OPENED | kind::CLOSED))
}

fn time_of(record: &[u8]) -> u64 {
    Header::read_from_prefix(record).map_or(0, |(header, _)| header.time_ns)
}

/// How a record differs from the recorded one.
struct Shift {
    /// The recorded time that becomes `began + time`; what is apart from it is stretched.
    began: u64,
    time: u64,
    /// In 2^20ths.
    stretch: u64,
    socket: u64,
    generation: u64,
    port: u16,
    /// Messages of the same length before it, in its direction.
    position: u32,
}

impl Shift {
    fn applied(&self, record: &[u8]) -> Vec<u8> {
        let mut record = record.to_vec();
        let kind = Header::read_from_prefix(&record).map_or(0, |(header, _)| header.kind);
        match kind {
            kind::IO => edit::<IoRecord>(&mut record, |io| {
                io.socket += self.socket;
                io.generation += self.generation;
                io.position = io.position.wrapping_add(self.position * io.size);
                self.shift(&mut io.ready_ns);
                io.process_losses = 0;
            }),
            kind::OPENED => edit::<Opened>(&mut record, |opened| {
                opened.socket += self.socket;
                opened.generation += self.generation;
                opened.remote_port += self.port;
                self.shift(&mut opened.established_ns);
                self.shift(&mut opened.accepted_ns);
            }),
            kind::CLOSED => edit::<Closed>(&mut record, |closed| {
                closed.socket += self.socket;
                closed.generation += self.generation;
            }),
            _ => {}
        }
        edit::<Header>(&mut record, |header| self.shift(&mut header.time_ns));
        record
    }

    /// Zero stands for a time that is not known.
    fn shift(&self, time: &mut u64) {
        if *time != 0 {
            let apart = i128::from(*time) - i128::from(self.began);
            let apart = (apart * i128::from(self.stretch)) >> 20;
            *time = (i128::from(self.began + self.time) + apart) as u64;
        }
    }
}

/// From 0.5 to 1.5, scattered: without it all requests would last equally long, which compresses too well.
fn stretch(number: u64) -> u64 {
    let scattered = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 44;
    (1 << 19) + scattered
}

fn edit<T: FromBytes + IntoBytes + KnownLayout + Immutable>(
    bytes: &mut [u8],
    change: impl FnOnce(&mut T),
) {
    if let Ok((mut record, _)) = T::read_from_prefix(bytes) {
        change(&mut record);
        // It was read from there, so it fits.
        let _ = record.write_to_prefix(bytes);
    }
}
