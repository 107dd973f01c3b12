//! The way of a message onto the wheel, and from there to its topic.

use std::io;

use hotfire_env::defect;
use hotfire_protocol::hash::java_string_hash;
use hotfire_protocol::message::{property, record};
use hotfire_protocol::topic::{TIMER_TOPIC, is_internal_topic};
use hotfire_protocol::{MessageExt, Properties};

use super::TimerStore;
use super::record::{TimerRecord, magic};
use super::recovery::is_settled;
use super::schedule::{Schedule, Timer};
use crate::message::{MessageInner, PutResult};
use crate::{CqUnit, RecordView, defects};

/// Further ahead than any broker takes messages for, whatever its configuration says: milliseconds.
const CENTURY_MS: i64 = 100 * 365 * 86_400_000;

/// How many messages with one unique key are looked at.
const KEYED_MAX: usize = 64;

/// For so many bytes, a message counts as one more.
const BYTES_PER_MORE: usize = 8 << 10;

/// What is to become of a message whose time has come.
enum Due {
    /// It is put into its topic, or round once more.
    Put(Box<MessageExt>),
    /// Nothing: it is to be dropped, or is a wish itself.
    Nothing,
    /// It is not there any more.
    Gone,
}

impl TimerStore {
    /// Takes new messages onto the wheel and delivers what is due at `now_ms`, up to `budget`
    /// messages each. True if there is more to do at once.
    pub fn run(&self, now_ms: i64, budget: usize) -> bool {
        let mut schedule = self.inner.schedule.lock();
        schedule.set_now(now_ms);
        let taken = self.take(&mut schedule, now_ms, budget);
        if taken == Some(budget) {
            // Behind what was taken may be a wish to drop what is due.
            return true;
        }
        let mut read_to_ms = now_ms;
        if defect!(self.inner.store.inner.env, TimerEarly) {
            read_to_ms += 3 * schedule.wheel.precision_ms();
        }
        let delivered = self.deliver(&mut schedule, read_to_ms, now_ms, budget);
        delivered.is_some_and(|delivered| delivered >= budget)
    }

    /// Takes messages from the timer topic's queue onto the wheel, and returns their number; `None`
    /// if that failed or has to wait.
    fn take(&self, schedule: &mut Schedule, now_ms: i64, budget: usize) -> Option<usize> {
        let store = &self.inner.store;
        let min = store.min_offset_in_queue(TIMER_TOPIC, 0);
        let max = store.max_offset_in_queue(TIMER_TOPIC, 0);
        if schedule.queue_offset > max && store.dispatch_behind_bytes() > 0 {
            // The log knows messages that the queue does not have yet.
            return None;
        }
        if !(min..=max).contains(&schedule.queue_offset) {
            let offset = schedule.queue_offset;
            tracing::warn!(offset, min, max, "the timers were outside of their queue");
            schedule.queue_offset = offset.max(min).min(max);
        }
        let units = store.units(TIMER_TOPIC, 0, schedule.queue_offset, budget);
        for unit in &units {
            match self.take_unit(schedule, unit, now_ms) {
                Ok(true) => schedule.queue_offset += 1,
                Ok(false) => return None,
                Err(error) => {
                    tracing::error!(%error, "cannot write the timer log");
                    return None;
                }
            }
        }
        Some(units.len())
    }

