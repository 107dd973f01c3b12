//! Messages for an arbitrary time: which are sent round by the timer topic, and the task that
//! delivers them (`HookUtils.handleScheduleMessage`, `TimerMessageStore`).
//!
//! A time is one of the broker's wall clock. It is rounded so that a message is never delivered
//! before it: the wheel delivers when a whole tick is over, at most one tick and a look at the wheel
//! late.

use std::time::Duration;

use hotfire_env::EntropyExt;
use hotfire_protocol::message::recall::RecallHandle;
use hotfire_protocol::message::{property, sys_flag};
use hotfire_protocol::{Message, Properties, ResponseCode, topic};
use hotfire_store::MessageInner;
use tokio::time::{Instant, sleep};

use crate::config::BrokerConfig;
use crate::refusal::Refusal;
use crate::state::State;

/// How many messages are taken onto the wheel, and off it, before others have their turn.
const BUDGET: usize = 500;
/// How often timer log files are looked at for those that may go.
/// The numbers of waiting messages are written then, too. Java writes them with every flush.
const CLEAN_INTERVAL: Duration = Duration::from_secs(30);

/// Why a message for a time is not taken (`PutMessageStatus.WHEEL_TIMER_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum NotTimed {
    /// The wheel is switched off.
    Disabled,
    /// The time cannot be read or is too far away; or the message is the wish to drop another one
    /// whose time has come.
    Illegal,
    /// Too many messages wait for the same tick.
    FlowControl,
}

impl NotTimed {
    /// What its sender is told.
    pub fn refusal(self, config: &BrokerConfig) -> Refusal {
        let limit = i64::from(config.store.timer_congest_num_each_slot);
        match self {
            Self::Disabled => Refusal::new(
                ResponseCode::SYSTEM_ERROR,
                "accurate timer message is not enabled, timerWheelEnable is false",
            ),
            Self::Illegal => Refusal::new(
                ResponseCode::MESSAGE_ILLEGAL,
                format!(
                    "timer message illegal, the delay time should not be bigger than the max delay \
                     {}ms; or if set del msg, the delay time should be bigger than the current \
                     time",
                    config.store.timer_max_delay.as_millis()
                ),
            ),
            Self::FlowControl => Refusal::new(
                ResponseCode::SYSTEM_ERROR,
                format!(
                    "timer message is under flow control: {limit} messages wait for the same \
                     tick, and there must not be {}",
                    limit * 2
                ),
            ),
        }
    }
}

/// The time that a message asks for, in milliseconds since the epoch; `None` if it asks for none. A
/// delay level counts for more: the other wishes are then removed.
fn wanted(message: &mut Message, now_ms: i64) -> Option<Result<i64, NotTimed>> {
    const WISHES: [&str; 3] = [
        property::TIMER_DELAY_SEC,
        property::TIMER_DELAY_MS,
        property::TIMER_DELIVER_MS,
    ];
    if message.delay_level() > 0 {
        for wish in WISHES {
            message.properties.remove(wish);
        }
        return None;
    }
    if message.topic == topic::TIMER_TOPIC || message.properties.contains(property::TIMER_OUT_MS) {
        return None;
    }
    let properties = &message.properties;
    let wish = |name| number(properties, name);
    let wanted = wish(property::TIMER_DELAY_SEC)
        .map(|sec| Some(now_ms.saturating_add(sec?.saturating_mul(1000))))
        .or_else(|| wish(property::TIMER_DELAY_MS).map(|ms| Some(now_ms.saturating_add(ms?))))
        .or_else(|| wish(property::TIMER_DELIVER_MS));
    wanted.map(|at| at.ok_or(NotTimed::Illegal))
}

/// A number among properties: `Some(None)` if there is one that is none.
#[allow(
    clippy::option_option,
    reason = "not there and not a number are two things"
)]
fn number(properties: &Properties, name: &str) -> Option<Option<i64>> {
    properties.get(name).map(|text| text.parse().ok())
}

/// The tick after which a message for a time is due: the one that holds the time, or the one before
/// if the time is that of a tick.
fn tick_of(deliver_ms: i64, precision_ms: i64) -> i64 {
    (deliver_ms - 1).div_euclid(precision_ms) * precision_ms
}

/// The handle of a message that was just diverted to the timer topic; none for a retry, or without
/// a unique key (`SendMessageProcessor.attachRecallHandle`).
pub(crate) fn recall_handle(message: &Message, broker_name: &str) -> Option<String> {
    if message.topic != topic::TIMER_TOPIC {
        return None;
    }
    let properties = &message.properties;
    let topic = properties.get(property::REAL_TOPIC)?;
    let out_ms: i64 = properties.get(property::TIMER_OUT_MS)?.parse().ok()?;
    let handle = RecallHandle {
        topic: topic.to_owned(),
        broker_name: broker_name.to_owned(),
        // One more is rounded down to the same tick.
        timestamp: (out_ms + 1).to_string(),
        message_id: message.unique_key()?.to_owned(),
    };
    topic::retry_group(topic).is_none().then(|| handle.encode())
}

