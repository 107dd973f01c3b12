//! Where the next pop of a queue begins (`PopBufferMergeService`'s offsets).
//!
//! A pop moves on at once, but the group's offset is committed only when the check point of what
//! was popped is on disk: else a power failure could keep the offset and lose the check point, and
//! with it the messages.
//!
//! Invariant: offsets are committed in the order of the pops, none before its check point is safe.

use std::collections::{BTreeMap, VecDeque};

use super::QueueKey;

/// The queues with pops whose offsets are not committed yet.
#[derive(Debug, Default)]
pub struct PopOffsets {
    queues: BTreeMap<QueueKey, Ahead>,
}

/// The uncommitted pops of a queue.
#[derive(Debug, Default)]
struct Ahead {
    /// Where the next pop begins.
    next: i64,
    /// The pops: how far the log must be flushed, and the offset to commit then.
    pops: VecDeque<(i64, i64)>,
}

impl PopOffsets {
    /// Keeps only some queues.
    pub fn retain(&mut self, keep: impl Fn(&QueueKey) -> bool) {
        self.queues.retain(|key, _| keep(key));
    }

    /// Where the next pop begins; `None` if that is the committed offset.
    pub fn next(&self, key: &QueueKey) -> Option<i64> {
        self.queues.get(key).map(|ahead| ahead.next)
    }

    /// A queue was popped up to `next`, which may be committed when the commit log is flushed up
    /// to `durable_at`.
    pub fn advance(&mut self, key: &QueueKey, next: i64, durable_at: i64) {
        if !self.queues.contains_key(key) {
            self.queues.insert(key.clone(), Ahead::default());
        }
        if let Some(ahead) = self.queues.get_mut(key) {
            ahead.next = next;
            ahead.pops.push_back((durable_at, next));
        }
    }

    /// What may be committed, now that the log is flushed so far. [`PopOffsets::settle`] follows
    /// when that is done.
    pub fn committable(&mut self, flushed: i64) -> Vec<(QueueKey, i64)> {
        let mut ready = Vec::new();
        for (key, ahead) in &mut self.queues {
            let mut last = None;
            while let Some(&(durable_at, next)) = ahead.pops.front()
                && durable_at <= flushed
            {
                last = Some(next);
                ahead.pops.pop_front();
            }
            if let Some(next) = last {
                ready.push((key.clone(), next));
            }
        }
        ready
    }

    /// What was [committable](PopOffsets::committable) is committed.
    pub fn settle(&mut self) {
        self.queues.retain(|_, ahead| !ahead.pops.is_empty());
    }

    /// How many pops have offsets that are not committed yet.
    pub fn waiting(&self) -> usize {
        self.queues.values().map(|ahead| ahead.pops.len()).sum()
    }

    /// Forgets a queue whose committed offset was set by somebody else.
    pub fn forget(&mut self, key: &QueueKey) {
        self.queues.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> QueueKey {
        QueueKey::new("orders", "readers", 0)
    }

    #[test]
    fn the_next_pop_begins_where_the_last_ended() {
        let mut offsets = PopOffsets::default();
        assert_eq!(offsets.next(&key()), None);
        offsets.advance(&key(), 5, 100);
        offsets.advance(&key(), 9, 200);
        assert_eq!(offsets.next(&key()), Some(9));
    }

    #[test]
    fn an_offset_waits_for_its_check_point() {
        let mut offsets = PopOffsets::default();
        offsets.advance(&key(), 5, 100);
        offsets.advance(&key(), 9, 200);
        assert_eq!(offsets.waiting(), 2);
        assert_eq!(offsets.committable(99), []);
        assert_eq!(offsets.committable(100), [(key(), 5)]);
        offsets.settle();
        assert_eq!(offsets.next(&key()), Some(9));
        assert_eq!(offsets.committable(200), [(key(), 9)]);
        offsets.settle();
        assert_eq!(offsets.waiting(), 0);
        assert_eq!(offsets.next(&key()), None);
    }

    #[test]
    fn what_needs_no_check_point_still_waits_for_the_pops_before_it() {
        let mut offsets = PopOffsets::default();
        offsets.advance(&key(), 5, 100);
        offsets.advance(&key(), 6, 0);
        assert_eq!(offsets.committable(50), []);
        assert_eq!(offsets.committable(100), [(key(), 6)]);
    }

    #[test]
    fn a_forgotten_queue_begins_at_the_committed_offset() {
        let mut offsets = PopOffsets::default();
        offsets.advance(&key(), 5, 100);
        offsets.forget(&key());
        assert_eq!(offsets.next(&key()), None);
        assert_eq!(offsets.committable(100), []);
    }
}
