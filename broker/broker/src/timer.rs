//! Messages for an arbitrary time: which are sent round by the timer topic, and the task that
//! delivers them (`HookUtils.handleScheduleMessage`, `TimerMessageStore`).
//!
//! A time is one of the broker's wall clock. It is rounded so that a message is never delivered
//! before it: the wheel delivers when a whole tick is over, at most one tick and a look at the wheel
//! late.

use std::sync::{Arc, Weak};
use std::time::Duration;

use hotfire_env::EntropyExt;
use hotfire_protocol::message::recall::RecallHandle;
use hotfire_protocol::message::{property, sys_flag};
use hotfire_protocol::{Message, MessageExt, Properties, ResponseCode, topic};
use hotfire_store::{MessageInner, PutMessageStatus, TimerOwner};
use tokio::time::{Instant, sleep};

use crate::config::BrokerConfig;
use crate::processor::outcome;
use crate::refusal::Refusal;
use crate::set_aside::Line;
use crate::state::State;
use crate::table_files::Table;
use crate::transaction;

/// How many messages are taken onto the wheel, and off it, before others have their turn.
const BUDGET: usize = 500;
/// How often timer log files are looked at for those that may go.
/// The numbers of waiting messages are written then, too. Java writes them with every flush.
const CLEAN_INTERVAL: Duration = Duration::from_secs(30);

/// The properties by which a message asks for a time of its own.
pub(crate) const WISHES: [&str; 3] = [
    property::TIMER_DELAY_SEC,
    property::TIMER_DELAY_MS,
    property::TIMER_DELIVER_MS,
];

/// Why a message that is to be delivered later is not taken (`PutMessageStatus.WHEEL_TIMER_*`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NotDiverted {
    /// The wheel is switched off.
    Disabled,
    /// The time cannot be read or is too far away; or the message is the wish to drop another one
    /// whose time has come.
    Illegal,
    /// Too many messages wait for the same tick.
    FlowControl,
    /// The delay level is not a number.
    Level(String),
    /// It could be stored now, but not where it is to be delivered, with all that is noted in it.
    Form(PutMessageStatus),
}

impl NotDiverted {
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
            Self::Level(text) => Refusal::new(
                ResponseCode::SYSTEM_ERROR,
                format!("java.lang.NumberFormatException: For input string: \"{text}\""),
            ),
            Self::Form(status) => {
                let (code, remark) = outcome(config, None, status);
                Refusal::new(code, remark.unwrap_or_default())
            }
        }
    }
}

/// The delay level that a message asks for; 0 for none.
///
/// # Errors
/// It is not a number, which Java's broker answers with an error too (`Message.getDelayTimeLevel`).
fn delay_level(properties: &Properties) -> Result<i32, NotDiverted> {
    match properties.get(property::DELAY) {
        None => Ok(0),
        Some(text) => text.parse().map_err(|_| {
            let shown = text.chars().take(64).collect();
            NotDiverted::Level(shown)
        }),
    }
}

/// Takes back whatever a message asked for: it is to be delivered at once.
pub(crate) fn forget_wishes(properties: &mut Properties) {
    properties.remove(property::DELAY);
    forget_times(properties);
}

/// Takes back the time that a message asked for.
pub(crate) fn forget_times(properties: &mut Properties) {
    for wish in WISHES {
        properties.remove(wish);
    }
}

