//! The spans that the collector in the cluster received. In: its file. Out: spans, from a moment on.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use spanlet_e2e::otlp::{self, Kind, Span, Value};
use spanlet_e2e::wait::wait_until;

use crate::api::state;

/// From the end of a request to its span in the file: the agent's grace and batches, the exporter, the collector.
pub const ARRIVAL: Duration = Duration::from_secs(15);

/// What arrives from now on.
#[derive(Debug)]
pub struct Arrivals {
    start: u64,
    spans: Vec<Span>,
    /// Bytes of the file that were read.
    read: u64,
}

/// Where the collector writes; it has this folder as `/out`.
pub fn folder() -> PathBuf {
    state().join("out")
}

impl Arrivals {
    pub fn from_now() -> Result<Self> {
        let length = folder()
            .join("spans.json")
            .metadata()
            .map_or(0, |file| file.len());
        Ok(Self {
            start: length,
            spans: Vec::new(),
            read: 0,
        })
    }

    /// What has arrived so far.
    pub fn so_far(&mut self) -> Result<&[Span]> {
        let Ok(mut file) = File::open(folder().join("spans.json")) else {
            return Ok(&self.spans);
        };
        file.seek(SeekFrom::Start(self.start + self.read))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let whole = bytes
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |end| end + 1);
        let text = std::str::from_utf8(&bytes[..whole])?;
        self.spans.extend(otlp::parse(text)?);
        self.read += whole as u64;
        Ok(&self.spans)
    }

    /// Waits until something is among them, and returns that.
    pub fn wait<T>(
        &mut self,
        what: &str,
        mut found: impl FnMut(&[Span]) -> Option<T>,
    ) -> Result<T> {
        let mut seen = 0;
        wait_until(ARRIVAL, what, || {
            let spans = self.so_far()?;
            seen = spans.len();
            Ok(found(spans))
        })
        .with_context(|| format!("{seen} spans arrived"))
    }

    /// Waits until there are that many of requests whose id starts so, of a kind; and that none more come is for the caller to see.
    pub fn wait_for(&mut self, kind: Kind, ids: &str, count: usize) -> Result<Vec<Span>> {
        let found = self.wait(&format!("{count} {kind:?} spans of {ids}"), |spans| {
            let found = of(spans, kind, ids);
            (found.len() >= count).then_some(found)
        });
        found.with_context(|| {
            let spans = self.so_far().map(|spans| of(spans, kind, ids).len());
            format!("of these there are {spans:?}")
        })
    }

    /// Waits until no span has arrived for as long, and returns all.
    pub fn settled(&mut self, quiet: Duration) -> Result<Vec<Span>> {
        let (mut count, mut since) = (0, Instant::now());
        wait_until(quiet + ARRIVAL * 4, "silence", || {
            let now = self.so_far()?.len();
            if now != count {
                (count, since) = (now, Instant::now());
            }
            Ok((since.elapsed() > quiet).then_some(()))
        })?;
        Ok(self.spans.clone())
    }
}

/// The spans of a kind whose request's id starts so.
pub fn of(spans: &[Span], kind: Kind, ids: &str) -> Vec<Span> {
    let its = |span: &&Span| span.kind == kind && id(span).is_some_and(|id| id.starts_with(ids));
    spans.iter().filter(its).cloned().collect()
}

/// What a request was given to be known by: what stands between `/t/` and the next slash of its target.
pub fn id(span: &Span) -> Option<&str> {
    let target = span.text("url.path").or_else(|| span.text("url.full"))?;
    id_of(target)
}

/// The same of a target.
pub fn id_of(target: &str) -> Option<&str> {
    let (_, rest) = target.split_once("/t/")?;
    rest.split('/').next()
}

/// Spans by their request's id.
pub fn by_id(spans: &[Span]) -> BTreeMap<String, Vec<Span>> {
    let mut found = BTreeMap::<String, Vec<Span>>::new();
    for span in spans {
        if let Some(id) = id(span) {
            found.entry(id.to_owned()).or_default().push(span.clone());
        }
    }
    found
}

/// A text attribute of a span's resource.
pub fn resource<'a>(span: &'a Span, key: &str) -> Option<&'a str> {
    match span.resource.get(key) {
        Some(Value::Text(text)) => Some(text),
        _ => None,
    }
}

/// Nanoseconds since the Unix epoch, now: the clock of spans.
pub fn now_ns() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    now.as_nanos() as u64
}
