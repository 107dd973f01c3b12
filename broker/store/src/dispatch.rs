//! Dispatch: what is built from the commit log right behind it, record by record and in order -
//! the consume queues and the index (`ReputMessageService`).
//!
//! It reads nothing but the log, so that everything it builds can be built again.

use std::io;
use std::sync::Arc;

use hotfire_protocol::topic::SCHEDULE_TOPIC;

use crate::commit_log::{CommitLog, Entry};
use crate::consume_queue::{ConsumeQueue, Indexed};
use crate::cq_unit::CqUnit;
use crate::damage::Damage;
use crate::defects;
use crate::index::Index;
use crate::queues::{Queues, is_topic};
use crate::record_view::RecordView;
use crate::resync::next_entry;

/// A message that has become visible in its queue.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The queue within the topic.
    pub queue_id: i32,
    /// The queue offset behind the message: the new maximum.
    pub logic_offset: i64,
    /// Where its record lies in the commit log.
    pub physical_offset: i64,
    /// The code of its tag.
    pub tags_code: i64,
    /// When it was stored.
    pub store_timestamp: i64,
}

/// An [`Arrival`] that waits for the locks to be released.
pub(crate) struct Arrived {
    queue: Arc<ConsumeQueue>,
    logic_offset: i64,
    physical_offset: i64,
    tags_code: i64,
    store_timestamp: i64,
    /// Whether the queue lacks messages before this one.
    pub behind_gap: bool,
}

impl Arrived {
    pub fn arrival(&self) -> Arrival<'_> {
        Arrival {
            topic: &self.queue.topic,
            queue_id: self.queue.queue_id,
            logic_offset: self.logic_offset,
            physical_offset: self.physical_offset,
            tags_code: self.tags_code,
            store_timestamp: self.store_timestamp,
        }
    }
}

/// How far the log has been dispatched. There is one, behind the lock that orders dispatch.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Progress {
    /// The offset of the next record to dispatch.
    pub position: u64,
    /// When the last dispatched record was stored.
    pub store_timestamp: i64,
}

/// The longest time that a delay level is believed to have meant, in milliseconds: 40 days, as the
/// timer wheel allows at most.
const DELAY_MAX_MS: i64 = 40 * 24 * 3_600_000;

/// The unit of a delayed message that the queue knows already keeps its delivery time: the log does
/// not tell it, only the level, which may mean another time by now. A time that no level can have
/// meant is damage.
fn keep_time(queue: &ConsumeQueue, unit: CqUnit, record: &RecordView<'_>) -> CqUnit {
    if record.topic != SCHEDULE_TOPIC {
        return unit;
    }
    let known = queue.unit(record.queue_offset);
    let is_same = |known: &CqUnit| (known.offset, known.size) == (unit.offset, unit.size);
    let waits = |known: &CqUnit| known.tags_code.saturating_sub(record.store_timestamp);
    known
        .filter(|known| is_same(known) && (0..=DELAY_MAX_MS).contains(&waits(known)))
        .unwrap_or(unit)
}

/// What dispatch builds.
pub(crate) struct Dispatcher<'a> {
    pub log: &'a CommitLog,
    pub queues: &'a Queues,
    pub index: Option<&'a Index>,
    /// Counts what cannot be read.
    pub damage: &'a Damage,
    pub delay_levels: &'a [i64],
    /// Recovery: units that are known are compared.
    pub refresh: bool,
    /// Recovery: units that are known are written once more.
    pub rewrites: bool,
    /// The planted defect: some messages are left out of the index.
    pub skips_index: bool,
}

