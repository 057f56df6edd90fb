//! The places that the agent told the kernel side of, and for which processes: a listener that was there before the
//! agent is entered by the agent, and no record tells its end. In: processes and where they listen, births, deaths.
//! Out: what is to be told. Pure.

use std::collections::BTreeMap;

use super::listening::Place;
use crate::capture::event::HostPid;

/// Who holds which place.
#[derive(Debug, Default)]
pub struct Places {
    of: BTreeMap<HostPid, Vec<Place>>,
    holders: BTreeMap<Place, u32>,
}

impl Places {
    /// Whether the agent entered this place.
    pub fn contains(&self, place: Place) -> bool {
        self.holders.contains_key(&place)
    }

    /// A process listens in a place that the agent entered.
    pub fn hold(&mut self, pid: HostPid, place: Place) {
        let places = self.of.entry(pid).or_default();
        if !places.contains(&place) {
            places.push(place);
            *self.holders.entry(place).or_default() += 1;
        }
    }

    /// A child has what its parent has.
    pub fn forked(&mut self, parent: HostPid, child: HostPid) {
        for place in self.of.get(&parent).cloned().unwrap_or_default() {
            self.hold(child, place);
        }
    }

    /// A process holds nothing any more. Gives the places that nobody holds now.
    pub fn leave(&mut self, pid: HostPid) -> Vec<Place> {
        let mut places = self.of.remove(&pid).unwrap_or_default();
        places.retain(|place| match self.holders.get_mut(place) {
            Some(count) if *count > 1 => {
                *count -= 1;
                false
            }
            _ => self.holders.remove(place).is_some(),
        });
        places
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = (7, 80);

    #[test]
    fn a_place_is_left_with_its_last_holder() {
        let mut places = Places::default();
        places.hold(HostPid(1), PLACE);
        places.hold(HostPid(1), PLACE);
        places.forked(HostPid(1), HostPid(2));
        assert_eq!(places.leave(HostPid(1)), []);
        assert!(places.contains(PLACE));
        assert_eq!(places.leave(HostPid(2)), [PLACE]);
        assert_eq!(places.leave(HostPid(2)), []);
        assert!(!places.contains(PLACE));
    }
}
