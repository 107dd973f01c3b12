//! Which timer is due when: the state machine over wheel and log.
//!
//! Times are those of the broker's wall clock, which may jump. When it goes back, the wheel is read
//! again from there: what was dealt with is marked in the log, so nothing comes twice.

use std::collections::{BTreeSet, VecDeque};
use std::io;

use super::log::TimerLog;
use super::record::{NOWHERE, TimerRecord, magic};
use super::wheel::TimerWheel;

/// A message of the timer topic.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timer {
    /// Its commit log offset.
    pub offset: i64,
    /// The size of its record.
    pub size: i32,
    /// When it is due (`TIMER_OUT_MS`): a multiple of the precision; it is delivered when the tick
    /// is over.
    pub out_ms: i64,
    /// The hash of the topic that it is meant for.
    pub topic_hash: i32,
    /// Whether it is but the wish to drop another one.
    pub deletes: bool,
}

/// The slot that is being dealt with.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    pub slot_ms: i64,
    /// What is left of it, with positions in the log.
    pub left: VecDeque<(u64, TimerRecord)>,
    /// Which messages are to be dropped: topic, `+` and unique key.
    pub dropped: BTreeSet<String>,
    /// Where the commit log ended behind the last delivery.
    until: i64,
}

/// A slot whose deliveries the disk may not have yet.
#[derive(Debug, Clone, Copy)]
struct Unsettled {
    slot_ms: i64,
    until: i64,
}

/// The timers.
///
/// Invariant: what is not settled is in a slot at or behind the read time.
pub(crate) struct Schedule {
    pub log: TimerLog,
    pub wheel: TimerWheel,
    /// A message that waits longer than this goes round.
    roll_window_ms: i64,
    /// The slots before are dealt with; 0 before the first look at the clock.
    read_ms: i64,
    /// The next message of the timer topic's queue.
    pub queue_offset: i64,
    pub reading: Option<Reading>,
    unsettled: VecDeque<Unsettled>,
}

impl Schedule {
    pub fn new(
        log: TimerLog,
        wheel: TimerWheel,
        roll_window_slots: u32,
        read_ms: i64,
        queue_offset: i64,
    ) -> Self {
        Self {
            roll_window_ms: i64::from(roll_window_slots) * wheel.precision_ms(),
            log,
            wheel,
            read_ms,
            queue_offset,
            reading: None,
            unsettled: VecDeque::new(),
        }
    }

    /// Takes note of the time.
    pub fn set_now(&mut self, now_ms: i64) {
        let tick = self.wheel.floor(now_ms);
        if self.read_ms == 0 || self.read_ms > tick {
            if self.read_ms > tick {
                tracing::warn!(
                    read_ms = self.read_ms,
                    now_ms,
                    "the clock went back, and the timer wheel with it"
                );
            }
            self.read_ms = tick;
            self.reading = None;
        }
    }

    /// Puts a message onto the wheel. False if the wheel has to be read on first.
    ///
    /// # Errors
    /// The log has no room; nothing has changed.
    pub fn take(&mut self, timer: &Timer, now_ms: i64) -> io::Result<bool> {
        let tick = self.wheel.floor(now_ms);
        let (mut slot_ms, mut flags) = self.target(timer.out_ms, tick);
        if timer.deletes {
            flags |= magic::DELETE;
        }
        let late = slot_ms < self.read_ms;
        if late {
            // Its slot is dealt with: into the one that is being read, or the one before.
            slot_ms = match &self.reading {
                Some(reading) => reading.slot_ms,
                None => self.read_ms - self.wheel.precision_ms(),
            };
        }
        let occupant = self.wheel.occupant_ms(slot_ms);
        if occupant.is_some_and(|occupant| occupant >= self.read_ms) {
            return Ok(false);
        }
        let (write_time_ms, delay_ms) = match i32::try_from(slot_ms - tick) {
            Ok(delay) => (tick, delay),
            Err(_) => (slot_ms, 0),
        };
        let record = TimerRecord {
            prev: self.wheel.last(slot_ms),
            magic: flags,
            write_time_ms,
            delay_ms,
            offset: timer.offset,
            size: timer.size,
            topic_hash: timer.topic_hash,
            settled: 0,
        };
        let at = self.log.append(&record)?;
        let change = if timer.deletes { -1 } else { 1 };
        self.wheel.put(slot_ms, at, change)?;
        match &mut self.reading {
            Some(reading) if reading.slot_ms == slot_ms => reading.left.push_back((at, record)),
            _ => self.read_ms = self.read_ms.min(slot_ms),
        }
        Ok(true)
    }