    /// Takes a message onto the wheel; false if that has to wait.
    fn take_unit(&self, schedule: &mut Schedule, unit: &CqUnit, now: i64) -> io::Result<bool> {
        let Some(bytes) = self.inner.store.look_record(unit.offset) else {
            return Ok(self.set_aside("the record cannot be read", None, unit.offset));
        };
        let (timer, topic) = match timer_of(&bytes, unit, now) {
            Ok(timer) => timer,
            // Anybody could send to the timer topic itself.
            Err(reason) => {
                let message = record::decode(&mut bytes.clone(), false).ok();
                return Ok(self.set_aside(reason, message, unit.offset));
            }
        };
        let retake = &self.inner.retake;
        let again = schedule.queue_offset < retake.until;
        if again && self.is_known_delivered(&bytes, schedule.queue_offset, timer.out_ms) {
            return Ok(true);
        }
        let taken = schedule.take(&timer, now)?;
        if taken {
            if timer.deletes
                && let Some(reading) = &mut schedule.reading
            {
                // It may have come into the slot that is being read.
                reading.dropped.extend(wishes(&bytes));
            }
            if schedule.queue_offset >= retake.counted_until {
                self.count(topic, if timer.deletes { -1 } else { 1 }, now);
            }
            self.note_enqueued(topic);
        }
        Ok(taken)
    }

    /// Whether a message that was taken before the timer log was damaged is known to have been put
    /// into its topic, or round once more. In doubt it is not: it may then come twice.
    fn is_known_delivered(&self, bytes: &[u8], queue_offset: i64, out_ms: i64) -> bool {
        const LATE_MS: i64 = 60_000;
        let retake = &self.inner.retake;
        let store = &self.inner.store;
        let Ok(view) = RecordView::parse(bytes) else {
            return false;
        };
        if retake.settled.contains(&view.physical_offset) {
            return true;
        }
        let key = view.property(property::UNIQ_KEY);
        let (Some(key), true) = (key, store.inner.index.is_some()) else {
            return queue_offset < retake.counted_until
                && out_ms.saturating_add(LATE_MS) < retake.read_ms;
        };
        let real_topic = view.property(property::REAL_TOPIC).unwrap_or_default();
        [real_topic, TIMER_TOPIC].iter().any(|topic| {
            let found = store.query_message(topic, key, KEYED_MAX, 0, i64::MAX);
            found.records.iter().any(|copy| {
                RecordView::parse(copy).is_ok_and(|copy| {
                    copy.physical_offset > view.physical_offset
                        && copy.born_timestamp == view.born_timestamp
                        && copy.body_crc == view.body_crc
                        && copy.body.len() == view.body.len()
                        && (*topic != TIMER_TOPIC
                            || copy.property(property::TIMER_ROLL_TIMES)
                                != view.property(property::TIMER_ROLL_TIMES))
                })
            })
        })
    }

    /// Delivers what is due, and returns the number of messages; `None` if one could not be
    /// delivered, which is tried again.
    fn deliver(
        &self,
        schedule: &mut Schedule,
        read_to_ms: i64,
        now_ms: i64,
        budget: usize,
    ) -> Option<usize> {
        let mut delivered = 0;
        while delivered < budget && schedule.read_on(read_to_ms) {
            if defect!(self.inner.store.inner.env, TimerStalls)
                && defects::is_stalled(schedule.read_ms(), now_ms)
            {
                return None;
            }
            let reading = schedule.reading.as_mut()?;
            if reading.dropped.is_empty() {
                let wishes = reading.left.iter().filter(|(_, record)| record.deletes());
                let wishes: Vec<_> = wishes.map(|(_, record)| record.offset).collect();
                for offset in wishes {
                    let bytes = self.inner.store.look_record(offset).unwrap_or_default();
                    reading.dropped.extend(self::wishes(&bytes));
                }
            }
            while delivered < budget
                && let Some(&(at, record)) = schedule.reading.as_ref()?.left.front()
            {
                if !is_settled(&self.inner.store, &record) {
                    self.deliver_one(schedule, at, &record, now_ms)?;
                    // Large ones count for more, so that no look takes long.
                    delivered += 1 + usize::try_from(record.size).unwrap_or(0) / BYTES_PER_MORE;
                }
                schedule.reading.as_mut()?.left.pop_front();
            }
            schedule.finish_slot();
        }
        Some(delivered)
    }

