//! What opening the timers does with what an earlier life has left.
//!
//! The log ends at the first record that is not whole, or whose message the commit log does not have;
//! the wheel is mended from it; and messages are taken from the timer topic's queue where the log
//! ends, whatever the checkpoint says: it is believed as far as the log proves it. If the log was
//! damaged, what was taken before is taken again, but for what is known to have been delivered.

use std::io;
use std::sync::Arc;

use hotfire_env::MappedFile;
use hotfire_protocol::hash::java_string_hash;
use hotfire_protocol::message::property;
use hotfire_protocol::topic::TIMER_TOPIC;

use rustc_hash::FxHashSet;

use super::checkpoint::TimerCheckpoint;
use super::deliver::timer_of;
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
    /// Whether log files were found missing or cut off.
    pub log_is_damaged: bool,
}

/// What has to be taken from the timer topic's queue once more, because the timer log was damaged.
#[derive(Debug, Default)]
pub(crate) struct Retake {
    /// The messages below this queue offset may have been delivered.
    pub until: i64,
    /// Those below this one were counted when they were taken first.
    pub counted_until: i64,
    /// Whether none was: all that wait are counted anew.
    pub recounts: bool,
    /// The commit log offsets of messages that are known to have been dealt with.
    pub settled: FxHashSet<i64>,
    /// The slots before this time were dealt with; 0 if that is not known.
    pub read_ms: i64,
}

/// Timers that are fit for use.
pub(crate) struct Recovered {
    pub schedule: Schedule,
    /// Zeros were written up to here behind the log's end.
    pub zeroed_to: u64,
    pub retake: Retake,
}

impl Recovery<'_> {
    pub fn run(self) -> io::Result<Recovered> {
        let start = self.files.start().unwrap_or(0);
        let claimed = self.scan_start(start);
        // The checkpoint does not vouch for what was damaged since.
        let mut whole = log::whole_until(&self.files, start)?;
        if whole < claimed
            && let Some((at, _)) = last_record(&self.files, start, whole)
        {
            // The damage may begin in it, where what it has to say about its delivery stands.
            whole = at;
        }
        let from = claimed.min(whole);
        let scanned = if whole < claimed {
            whole
        } else {
            self.scan(from)
        };
        let mut end = self.drop_lost(scanned, start);
        if self.lacks_first(start, end) {
            end = start;
        }
        let retake = self.retake(start, end);
        let from = from.min(end);
        let zeroed_to = log::truncate(&self.files, end)?;
        let (queue_offset, retake) = retake;
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
        let emptied = if self.wheel_is_new {
            0
        } else {
            drop_damaged(&mut wheel, &log, read_ms)?
        };
        let mut mended = 0;
        for (at, record) in records(log.files(), start, end) {
            let slot_ms = record.slot_ms();
            if slot_ms >= read_ms && wheel.last(slot_ms) < at as i64 {
                wheel.put(slot_ms, at, if record.deletes() { -1 } else { 1 })?;
                mended += 1;
            }
        }
        if emptied > 0 || mended > 0 {
            tracing::warn!(
                slots = emptied,
                records = mended,
                "the timer wheel did not show what its log says: it was mended"
            );
        }
        Ok(Recovered {
            schedule: Schedule::new(log, wheel, self.roll_window_slots, read_ms, queue_offset),
            zeroed_to,
            retake,
        })
    }

    /// Whether the log begins behind messages of the timer topic's queue that it should have.
    fn lacks_first(&self, start: u64, end: u64) -> bool {
        let first = records(&self.files, start, end).next();
        let first = first.and_then(|(_, record)| queue_offset_of(self.store, &record));
        let min = self.store.min_offset_in_queue(TIMER_TOPIC, 0);
        first.is_some_and(|first| (min..first).any(|offset| self.is_timer(offset)))
    }

    /// Whether the message at a queue offset belongs onto the wheel.
    fn is_timer(&self, offset: i64) -> bool {
        let units = self.store.units(TIMER_TOPIC, 0, offset, 1);
        let Some(unit) = units.first().filter(|unit| !unit.is_hole()) else {
            return false;
        };
        let record = self.store.look_record(unit.offset);
        let now_ms = self.store.inner.env.now_ms();
        record.is_some_and(|bytes| timer_of(&bytes, unit, now_ms).is_ok())
    }

    /// Where to go on in the timer topic's queue, and what of it was taken before.
    fn retake(&self, start: u64, end: u64) -> (i64, Retake) {
        let last = last_record(&self.files, start, end);
        let is_empty = last.is_none();
        let min = self.store.min_offset_in_queue(TIMER_TOPIC, 0);
        let max = self.store.max_offset_in_queue(TIMER_TOPIC, 0);
        let mut next = last
            .and_then(|(_, record)| queue_offset_of(self.store, &record))
            .map_or(0, |offset| offset + 1)
            .max(min);
        let claimed = self.checkpoint.last_timer_queue_offset.min(max);
        // What could never be timed has no record.
        while next < claimed && !self.is_timer(next) {
            next += 1;
        }
        let mut settled = FxHashSet::default();
        for at in log::grid(&self.files, end) {
            if let Some(record) = log::read(&self.files, at)
                && is_settled(self.store, &record)
            {
                settled.insert(record.offset);
            }
        }
        let damaged = next < claimed || !settled.is_empty() || self.log_is_damaged;
        if !(damaged || is_empty && max > min) {
            return (next, Retake::default());
        }
        if damaged {
            tracing::warn!(
                log_end = end,
                from = next,
                to = claimed,
                "the timer log was damaged: messages are taken from the timer topic's queue again"
            );
        }
        let retake = Retake {
            until: max,
            counted_until: if is_empty { 0 } else { claimed },
            recounts: is_empty,
            settled,
            read_ms: self.checkpoint.last_read_time_ms,
        };
        (next, retake)
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
}

/// Empties the slots that do not lead to a record of theirs, and returns their number.
fn drop_damaged(wheel: &mut TimerWheel, log: &TimerLog, read_ms: i64) -> io::Result<usize> {
    let span_ms = wheel.slots() as i64 * wheel.precision_ms();
    let damaged: Vec<u64> = wheel
        .used()
        .filter(|&(_, slot_ms, _)| slot_ms >= read_ms)
        .filter(|&(_, slot_ms, slot)| {
            let last = log.get(slot.last);
            slot_ms - read_ms >= span_ms
                || last.is_none_or(|record| wheel.floor(record.slot_ms()) != slot_ms)
        })
        .map(|(index, _, _)| index)
        .collect();
    for &index in &damaged {
        wheel.clear(index)?;
    }
    Ok(damaged.len())
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
