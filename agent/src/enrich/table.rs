//! Things by their exchange, that are large and many for a short time. In: exchange ids. Out: what is kept for them.
//!
//! They stand close together and a place is used again as soon as it is free, so that they take half of the memory
//! that they would take in a hash map, and what is written now was read lately.

use crate::decode::exchange::ExchangeId;
use crate::hash::WordMap;

/// See the file.
#[derive(Debug)]
pub struct Table<T> {
    indices: WordMap<ExchangeId, u32>,
    places: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            indices: WordMap::default(),
            places: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<T> Table<T> {
    pub fn len(&self) -> usize {
        self.indices.len()
    }

    pub fn get(&self, id: &ExchangeId) -> Option<&T> {
        let index = *self.indices.get(id)?;
        self.places.get(index as usize)?.as_ref()
    }

    pub fn get_mut(&mut self, id: &ExchangeId) -> Option<&mut T> {
        let index = *self.indices.get(id)?;
        self.places.get_mut(index as usize)?.as_mut()
    }

    /// Adds what is kept for an exchange; false if there is something already.
    pub fn insert(&mut self, id: ExchangeId, thing: T) -> bool {
        let index = self
            .free
            .last()
            .copied()
            .unwrap_or(self.places.len() as u32);
        let known = *self.indices.entry(id).or_insert(index);
        if known != index {
            return false;
        }
        match self.free.pop() {
            Some(index) => self.places[index as usize] = Some(thing),
            None => self.places.push(Some(thing)),
        }
        true
    }

    pub fn remove(&mut self, id: &ExchangeId) -> Option<T> {
        let index = self.indices.remove(id)?;
        self.free.push(index);
        self.places.get_mut(index as usize)?.take()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&ExchangeId, &T)> {
        let known = self.indices.iter();
        known.filter_map(|(id, index)| Some((id, self.places.get(*index as usize)?.as_ref()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_used_again_and_nothing_is_mixed_up() {
        let mut table = Table::default();
        let id = ExchangeId;
        for number in 0..100 {
            assert!(table.insert(id(number), number));
            assert!(!table.insert(id(number), 1000));
            if number >= 10 {
                assert_eq!(table.remove(&id(number - 10)), Some(number - 10));
                assert_eq!(table.remove(&id(number - 10)), None);
            }
            let mut known: Vec<u64> = table.iter().map(|(_, thing)| *thing).collect();
            known.sort_unstable();
            let oldest = (number + 1).saturating_sub(10);
            assert_eq!(known, (oldest..=number).collect::<Vec<_>>());
            assert_eq!(table.get(&id(oldest)), Some(&oldest));
            assert_eq!(table.get(&id(number + 1)), None);
        }
        assert_eq!((table.len(), table.places.len()), (10, 11));
    }
}