    /// Deals with a message whose time has come; `None` if that is to be tried again.
    fn deliver_one(
        &self,
        schedule: &mut Schedule,
        at: u64,
        record: &TimerRecord,
        now_ms: i64,
    ) -> Option<()> {
        let message = match self.due(schedule, record) {
            Due::Put(message) => *message,
            Due::Nothing => {
                let settled = schedule.settle(at, record.offset, 0);
                return settled.map_err(failed).ok();
            }
            Due::Gone => {
                if !self.set_aside("the record cannot be read", None, record.offset) {
                    return None;
                }
                let settled = schedule.settle(at, record.offset, 0);
                return settled.map_err(failed).ok();
            }
        };
        let real_topic = message.message.properties.get(property::REAL_TOPIC);
        let real_topic = real_topic.unwrap_or_default().to_owned();
        let put = self.put(message.clone(), record, now_ms);
        match (&put.append, put.status) {
            (Some(append), _) => {
                let until = append.physical_offset + append.bytes as i64;
                // Both are in memory: a crash of the process finds both or neither.
                let settled = schedule.settle(at, append.physical_offset, until);
                self.count(&real_topic, -1, now_ms);
                self.note_dequeued(&real_topic);
                settled.map_err(failed).ok()
            }
            (None, status) if status.is_final() => {
                let reason = "it does not fit";
                if !self.set_aside(reason, Some(message), record.offset) {
                    return None;
                }
                self.count(&real_topic, -1, now_ms);
                schedule.settle(at, record.offset, 0).map_err(failed).ok()
            }
            (None, status) => {
                tracing::warn!(status = status.name(), "cannot deliver a timed message yet");
                None
            }
        }
    }

    /// Tells the owner that a message can never be delivered; false if that is to be told again.
    fn set_aside(&self, reason: &'static str, message: Option<MessageExt>, offset: i64) -> bool {
        match &*self.inner.owner.read() {
            Some(owner) => owner.set_aside(reason, message, offset),
            None => {
                tracing::error!(reason, offset, "a timed message can never be delivered");
                true
            }
        }
    }

    /// What is to become of a message whose time has come.
    fn due(&self, schedule: &Schedule, record: &TimerRecord) -> Due {
        if record.deletes() {
            return Due::Nothing;
        }
        let bytes = self.inner.store.look_record(record.offset);
        let Some(message) = bytes.and_then(|mut bytes| record::decode(&mut bytes, false).ok())
        else {
            return Due::Gone;
        };
        if !record.is(magic::ROLL) && self.is_dropped(schedule, &message) {
            return Due::Nothing;
        }
        Due::Put(Box::new(message))
    }

    /// Whether it is wished that a message of the slot that is being read be dropped.
    fn is_dropped(&self, schedule: &Schedule, message: &MessageExt) -> bool {
        let Some(reading) = &schedule.reading else {
            return false;
        };
        let properties = &message.message.properties;
        let topic = properties.get(property::REAL_TOPIC).unwrap_or_default();
        let key = delete_key(topic, message.message.unique_key().unwrap_or_default());
        let out_ms = properties.get(property::TIMER_OUT_MS);
        let out_ms = out_ms.and_then(|out_ms| out_ms.parse().ok());
        let own_ms = schedule.wheel.floor(out_ms.unwrap_or(reading.slot_ms));
        // One that came late is in another slot than its wish, which came in time.
        let late_for = (own_ms < reading.slot_ms).then(|| schedule.chain(own_ms));
        let wishes = late_for.iter().flatten().filter(|(_, wish)| wish.deletes());
        reading.dropped.contains(&key)
            || wishes.map(|(_, wish)| wish.offset).any(|offset| {
                let wish = self.inner.store.look_record(offset).unwrap_or_default();
                self::wishes(&wish).contains(&key)
            })
    }

