//! The trace context a request carries.
//!
//! In: its trace-context headers (name in lower case, value). Out: the [`Context`] of the strongest valid one, and
//! how many were malformed. Strict: what a specification does not allow is ignored.

use super::span::{SpanId, TraceId};
use super::Evidence;

/// Members of a `tracestate` (W3C Trace Context §3.3.1.1); a longer one is left out.
const TRACE_STATE_MEMBERS_MAX: usize = 32;
/// Bytes of a `tracestate` that are passed on; a longer one is left out.
const TRACE_STATE_BYTES_MAX: usize = 1024;

/// Who asked, as the request says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    pub trace: TraceId,
    pub parent: SpanId,
    /// W3C `tracestate`.
    pub state: Option<Box<str>>,
    /// Which header said it.
    pub evidence: Evidence,
}

/// What the headers came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    pub context: Option<Context>,
    /// Headers (or sets of headers) that break their specification.
    pub malformed: u64,
}

impl Context {
    /// The same header, seen at another place.
    pub fn same(&self, other: &Self) -> bool {
        (self.trace, self.parent) == (other.trace, other.parent)
    }
}

struct Malformed;

/// A header's ids; `None`: it is valid and names no parent (only a sampling decision, or only a trace).
type Ids = Result<Option<(TraceId, SpanId)>, Malformed>;

/// Reads the headers, strongest first: `traceparent`, `b3`, `x-b3-*`, `uber-trace-id`, `x-amzn-trace-id`.
pub fn read(headers: &[(String, String)]) -> Reading {
    let mut reading = Reading::default();
    if headers.is_empty() {
        return reading;
    }
    for (evidence, read) in READERS {
        match read(headers) {
            Ok(Some((trace, parent))) => {
                let state = (evidence == Evidence::TraceParent)
                    .then(|| trace_state(headers))
                    .flatten();
                reading.context = Some(Context {
                    trace,
                    parent,
                    state,
                    evidence,
                });
                return reading;
            }
            Ok(None) => {}
            Err(Malformed) => reading.malformed += 1,
        }
    }
    reading
}

type Reader = fn(&[(String, String)]) -> Ids;

const READERS: [(Evidence, Reader); 5] = [
    (Evidence::TraceParent, trace_parent),
    (Evidence::B3, b3_single),
    (Evidence::B3, b3_multiple),
    (Evidence::Uber, uber),
    (Evidence::Amazon, amazon),
];

