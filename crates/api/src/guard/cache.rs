//! What was used lately, bounded by number and by bytes. Two halves: what is used moves to the young one, and when that
//! is full, the old one is forgotten as a whole. Nothing is ever sorted, and a flood of new entries costs the same as
//! any other use.

use std::{collections::HashMap, hash::Hash, sync::Mutex};

/// A bounded cache.
#[derive(Debug)]
pub(crate) struct Recent<K, V> {
    halves: Mutex<Halves<K, V>>,
    entries: usize,
    bytes: usize,
}

#[derive(Debug)]
struct Halves<K, V> {
    young: HashMap<K, (V, usize)>,
    young_bytes: usize,
    old: HashMap<K, (V, usize)>,
}

impl<K: Hash + Eq, V: Clone> Recent<K, V> {
    /// At most so many entries, and bytes as the users count them.
    pub(crate) fn new(entries: usize, bytes: usize) -> Self {
        let halves = Halves { young: HashMap::new(), young_bytes: 0, old: HashMap::new() };
        Recent { halves: Mutex::new(halves), entries: entries / 2, bytes: bytes / 2 }
    }

    /// What was kept under this key.
    pub(crate) fn get(&self, key: &K) -> Option<V> {
        let mut halves = self.halves.lock().ok()?;
        if let Some((value, _)) = halves.young.get(key) {
            return Some(value.clone());
        }
        let (key, (value, bytes)) = halves.old.remove_entry(key)?;
        self.put(&mut halves, key, value.clone(), bytes);
        Some(value)
    }

    /// Keeps a value of so many bytes. One that is larger than a half is not kept.
    pub(crate) fn keep(&self, key: K, value: V, bytes: usize) {
        if bytes > self.bytes {
            return;
        }
        if let Ok(mut halves) = self.halves.lock() {
            self.put(&mut halves, key, value, bytes);
        }
    }

    fn put(&self, halves: &mut Halves<K, V>, key: K, value: V, bytes: usize) {
        if halves.young.len() >= self.entries || halves.young_bytes + bytes > self.bytes {
            halves.old = std::mem::take(&mut halves.young);
            halves.young_bytes = 0;
        }
        if let Some((_, replaced)) = halves.young.insert(key, (value, bytes)) {
            halves.young_bytes = halves.young_bytes.saturating_sub(replaced);
        }
        halves.young_bytes += bytes;
    }

    #[cfg(test)]
    fn held(&self) -> (usize, usize) {
        let halves = self.halves.lock().unwrap();
        let entries = halves.young.len() + halves.old.len();
        let bytes = halves.young.values().chain(halves.old.values()).map(|(_, bytes)| bytes).sum();
        (entries, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_the_rest_is_bounded() {
        let recent = Recent::new(100, 1_000);
        recent.keep(0_u32, 'a', 1);
        for key in 1..10_000 {
            recent.keep(key, 'b', 7);
            assert_eq!(recent.get(&0), Some('a'), "{key}");
            let (entries, bytes) = recent.held();
            assert!(entries <= 100 && bytes <= 1_000, "{entries} {bytes}");
        }
        assert_eq!(recent.get(&1), None);
        recent.keep(1, 'c', 501);
        assert_eq!(recent.get(&1), None, "larger than a half");
    }
}