    /// Puts a message into its topic, or round once more.
    fn put(&self, message: MessageExt, record: &TimerRecord, now_ms: i64) -> PutResult {
        let store = &self.inner.store;
        let mut copy = MessageInner::from(message);
        let rolls = record.is(magic::ROLL);
        if !rolls {
            restore(&mut copy);
            if let Some(owner) = &*self.inner.owner.read() {
                copy.queue_id = owner.queue_for(&copy.message.topic, copy.queue_id);
            }
        }
        let bare = copy.clone();
        note_times(&mut copy.message.properties, record, rolls, now_ms);
        let twice = (defect!(store.inner.env, TimerTwice) && defects::is_chosen(record.offset))
            .then(|| copy.clone());
        let put = store.append_accepted(copy);
        if let (Some(again), true) = (twice, put.is_stored()) {
            store.append_accepted(again);
        }
        if put.status.is_final() {
            // It fitted when it came: it goes without the times rather than being lost.
            return store.append_accepted(bare);
        }
        put
    }
}

/// What a record of the timer topic asks for, and the topic that its message is meant for.
///
/// # Errors
/// Why it can never be delivered.
pub(crate) fn timer_of<'a>(
    bytes: &'a [u8],
    unit: &CqUnit,
    now_ms: i64,
) -> Result<(Timer, &'a str), &'static str> {
    let view = RecordView::parse(bytes).map_err(|_| "the record cannot be read")?;
    let out_ms = view
        .property(property::TIMER_OUT_MS)
        .and_then(|out_ms| out_ms.parse::<i64>().ok())
        .filter(|out_ms| (0..now_ms.saturating_add(CENTURY_MS)).contains(out_ms))
        .ok_or("it does not say when it is due")?;
    let topic = view
        .property(property::REAL_TOPIC)
        .ok_or("it does not say where it is meant for")?;
    if is_internal_topic(topic) {
        return Err("it is meant for a topic of the broker's own");
    }
    let timer = Timer {
        offset: unit.offset,
        size: unit.size,
        out_ms,
        topic_hash: java_string_hash(topic),
        deletes: view.property(property::TIMER_DEL_UNIQKEY).is_some(),
    };
    Ok((timer, topic))
}

/// The message as it was sent, in its own topic.
fn restore(copy: &mut MessageInner) {
    let properties = &mut copy.message.properties;
    let queue_id = properties.get(property::REAL_QID);
    copy.queue_id = queue_id.and_then(|id| id.parse().ok()).unwrap_or(0);
    if let Some(topic) = properties.get(property::REAL_TOPIC) {
        copy.message.topic = topic.to_owned();
    }
    properties.remove(property::REAL_TOPIC);
    properties.remove(property::REAL_QID);
}

/// Notes when the message was taken onto the wheel and off it, and how often it went round.
fn note_times(properties: &mut Properties, record: &TimerRecord, rolls: bool, now_ms: i64) {
    properties.set(property::TIMER_ENQUEUE_MS, record.write_time_ms.to_string());
    properties.set(property::TIMER_DEQUEUE_MS, now_ms.to_string());
    if rolls {
        let times: i32 = properties
            .get(property::TIMER_ROLL_TIMES)
            .and_then(|times| times.parse().ok())
            .unwrap_or(0);
        let times = times.saturating_add(1);
        properties.set(property::TIMER_ROLL_TIMES, times.to_string());
    }
}

/// How a message that is to be dropped is named (`buildDeleteKey`).
fn delete_key(topic: &str, unique_key: &str) -> String {
    format!("{topic}+{unique_key}")
}

/// Which messages the record of a wish names: as it says and, if that is a unique key alone, as
/// brokers before 5.3.2 took it, the message with that key and the same topic.
fn wishes(bytes: &[u8]) -> Vec<String> {
    let Ok(view) = RecordView::parse(bytes) else {
        return Vec::new();
    };
    let Some(key) = view.property(property::TIMER_DEL_UNIQKEY) else {
        return Vec::new();
    };
    let topic = view.property(property::REAL_TOPIC).unwrap_or_default();
    vec![key.to_owned(), delete_key(topic, key)]
}

fn failed(error: io::Error) {
    tracing::error!(%error, "cannot write the timer log");
}
