//! A map that holds so many entries and no more: PURE.
//!
//! Whoever makes up keys at will must not fill the memory. In a full map the entry with the lowest
//! rank makes room for a new one; what a rank means, and what is lost with an entry, is for the owner
//! of the map to say. Work is logarithmic in the bound.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

#[derive(Debug)]
pub struct Bounded<K, R, V> {
    most: usize,
    entries: HashMap<K, (R, V)>,
    /// The same entries, the next one to go first.
    order: BTreeSet<(R, K)>,
}

impl<K: Copy + Eq + Hash + Ord, R: Copy + Ord, V> Bounded<K, R, V> {
    pub fn new(most: usize) -> Self {
        Self {
            most,
            entries: HashMap::new(),
            order: BTreeSet::new(),
        }
    }

    pub fn rank(&self, key: &K) -> Option<R> {
        self.entries.get(key).map(|(rank, _)| *rank)
    }

    pub fn take(&mut self, key: &K) -> Option<V> {
        let (rank, value) = self.entries.remove(key)?;
        self.order.remove(&(rank, *key));
        Some(value)
    }

    /// Puts an entry in, in place of the one with that key.
    pub fn put(&mut self, key: K, rank: R, value: V) {
        self.take(&key);
        if self.entries.len() >= self.most
            && let Some((_, lowest)) = self.order.pop_first()
        {
            self.entries.remove(&lowest);
        }
        self.entries.insert(key, (rank, value));
        self.order.insert((rank, key));
    }

    /// Drops what is not worth keeping any more.
    pub fn retain(&mut self, mut is_kept: impl FnMut(R, &V) -> bool) {
        let order = &mut self.order;
        self.entries.retain(|key, (rank, value)| {
            let kept = is_kept(*rank, value);
            if !kept {
                order.remove(&(*rank, *key));
            }
            kept
        });
        self.entries.shrink_to_fit();
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(entries: &[(u32, u32)]) -> Bounded<u32, u32, &'static str> {
        let mut map = Bounded::new(3);
        for (key, rank) in entries {
            map.put(*key, *rank, "old");
        }
        map
    }

    #[test]
    fn the_entry_with_the_lowest_rank_makes_room() {
        let mut map = map(&[(1, 30), (2, 10), (3, 20)]);
        map.put(4, 5, "new");
        assert_eq!(map.rank(&2), None);
        assert_eq!((map.rank(&4), map.len()), (Some(5), 3));
        map.put(5, 40, "new");
        assert_eq!(map.rank(&4), None, "the newest has no other right to stay");
    }

    #[test]
    fn an_entry_that_is_put_again_moves_and_makes_no_other_go() {
        let mut map = map(&[(1, 10), (2, 20), (3, 30)]);
        map.put(1, 40, "new");
        assert_eq!(map.len(), 3);
        map.put(4, 50, "new");
        assert_eq!((map.rank(&1), map.rank(&2)), (Some(40), None));
        assert_eq!((map.take(&1), map.take(&1)), (Some("new"), None));
    }

    #[test]
    fn what_is_dropped_is_gone_from_the_order_too() {
        let mut map = map(&[(1, 10), (2, 20), (3, 30)]);
        map.retain(|rank, _| rank > 10);
        map.put(4, 40, "new");
        assert_eq!(map.rank(&2), Some(20), "there was room");
        map.put(5, 50, "new");
        assert_eq!((map.rank(&2), map.len()), (None, 3));
        map.retain(|_, value| *value == "old");
        assert_eq!((map.len(), map.is_empty()), (1, false));
    }
}
