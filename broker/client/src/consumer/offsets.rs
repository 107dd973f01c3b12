//! Consumed offsets in memory, between consuming and committing.

use std::collections::{BTreeMap, BTreeSet};

use hotfire_protocol::MessageQueue;

/// The offset of the next message to consume, by queue: what will be committed.
///
/// Invariant: nothing gets in here but offsets that a broker or a file gave, that were computed
/// from them, or that consumption reached. A failed query leaves no trace, in particular no zero.
#[derive(Debug, Default)]
pub struct OffsetTable {
    offsets: BTreeMap<MessageQueue, i64>,
}

impl OffsetTable {
    /// Sets an offset. With `increase_only`, a smaller one than is there changes nothing: results
    /// of parallel listener calls come in any order.
    pub fn update(&mut self, queue: &MessageQueue, offset: i64, increase_only: bool) {
        match self.offsets.get_mut(queue) {
            Some(old) if increase_only => *old = offset.max(*old),
            Some(old) => *old = offset,
            None => {
                self.offsets.insert(queue.clone(), offset);
            }
        }
    }

    /// The offset of a queue, if one is known.
    pub fn get(&self, queue: &MessageQueue) -> Option<i64> {
        self.offsets.get(queue).copied()
    }

    /// Forgets a queue that is given up.
    pub fn remove(&mut self, queue: &MessageQueue) {
        self.offsets.remove(queue);
    }

    /// Everything, for a store of one's own.
    pub fn all(&self) -> Vec<(MessageQueue, i64)> {
        self.offsets
            .iter()
            .map(|(queue, &offset)| (queue.clone(), offset))
            .collect()
    }

    /// What is to be committed for the queues that are held; the others are forgotten.
    pub fn retain(&mut self, held: &BTreeSet<MessageQueue>) -> Vec<(MessageQueue, i64)> {
        self.offsets.retain(|queue, _| held.contains(queue));
        self.all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(id: i32) -> MessageQueue {
        MessageQueue::new("t", "b", id)
    }

    #[test]
    fn late_results_do_not_move_an_offset_back() {
        let mut table = OffsetTable::default();
        table.update(&queue(0), 10, true);
        table.update(&queue(0), 7, true);
        assert_eq!(table.get(&queue(0)), Some(10));
        table.update(&queue(0), 7, false);
        assert_eq!(table.get(&queue(0)), Some(7));
    }

    #[test]
    fn an_unknown_queue_has_no_offset_rather_than_zero() {
        assert_eq!(OffsetTable::default().get(&queue(0)), None);
    }

    #[test]
    fn only_held_queues_are_committed_and_kept() {
        let mut table = OffsetTable::default();
        table.update(&queue(0), 1, true);
        table.update(&queue(1), 2, true);
        assert_eq!(table.retain(&BTreeSet::from([queue(1)])), [(queue(1), 2)]);
        assert_eq!(table.get(&queue(0)), None);
    }
}
