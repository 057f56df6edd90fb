//! A recording with records missing or out of order: what is left is true.

use std::collections::{BTreeMap, BTreeSet};

use spanlet::clock::WallClock;
use spanlet::decode::exchange::Outcome;
use spanlet::enrich::span::Attribute;
use spanlet_abi::record::{kind, Header, Io};
use zerocopy::FromBytes;

use crate::recorded::{all, Recorded};
use crate::run::{replay, Name, Replay, Told};

/// Records dropped one by one in each recording; of a longer one, as many, evenly spread.
const DROPS: usize = 350;

#[test]
fn a_lost_record_harms_no_other_connection_and_makes_no_parent() {
    for recorded in all() {
        let whole = replay(&recorded.processes, &recorded.records);
        let step = recorded.records.len().div_ceil(DROPS);
        for dropped in (0..recorded.records.len()).step_by(step) {
            let left = replay(&recorded.processes, without(&recorded, dropped));
            let what = format!("{} without record {dropped}", recorded.name);
            no_other_parents(&whole, &left, &what);
            others_are_whole(&whole, &left, &recorded.records[dropped], &what);
        }
    }
}

#[test]
fn records_of_two_threads_may_change_places() {
    for recorded in all() {
        let whole = replay(&recorded.processes, &recorded.records);
        let expected = essences(&whole);
        for first in 0..recorded.records.len() - 1 {
            let (one, next) = (&recorded.records[first], &recorded.records[first + 1]);
            let sockets = [one, next].map(|record| socket(record));
            // What one thread does stays in order.
            let is_one_thread = header(one).thread == header(next).thread;
            if is_one_thread || sockets.contains(&None) || sockets[0] == sockets[1] {
                continue;
            }
            let mut records: Vec<_> = recorded.records.iter().collect();
            records.swap(first, first + 1);
            let swapped = replay(&recorded.processes, records);
            let what = format!("{} with record {first} after the next", recorded.name);
            assert_eq!(expected, essences(&swapped), "{what}");
            no_other_parents(&whole, &swapped, &what);
        }
    }
}

#[test]
fn a_recording_may_end_anywhere() {
    for recorded in all() {
        let whole = replay(&recorded.processes, &recorded.records);
        for end in (0..recorded.records.len()).step_by(7) {
            let left = replay(&recorded.processes, &recorded.records[..end]);
            for (name, told) in &left.told {
                let same = &whole.told[name];
                assert_eq!(told.span.started(), same.span.started());
            }
            no_other_parents(&whole, &left, &recorded.name);
        }
    }
}

/// Edges may be missing, but none leads elsewhere. One that the whole recording leaves out, because requests overlap that
/// do not in what is left, is between those whose paths have the same number.
fn no_other_parents(whole: &Replay, left: &Replay, what: &str) {
    for (name, told) in &left.told {
        let Some(parent) = told.parent else { continue };
        let child = owner(whole, *name);
        let child = child.unwrap_or_else(|| panic!("{what}: of no request: {:?}", told.span));
        let parent = owner(whole, parent);
        match whole.told[&child].parent {
            Some(expected) => assert_eq!(parent, Some(expected), "{what}: {:?}", told.span),
            None => assert_eq!(
                parent.map(|parent| mark(whole, parent)),
                Some(mark(whole, child)),
                "{what}: {:?}",
                told.span
            ),
        }
    }
}

/// The number of a request in its path.
fn mark(whole: &Replay, name: Name) -> Option<String> {
    let path = whole.told[&name].span.text("url.path")?;
    let mark = path.strip_prefix("/t/")?.split('/').next();
    mark.map(str::to_owned)
}

fn others_are_whole(whole: &Replay, left: &Replay, lost: &[u8], what: &str) {
    let lost_header = header(lost);
    for (name, told) in &whole.told {
        let is_its_own = socket(lost).is_none_or(|socket| socket == name.connection.socket);
        // The end of what did not come to its end may be in the record that is missing.
        let may_be_its_end =
            told.exchange.outcome != Outcome::Complete && name.process.0 == lost_header.process;
        if !is_its_own && !may_be_its_end {
            let found = left.told.get(name).map(essence);
            assert_eq!(found, Some(essence(told)), "{what}");
        }
    }
}

/// The records but one, as the kernel writes them when that is lost: later ones of its process say so. Closes are lost
/// without a word, because sockets are destroyed outside of their processes.
fn without(recorded: &Recorded, lost: usize) -> Vec<Vec<u8>> {
    let mut records = recorded.records.clone();
    let gone = header(&records.remove(lost));
    if gone.kind != kind::CLOSED {
        for record in &mut records[lost..] {
            tell_loss(record, gone.process);
        }
    }
    records
}

/// The records but these.
pub fn without_all(recorded: &Recorded, lost: &BTreeSet<usize>) -> Vec<Vec<u8>> {
    let mut left = Vec::new();
    let mut losses = BTreeMap::new();
    for (index, record) in recorded.records.iter().enumerate() {
        let header = header(record);
        let of_its = losses.entry(header.process).or_insert(0);
        if lost.contains(&index) {
            *of_its += u32::from(header.kind != kind::CLOSED);
            continue;
        }
        let mut record = record.clone();
        (0..*of_its).for_each(|_| tell_loss(&mut record, header.process));
        left.push(record);
    }
    left
}

fn tell_loss(record: &mut [u8], process: u32) {
    let header = header(record);
    if header.kind == kind::IO && header.process == process {
        let (io, _) = Io::mut_from_prefix(record).expect("a whole record");
        io.process_losses += 1;
    }
}

fn header(record: &[u8]) -> Header {
    Header::read_from_prefix(record).expect("a header").0
}

/// The socket of a record of a connection: the words after the header begin with it.
fn socket(record: &[u8]) -> Option<u64> {
    let has_one = matches!(header(record).kind, kind::IO | kind::OPENED | kind::CLOSED);
    let (socket, _) = u64::read_from_prefix(&record[size_of::<Header>()..]).ok()?;
    has_one.then_some(socket)
}

/// The request of the whole replay that a request belongs to: of a request whose start was lost, a later position is
/// known.
fn owner(whole: &Replay, name: Name) -> Option<Name> {
    let same = |other: &Name| {
        Name {
            position: 0,
            ..*other
        } == Name {
            position: 0,
            ..name
        }
    };
    let before = |other: &Name| name.position.wrapping_sub(other.position);
    whole.told.keys().copied().filter(same).min_by_key(before)
}

/// What an exchange is by itself, whatever happens on other connections.
#[derive(Debug, PartialEq)]
struct Essence<'a> {
    /// The rest of the name is that of the path, or of the route.
    method: Option<&'a str>,
    started: WallClock,
    ended: WallClock,
    attributes: Vec<Attribute>,
}

/// By whom it was asked, and whether its thread served others meanwhile, depends on the others. By which route it was served is not
/// told where something of its process is missing.
const OF_OTHERS: [&str; 4] = [
    "http.route",
    "spanlet.parent.evidence",
    "spanlet.cpu_time",
    "spanlet.run_queue_wait",
];

fn essence(told: &Told) -> Essence<'_> {
    let span = &told.span;
    let attributes = span.attributes().into_iter();
    Essence {
        method: span.name.split(' ').next(),
        started: span.started(),
        ended: span.ended(),
        attributes: attributes
            .filter(|attribute| !OF_OTHERS.contains(&&*attribute.key))
            .collect(),
    }
}

fn essences(replay: &Replay) -> BTreeMap<Name, Essence<'_>> {
    let told = replay.told.iter();
    told.map(|(name, told)| (*name, essence(told))).collect()
}
