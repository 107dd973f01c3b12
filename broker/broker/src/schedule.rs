//! Delivery of delayed messages (`ScheduleMessageService.DeliverDelayedMessageTimerTask`).
//!
//! Java has a timer for each level; here one task goes over all of them every 100 ms.

use hotfire_protocol::topic;
use hotfire_store::{CqUnit, MessageInner, PutMessageStatus};

use crate::delay::{self, queue_of_level};
use crate::state::State;

/// How many messages of a level are looked at before the next level has its turn.
const UNITS_PER_LOOK: usize = 64;

impl State {
    /// Delivers what is due in every level.
    pub(crate) fn deliver_due(&self) {
        for level in 1..=self.levels.max_level() {
            self.deliver_level(level);
        }
    }

    /// Delivers what is due in a level, until a message is not or cannot be delivered now.
    fn deliver_level(&self, level: i32) {
        let queue_id = queue_of_level(level);
        let max = self
            .store
            .max_offset_in_queue(topic::SCHEDULE_TOPIC, queue_id);
        let mut at = self.cursors.lock().get(level);
        if at > max {
            tracing::warn!(level, at, max, "a delay cursor was beyond its queue");
            self.cursors.lock().set(level, max);
            return;
        }
        while at < max {
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
                return;
            }
            for unit in units {
                if !self.deliver(level, &unit) {
                    return;
                }
                at += 1;
                self.cursors.lock().set(level, at);
            }
        }
    }

    /// Delivers a message if it is due; false if it is to be looked at again.
    fn deliver(&self, level: i32, unit: &CqUnit) -> bool {
        // The unit's code is the delivery time.
        if self
            .levels
            .wait_ms(level, unit.tags_code, self.env.now_ms())
            > 0
        {
            return false;
        }
        let Some(mut scheduled) = self.store.look_message_by_offset(unit.offset) else {
            tracing::warn!(level, offset = unit.offset, "a delayed message is gone");
            return true;
        };
        if !delay::restore(&mut scheduled) {
            tracing::error!(
                level,
                offset = unit.offset,
                "a delayed message has no destination"
            );
            return true;
        }
        if scheduled.message.topic == topic::TRANS_HALF_TOPIC {
            tracing::error!(
                level,
                offset = unit.offset,
                "a half message must not be delayed"
            );
            return true;
        }
        // Nothing is added to it: properties that just fitted once fit again, so that no message
        // can block its level.
        let put = self.store.append(MessageInner::from(scheduled));
        if put.status != PutMessageStatus::PutOk {
            tracing::warn!(
                level,
                status = put.status.name(),
                "cannot deliver a delayed message"
            );
            return false;
        }
        true
    }
}
