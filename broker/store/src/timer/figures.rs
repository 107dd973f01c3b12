//! What can be told of the timers at the moment (`TimerMessageStore`'s figures).

use std::collections::BTreeMap;

use super::TimerStore;

/// How many messages for a topic went through the timers since the start. One that goes round counts
/// each time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TimerTotals {
    /// Taken onto the wheel.
    pub enqueued: u64,
    /// Taken off it, to their topics or round once more.
    pub dequeued: u64,
}

/// How far the timers are at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimerPosition {
    /// The next message of the timer topic to be taken onto the wheel.
    pub queue_offset: i64,
    /// Up to when the wheel was read, in milliseconds since the epoch; 0 before the first look.
    pub read_ms: i64,
}

/// The messages on the wheel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TimerDistribution {
    /// All that were not delivered.
    pub all: i64,
    /// Those that wait no longer than each bound, but longer than the one before.
    pub within: Vec<i64>,
}

impl TimerStore {
    /// What went through the timers, by the topics that it was meant for.
    pub fn totals(&self) -> BTreeMap<String, TimerTotals> {
        self.inner.totals.lock().clone()
    }

    /// How far the timers are.
    pub fn position(&self) -> TimerPosition {
        let schedule = self.inner.schedule.lock();
        TimerPosition {
            queue_offset: schedule.queue_offset,
            read_ms: schedule.read_ms(),
        }
    }

    /// How many messages wait how long at `now_ms`, by bounds in milliseconds. Looks at every slot
    /// of the wheel.
    pub fn distribution(&self, now_ms: i64, bounds_ms: &[i64]) -> TimerDistribution {
        let schedule = self.inner.schedule.lock();
        let (read_ms, now_tick) = (schedule.read_ms(), schedule.wheel.floor(now_ms));
        let mut all = 0;
        let mut within = vec![0; bounds_ms.len()];
        for (_, slot_ms, slot) in schedule.wheel.used() {
            if slot_ms < read_ms {
                continue;
            }
            all += i64::from(slot.count);
            let wait = slot_ms - now_tick;
            let bound = bounds_ms.iter().position(|&bound| wait < bound);
            if let Some(count) = bound
                .filter(|_| wait >= 0)
                .and_then(|at| within.get_mut(at))
            {
                *count += i64::from(slot.count);
            }
        }
        TimerDistribution { all, within }
    }

    pub(super) fn note_enqueued(&self, topic: &str) {
        self.with_totals(topic, |totals| totals.enqueued += 1);
    }

    pub(super) fn note_dequeued(&self, topic: &str) {
        self.with_totals(topic, |totals| totals.dequeued += 1);
    }

    fn with_totals(&self, topic: &str, change: impl FnOnce(&mut TimerTotals)) {
        let mut totals = self.inner.totals.lock();
        if !totals.contains_key(topic) {
            totals.insert(topic.to_owned(), TimerTotals::default());
        }
        if let Some(totals) = totals.get_mut(topic) {
            change(totals);
        }
    }
}