impl State {
    /// Writes how far the timers are, at a clean stop.
    pub async fn close_timers(&self) {
        if let Some(timers) = &self.timers {
            // A failure has been logged: the next start recovers.
            let _ = timers.flush().await;
            self.save_timer_metrics();
        }
    }

    /// Writes how many messages wait for their time.
    pub fn save_timer_metrics(&self) {
        if let Some(timers) = &self.timers {
            self.save("timermetrics", || timers.metrics());
        }
    }

    /// Sends a message that is to be delivered later round by the schedule or the timer topic, as
    /// its properties ask for. Everything that puts a message which may be meant for later calls it
    /// before the put.
    pub fn divert(&self, message: &mut MessageInner) -> Result<(), NotTimed> {
        self.divert_timed(message)?;
        self.divert_delayed(message);
        Ok(())
    }

    /// Sends a message for an arbitrary time round by the timer topic. One whose time has come stays
    /// as it is.
    pub fn divert_timed(&self, message: &mut MessageInner) -> Result<(), NotTimed> {
        let transaction = sys_flag::transaction_type(message.sys_flag);
        if !matches!(transaction, 0 | sys_flag::TRANSACTION_COMMIT) {
            return Ok(());
        }
        let now_ms = self.env.now_ms();
        let Some(wanted) = wanted(&mut message.message, now_ms) else {
            return Ok(());
        };
        let Some(timers) = &self.timers else {
            return Err(NotTimed::Disabled);
        };
        let deliver_ms = wanted?;
        let properties = &mut message.message.properties;
        if deliver_ms <= now_ms {
            return match properties.contains(property::TIMER_DEL_UNIQKEY) {
                true => Err(NotTimed::Illegal),
                false => Ok(()),
            };
        }
        let config = self.config();
        let max_delay = i64::try_from(config.store.timer_max_delay.as_millis());
        if deliver_ms.saturating_sub(now_ms) > max_delay.unwrap_or(i64::MAX) {
            return Err(NotTimed::Illegal);
        }
        let out_ms = tick_of(deliver_ms, config.store.timer_precision_ms);
        let limit = config.store.timer_congest_num_each_slot;
        if limit < i32::MAX && self.is_congested(timers.waiting_at(out_ms), limit) {
            return Err(NotTimed::FlowControl);
        }
        properties.set(property::TIMER_OUT_MS, out_ms.to_string());
        if let Some(metrics) = &self.metrics {
            let wait_ms = out_ms.saturating_sub(message.born_timestamp);
            metrics.timed(&message.message.topic, wait_ms);
        }
        let real_topic =
            std::mem::replace(&mut message.message.topic, topic::TIMER_TOPIC.to_owned());
        let properties = &mut message.message.properties;
        properties.set(property::REAL_TOPIC, real_topic);
        properties.set(property::REAL_QID, message.queue_id.to_string());
        message.queue_id = 0;
        Ok(())
    }

    /// Whether a slot is too full for one more: never up to the limit, always from twice the limit
    /// on, and in between at random - as in `TimerMessageStore.isReject` the more seldom, the nearer
    /// it is to twice the limit.
    fn is_congested(&self, waiting: i32, limit: i32) -> bool {
        let over = i64::from(waiting) - i64::from(limit);
        over > 0
            && (over >= i64::from(limit)
                || (self.entropy.below(1000) as f64)
                    > 1000.0 * over as f64 / (f64::from(limit) + 0.1))
    }
}

/// Takes messages onto the wheel and delivers what is due, ten times a tick, and makes that durable
/// now and then.
pub(crate) async fn run(state: std::sync::Arc<State>) {
    let Some(timers) = state.timers.clone() else {
        return;
    };
    let config = state.config();
    let pause = Duration::from_millis((config.store.timer_precision_ms / 10).max(1) as u64);
    let mut flushed = Instant::now();
    let mut cleaned = Instant::now();
    loop {
        while timers.run(state.env.now_ms(), BUDGET) {
            tokio::task::yield_now().await;
        }
        if flushed.elapsed() >= config.store.timer_flush_interval {
            // A failure has been logged, and the timers go on.
            let _ = timers.flush().await;
            flushed = Instant::now();
        }
        if cleaned.elapsed() >= CLEAN_INTERVAL {
            timers.delete_expired();
            state.save_timer_metrics();
            cleaned = Instant::now();
        }
        sleep(pause).await;
    }
}
