//! What opening the timers does with what an earlier life has left.
//!
//! The log is the truth. It ends at the first record that is not whole, or whose message the commit
//! log does not have; the wheel is mended from the part that may have been written after the
//! checkpoint, or from as far back as its damage reaches; and messages are taken from the timer
//! topic's queue where the log ends.

use std::io;
use std::sync::Arc;

use hotfire_env::MappedFile;
use hotfire_protocol::hash::java_string_hash;
use hotfire_protocol::message::property;
use hotfire_protocol::topic::TIMER_TOPIC;

use super::checkpoint::TimerCheckpoint;
use super::log::{self, TimerLog};
use super::record::{RECORD_SIZE, TimerRecord, magic};
use super::schedule::Schedule;
use super::wheel::TimerWheel;
use crate::mapped_files::MappedFiles;
use crate::{MessageStore, RecordView};

/// What recovery needs.
pub(crate) struct Recovery<'a> {
    pub store: &'a MessageStore,
    pub checkpoint: TimerCheckpoint,
    pub files: MappedFiles,
    pub wheel: Arc<dyn MappedFile>,
    /// Whether the wheel was made anew.
    pub wheel_is_new: bool,
    pub precision_ms: i64,
    pub roll_window_slots: u32,
}

/// Timers that are fit for use.
pub(crate) struct Recovered {
    pub schedule: Schedule,
    /// Zeros were written up to here behind the log's end.
    pub zeroed_to: u64,
}

impl Recovery<'_> {
    pub fn run(self) -> io::Result<Recovered> {
        let start = self.files.start().unwrap_or(0);
        let from = self.scan_start(start);
        let end = self.drop_lost(self.scan(from), start);
        let from = from.min(end);
        let zeroed_to = log::truncate(&self.files, end)?;
        let queue_offset = self.queue_offset(start, end);
        let mut read_ms = match self.checkpoint.last_read_time_ms {
            // There is no checkpoint: the log says all, which is then read from its start.
            0 => i64::MAX,
            read_ms => read_ms,
        };
        // A message that came after the checkpoint may wait in a slot before it: it came late, or
        // the clock had gone back.
        for (_, record) in records(&self.files, from, end) {
            if !is_settled(self.store, &record) {
                read_ms = read_ms.min(record.slot_ms());
            }
        }
        let mut wheel = TimerWheel::new(self.wheel, self.precision_ms);
        read_ms = match read_ms {
            i64::MAX => 0,
            read_ms => wheel.floor(read_ms),
        };
        let log = TimerLog::new(self.files, end, from);
        let mut mend_from = if self.wheel_is_new { start } else { from };
        if !self.wheel_is_new {
            mend_from = mend_from.min(drop_damaged(&mut wheel, &log, start, read_ms)?);
        }
        for (at, record) in records(log.files(), mend_from, end) {
            let slot_ms = record.slot_ms();
            if slot_ms >= read_ms && wheel.last(slot_ms) < at as i64 {
                wheel.put(slot_ms, at, if record.deletes() { -1 } else { 1 })?;
            }
        }
        Ok(Recovered {
            schedule: Schedule::new(log, wheel, self.roll_window_slots, read_ms, queue_offset),
            zeroed_to,
        })
    }

    /// Where the part of the log begins that may not be whole.
    fn scan_start(&self, start: u64) -> u64 {
        let flushed = self.checkpoint.last_timer_log_flush_pos as u64;
        let is_known = self.files.find(flushed.saturating_sub(1)).is_some();
        let in_file = flushed % self.files.file_size();
        if flushed >= start && is_known && in_file.is_multiple_of(RECORD_SIZE) {
            flushed
        } else {
            start
        }
    }

    /// The end of the whole records from a position on.
    fn scan(&self, from: u64) -> u64 {
        let mut end = from;
        for (at, record) in records(&self.files, from, u64::MAX) {
            if !self.has_message(&record) {
                break;
            }
            end = at + RECORD_SIZE;
        }
        end
    }

    /// Goes back over records whose messages are lost: the commit log may be flushed later than
    /// this one.
    fn drop_lost(&self, end: u64, start: u64) -> u64 {
        let mut end = end;
        while let Some((at, record)) = last_record(&self.files, start, end)
            && !self.has_message(&record)
        {
            end = at;
        }
        end
    }

    /// Whether the commit log has, or once had, the message of a record.
    fn has_message(&self, record: &TimerRecord) -> bool {
        record.offset < self.store.min_phy_offset() || queue_offset_of(self.store, record).is_some()
    }

    /// Where to go on in the timer topic's queue.
    fn queue_offset(&self, start: u64, end: u64) -> i64 {
        let last = last_record(&self.files, start, end);
        let next = last
            .and_then(|(_, record)| queue_offset_of(self.store, &record))
            .map_or(0, |offset| offset + 1);
        let min = self.store.min_offset_in_queue(TIMER_TOPIC, 0);
        let max = self.store.max_offset_in_queue(TIMER_TOPIC, 0);
        // What the log has is not taken again, also where the queue is not dispatched so far yet.
        let known = self.checkpoint.last_timer_queue_offset.min(max);
        next.max(known).max(min)
    }
}

