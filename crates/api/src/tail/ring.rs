//! From one to many, bounded in number and in bytes: what is oldest is forgotten, and who has not read it yet learns so.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::watch;

/// What was told lately.
#[derive(Debug)]
pub(crate) struct Ring<T> {
    kept: Mutex<Kept<T>>,
    /// How many were told, ever.
    told: watch::Sender<u64>,
    entries: usize,
    bytes: usize,
}

#[derive(Debug)]
struct Kept<T> {
    /// The number of the oldest that is kept.
    first: u64,
    items: VecDeque<(Arc<T>, usize)>,
    bytes: usize,
}

/// What a listener reads next.
#[derive(Debug)]
pub(crate) enum Heard<T> {
    /// In order, each once.
    Next(Arc<T>),
    /// Some were forgotten before they were read.
    Missed,
}

/// One who reads everything from when it came.
#[derive(Debug)]
pub(crate) struct Listener<T> {
    ring: Arc<Ring<T>>,
    next: u64,
    told: watch::Receiver<u64>,
}

impl<T> Ring<T> {
    pub(crate) fn new(entries: usize, bytes: usize) -> Arc<Ring<T>> {
        Arc::new(Ring {
            kept: Mutex::new(Kept { first: 0, items: VecDeque::new(), bytes: 0 }),
            told: watch::Sender::new(0),
            entries,
            bytes,
        })
    }

    /// Tells everybody. The newest is kept however large it is.
    pub(crate) fn tell(&self, item: Arc<T>, bytes: usize) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.items.push_back((item, bytes));
        kept.bytes += bytes;
        while kept.items.len() > 1 && (kept.items.len() > self.entries || kept.bytes > self.bytes) {
            if let Some((_, bytes)) = kept.items.pop_front() {
                kept.first += 1;
                kept.bytes -= bytes;
            }
        }
        drop(kept);
        self.told.send_modify(|told| *told += 1);
    }

    /// Reads what is told from now on.
    pub(crate) fn listen(self: &Arc<Self>) -> Listener<T> {
        let told = self.told.subscribe();
        // Counted in what is kept: a notice of what is in there already may still be under way.
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let next = kept.first + u64::try_from(kept.items.len()).unwrap_or(0);
        drop(kept);
        Listener { ring: self.clone(), next, told }
    }
}

impl<T> Listener<T> {
    /// Waits for the next. Nothing is lost when this is cancelled.
    pub(crate) async fn next(&mut self) -> Heard<T> {
        loop {
            self.told.borrow_and_update();
            if let Some(heard) = self.try_next() {
                return heard;
            }
            // The ring is held by this listener, so its sender cannot be gone.
            if self.told.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    fn try_next(&mut self) -> Option<Heard<T>> {
        let kept = self.ring.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if self.next < kept.first {
            self.next = kept.first;
            return Some(Heard::Missed);
        }
        let at = usize::try_from(self.next - kept.first).unwrap_or(usize::MAX);
        let (item, _) = kept.items.get(at)?;
        self.next += 1;
        Some(Heard::Next(item.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_is_heard_once_and_what_is_forgotten_is_known() {
        let ring = Ring::new(4, 100);
        ring.tell(Arc::new(0), 1);
        let mut listener = ring.listen();
        for n in 1..4 {
            ring.tell(Arc::new(n), 1);
        }
        for n in 1..4 {
            assert!(matches!(listener.next().await, Heard::Next(item) if *item == n));
        }
        for n in 4..10 {
            ring.tell(Arc::new(n), 1);
        }
        assert!(matches!(listener.next().await, Heard::Missed));
        assert!(matches!(listener.next().await, Heard::Next(item) if *item == 6));
        ring.tell(Arc::new(10), 1_000);
        assert!(matches!(listener.next().await, Heard::Missed));
        assert!(matches!(listener.next().await, Heard::Next(item) if *item == 10));
        let waiting = tokio::spawn(async move {
            matches!(listener.next().await, Heard::Next(item) if *item == 11)
        });
        tokio::task::yield_now().await;
        ring.tell(Arc::new(11), 1);
        assert!(waiting.await.unwrap());
    }
}
