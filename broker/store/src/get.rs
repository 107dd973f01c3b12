//! Reading a queue (`DefaultMessageStore.getMessage`).

use bytes::Bytes;

use crate::consume_queue::ConsumeQueue;
use crate::cq_unit::CqUnit;
use crate::record_view::RecordView;
use crate::store::MessageStore;

/// The most units that one call looks at (`maxFilterMessageCount`: 16,000 bytes of units).
const SCAN_MAX: usize = 800;

/// Which messages a read is for (`MessageFilter`). Those that do not match are skipped.
pub trait MessageFilter {
    /// Whether a message with this code of its tag may match (`isMatchedByConsumeQueue`). It is
    /// asked first; a message that fails is not read.
    fn matches_code(&self, tags_code: i64) -> bool;

    /// Whether the message of this record matches (`isMatchedByCommitLog`).
    fn matches_record(&self, record: &[u8]) -> bool;
}

/// The code of the tag decides.
struct ByCode<'a>(&'a dyn Fn(i64) -> bool);

impl MessageFilter for ByCode<'_> {
    fn matches_code(&self, tags_code: i64) -> bool {
        (self.0)(tags_code)
    }

    fn matches_record(&self, _record: &[u8]) -> bool {
        true
    }
}

/// How a read ended (`GetMessageStatus`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GetMessageStatus {
    /// There is at least one message.
    Found,
    /// Messages were looked at, and the filter let none pass.
    NoMatchedMessage,
    /// The messages that the filter let pass are being deleted.
    MessageWasRemoving,
    /// The queue cannot be read at this offset.
    OffsetFoundNull,
    /// The offset lies beyond the next message's.
    OffsetOverflowBadly,
    /// The offset is the next message's.
    OffsetOverflowOne,
    /// The offset lies before the oldest message's.
    OffsetTooSmall,
    /// There was never a message for the queue.
    NoMatchedLogicQueue,
    /// The queue never got a message that consumers may see.
    NoMessageInQueue,
}

impl GetMessageStatus {
    /// The name in `GetMessageStatus`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Found => "FOUND",
            Self::NoMatchedMessage => "NO_MATCHED_MESSAGE",
            Self::MessageWasRemoving => "MESSAGE_WAS_REMOVING",
            Self::OffsetFoundNull => "OFFSET_FOUND_NULL",
            Self::OffsetOverflowBadly => "OFFSET_OVERFLOW_BADLY",
            Self::OffsetOverflowOne => "OFFSET_OVERFLOW_ONE",
            Self::OffsetTooSmall => "OFFSET_TOO_SMALL",
            Self::NoMatchedLogicQueue => "NO_MATCHED_LOGIC_QUEUE",
            Self::NoMessageInQueue => "NO_MESSAGE_IN_QUEUE",
        }
    }
}

/// What a read found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GetMessageResult {
    /// How it ended.
    pub status: GetMessageStatus,
    /// The records, as they lie in the commit log.
    pub messages: Vec<Bytes>,
    /// The bytes of all records.
    pub bytes: usize,
    /// Where to read next.
    pub next_begin_offset: i64,
    /// The smallest offset of the queue.
    pub min_offset: i64,
    /// The offset behind the newest message of the queue.
    pub max_offset: i64,
}

impl MessageStore {
    /// Reads messages of a queue from an offset on: at most `max_num` and `max_bytes`, within the
    /// limits of the configuration, but at least one if there is any. `filter` is asked with the
    /// code of each message's tag.
    pub fn get_message(
        &self,
        topic: &str,
        queue_id: i32,
        offset: i64,
        max_num: usize,
        max_bytes: usize,
        filter: &dyn Fn(i64) -> bool,
    ) -> GetMessageResult {
        self.get_message_filtered(topic, queue_id, offset, max_num, max_bytes, &ByCode(filter))
    }

