//! Maps whose keys are a few words: numbers of the kernel, of this agent, addresses. In: a key. Out: its hash.
//!
//! Each record looks into several such maps, and the standard hasher takes longer than all else in that. This one
//! multiplies each word to 128 bits and folds the halves. The seed is random, because a peer chooses its port; text that
//! a peer chose stays with the standard hasher wherever it decides how long a look-up takes.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hasher, RandomState};

pub type WordMap<Key, Value> = HashMap<Key, Value, Seed>;
pub type WordSet<Key> = HashSet<Key, Seed>;

/// An odd number without a pattern: 2^64 divided by the golden ratio.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// Where the hashes of one map start.
#[derive(Clone, Copy, Debug)]
pub struct Seed(u64);

impl Default for Seed {
    fn default() -> Self {
        Self(RandomState::new().build_hasher().finish())
    }
}

impl BuildHasher for Seed {
    type Hasher = Words;

    fn build_hasher(&self) -> Words {
        Words(self.0)
    }
}

/// A hash in the making.
#[derive(Debug)]
pub struct Words(u64);

impl Words {
    fn word(&mut self, word: u64) {
        self.0 = fold(self.0 ^ word);
    }
}

fn fold(word: u64) -> u64 {
    let product = u128::from(word) * u128::from(MULTIPLIER);
    (product as u64) ^ (product >> 64) as u64
}

impl Hasher for Words {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks();
        words
            .iter()
            .for_each(|word| self.word(u64::from_le_bytes(*word)));
        let rest = rest
            .iter()
            .fold(0, |word, byte| word << 8 | u64::from(*byte));
        self.word(rest);
    }

    fn write_u8(&mut self, word: u8) {
        self.word(word.into());
    }

    fn write_u16(&mut self, word: u16) {
        self.word(word.into());
    }

    fn write_u32(&mut self, word: u32) {
        self.word(word.into());
    }

    fn write_u64(&mut self, word: u64) {
        self.word(word);
    }

    fn write_usize(&mut self, word: usize) {
        self.word(word as u64);
    }

    fn write_isize(&mut self, word: isize) {
        self.word(word as u64);
    }

    fn finish(&self) -> u64 {
        fold(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of as many keys as places, chance leaves 63 % of the places used (1 - 1/e).
    fn used<Key: std::hash::Hash>(keys: impl Iterator<Item = Key>, bits: fn(u64) -> u64) -> usize {
        let seed = Seed(1);
        keys.map(|key| bits(seed.hash_one(key)))
            .collect::<HashSet<_>>()
            .len()
    }

    #[test]
    fn keys_that_follow_each_other_are_spread() {
        // What hashbrown looks at: the low bits for the place, the high ones to tell neighbours apart.
        let halves: [fn(u64) -> u64; 2] = [|hash| hash & 0xfff, |hash| hash >> 52];
        for bits in halves {
            let exchanges = used(0..4096u64, bits);
            let sockets = used((0..4096u64).map(|n| 0xffff_8881_0000_0000 + n * 1984), bits);
            let ends = used((0..4096u16).map(|port| (port, u32::from(port) * 77)), bits);
            for used in [exchanges, sockets, ends] {
                assert!(used > 2300, "{used} of 4096");
            }
        }
    }

    #[test]
    fn no_two_maps_hash_alike() {
        assert_ne!(Seed::default().hash_one(1), Seed::default().hash_one(1));
    }
}