    /// The slot for a message that is due at `out_ms`, and its flags: the time itself or, if that
    /// is too far away, one from which the message goes round.
    fn target(&self, out_ms: i64, tick: i64) -> (i64, i32) {
        let out_ms = self.wheel.floor(out_ms);
        let precision = self.wheel.precision_ms();
        let beyond = out_ms.saturating_sub(tick) - self.roll_window_ms;
        if beyond < 0 {
            return (out_ms, magic::DEFAULT);
        }
        let window = self.roll_window_ms / precision;
        // Enough is left for the round after.
        let wait = if beyond < window / 3 * precision {
            window / 2
        } else {
            window
        };
        (tick + wait * precision, magic::DEFAULT | magic::ROLL)
    }

    /// Turns to the next slot that is due, if none is being read. True if there is one. A slot is
    /// due when its tick is over.
    pub fn read_on(&mut self, now_ms: i64) -> bool {
        let tick = self.wheel.floor(now_ms);
        let precision = self.wheel.precision_ms();
        if self.reading.is_none() && tick - self.read_ms > self.wheel.slots() as i64 * precision {
            // After such a time every slot is due, and most are empty.
            let slots = self.wheel.used().map(|(_, slot_ms, _)| slot_ms);
            let next = slots.filter(|&slot_ms| slot_ms >= self.read_ms).min();
            self.read_ms = next.unwrap_or(tick).min(tick);
        }
        while self.reading.is_none() && self.read_ms < tick {
            let left = self.chain(self.read_ms);
            if left.is_empty() {
                self.read_ms += precision;
            } else {
                self.reading = Some(Reading {
                    slot_ms: self.read_ms,
                    left,
                    ..Reading::default()
                });
            }
        }
        self.reading.is_some()
    }

    /// The records of a slot, the oldest first.
    pub fn chain(&self, slot_ms: i64) -> VecDeque<(u64, TimerRecord)> {
        let mut chain = VecDeque::new();
        let mut at = self.wheel.last(slot_ms);
        while let Some(record) = self.log.get(at)
            && self.wheel.floor(record.slot_ms()) == slot_ms
        {
            chain.push_front((at as u64, record));
            if record.prev == NOWHERE || record.prev >= at {
                break;
            }
            at = record.prev;
        }
        chain
    }

    /// Marks a record as dealt with: what was put in its place is at `offset` of the commit log,
    /// which ends at `until` now; if nothing was, `offset` is that of the message itself.
    pub fn settle(&mut self, at: u64, offset: i64, until: i64) -> io::Result<()> {
        if let Some(reading) = &mut self.reading {
            reading.until = reading.until.max(until);
        }
        self.log.settle(at, offset)
    }

    /// Goes on behind the slot that is being read, if nothing is left in it.
    pub fn finish_slot(&mut self) {
        if let Some(reading) = self.reading.take_if(|reading| reading.left.is_empty()) {
            let Reading { slot_ms, until, .. } = reading;
            if until > 0 {
                self.unsettled.push_back(Unsettled { slot_ms, until });
            }
            self.read_ms = slot_ms + self.wheel.precision_ms();
        }
    }

    /// The slots before this time are dealt with for good, now that the commit log is durable up to
    /// `flushed`.
    pub fn settled_before_ms(&mut self, flushed: i64) -> i64 {
        self.unsettled.retain(|slot| slot.until > flushed);
        let earliest = self.unsettled.iter().map(|slot| slot.slot_ms).min();
        earliest.map_or(self.read_ms, |slot_ms| slot_ms.min(self.read_ms))
    }

    /// Up to when the wheel was read.
    pub fn read_ms(&self) -> i64 {
        self.read_ms
    }
}
