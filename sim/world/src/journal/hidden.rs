use std::collections::BTreeSet;

use hotfire_check::history::QueueRef;
use hotfire_protocol::body::{AckMsg, PopCheckPoint};
use hotfire_protocol::pop::{ACK_TAG, BATCH_ACK_TAG, CHECK_POINT_TAG};
use rustc_hash::FxHashMap;

/// What a record of a revive topic says of popped messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HiddenRecord {
    /// These were hidden.
    CheckPoint(Hiding, Vec<i64>),
    /// These are done with: acknowledged, or revived.
    Acks(Hiding, Vec<i64>),
}

/// One pop of one queue: topic, group, queue, first offset, time.
pub type Hiding = (String, String, i32, i64, i64);

impl HiddenRecord {
    /// Reads a record by its tag and body; `None` if it is something else.
    pub fn read(tag: Option<&str>, body: &[u8]) -> Option<Self> {
        match tag? {
            CHECK_POINT_TAG => {
                let point = PopCheckPoint::from_json(body).ok()?;
                let offsets = point.offsets();
                let PopCheckPoint {
                    topic,
                    group,
                    queue_id,
                    start_offset,
                    pop_time,
                    ..
                } = point;
                let hiding = (topic, group, queue_id, start_offset, pop_time);
                Some(Self::CheckPoint(hiding, offsets))
            }
            tag @ (ACK_TAG | BATCH_ACK_TAG) => {
                let acks = AckMsg::from_json(body).ok()?;
                let offsets = if tag == ACK_TAG {
                    vec![acks.ack_offset]
                } else {
                    acks.ack_offsets
                };
                let hiding = (
                    acks.topic,
                    acks.group,
                    acks.queue_id,
                    acks.start_offset,
                    acks.pop_time,
                );
                Some(Self::Acks(hiding, offsets))
            }
            _ => None,
        }
    }
}

/// Popped messages that are neither acknowledged nor revived, by what the revive topics say.
#[derive(Debug, Default)]
pub struct Hidden {
    /// What every queue of the revive topics holds.
    logs: FxHashMap<QueueRef, Vec<(i64, HiddenRecord)>>,
    open: FxHashMap<(QueueRef, Hiding), BTreeSet<i64>>,
}

impl Hidden {
    /// A record was appended to a queue of a revive topic.
    pub fn appended(&mut self, queue: QueueRef, offset: i64, record: HiddenRecord) {
        self.apply(queue, &record);
        self.logs.entry(queue).or_default().push((offset, record));
    }

    fn apply(&mut self, queue: QueueRef, record: &HiddenRecord) {
        match record {
            HiddenRecord::CheckPoint(hiding, offsets) => {
                let key = (queue, hiding.clone());
                self.open.insert(key, offsets.iter().copied().collect());
            }
            HiddenRecord::Acks(hiding, offsets) => {
                let key = (queue, hiding.clone());
                if let Some(open) = self.open.get_mut(&key) {
                    for offset in offsets {
                        open.remove(offset);
                    }
                    if open.is_empty() {
                        self.open.remove(&key);
                    }
                }
            }
        }
    }

    /// A queue of a revive topic ends at an offset: a power loss may have taken the rest.
    pub fn recovered(&mut self, queue: QueueRef, end: i64) {
        let Some(mut log) = self.logs.remove(&queue) else {
            return;
        };
        let before = log.len();
        log.retain(|(offset, _)| *offset < end);
        if log.len() < before {
            self.open.retain(|(of, _), _| *of != queue);
            for (_, record) in &log {
                self.apply(queue, record);
            }
        }
        self.logs.insert(queue, log);
    }

    /// How many messages are hidden.
    pub fn left(&self) -> u64 {
        self.open.values().map(|open| open.len() as u64).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUEUE: QueueRef = QueueRef(0);

    fn hiding() -> Hiding {
        ("t".to_owned(), "g".to_owned(), 0, 5, 1_000)
    }

    fn popped() -> Hidden {
        let mut hidden = Hidden::default();
        let record = HiddenRecord::CheckPoint(hiding(), vec![5, 6, 9]);
        hidden.appended(QUEUE, 0, record);
        hidden
    }

    #[test]
    fn popped_messages_are_left_until_they_are_done_with() {
        let mut hidden = popped();
        assert_eq!(hidden.left(), 3);
        hidden.appended(QUEUE, 1, HiddenRecord::Acks(hiding(), vec![5, 9]));
        assert_eq!(hidden.left(), 1);
        hidden.appended(QUEUE, 2, HiddenRecord::Acks(hiding(), vec![6]));
        assert_eq!(hidden.left(), 0);
    }

    #[test]
    fn what_a_power_loss_took_is_forgotten() {
        let mut hidden = popped();
        hidden.appended(QUEUE, 1, HiddenRecord::Acks(hiding(), vec![5, 6, 9]));
        hidden.recovered(QUEUE, 1);
        assert_eq!(hidden.left(), 3);
        hidden.recovered(QUEUE, 0);
        assert_eq!(hidden.left(), 0);
    }

    #[test]
    fn the_records_of_the_broker_are_read() {
        let point = PopCheckPoint {
            group: "g".to_owned(),
            diffs: vec![0, 1, 4],
            num: 3,
            pop_time: 1_000,
            start_offset: 5,
            topic: "t".to_owned(),
            ..PopCheckPoint::default()
        };
        let read = HiddenRecord::read(Some("ck"), &point.to_json());
        let expected = HiddenRecord::CheckPoint(hiding(), vec![5, 6, 9]);
        assert_eq!(read, Some(expected));
        assert_eq!(HiddenRecord::read(None, b"hello"), None);
    }
}
