//! Delivery of delayed messages (`ScheduleMessageService.DeliverDelayedMessageTimerTask`).
//!
//! Java has a timer for each level; here one task goes over all of them every 100 ms, a few messages
//! of each at a time. A level is worked off as long as its queue has messages, whatever the
//! configuration says by now of how many levels there are and how long they take.

use std::sync::Arc;

use hotfire_protocol::topic;
use hotfire_store::{CqUnit, MessageInner, PutMessageStatus, RecordView};
use tokio::time::sleep;

use crate::delay::{self, level_of_queue, queue_of_level};
use crate::set_aside::Line;
use crate::state::State;

/// How many messages of a level are looked at before the next level has its turn.
const UNITS_PER_LOOK: usize = 64;
/// How many bytes of them are delivered at the most, unless the first has more.
const BYTES_PER_LOOK: i64 = 1 << 20;

/// How a look at a level ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// There may be more to do at once.
    More,
    /// Nothing is due, or nothing can be delivered now.
    Done,
}

/// What became of a message.
enum Delivery {
    /// It is dealt with.
    Done,
    /// It is not due, or cannot be delivered now: it is to be looked at again.
    Waits,
}

/// Delivers what is due in every level, for as long as the broker runs.
pub(crate) async fn run(state: Arc<State>) {
    sleep(delay::FIRST_RUN).await;
    loop {
        let levels = state.levels_in_use();
        loop {
            let mut look = Look::Done;
            for &level in &levels {
                if state.deliver_level(level) == Look::More {
                    look = Look::More;
                    tokio::task::yield_now().await;
                }
            }
            if look == Look::Done {
                break;
            }
        }
        sleep(delay::PASS_INTERVAL).await;
    }
}

impl State {
    /// The levels whose queues have held messages, those that are not configured any more included.
    pub(crate) fn levels_in_use(&self) -> Vec<i32> {
        let queues = self.store.queue_ids(topic::SCHEDULE_TOPIC);
        queues.into_iter().map(level_of_queue).collect()
    }

    /// Delivers some of what is due in a level.
    fn deliver_level(self: &Arc<Self>, level: i32) -> Look {
        let queue_id = queue_of_level(level);
        let max = self
            .store
            .max_offset_in_queue(topic::SCHEDULE_TOPIC, queue_id);
        let mut at = self.cursors.lock().get(level);
        if at > max {
            tracing::warn!(level, at, max, "a delay cursor was beyond its queue");
            self.cursors.lock().set(level, max);
            return Look::Done;
        }
        if at == max {
            return Look::Done;
        }
        let min = self
            .store
            .min_offset_in_queue(topic::SCHEDULE_TOPIC, queue_id);
        if at < min {
            tracing::warn!(level, at, min, "delayed messages expired before delivery");
            at = min;
            self.cursors.lock().set(level, at);
        }
        let units = self
            .store
            .units(topic::SCHEDULE_TOPIC, queue_id, at, UNITS_PER_LOOK);
        if units.is_empty() {
            return Look::Done;
        }
        let mut bytes = 0;
        for unit in units {
            match self.deliver(level, &unit) {
                Delivery::Waits => return Look::Done,
                Delivery::Done => {
                    at += 1;
                    self.cursors.lock().set(level, at);
                }
            }
            bytes += i64::from(unit.size.max(0));
            if bytes >= BYTES_PER_LOOK {
                break;
            }
        }
        Look::More
    }

    /// Delivers a message if it is due.
    fn deliver(self: &Arc<Self>, level: i32, unit: &CqUnit) -> Delivery {
        // The unit's code is the delivery time.
        let now_ms = self.env.now_ms();
        if unit.tags_code > now_ms && self.was_stored_by(unit, now_ms) {
            return Delivery::Waits;
        }
        let put_aside = |reason| {
            let message = self.store.look_message_by_offset(unit.offset);
            if self.set_aside(Line::DelayLevel, reason, message, unit.offset) {
                Delivery::Done
            } else {
                Delivery::Waits
            }
        };
        let Some(mut scheduled) = self.store.look_message_by_offset(unit.offset) else {
            return put_aside("the record cannot be read");
        };
        if !delay::restore(&mut scheduled) {
            return put_aside("it does not say where it is meant for");
        }
        if topic::is_internal_topic(&scheduled.message.topic) {
            return put_aside("it is meant for a topic of the broker's own");
        }
        scheduled.queue_id = self.readable_queue(&scheduled.message.topic, scheduled.queue_id);
        // Nothing is added to it: properties that just fitted once fit again.
        let put = self.store.append_accepted(MessageInner::from(scheduled));
        match put.status {
            PutMessageStatus::PutOk => Delivery::Done,
            status if status.is_final() => put_aside("it does not fit"),
            status => {
                if let Some(suppressed) = self.set_aside.may_log(now_ms) {
                    let status = status.name();
                    tracing::warn!(
                        level,
                        status,
                        suppressed,
                        "cannot deliver a delayed message"
                    );
                }
                Delivery::Waits
            }
        }
    }

    /// Whether a message was stored at this time or before. One from the future says that the clock
    /// was set back: it is due.
    fn was_stored_by(&self, unit: &CqUnit, now_ms: i64) -> bool {
        let record = self.store.look_record(unit.offset);
        let stored = record.and_then(|record| {
            let view = RecordView::parse(&record).ok()?;
            Some(view.store_timestamp)
        });
        stored.is_some_and(|stored| stored <= now_ms)
    }

    /// The queue for a message that was accepted for a queue of a topic: that one, unless the topic
    /// has fewer by now, and nobody would read it there.
    pub(crate) fn readable_queue(&self, topic: &str, queue_id: i32) -> i32 {
        let topics = self.topics.read();
        let queues = topics.get(topic).map_or(0, |topic| topic.read_queue_nums);
        if queues > 0 {
            queue_id.rem_euclid(queues)
        } else {
            queue_id.max(0)
        }
    }
}
