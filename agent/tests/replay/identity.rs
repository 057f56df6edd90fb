//! Nothing is lost without a name, whatever is lost: of a request whose first bytes came (the kernel side counts
//! the others) there is an exchange, or it is counted as unread; and an exchange has its span, or the drop is counted.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::LazyLock;

use proptest::prelude::*;
use proptest::sample::Index;

use spanlet::capture::convert::convert;
use spanlet::capture::event::{ConnectionId, Direction, Event, HostPid};
use spanlet::enrich::{self, Limits};

use crate::losses::without_all;
use crate::recorded::{all, Recorded};
use crate::run::{replay, replay_with, Name};

static RECORDINGS: LazyLock<Vec<Recorded>> = LazyLock::new(all);

/// A request by what is known of it even when other records were lost: its connection and its turn's first position.
type Turn = (HostPid, ConnectionId, u32);

/// The requests to processes, and of those that begin a turn the record that holds their first bytes. Others follow, in their turn,
/// another or what was left of it.
fn requests(recorded: &Recorded) -> (HashSet<Turn>, BTreeMap<Turn, usize>) {
    let whole = replay(&recorded.processes, &recorded.records);
    let servers: HashSet<Turn> = whole.told.keys().filter_map(turn).collect();
    let events = recorded.records.iter().map(|record| convert(record));
    let first_bytes = events.enumerate().filter_map(|(index, event)| match event {
        Ok(Event::Io(io)) if io.turn_start && io.direction == Direction::Ingress => {
            let turn = (io.origin.process, io.connection, io.position);
            servers.contains(&turn).then_some((turn, index))
        }
        _ => None,
    });
    let first_bytes = first_bytes.collect();
    (servers, first_bytes)
}

fn turn(name: &Name) -> Option<Turn> {
    name.is_server
        .then_some((name.process, name.connection, name.position))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn requests_are_exchanges_or_lost(
        which in any::<Index>(),
        dropped in prop::collection::vec(any::<Index>(), 0..60),
    ) {
        let recorded = which.get(&RECORDINGS);
        let count = recorded.records.len();
        let dropped: BTreeSet<usize> = dropped.iter().map(|index| index.index(count)).collect();
        let left = replay(&recorded.processes, without_all(recorded, &dropped));
        let seen: HashSet<Turn> = left.told.keys().filter_map(turn).collect();
        let (servers, all) = requests(recorded);
        let told = all.iter().filter(|(_, record)| !dropped.contains(record));
        let told: HashSet<Turn> = told.map(|(turn, _)| *turn).collect();
        let made_up: Vec<&Turn> = seen.iter().filter(|turn| all.contains_key(turn) && !told.contains(turn)).collect();
        prop_assert!(made_up.is_empty(), "{:?}", made_up);
        let missing: Vec<&Turn> = told.difference(&seen).collect();
        // Of those that begin no turn, one whose start was seen may be unread; no more than are missing are.
        let others = servers.iter().filter(|turn| !all.contains_key(turn) && !seen.contains(turn));
        let (least, most) = (missing.len(), missing.len() + others.count());
        let unread = left.noted.unread_requests as usize;
        prop_assert!((least..=most).contains(&unread), "{} of {} to {}: {:?}", unread, least, most, missing);
    }

    #[test]
    fn exchanges_are_spans_or_dropped(
        which in any::<Index>(),
        exchanges in 1..40_usize,
        waiting in 1..10_usize,
        processes in 1..3_usize,
    ) {
        let recorded = which.get(&RECORDINGS);
        let limits = Limits { exchanges, waiting, processes, ..Limits::default() };
        let config = enrich::Config { limits, ..enrich::Config::default() };
        let totals = replay_with(config, &recorded.processes, &recorded.records);
        prop_assert_eq!(totals.started, totals.finished);
        prop_assert_eq!(totals.finished, totals.spans + totals.counts.dropped_waiting_full);
        prop_assert_eq!(totals.counts.spans, totals.spans);
    }
}
