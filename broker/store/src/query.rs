//! Finding messages otherwise than in their queue: by key, and by time.

use bytes::Bytes;
use hotfire_protocol::message::property;

use crate::consume_queue::ConsumeQueue;
use crate::index::{Lookup, key_hash};
use crate::record_view::RecordView;
use crate::store::MessageStore;

/// What a query by key found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueryResult {
    /// The records, in the order of the commit log.
    pub records: Vec<Bytes>,
    /// When the newest indexed message was stored.
    pub index_last_update_timestamp: i64,
    /// The commit log offset of the newest indexed message.
    pub index_last_update_phyoffset: i64,
}

/// Which message a search by time wants (`BoundaryType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Boundary {
    /// The first that was stored at the time or later; behind the last if there is none. The
    /// default since 5.0.
    #[default]
    Lower,
    /// The last that was stored at the time or earlier; the first if there is none.
    Upper,
    /// The one that was stored nearest to the time; of two equally near ones the earlier. What
    /// brokers before 5.0 answer.
    Nearest,
}

impl MessageStore {
    /// Finds messages of a topic by unique key or key, stored between two times (milliseconds since
    /// the epoch, both included). At most `max_num` of them, within the limit of the configuration:
    /// the newest.
    ///
    /// Keys are found by hash; unlike RocketMQ before 4.9.3, messages that only share the hash are
    /// left out.
    pub fn query_message(
        &self,
        topic: &str,
        key: &str,
        max_num: usize,
        begin: i64,
        end: i64,
    ) -> QueryResult {
        let Some(index) = &self.inner.index else {
            return QueryResult::default();
        };
        let lookup = Lookup {
            key_hash: key_hash(topic, key),
            begin,
            end,
            max: max_num.min(self.inner.config.max_msgs_num_batch),
        };
        let mut found = index.query(&lookup).unwrap_or_else(|error| {
            tracing::error!(%error, "cannot read the index");
            crate::index::Found::default()
        });
        found.offsets.sort_unstable();
        found.offsets.dedup();
        let records = found
            .offsets
            .into_iter()
            .filter_map(|offset| self.look_record(offset))
            .filter(|record| {
                RecordView::parse(record).is_ok_and(|record| {
                    has_key(&record, topic, key) && (begin..=end).contains(&record.store_timestamp)
                })
            })
            .collect();
        QueryResult {
            records,
            index_last_update_timestamp: found.last_update_timestamp,
            index_last_update_phyoffset: found.last_update_phy_offset,
        }
    }

    /// The queue offset at a time (milliseconds since the epoch); 0 for a queue that never had a
    /// message.
    ///
    /// The search halves the queue, so it relies on store times that ascend: where the broker's
    /// clock jumped back, it finds one of several possible answers.
    pub fn offset_by_timestamp(
        &self,
        topic: &str,
        queue_id: i32,
        timestamp: i64,
        boundary: Boundary,
    ) -> i64 {
        let Some(queue) = self.inner.queues.get(topic, queue_id) else {
            return 0;
        };
        let (min, max) = (queue.min_offset(), queue.max_offset());
        let at = |offset| self.stored_at(&queue, offset);
        match boundary {
            _ if min >= max => max,
            Boundary::Lower => first(min, max, |offset| at(offset) >= timestamp),
            Boundary::Upper => (first(min, max, |offset| at(offset) > timestamp) - 1).max(min),
            Boundary::Nearest => {
                let after = first(min, max, |offset| at(offset) >= timestamp);
                if after == max || after == min {
                    return after.min(max - 1);
                }
                let earlier = timestamp.saturating_sub(at(after - 1));
                let later = at(after).saturating_sub(timestamp);
                if later != 0 && earlier <= later {
                    after - 1
                } else {
                    after
                }
            }
        }
    }

    /// When the message at a queue offset was stored. One that is being deleted counts as old.
    fn stored_at(&self, queue: &ConsumeQueue, offset: i64) -> i64 {
        queue
            .unit(offset)
            .and_then(|unit| u64::try_from(unit.offset).ok())
            .and_then(|offset| self.inner.log.store_timestamp(offset))
            .unwrap_or(0)
    }
}

/// The first offset in `min..max` for which `holds`, or `max`; it holds for all behind the first.
fn first(min: i64, max: i64, holds: impl Fn(i64) -> bool) -> i64 {
    let (mut low, mut high) = (min, max);
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

fn has_key(record: &RecordView<'_>, topic: &str, key: &str) -> bool {
    record.topic == topic
        && (record.property(property::UNIQ_KEY) == Some(key)
            || record
                .property(property::KEYS)
                .is_some_and(|keys| keys.split(property::KEY_SEPARATOR).any(|one| one == key)))
}
