//! One queue of the revive topic: which check points are open, and what of them is due
//! (`PopReviveService`).
//!
//! Records are applied in the order of the topic, so that an acknowledgement finds its check point.
//! Invariants: a message that is acknowledged before it is due is never revived; the offset to
//! commit lies before every check point that is still open, so that all of them are read again
//! after a restart.

use std::collections::{BTreeMap, BTreeSet};

use hotfire_protocol::body::PopCheckPoint;
use rustc_hash::FxHashMap;

use super::QueueKey;

/// How many messages are popped and neither acknowledged nor revived.
pub type Hidden = BTreeMap<QueueKey, i64>;

/// How long after its time a check point is revived: acknowledgements that were on their way when
/// the time ended still count (`PopAckConstants.ackTimeInterval`).
pub const ACK_GRACE_MS: i64 = 1000;
/// How long a check point is put off that cannot be revived, by attempt, in seconds
/// (`PopReviveService.ckRewriteIntervalsInSeconds`).
const PUT_OFF_S: [i64; 17] = [
    10, 20, 30, 60, 120, 180, 240, 300, 360, 420, 480, 540, 600, 1200, 1800, 3600, 7200,
];

/// What an acknowledgement and its check point have in common.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct CheckPointKey {
    pub topic: String,
    pub group: String,
    pub queue_id: i32,
    pub start_offset: i64,
    pub pop_time: i64,
    pub broker_name: String,
}

/// A topic or a group that was deleted.
#[derive(Debug, Clone)]
pub enum Gone {
    Topic(String),
    Group(String),
}

impl Gone {
    /// Whether something that belongs to a topic and a group is gone with it.
    pub fn has(&self, topic: &str, group: &str) -> bool {
        match self {
            Self::Topic(gone) => gone == topic,
            Self::Group(gone) => gone == group,
        }
    }
}

/// A record of the revive topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReviveRecord {
    /// Messages were hidden.
    CheckPoint(CheckPointKey, PopCheckPoint),
    /// Messages of a check point were acknowledged, or have been revived.
    Acks(CheckPointKey, Vec<i64>),
    /// Something that cannot be read.
    Unknown,
}

/// A check point that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Where it is in the revive topic.
    pub revive_offset: i64,
    /// Whose it is.
    pub key: CheckPointKey,
    /// The messages that nobody acknowledged.
    pub offsets: Vec<i64>,
}

#[derive(Debug)]
struct Open {
    key: CheckPointKey,
    offsets: BTreeSet<i64>,
    due_ms: i64,
    attempts: usize,
}

/// A queue of the revive topic.
#[derive(Debug, Default)]
pub struct ReviveQueue {
    next: i64,
    open: BTreeMap<i64, Open>,
    by_key: FxHashMap<CheckPointKey, i64>,
    due: BTreeSet<(i64, i64)>,
    /// What was deleted, and which offset the queue ended at then.
    gone: Vec<(i64, Gone)>,
}

impl ReviveQueue {
    /// A queue of which everything before `next` is done.
    pub fn new(next: i64) -> Self {
        Self {
            next,
            ..Self::default()
        }
    }

    /// The offset of the record to apply next.
    pub fn next(&self) -> i64 {
        self.next
    }

    /// Records before `next` are gone, or cannot be read.
    pub fn skip_to(&mut self, next: i64) {
        self.next = self.next.max(next);
    }

    /// The offset of the last record that need not be read again; -1 for none.
    pub fn done(&self) -> i64 {
        let open = self.open.first_key_value();
        open.map_or(self.next, |(&offset, _)| offset) - 1
    }

    /// How many check points are open.
    #[cfg(test)]
    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// Applies a record.
    pub fn apply(&mut self, offset: i64, record: ReviveRecord) {
        match record {
            ReviveRecord::CheckPoint(key, point) => self.check_point(offset, key, &point),
            ReviveRecord::Acks(key, acked) => {
                if let Some(&at) = self.by_key.get(&key) {
                    self.done_with(at, &acked);
                }
            }
            ReviveRecord::Unknown => {}
        }
        self.next = self.next.max(offset + 1);
    }

    fn check_point(&mut self, offset: i64, key: CheckPointKey, point: &PopCheckPoint) {
        let offsets: BTreeSet<i64> = point.offsets().into_iter().collect();
        if offsets.is_empty() || self.is_gone(offset, &key) {
            return;
        }
        let due_ms = point
            .pop_time
            .saturating_add(point.invisible_time)
            .saturating_add(ACK_GRACE_MS);
        if let Some(&same) = self.by_key.get(&key) {
            // It counts as written once more (`PopReviveService.rePutCK`).
            self.close(same);
        }
        self.by_key.insert(key.clone(), offset);
        self.due.insert((due_ms, offset));
        self.open.insert(
            offset,
            Open {
                key,
                offsets,
                due_ms,
                attempts: 0,
            },
        );
    }