/// W3C Trace Context §3.2: `version-trace-parent-flags`. A version after 00 may go on after another dash.
fn trace_parent(headers: &[(String, String)]) -> Ids {
    let Some(value) = single(headers, "traceparent")? else {
        return Ok(None);
    };
    let mut parts = value.splitn(5, '-');
    let mut part = |length| {
        parts
            .next()
            .filter(|part| part.len() == length && part.bytes().all(is_lower_hex))
            .ok_or(Malformed)
    };
    let (version, trace, parent, _flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
    if version == "ff" || (version == "00" && parts.next().is_some()) {
        return Err(Malformed);
    }
    ids(trace, parent)
}

/// b3 in one header: `trace-parent[-sampled[-grandparent]]`, or only the sampling decision.
fn b3_single(headers: &[(String, String)]) -> Ids {
    let Some(value) = single(headers, "b3")? else {
        return Ok(None);
    };
    if matches!(value, "0" | "1" | "d") {
        return Ok(None);
    }
    let parts: Vec<&str> = value.split('-').collect();
    let (trace, parent) = match parts.as_slice() {
        [trace, parent] | [trace, parent, "0" | "1" | "d"] => (*trace, *parent),
        [trace, parent, "0" | "1" | "d", grandparent] if grandparent.len() == 16 => {
            (*trace, *parent)
        }
        _ => return Err(Malformed),
    };
    b3_ids(trace, parent)
}

/// b3 in several headers. Without ids (a sampling decision alone) it names no parent.
fn b3_multiple(headers: &[(String, String)]) -> Ids {
    match (
        single(headers, "x-b3-traceid")?,
        single(headers, "x-b3-spanid")?,
    ) {
        (None, None) => Ok(None),
        (Some(trace), Some(parent)) => b3_ids(trace, parent),
        _ => Err(Malformed),
    }
}

fn b3_ids(trace: &str, parent: &str) -> Ids {
    if matches!(trace.len(), 16 | 32) && parent.len() == 16 {
        ids(trace, parent)
    } else {
        Err(Malformed)
    }
}

/// Jaeger: `trace:parent:grandparent:flags`, leading zeros may be left out, colons may be percent-encoded.
fn uber(headers: &[(String, String)]) -> Ids {
    let Some(value) = single(headers, "uber-trace-id")? else {
        return Ok(None);
    };
    let value = value.replace("%3A", ":").replace("%3a", ":");
    match value.split(':').collect::<Vec<_>>().as_slice() {
        [trace, parent, grandparent, flags]
            if is_hex(grandparent, 16) && is_hex(flags, 2) && is_hex(trace, 32) =>
        {
            ids(trace, parent)
        }
        _ => Err(Malformed),
    }
}

/// AWS: `Root=1-8 hex-24 hex;Parent=16 hex;...`. A load balancer names no parent.
fn amazon(headers: &[(String, String)]) -> Ids {
    let Some(value) = single(headers, "x-amzn-trace-id")? else {
        return Ok(None);
    };
    let field = |name| {
        value
            .split(';')
            .filter_map(|part| part.trim().split_once('='))
            .find_map(|(key, value)| (key == name).then_some(value))
    };
    let root = field("Root").ok_or(Malformed)?;
    let trace = match root.split('-').collect::<Vec<_>>().as_slice() {
        ["1", seconds, unique] if seconds.len() == 8 && unique.len() == 24 => {
            format!("{seconds}{unique}")
        }
        _ => return Err(Malformed),
    };
    match field("Parent") {
        None if is_hex(&trace, 32) => Ok(None),
        Some(parent) if parent.len() == 16 => ids(&trace, parent),
        _ => Err(Malformed),
    }
}

/// W3C Trace Context §3.3: the lists of all headers of that name, joined in order.
fn trace_state(headers: &[(String, String)]) -> Option<Box<str>> {
    let values: Vec<&str> = headers
        .iter()
        .filter(|(name, _)| name == "tracestate")
        .map(|(_, value)| value.trim())
        .filter(|value| !value.is_empty())
        .collect();
    let state = values.join(",");
    let members = || {
        state
            .split(',')
            .map(str::trim)
            .filter(|member| !member.is_empty())
    };
    let valid = state.len() <= TRACE_STATE_BYTES_MAX
        && members().count() <= TRACE_STATE_MEMBERS_MAX
        && members().all(is_state_member);
    (valid && !state.is_empty()).then(|| state.into_boxed_str())
}

/// W3C Trace Context §3.3.1.3: `key=value`.
fn is_state_member(member: &str) -> bool {
    let key_byte =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/@".contains(&byte);
    let value_byte = |byte: u8| (0x20..=0x7e).contains(&byte) && byte != b'=';
    member.split_once('=').is_some_and(|(key, value)| {
        (1..=256).contains(&key.len())
            && (1..=256).contains(&value.len())
            && key.bytes().all(key_byte)
            && value.bytes().all(value_byte)
    })
}

/// The value of a header that may be sent once.
fn single<'a>(headers: &'a [(String, String)], name: &str) -> Result<Option<&'a str>, Malformed> {
    let mut values = headers
        .iter()
        .filter(|(header, _)| header == name)
        .map(|(_, value)| value.trim());
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        _ => Err(Malformed),
    }
}

/// Hexadecimal ids, padded on the left to their width. All zero is not an id.
fn ids(trace: &str, parent: &str) -> Ids {
    if !is_hex(trace, 32) || !is_hex(parent, 16) {
        return Err(Malformed);
    }
    let trace = u128::from_str_radix(trace, 16).map_err(|_| Malformed)?;
    let parent = u64::from_str_radix(parent, 16).map_err(|_| Malformed)?;
    if trace == 0 || parent == 0 {
        return Err(Malformed);
    }
    Ok(Some((
        TraceId(trace.to_be_bytes()),
        SpanId(parent.to_be_bytes()),
    )))
}

fn is_hex(text: &str, length_max: usize) -> bool {
    (1..=length_max).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_lower_hex(byte: u8) -> bool {
    byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)
}
