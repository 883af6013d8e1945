//! A bounded cache of computed values.

use std::collections::HashMap;
use std::mem;
use std::sync::{Mutex, PoisonError};

const SHARDS: usize = 16;

/// SHA-256 of the input.
pub(super) type Key = [u8; 32];

/// Caches values by key, at most about `capacity` of them, from several threads at once.
///
/// Each shard has two generations: a value that is read moves to the young one, and when that is full
/// it becomes the old one and the old one is dropped. What is used at least once a generation stays.
pub(super) struct Memo<V> {
    shards: [Mutex<Shard<V>>; SHARDS],
    young_limit: usize,
}

struct Shard<V> {
    young: HashMap<Key, V>,
    old: HashMap<Key, V>,
}

impl<V: Copy> Memo<V> {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            shards: std::array::from_fn(|_| {
                Mutex::new(Shard { young: HashMap::new(), old: HashMap::new() })
            }),
            young_limit: (capacity / SHARDS / 2).max(1),
        }
    }

    /// The value of a key; `work` computes it the first time. Two threads that read the same new key
    /// at once may both do the work: the lock is not held meanwhile.
    pub(super) fn get_or(&self, key: Key, work: impl FnOnce() -> V) -> V {
        if let Some(value) = self.get(&key) {
            return value;
        }
        let value = work();
        self.with_shard(&key, |shard| shard.put(key, value, self.young_limit));
        value
    }

    fn get(&self, key: &Key) -> Option<V> {
        self.with_shard(key, |shard| {
            if let Some(value) = shard.young.get(key) {
                return Some(*value);
            }
            let value = shard.old.remove(key)?;
            shard.put(*key, value, self.young_limit);
            Some(value)
        })
    }

    fn with_shard<T>(&self, key: &Key, act: impl FnOnce(&mut Shard<V>) -> T) -> T {
        let index = usize::from(key[0]) % SHARDS;
        // A thread that panicked left whole entries behind: each step below is one map operation.
        let mut shard = self.shards[index].lock().unwrap_or_else(PoisonError::into_inner);
        act(&mut shard)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        let each = self.shards.iter().map(|shard| {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.young.len() + shard.old.len()
        });
        each.sum()
    }
}

impl<V> Shard<V> {
    fn put(&mut self, key: Key, value: V, limit: usize) {
        if self.young.len() >= limit {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u32) -> Key {
        let mut key = [0; 32];
        key[0] = number as u8;
        key[1..5].copy_from_slice(&number.to_le_bytes());
        key
    }

    #[test]
    fn works_once_and_remembers() {
        let memo = Memo::new(64);
        assert_eq!(memo.get_or(key(1), || 10), 10);
        assert_eq!(memo.get_or(key(1), || panic!("worked out twice")), 10);
    }

    #[test]
    fn is_bounded() {
        let memo = Memo::new(320);
        for number in 0..10_000 {
            memo.get_or(key(number), || number);
            assert!(memo.len() <= 320);
        }
        assert!(memo.len() >= 160);
    }

    #[test]
    fn keeps_what_is_used() {
        let memo = Memo::new(320);
        memo.get_or(key(0), || 7);
        for number in 1..10_000 {
            memo.get_or(key(number), || 0);
            assert_eq!(memo.get_or(key(0), || 8), 7, "forgotten after {number}");
        }
    }
}
