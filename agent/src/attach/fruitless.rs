//! Files in which probes have no place and nothing is missing, remembered after the last process that maps them is gone: a
//! program that is run again and again is looked into once. In: spots, as they are left and come again. Out: whether one is
//! known. Pure.

use std::collections::BTreeMap;

use super::identity::Identity;

/// A probe's name and a file.
type Spot = (&'static str, Identity);

/// Spots that are remembered; a file has up to seven (OpenSSL's). Full: the one that was left longest ago is forgotten, and its
/// file looked into again when it is run.
pub const SPOTS_MAX: usize = 8192;

/// See the file.
#[derive(Debug, Default)]
pub struct Fruitless {
    /// Each with when it was left, counted by spots.
    left: BTreeMap<Spot, u64>,
    by_order: BTreeMap<u64, Spot>,
    count: u64,
}

impl Fruitless {
    /// Nobody maps the file of this spot any more.
    pub fn keep(&mut self, spot: Spot) {
        self.take(spot);
        self.count += 1;
        self.left.insert(spot, self.count);
        self.by_order.insert(self.count, spot);
        if self.left.len() > SPOTS_MAX {
            if let Some((_, oldest)) = self.by_order.pop_first() {
                self.left.remove(&oldest);
            }
        }
    }

    /// Whether the spot is known; it is not remembered any more, as long as somebody maps its file.
    pub fn take(&mut self, spot: Spot) -> bool {
        let order = self.left.remove(&spot);
        order.is_some_and(|order| self.by_order.remove(&order).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spot(inode: u64) -> Spot {
        let (inode, changed) = ((1, inode), (0, 0));
        ("tls_read", Identity { inode, changed })
    }

    #[test]
    fn what_is_left_is_known_once_until_it_is_left_again() {
        let mut fruitless = Fruitless::default();
        assert!(!fruitless.take(spot(1)));
        fruitless.keep(spot(1));
        fruitless.keep(spot(1));
        assert!(!fruitless.take(("tls_write", spot(1).1)), "another probe");
        let (name, file) = spot(1);
        let changed = Identity {
            changed: (0, 1),
            ..file
        };
        assert!(!fruitless.take((name, changed)), "changed since");
        assert!(fruitless.take(spot(1)));
        assert!(!fruitless.take(spot(1)));
    }

    #[test]
    fn the_one_left_longest_ago_makes_room() {
        let mut fruitless = Fruitless::default();
        let max = SPOTS_MAX as u64;
        (0..max).for_each(|inode| fruitless.keep(spot(inode)));
        // Run once more.
        assert!(fruitless.take(spot(0)));
        fruitless.keep(spot(0));
        fruitless.keep(spot(max));
        assert!(!fruitless.take(spot(1)));
        assert!((2..=max)
            .chain([0])
            .all(|inode| fruitless.take(spot(inode))));
        assert!(fruitless.by_order.is_empty());
    }
}