    /// As [`MessageStore::get_message`], with a filter that may look at the messages themselves.
    pub fn get_message_filtered(
        &self,
        topic: &str,
        queue_id: i32,
        offset: i64,
        max_num: usize,
        max_bytes: usize,
        filter: &dyn MessageFilter,
    ) -> GetMessageResult {
        use GetMessageStatus::{
            NoMatchedLogicQueue, NoMessageInQueue, OffsetOverflowBadly, OffsetOverflowOne,
            OffsetTooSmall,
        };
        let queue = self.inner.queues.get(topic, queue_id);
        let (min, max) = match &queue {
            Some(queue) => (queue.min_offset(), queue.max_offset()),
            None => (0, 0),
        };
        let empty = |status, next| GetMessageResult {
            status,
            messages: Vec::new(),
            bytes: 0,
            next_begin_offset: next,
            min_offset: min,
            max_offset: max,
        };
        match queue {
            None => empty(NoMatchedLogicQueue, 0),
            Some(_) if max == 0 => empty(NoMessageInQueue, 0),
            Some(_) if offset < min => empty(OffsetTooSmall, min),
            Some(_) if offset == max => empty(OffsetOverflowOne, offset),
            Some(_) if offset > max => empty(OffsetOverflowBadly, max),
            Some(queue) => {
                let max_num = max_num.min(self.inner.config.max_transfer_count);
                let max_bytes = max_bytes.min(self.inner.config.max_transfer_bytes);
                let mut scan = Scan {
                    result: empty(GetMessageStatus::OffsetFoundNull, queue.next_file(offset)),
                    max_num,
                    max_bytes,
                };
                if let Some(wrong) = self.scan(&queue, offset, filter, &mut scan)
                    && self.inner.repair(&queue, wrong)
                    && scan.result.messages.is_empty()
                {
                    // It was soon mended.
                    scan.result.next_begin_offset = wrong;
                    self.scan(&queue, wrong, filter, &mut scan);
                }
                scan.result
            }
        }
    }

    /// Reads on until the limits are reached, or a unit that does not lead to its message: its offset
    /// is returned, and nothing behind it is passed over.
    fn scan(
        &self,
        queue: &ConsumeQueue,
        offset: i64,
        filter: &dyn MessageFilter,
        scan: &mut Scan,
    ) -> Option<i64> {
        // A small first chunk: most pulls find everything within it.
        let mut chunk = [CqUnit::NONE; 32];
        let mut next = offset;
        let mut looked_at = 0;
        let log_start = self.inner.log.start() as i64;
        let log_end = self.inner.log.end() as i64;
        let mut before = queue.unit(offset - 1).map_or(0, |unit| unit.end());
        while looked_at < SCAN_MAX {
            let count = queue.read(next, &mut chunk);
            for unit in &chunk[..count] {
                if unit.is_hole() {
                    scan.miss(GetMessageStatus::MessageWasRemoving);
                } else if scan.is_full(unit) {
                    return None;
                } else if !unit.is_written() || unit.offset < before || unit.end() > log_end {
                    scan.wait(next);
                    return Some(next);
                } else if !filter.matches_code(unit.tags_code) {
                    scan.miss(GetMessageStatus::NoMatchedMessage);
                } else {
                    match self
                        .record_of(unit)
                        .filter(|record| is_of(record, queue, next))
                    {
                        Some(record) if filter.matches_record(&record) => scan.hit(record),
                        Some(_) => scan.miss(GetMessageStatus::NoMatchedMessage),
                        None if unit.offset < log_start.max(self.inner.log.start() as i64) => {
                            scan.miss(GetMessageStatus::MessageWasRemoving);
                        }
                        None => {
                            scan.wait(next);
                            return Some(next);
                        }
                    }
                }
                before = unit.end();
                next += 1;
                looked_at += 1;
                scan.result.next_begin_offset = next;
            }
            // One call stays within one file of the queue, as in Java.
            if count < chunk.len() {
                return None;
            }
        }
        None
    }

    fn record_of(&self, unit: &CqUnit) -> Option<Bytes> {
        let offset = u64::try_from(unit.offset).ok()?;
        let size = u64::try_from(unit.size).ok()?;
        self.inner.log.record(offset, size)
    }
}

/// Whether a record is that of a message with this offset in a queue.
fn is_of(record: &[u8], queue: &ConsumeQueue, queue_offset: i64) -> bool {
    RecordView::parse(record).is_ok_and(|record| {
        record.queue_offset == queue_offset
            && record.queue_id == queue.queue_id
            && record.topic == &*queue.topic
    })
}

struct Scan {
    result: GetMessageResult,
    max_num: usize,
    max_bytes: usize,
}

impl Scan {
    /// Whether the next record is one too many. The first always fits.
    fn is_full(&self, unit: &CqUnit) -> bool {
        let found = self.result.messages.len();
        found > 0
            && (found >= self.max_num
                || self.result.bytes + unit.size.max(0) as usize > self.max_bytes)
    }

    fn hit(&mut self, record: Bytes) {
        self.result.status = GetMessageStatus::Found;
        self.result.bytes += record.len();
        self.result.messages.push(record);
    }

    /// The message at an offset cannot be had yet: whoever wants it comes again.
    fn wait(&mut self, offset: i64) {
        if self.result.messages.is_empty() {
            self.result.status = GetMessageStatus::OffsetFoundNull;
        }
        self.result.next_begin_offset = offset;
    }

    fn miss(&mut self, status: GetMessageStatus) {
        if self.result.messages.is_empty() {
            self.result.status = status;
        }
    }
}