impl Dispatcher<'_> {
    /// Dispatches the records up to `limit`. `fresh` are the records that begin at `progress`, if
    /// the caller has them at hand.
    ///
    /// # Errors
    /// The disk has no room for a file. `progress` then stands at the record that could not be
    /// dispatched; the call may be repeated.
    pub fn run(
        &self,
        progress: &mut Progress,
        limit: u64,
        fresh: &[u8],
        arrived: &mut dyn FnMut(Arrived),
    ) -> io::Result<()> {
        let mut fresh = fresh;
        while progress.position < limit && !fresh.is_empty() {
            let Ok(record) = RecordView::parse(fresh) else {
                break;
            };
            if record.physical_offset != progress.position as i64 {
                break;
            }
            self.record(&record, arrived)?;
            progress.position += record.size as u64;
            progress.store_timestamp = record.store_timestamp;
            fresh = fresh.get(record.size..).unwrap_or_default();
        }
        while progress.position < limit {
            match self.log.entry(progress.position) {
                Entry::Record(size) => {
                    if let Some(bytes) = self.log.record(progress.position, size)
                        && let Ok(record) = RecordView::parse(&bytes)
                    {
                        self.record(&record, arrived)?;
                        progress.store_timestamp = record.store_timestamp;
                    } else {
                        self.count(size);
                    }
                    progress.position += size;
                }
                Entry::Blank(next) => progress.position = next,
                Entry::Nothing => {
                    let next = self.skip_to(progress.position, limit)?;
                    tracing::error!(
                        from = progress.position,
                        to = next,
                        "the commit log cannot be read: its records there are not dispatched"
                    );
                    self.count(next - progress.position);
                    progress.position = next;
                }
            }
        }
        Ok(())
    }

    fn count(&self, bytes: u64) {
        self.damage.count(|counts| {
            counts.log_holes += 1;
            counts.log_hole_bytes += bytes;
        });
    }

    /// Where dispatch goes on when there is nothing to read at `position`: at the oldest record, if
    /// the position has been deleted, else at the next valid record.
    fn skip_to(&self, position: u64, limit: u64) -> io::Result<u64> {
        let start = self.log.start();
        if position < start {
            return Ok(start.min(limit));
        }
        let next = next_entry(&self.log.files, position, limit)?;
        Ok(next.unwrap_or(limit).min(limit))
    }

    /// Dispatches one record.
    pub fn record(
        &self,
        record: &RecordView<'_>,
        arrived: &mut dyn FnMut(Arrived),
    ) -> io::Result<()> {
        if record.is_consumable() && is_topic(record.topic) && record.queue_id >= 0 {
            let queue = self.queues.get_or_create(record.topic, record.queue_id);
            let unit = CqUnit {
                offset: record.physical_offset,
                size: i32::try_from(record.size).unwrap_or(i32::MAX - 1),
                tags_code: record.unit_code(self.delay_levels),
            };
            let indexed = queue.index(unit, record.queue_offset, self.log.start() as i64)?;
            match indexed {
                Indexed::Known if self.refresh => {
                    let unit = keep_time(&queue, unit, record);
                    queue.refresh(unit, record.queue_offset, self.rewrites)?;
                }
                Indexed::Known => {}
                Indexed::BehindGap | Indexed::Refused => {
                    tracing::error!(
                        topic = record.topic,
                        queue = record.queue_id,
                        queue_offset = record.queue_offset,
                        max_offset = queue.max_offset(),
                        ?indexed,
                        "a record does not follow the one before it in its queue"
                    );
                }
                Indexed::Written => {}
            }
            self.queues.note_changed(&queue);
            if matches!(indexed, Indexed::Written | Indexed::BehindGap) {
                queue.raise_assigned(record.queue_offset.saturating_add(1));
                arrived(Arrived {
                    queue,
                    logic_offset: record.queue_offset + 1,
                    physical_offset: record.physical_offset,
                    tags_code: unit.tags_code,
                    store_timestamp: record.store_timestamp,
                    behind_gap: indexed == Indexed::BehindGap,
                });
            }
        }
        let skipped = self.skips_index && defects::is_chosen(record.physical_offset);
        match self.index.filter(|_| !skipped) {
            Some(index) => index.put(record),
            None => Ok(()),
        }
    }
}
