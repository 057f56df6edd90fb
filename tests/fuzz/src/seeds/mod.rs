//! What the fuzzer starts from. In: the recordings and the sample configuration of the repository. Out: inputs, each
//! with the name of its target. Written anew by each run: the repository holds only what a fuzzer found out.

mod debug;
mod elf;
mod go;
mod openssl;
mod symbols;
mod tokio;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use spanlet::capture::event::{ConnectionId, Direction, Event};
use spanlet::capture::recording::Recording;

use crate::{config, executable, http1, record};

/// Records in one seed: about one exchange through several processes.
const RECORDS: usize = 24;
/// Bytes of one seed.
const BYTES_MAX: usize = 4000;

/// A target's name and one of its inputs.
pub type Seed = (&'static str, Vec<u8>);

/// All there are. Errors: the repository is not there.
pub fn all() -> std::io::Result<Vec<Seed>> {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let mut seeds = Vec::new();
    for path in recordings(&root.join("tests/recordings"))? {
        let recording = Recording::read(&path)?;
        seeds.extend(records(&recording));
        seeds.extend(conversations(&recording));
    }
    let toml = fs::read_to_string(root.join("deploy/spanlet.toml"))?;
    seeds.extend(configurations(&toml));
    seeds.extend(elf::all().into_iter().map(|bytes| ("executable", bytes)));
    Ok(seeds)
}

/// One back end is enough: the other gives the same bytes. Of those that are made with one, FastCGI is another protocol.
fn recordings(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path()));
    let paths = entries.collect::<Result<Vec<_>, _>>()?;
    let mut paths: Vec<PathBuf> = paths
        .into_iter()
        .filter(|path| {
            let path = path.to_string_lossy();
            path.ends_with("-socket-tracepoints.recording") || path.ends_with("-fastcgi.recording")
        })
        .collect();
    paths.sort_unstable();
    Ok(paths)
}

fn records(recording: &Recording) -> Vec<Seed> {
    let records: Vec<&[u8]> = recording.records().collect();
    let seeds = records.chunks(RECORDS).map(|records| {
        let mut bytes = vec![record::RAW];
        for record in records {
            if bytes.len() + record.len() < BYTES_MAX {
                bytes.extend_from_slice(&(record.len() as u16).to_le_bytes());
                bytes.extend_from_slice(record);
            }
        }
        ("record", bytes)
    });
    seeds.collect()
}

/// What each connection said, one side after the other.
#[derive(Default)]
struct Conversation {
    first: Option<Direction>,
    last: Option<Direction>,
    bytes: Vec<u8>,
}

fn conversations(recording: &Recording) -> Vec<Seed> {
    let mut conversations: BTreeMap<ConnectionId, Conversation> = BTreeMap::new();
    for event in recording.events() {
        let Event::Io(io) = event else { continue };
        let conversation = conversations.entry(io.connection).or_default();
        if conversation.last.is_some_and(|last| last != io.direction) {
            conversation.bytes.push(http1::END_OF_TURN);
        }
        conversation.last = Some(io.direction);
        conversation.first.get_or_insert(io.direction);
        conversation.bytes.extend_from_slice(io.data);
    }
    let seeds = conversations.into_values().map(|conversation| {
        let client = match conversation.first {
            Some(Direction::Egress) => http1::flag::CLIENT,
            _ => 0,
        };
        let mut bytes = vec![client | http1::flag::CLOSED, 3, 40, 0, 90];
        bytes.extend(conversation.bytes.into_iter().take(BYTES_MAX));
        ("http1", bytes)
    });
    seeds.collect()
}

fn configurations(toml: &str) -> Vec<Seed> {
    // Each key of the sample, also those without a default, in effect.
    let lines = toml.lines().map(|line| match line.strip_prefix("# ") {
        Some(example) if example.contains(" = ") => example,
        _ => line,
    });
    let lines = lines.filter(|line| !line.contains("cert") && !line.contains("_key"));
    let text: Vec<&str> = lines.filter(|line| !line.starts_with('#')).collect();
    let environment = "OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318\n\
        OTEL_EXPORTER_OTLP_HEADERS=a=b%20c,d=e\nOTEL_EXPORTER_OTLP_TIMEOUT=10000\n\
        OTEL_EXPORTER_OTLP_COMPRESSION=gzip\nOTEL_TRACES_EXPORTER=otlp\n";
    let whole = format!("{environment}{}{}", config::FILE_BEGINS, text.join("\n"));
    let small = format!(
        "{}[select]\npids = [7]\nexec = [\"py*\"]\n",
        config::FILE_BEGINS
    );
    [whole, small]
        .map(|text| ("config", text.into_bytes()))
        .into()
}

/// An input of [`executable`].
fn executable(reader: u8, bytes: &[u8]) -> Vec<u8> {
    assert!(reader <= executable::GO_DEBUG);
    [&[reader], bytes].concat()
}