/// The time that a message asks for, in milliseconds since the epoch; `None` if it asks for none. A
/// delay level counts for more: the other wishes are then removed.
fn wanted(message: &mut Message, now_ms: i64) -> Option<Result<i64, NotDiverted>> {
    if message.delay_level() > 0 {
        forget_times(&mut message.properties);
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
    wanted.map(|at| at.ok_or(NotDiverted::Illegal))
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
        if self.timers.is_some() {
            self.files.change(Table::TimerMetrics);
        }
    }

    /// Sends a message that a client sends, and that is to be delivered later, round by the schedule
    /// or the timer topic, as its properties ask for.
    ///
    /// # Errors
    /// It cannot be taken, or it could not be delivered when its time has come.
    pub fn divert(&self, message: &mut MessageInner) -> Result<(), NotDiverted> {
        delay_level(&message.message.properties)?;
        self.divert_timed(message)?;
        self.divert_delayed(message);
        let topic = message.message.topic.as_str();
        if topic != topic::SCHEDULE_TOPIC && topic != topic::TIMER_TOPIC {
            return Ok(());
        }
        // What it will be then is what it is now, under its own topic.
        let real_topic = message.message.properties.get(property::REAL_TOPIC);
        let form = self
            .store
            .check_form(message, real_topic.unwrap_or_default());
        form.map_err(NotDiverted::Form)
    }

    /// Sends a message that was accepted before round by the schedule or the timer topic: one that
    /// is sent back, or that is committed. What would be refused at the door is not refused here,
    /// for settings may have been changed since.
    pub fn divert_accepted(&self, message: &mut MessageInner) {
        let now_ms = self.env.now_ms();
        if sys_flag::is_consumable(message.sys_flag)
            && let Some(Ok(deliver_ms)) = wanted(&mut message.message, now_ms)
            && deliver_ms > now_ms
        {
            let before = message.clone();
            self.put_on_wheel(message, deliver_ms);
            if self.store.check_form(message, topic::TIMER_TOPIC).is_err() {
                // It goes without a time rather than being lost.
                *message = before;
                forget_wishes(&mut message.message.properties);
            }
        }
        self.divert_delayed(message);
    }

    /// Makes a half message of a message that a client sends. What it asks for besides is for when
    /// it is committed.
    ///
    /// # Errors
    /// It could not be delivered after a commit.
    pub fn take_half(&self, message: &mut MessageInner) -> Result<(), NotDiverted> {
        delay_level(&message.message.properties)?;
        let wanted = wanted(&mut message.message, self.env.now_ms());
        let is_timed = wanted.is_some();
        if let Some(wanted) = wanted {
            self.check_time(wanted?)?;
        }
        let real_topic = message.message.topic.clone();
        transaction::make_half(message);
        let properties = &mut message.message.properties;
        if is_timed {
            // It is noted when it is committed.
            properties.set(property::TIMER_OUT_MS, i64::MAX.to_string());
        }
        let form = self.store.check_form(message, &real_topic);
        if is_timed {
            message.message.properties.remove(property::TIMER_OUT_MS);
        }
        form.map_err(NotDiverted::Form)
    }

    /// Whether a message may be delivered at a time.
    fn check_time(&self, deliver_ms: i64) -> Result<(), NotDiverted> {
        if self.timers.is_none() {
            return Err(NotDiverted::Disabled);
        }
        let max_delay = self.config().store.timer_max_delay.as_millis();
        let max_delay = i64::try_from(max_delay).unwrap_or(i64::MAX);
        if deliver_ms.saturating_sub(self.env.now_ms()) > max_delay {
            return Err(NotDiverted::Illegal);
        }
        Ok(())
    }

    /// Sends a message for an arbitrary time round by the timer topic. One whose time has come stays
    /// as it is.
    pub fn divert_timed(&self, message: &mut MessageInner) -> Result<(), NotDiverted> {
        if !sys_flag::is_consumable(message.sys_flag) {
            return Ok(());
        }
        let now_ms = self.env.now_ms();
        let Some(wanted) = wanted(&mut message.message, now_ms) else {
            return Ok(());
        };
        let Some(timers) = &self.timers else {
            return Err(NotDiverted::Disabled);
        };
        let deliver_ms = wanted?;
        let properties = &message.message.properties;
        if deliver_ms <= now_ms {
            return match properties.contains(property::TIMER_DEL_UNIQKEY) {
                true => Err(NotDiverted::Illegal),
                false => Ok(()),
            };
        }
        self.check_time(deliver_ms)?;
        let config = self.config();
        let out_ms = tick_of(deliver_ms, config.store.timer_precision_ms);
        let limit = config.store.timer_congest_num_each_slot;
        if limit < i32::MAX && self.is_congested(timers.waiting_at(out_ms), limit) {
            return Err(NotDiverted::FlowControl);
        }
        self.put_on_wheel(message, deliver_ms);
        Ok(())
    }

    /// Notes in a message when it is to be delivered and where, and sends it to the timer topic.
    fn put_on_wheel(&self, message: &mut MessageInner, deliver_ms: i64) {
        let out_ms = tick_of(deliver_ms, self.config().store.timer_precision_ms);
        if let Some(metrics) = &self.metrics {
            let wait_ms = out_ms.saturating_sub(message.born_timestamp);
            metrics.timed(&message.message.topic, wait_ms);
        }
        let real_topic =
            std::mem::replace(&mut message.message.topic, topic::TIMER_TOPIC.to_owned());
        let properties = &mut message.message.properties;
        properties.set(property::TIMER_OUT_MS, out_ms.to_string());
        properties.set(property::REAL_TOPIC, real_topic);
        properties.set(property::REAL_QID, message.queue_id.to_string());
        message.queue_id = 0;
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

/// What the timers ask the broker.
struct Owner(Weak<State>);

impl TimerOwner for Owner {
    fn queue_for(&self, topic: &str, queue_id: i32) -> i32 {
        match self.0.upgrade() {
            Some(state) => state.readable_queue(topic, queue_id),
            None => queue_id,
        }
    }

    fn set_aside(&self, reason: &'static str, message: Option<MessageExt>, offset: i64) -> bool {
        let state = self.0.upgrade();
        state.is_some_and(|state| state.set_aside(Line::Timer, reason, message, offset))
    }
}

/// Takes messages onto the wheel and delivers what is due, ten times a tick, and makes that durable
/// now and then.
pub(crate) async fn run(state: Arc<State>) {
    let Some(timers) = state.timers.clone() else {
        return;
    };
    timers.set_owner(Arc::new(Owner(Arc::downgrade(&state))));
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