/// Empties the slots that do not lead to a record of theirs, and returns from where on the log has
/// what was in them.
fn drop_damaged(
    wheel: &mut TimerWheel,
    log: &TimerLog,
    start: u64,
    read_ms: i64,
) -> io::Result<u64> {
    let span_ms = wheel.slots() as i64 * wheel.precision_ms();
    let damaged: Vec<(u64, i64)> = wheel
        .used()
        .filter(|&(_, slot_ms, _)| slot_ms >= read_ms)
        .filter(|&(_, slot_ms, slot)| {
            let last = log.get(slot.last);
            slot_ms - read_ms >= span_ms
                || last.is_none_or(|record| wheel.floor(record.slot_ms()) != slot_ms)
        })
        .map(|(index, _, slot)| (index, slot.first))
        .collect();
    let mut mend_from = u64::MAX;
    for (index, first) in damaged {
        wheel.clear(index)?;
        let known = log.get(first).map(|_| first as u64);
        mend_from = mend_from.min(known.unwrap_or(start));
    }
    Ok(mend_from)
}

/// The records from a position on, up to another or the first that is not whole.
fn records(
    files: &MappedFiles,
    from: u64,
    to: u64,
) -> impl Iterator<Item = (u64, TimerRecord)> + '_ {
    let mut at = log::normal(files, from);
    std::iter::from_fn(move || {
        if at >= to {
            return None;
        }
        let record = log::read(files, at)?;
        let this = at;
        at = log::normal(files, at + RECORD_SIZE);
        Some((this, record))
    })
}

/// The record before a position.
fn last_record(files: &MappedFiles, start: u64, end: u64) -> Option<(u64, TimerRecord)> {
    let file_size = files.file_size();
    let at = match end % file_size {
        0 => end.checked_sub(file_size)? + log::last_in_file(file_size),
        _ => end - RECORD_SIZE,
    };
    (end > start && at >= start).then_some(())?;
    Some((at, log::read(files, at)?))
}

/// The offset of a record's message in the timer topic's queue; `None` if the commit log does not
/// have it, or has a message there that this record would put elsewhere: after a power loss others
/// take the places of those that are lost.
fn queue_offset_of(store: &MessageStore, record: &TimerRecord) -> Option<i64> {
    let bytes = store.look_record(record.offset)?;
    let view = RecordView::parse(&bytes).ok()?;
    let out_ms: i64 = view.property(property::TIMER_OUT_MS)?.parse().ok()?;
    let deletes = view.property(property::TIMER_DEL_UNIQKEY).is_some();
    // One that came late is in a later slot than its own, one that goes round in an earlier one.
    let fits = if record.is(magic::ROLL) {
        record.slot_ms() < out_ms
    } else {
        let precision_ms = store.inner.config.timer_precision_ms.max(1);
        record.slot_ms().saturating_add(precision_ms) > out_ms
    };
    let is_it = view.topic == TIMER_TOPIC
        && view.size == usize::try_from(record.size).ok()?
        && record.topic_hash == java_string_hash(view.property(property::REAL_TOPIC)?)
        && record.is(magic::DELETE) == deletes
        && fits;
    is_it.then_some(view.queue_offset)
}

/// Whether a record was dealt with, and what was put in its message's place is there: a power loss
/// may keep the mark in the timer log and take the end of the commit log, or even have other
/// messages take its place.
pub(crate) fn is_settled(store: &MessageStore, record: &TimerRecord) -> bool {
    let Some(at) = record.settled_at() else {
        return false;
    };
    if at == record.offset || at < store.min_phy_offset() {
        return true;
    }
    let (Some(original), Some(copy)) = (store.look_record(record.offset), store.look_record(at))
    else {
        return false;
    };
    let identity = |bytes: &[u8]| {
        let view = RecordView::parse(bytes).ok()?;
        let key = view.property(property::UNIQ_KEY).map(str::to_owned);
        Some((key, view.born_timestamp, view.body_crc, view.body.len()))
    };
    identity(&original) == identity(&copy)
}
