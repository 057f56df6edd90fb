//! Recorded bytes changed at random: nothing panics, nothing grows past its bound, and every exchange ends.

use std::sync::LazyLock;

use proptest::prelude::*;
use proptest::sample::Index;

use spanlet::decode::limits::MEMORY_BYTES_MAX;

use crate::recorded::{all, Recorded};
use crate::run::replay;

/// Bytes that the decoder may hold for each record: an open exchange, or a head that is not whole, and what they cost.
const HELD_PER_RECORD: usize = 4096;

static RECORDINGS: LazyLock<Vec<Recorded>> = LazyLock::new(all);

/// One change of a list of records.
#[derive(Clone, Debug)]
enum Change {
    /// Bytes from a place on are replaced.
    Bytes(Index, Index, Vec<u8>),
    /// A bit of a place is turned.
    Bit(Index, Index, u8),
    Cut(Index, Index),
    Drop(Index),
    Repeat(Index, Index),
    Swap(Index, Index),
    /// The bytes of one record follow the header of another.
    Cross(Index, Index, Index),
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<Index>;
    let bytes = prop_oneof![
        prop::collection::vec(any::<u8>(), 1..9),
        Just(vec![0; 8]),
        Just(vec![0xff; 8]),
    ];
    prop_oneof![
        4 => (at(), at(), bytes).prop_map(|(record, place, bytes)| Change::Bytes(record, place, bytes)),
        2 => (at(), at(), 0..8_u8).prop_map(|(record, place, bit)| Change::Bit(record, place, bit)),
        1 => (at(), at()).prop_map(|(record, length)| Change::Cut(record, length)),
        2 => at().prop_map(Change::Drop),
        1 => (at(), at()).prop_map(|(record, place)| Change::Repeat(record, place)),
        1 => (at(), at()).prop_map(|(one, other)| Change::Swap(one, other)),
        1 => (at(), at(), at()).prop_map(|(head, tail, place)| Change::Cross(head, tail, place)),
    ]
}

fn apply(change: &Change, records: &mut Vec<Vec<u8>>) {
    let count = records.len();
    match change {
        Change::Bytes(record, place, bytes) => {
            let record = &mut records[record.index(count)];
            let end = record.len();
            // The first bytes (the header and the words that follow) are changed more often than their share.
            let place = place.index(2 * end.max(1)) % end.clamp(1, 120);
            let room = record.iter_mut().skip(place);
            room.zip(bytes).for_each(|(old, new)| *old = *new);
        }
        Change::Bit(record, place, bit) => {
            let record = &mut records[record.index(count)];
            let end = record.len();
            if let Some(byte) = record.get_mut(place.index(end.max(1))) {
                *byte ^= 1 << bit;
            }
        }
        Change::Cut(record, length) => {
            let record = &mut records[record.index(count)];
            record.truncate(length.index(record.len() + 1));
        }
        Change::Drop(record) => {
            records.remove(record.index(count));
        }
        Change::Repeat(record, place) => {
            let record = records[record.index(count)].clone();
            records.insert(place.index(count + 1), record);
        }
        Change::Swap(one, other) => records.swap(one.index(count), other.index(count)),
        Change::Cross(head, tail, place) => {
            let tail = records[tail.index(count)].clone();
            let head = &mut records[head.index(count)];
            let place = place.index(head.len().min(tail.len()) + 1);
            head.truncate(place);
            head.extend_from_slice(&tail[place..]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// `replay` itself holds the rooms to their invariants: what started finished, and nothing is held at the end.
    #[test]
    fn changed_records_do_no_harm(
        which in any::<Index>(),
        changes in prop::collection::vec(change(), 1..40),
    ) {
        let recorded = which.get(&RECORDINGS);
        let mut records = recorded.records.clone();
        changes.iter().for_each(|change| apply(change, &mut records));
        let changed = replay(&recorded.processes, &records);
        prop_assert!(changed.held_bytes <= MEMORY_BYTES_MAX.min(records.len() * HELD_PER_RECORD));
        prop_assert!(changed.told.len() <= changed.counts.spans as usize);
    }
}