    /// Messages of a check point need not be watched any more.
    pub fn done_with(&mut self, revive_offset: i64, offsets: &[i64]) {
        let Some(open) = self.open.get_mut(&revive_offset) else {
            return;
        };
        for offset in offsets {
            open.offsets.remove(offset);
        }
        if open.offsets.is_empty() {
            self.close(revive_offset);
        }
    }

    /// Drops the check points of a topic or a group that is gone, also those that are not read yet:
    /// the queue ends at `end`.
    pub fn forget(&mut self, gone: &Gone, end: i64) {
        let open = self.open.iter();
        let dropped: Vec<i64> = open
            .filter(|(_, open)| gone.has(&open.key.topic, &open.key.group))
            .map(|(&offset, _)| offset)
            .collect();
        for offset in dropped {
            self.close(offset);
        }
        if self.next < end {
            self.gone.push((end, gone.clone()));
        }
    }

    /// Whether a check point at an offset is of something that is gone since.
    fn is_gone(&mut self, offset: i64, key: &CheckPointKey) -> bool {
        self.gone.retain(|&(end, _)| offset < end);
        let mut gone = self.gone.iter();
        gone.any(|(_, gone)| gone.has(&key.topic, &key.group))
    }

    fn close(&mut self, revive_offset: i64) {
        if let Some(open) = self.open.remove(&revive_offset) {
            self.by_key.remove(&open.key);
            self.due.remove(&(open.due_ms, revive_offset));
        }
    }

    /// The check point that is due first, if any is.
    pub fn due(&self, now_ms: i64) -> Option<Due> {
        let &(due_ms, revive_offset) = self.due.first()?;
        let open = self.open.get(&revive_offset).filter(|_| due_ms <= now_ms)?;
        Some(Due {
            revive_offset,
            key: open.key.clone(),
            offsets: open.offsets.iter().copied().collect(),
        })
    }

    /// How many check points are due, and for how many milliseconds the first one is.
    pub fn overdue(&self, now_ms: i64) -> (i64, i64) {
        let due = self.due.range(..=(now_ms, i64::MAX));
        let late = due.clone().next();
        let late_ms = late.map_or(0, |&(due_ms, _)| now_ms.saturating_sub(due_ms));
        (due.count() as i64, late_ms)
    }

    /// Adds the messages that it hides.
    pub fn count_hidden(&self, hidden: &mut Hidden) {
        for open in self.open.values() {
            let CheckPointKey {
                topic,
                group,
                queue_id,
                ..
            } = &open.key;
            let key = QueueKey::new(topic, group, *queue_id);
            *hidden.entry(key).or_default() += open.offsets.len() as i64;
        }
    }

