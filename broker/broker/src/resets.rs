//! Offsets that groups are to be set to.

use std::collections::BTreeMap;

/// The offset that a reset gives to a queue: where the group is to be, unless it is there or further
/// back already and is not to be moved forward (`Broker2Client.resetOffset`).
pub fn reset_offset(committed: i64, target: i64, force: bool) -> i64 {
    let target = target.max(0);
    if force || target < committed {
        target
    } else {
        committed
    }
}

/// Where groups were put that do not know it yet: the next pull of the queue is told, which forgets
/// it here (`resetOffsetTable` of 5.x's `ConsumerOffsetManager`). Until then commits of the group
/// are void. In memory only.
#[derive(Debug, Default)]
pub struct PendingResets {
    queues: BTreeMap<(String, String), BTreeMap<i32, i64>>,
}

impl PendingResets {
    /// Puts a group at an offset.
    pub fn put(&mut self, group: &str, topic: &str, queue_id: i32, offset: i64) {
        let key = (group.to_owned(), topic.to_owned());
        self.queues.entry(key).or_default().insert(queue_id, offset);
    }

    /// Where the group was put.
    pub fn get(&self, group: &str, topic: &str, queue_id: i32) -> Option<i64> {
        if self.queues.is_empty() {
            return None;
        }
        let queues = self.queues.get(&(group.to_owned(), topic.to_owned()))?;
        queues.get(&queue_id).copied()
    }

    /// Keeps only the resets of some topics and groups.
    pub fn retain(&mut self, keep: impl Fn(&str, &str) -> bool) {
        self.queues.retain(|(group, topic), _| keep(topic, group));
    }

    /// Where the group was put; forgets it.
    pub fn take(&mut self, group: &str, topic: &str, queue_id: i32) -> Option<i64> {
        if self.queues.is_empty() {
            return None;
        }
        let key = (group.to_owned(), topic.to_owned());
        let queues = self.queues.get_mut(&key)?;
        let offset = queues.remove(&queue_id);
        if queues.is_empty() {
            self.queues.remove(&key);
        }
        offset
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reset_moves_back_and_only_by_force_forward() {
        for (committed, target, force, expected) in [
            (10, 4, false, 4),
            (10, 14, false, 10),
            (10, 14, true, 14),
            (10, 4, true, 4),
            (10, 10, false, 10),
            (10, -1, false, 0),
        ] {
            let offset = reset_offset(committed, target, force);
            assert_eq!(offset, expected, "{committed} to {target}, force {force}");
        }
    }

    #[test]
    fn a_pending_reset_is_told_once() {
        let mut resets = PendingResets::default();
        resets.put("g", "t", 0, 7);
        resets.put("g", "t", 1, 8);
        assert_eq!(resets.get("g", "t", 0), Some(7));
        assert_eq!(resets.take("g", "t", 0), Some(7));
        assert_eq!(resets.take("g", "t", 0), None);
        assert_eq!(resets.get("h", "t", 1), None);
        assert_eq!(resets.take("g", "t", 1), Some(8));
        assert!(resets.queues.is_empty());
    }
}
