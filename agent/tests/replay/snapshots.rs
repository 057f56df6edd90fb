//! Each recording gives the spans that it gave before. `SPANLET_WRITE=1` takes what it gives now for right.

use std::fs;

use crate::difference::difference;
use crate::recorded::{all, file};
use crate::run::replay;
use crate::text::text;

#[test]
fn recordings_give_the_same_spans() {
    let writes = std::env::var_os("SPANLET_WRITE").is_some_and(|value| value == "1");
    let mut differences = String::new();
    for recorded in all() {
        let found = text(&recorded, &replay(&recorded.processes, &recorded.records));
        let path = file(&recorded.name, "spans.txt");
        if writes {
            fs::write(&path, &found).expect("a folder that can be written");
            continue;
        }
        let expected = fs::read_to_string(&path).unwrap_or_default();
        if let Some(difference) = difference(&expected, &found) {
            differences += &format!("{}.spans.txt:\n{difference}\n", recorded.name);
        }
    }
    assert!(
        differences.is_empty(),
        "other spans than before; if these are right, run again with SPANLET_WRITE=1 and read the change:\n{differences}"
    );
}

#[test]
fn a_replay_can_be_repeated() {
    for recorded in all() {
        let [first, second] = [(); 2].map(|()| replay(&recorded.processes, &recorded.records));
        let spans = |replay: &crate::run::Replay| -> Vec<_> {
            replay.told.values().map(|told| told.span.clone()).collect()
        };
        assert_eq!(spans(&first), spans(&second), "{}", recorded.name);
    }
}