    /// A check point that is due cannot be revived now.
    pub fn put_off(&mut self, revive_offset: i64, now_ms: i64) {
        if let Some(open) = self.open.get_mut(&revive_offset) {
            self.due.remove(&(open.due_ms, revive_offset));
            let wait = PUT_OFF_S[open.attempts.min(PUT_OFF_S.len() - 1)];
            open.attempts += 1;
            open.due_ms = now_ms.saturating_add(wait * 1000);
            self.due.insert((open.due_ms, revive_offset));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(pop_time: i64) -> CheckPointKey {
        CheckPointKey {
            topic: "orders".to_owned(),
            group: "readers".to_owned(),
            start_offset: 10,
            pop_time,
            ..CheckPointKey::default()
        }
    }

    /// Three messages, popped at a time and hidden for a minute.
    fn popped(pop_time: i64) -> ReviveRecord {
        let point = PopCheckPoint {
            invisible_time: 60_000,
            num: 3,
            pop_time,
            start_offset: 10,
            ..PopCheckPoint::default()
        };
        ReviveRecord::CheckPoint(key(pop_time), point)
    }

    fn acked(pop_time: i64, offsets: &[i64]) -> ReviveRecord {
        ReviveRecord::Acks(key(pop_time), offsets.to_vec())
    }

    #[test]
    fn what_nobody_acknowledged_is_due_after_its_time_and_the_grace() {
        let mut queue = ReviveQueue::new(0);
        queue.apply(0, popped(1_000));
        queue.apply(1, acked(1_000, &[11]));
        assert_eq!(queue.due(61_999), None);
        let due = queue.due(62_000).unwrap();
        assert_eq!((due.revive_offset, due.offsets), (0, vec![10, 12]));
    }

    #[test]
    fn a_check_point_that_is_acknowledged_in_full_is_closed() {
        let mut queue = ReviveQueue::new(0);
        queue.apply(0, popped(1_000));
        queue.apply(1, acked(1_000, &[10, 12]));
        assert_eq!((queue.open(), queue.done()), (1, -1));
        queue.apply(2, acked(1_000, &[11]));
        assert_eq!((queue.open(), queue.done()), (0, 2));
        assert_eq!(queue.due(i64::MAX), None);
    }

    #[test]
    fn everything_from_the_oldest_open_check_point_on_is_read_again() {
        let mut queue = ReviveQueue::new(5);
        assert_eq!(queue.done(), 4);
        queue.apply(5, popped(1_000));
        queue.apply(6, popped(2_000));
        queue.apply(7, acked(2_000, &[10, 11, 12]));
        assert_eq!(queue.done(), 4);
        queue.done_with(5, &[10, 11, 12]);
        assert_eq!(queue.done(), 7);
    }

    #[test]
    fn an_acknowledgement_of_another_pop_changes_nothing() {
        let mut queue = ReviveQueue::new(0);
        queue.apply(0, popped(1_000));
        queue.apply(1, acked(2_000, &[10, 11, 12]));
        assert_eq!(queue.due(62_000).unwrap().offsets, [10, 11, 12]);
    }

    #[test]
    fn what_cannot_be_revived_is_put_off_for_longer_and_longer() {
        let mut queue = ReviveQueue::new(0);
        queue.apply(0, popped(0));
        queue.put_off(0, 61_000);
        assert_eq!(queue.due(70_999), None);
        assert!(queue.due(71_000).is_some());
        queue.put_off(0, 71_000);
        assert_eq!(queue.due(90_999), None);
        assert!(queue.due(91_000).is_some());
    }

    #[test]
    fn lag_is_what_is_due_and_hidden_what_is_open() {
        let mut queue = ReviveQueue::new(0);
        queue.apply(0, popped(1_000));
        queue.apply(1, popped(2_000));
        queue.apply(2, acked(2_000, &[10]));
        assert_eq!(queue.overdue(61_999), (0, 0));
        assert_eq!(queue.overdue(62_500), (1, 500));
        assert_eq!(queue.overdue(63_500), (2, 1_500));
        let mut hidden = Hidden::new();
        queue.count_hidden(&mut hidden);
        let key = QueueKey::new("orders", "readers", 0);
        assert_eq!(hidden, Hidden::from([(key, 5)]));
    }

    #[test]
    fn times_beyond_all_bounds_are_harmless() {
        let mut queue = ReviveQueue::new(0);
        let point = PopCheckPoint {
            pop_time: i64::MAX,
            invisible_time: i64::MAX,
            num: 1,
            start_offset: i64::MAX,
            ..PopCheckPoint::default()
        };
        queue.apply(0, ReviveRecord::CheckPoint(key(i64::MAX), point));
        assert_eq!(queue.due(0), None);
    }

    proptest! {
        /// However pops and acknowledgements mix: what is due is what was not acknowledged, and
        /// reading the topic again from the committed offset finds the same.
        #[test]
        fn what_is_due_is_what_was_not_acknowledged(
            records in proptest::collection::vec((0..5i64, 0..4usize), 1..40),
        ) {
            let mut log = Vec::new();
            let mut popped_at = BTreeSet::new();
            let mut open = BTreeSet::new();
            for (pop_time, what) in records {
                if popped_at.insert(pop_time) {
                    log.push(popped(pop_time));
                    open.extend((10..13).map(|offset| (pop_time, offset)));
                } else if what < 3 {
                    let offset = 10 + what as i64;
                    log.push(acked(pop_time, &[offset]));
                    open.remove(&(pop_time, offset));
                }
            }
            let mut queue = ReviveQueue::new(0);
            for (offset, record) in log.iter().enumerate() {
                queue.apply(offset as i64, record.clone());
            }
            let mut again = ReviveQueue::new(queue.done() + 1);
            let from = again.next() as usize;
            for (offset, record) in log.iter().enumerate().skip(from) {
                again.apply(offset as i64, record.clone());
            }
            for mut queue in [queue, again] {
                let mut found = BTreeSet::new();
                while let Some(due) = queue.due(i64::MAX) {
                    found.extend(due.offsets.iter().map(|&offset| (due.key.pop_time, offset)));
                    queue.done_with(due.revive_offset, &due.offsets);
                }
                prop_assert_eq!(&found, &open);
            }
        }
    }
}
