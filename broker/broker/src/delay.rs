//! Delay levels (`ScheduleMessageService`): messages that are delivered later.
//!
//! A message with a delay level is stored in `SCHEDULE_TOPIC_XXXX`, in the queue of its level, with
//! its delivery time in place of the tags code. Each level has a cursor that follows its queue;
//! what is due is put into its real topic. The cursor moves only after the put succeeded, and is
//! written to `config/delayOffset.json` every 10 s and at a clean stop: a crash delivers again what
//! came after the last write.
//!
//! Invariant: no message is delivered before its time by the broker's clock, unless that clock went
//! back behind the time at which it was stored (then it is due at once, as in RocketMQ).

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use hotfire_protocol::message::property;
use hotfire_protocol::{Message, MessageExt, topic};

use serde::{Deserialize, Serialize};

/// When the schedule begins after a start (`FIRST_DELAY_TIME`).
pub const FIRST_RUN: Duration = Duration::from_millis(1000);
/// The pause between two passes over a level (`DELAY_FOR_A_WHILE`).
pub const PASS_INTERVAL: Duration = Duration::from_millis(100);

/// The delay of each level, in milliseconds: that of level 1 stands first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DelayLevels {
    delays_ms: Vec<i64>,
}

/// A delay that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a delay: a number with s, m, h or d is expected, as in `10s`")]
pub struct BadDelay(pub String);

/// The text that [`DelayLevels::parse`] reads, each delay in its largest unit below days.
impl fmt::Display for DelayLevels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, &ms) in self.delays_ms.iter().enumerate() {
            let space = if at == 0 { "" } else { " " };
            match ms / 1000 {
                s if s > 0 && s % 3600 == 0 => write!(f, "{space}{}h", s / 3600)?,
                s if s > 0 && s % 60 == 0 => write!(f, "{space}{}m", s / 60)?,
                s => write!(f, "{space}{s}s")?,
            }
        }
        Ok(())
    }
}

impl DelayLevels {
    /// Reads a table like `1s 5s 10s`.
    ///
    /// # Errors
    /// One of the entries is not a number with a unit.
    pub fn parse(table: &str) -> Result<Self, BadDelay> {
        let delay = |text: &str| {
            let unit = match text.as_bytes().last()? {
                b's' => 1000,
                b'm' => 60_000,
                b'h' => 3_600_000,
                b'd' => 86_400_000,
                _ => return None,
            };
            let number: i64 = text[..text.len() - 1].parse().ok()?;
            number.checked_mul(unit).filter(|&ms| ms >= 0)
        };
        let delays_ms = table
            .split_whitespace()
            .map(|text| delay(text).ok_or_else(|| BadDelay(text.to_owned())))
            .collect::<Result<_, _>>()?;
        Ok(Self { delays_ms })
    }

    /// The levels with these delays in milliseconds.
    pub fn new(delays_ms: Vec<i64>) -> Self {
        Self { delays_ms }
    }

    /// All delays in milliseconds, that of level 1 first.
    pub fn delays_ms(&self) -> &[i64] {
        &self.delays_ms
    }

    /// The longest level.
    pub fn max_level(&self) -> i32 {
        self.delays_ms.len() as i32
    }

    /// The level that a message asking for `level` gets: the longest, if there is none so long.
    pub fn clamp(&self, level: i32) -> i32 {
        level.min(self.max_level())
    }
}

/// The queue of the schedule topic that holds a level's messages.
pub fn queue_of_level(level: i32) -> i32 {
    level.saturating_sub(1)
}

/// The level whose messages a queue of the schedule topic holds.
pub fn level_of_queue(queue_id: i32) -> i32 {
    queue_id.saturating_add(1)
}

/// Sends a message round by the schedule topic, remembering where it is meant for.
pub fn divert(message: &mut Message, queue_id: &mut i32, level: i32) {
    let queue = queue_of_level(level);
    let real_queue = std::mem::replace(queue_id, queue);
    let real_topic = std::mem::replace(&mut message.topic, topic::SCHEDULE_TOPIC.to_owned());
    message.properties.set(property::REAL_TOPIC, real_topic);
    message
        .properties
        .set(property::REAL_QID, real_queue.to_string());
}

/// Restores where a scheduled message is meant for; false if it does not say.
///
/// The property with the delay level stays, as Apache RocketMQ 4.9 leaves it in the record.
pub fn restore(scheduled: &mut MessageExt) -> bool {
    let properties = &scheduled.message.properties;
    let queue_id = properties
        .get(property::REAL_QID)
        .and_then(|id| id.parse().ok());
    let topic = properties.get(property::REAL_TOPIC).map(str::to_owned);
    let (Some(topic), Some(queue_id)) = (topic, queue_id) else {
        return false;
    };
    scheduled.message.topic = topic;
    scheduled.queue_id = queue_id;
    true
}

/// The next queue offset to look at, by level.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DelayCursors {
    #[serde(rename = "offsetTable")]
    offsets: BTreeMap<i32, i64>,
}

impl DelayCursors {
    /// Where a level's cursor stands.
    pub fn get(&self, level: i32) -> i64 {
        self.offsets.get(&level).copied().unwrap_or(0)
    }

    /// Moves a level's cursor.
    pub fn set(&mut self, level: i32, offset: i64) {
        self.offsets.insert(level, offset);
    }

    /// Moves cursors that were recorded into what their queues hold: a crash of the machine may
    /// have taken the end of a queue, and expiry its beginning. `bounds` gives a queue's smallest
    /// and largest offset.
    pub fn correct(&mut self, bounds: impl Fn(i32) -> (i64, i64)) {
        for (&level, offset) in &mut self.offsets {
            let (min, max) = bounds(queue_of_level(level));
            *offset = (*offset).max(min).min(max);
        }
    }
}

#[cfg(test)]
mod tests {
    use hotfire_protocol::body::fastjson;

    use super::*;

    fn levels() -> DelayLevels {
        DelayLevels::new(hotfire_store::StoreConfig::default().delay_levels)
    }

    #[test]
    fn the_default_levels_are_rocketmqs() {
        let text = "1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h";
        let default = DelayLevels::new(hotfire_store::StoreConfig::default().delay_levels);
        assert_eq!(DelayLevels::parse(text).as_ref(), Ok(&default));
        assert_eq!(default.to_string(), text);
        assert_eq!(default.max_level(), 18);
    }

    #[test]
    fn a_level_without_a_known_unit_is_refused() {
        for bad in ["10", "10x", "s", "1 0s", "-1s", "日"] {
            assert!(DelayLevels::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_level_beyond_the_longest_is_clamped() {
        let levels = levels();
        assert_eq!(levels.clamp(19), 18);
        assert_eq!(levels.clamp(7), 7);
    }

    #[test]
    fn a_diverted_message_finds_its_way_back() {
        let mut message = Message::new("orders", "body").with_delay_level(3);
        let mut queue_id = 7;
        divert(&mut message, &mut queue_id, 3);
        assert_eq!(
            (message.topic.as_str(), queue_id),
            ("SCHEDULE_TOPIC_XXXX", 2)
        );
        let mut stored = crate::tests_support::stored(message, queue_id);
        assert!(restore(&mut stored));
        assert_eq!(
            (stored.message.topic.as_str(), stored.queue_id),
            ("orders", 7)
        );
    }

    #[test]
    fn a_scheduled_message_without_a_destination_is_recognised() {
        let message = Message::new("SCHEDULE_TOPIC_XXXX", "body");
        assert!(!restore(&mut crate::tests_support::stored(message, 0)));
    }

    fn json(cursors: &DelayCursors) -> String {
        String::from_utf8(fastjson::to_pretty_vec(cursors).unwrap()).unwrap()
    }

    #[test]
    fn the_file_is_in_fastjsons_pretty_dialect() {
        assert_eq!(json(&DelayCursors::default()), "{\n\t\"offsetTable\":{}\n}");
        let golden = include_str!("../tests/fixtures/delayOffset.json");
        let cursors: DelayCursors = fastjson::from_slice(golden.as_bytes()).unwrap();
        assert_eq!((cursors.get(1), cursors.get(2), cursors.get(3)), (3, 1, 0));
        assert_eq!(json(&cursors), golden);
    }

    #[test]
    fn a_damaged_file_or_queue_can_hold_any_number() {
        let damaged = r#"{"offsetTable":{-2147483648:7}}"#;
        let mut cursors: DelayCursors = fastjson::from_slice(damaged.as_bytes()).unwrap();
        cursors.correct(|_| (0, 0));
        assert_eq!(cursors.get(i32::MIN), 0);
    }

    #[test]
    fn cursors_are_moved_into_their_queues() {
        let mut cursors = DelayCursors::default();
        cursors.set(1, 50);
        cursors.set(2, 2);
        cursors.set(3, 15);
        cursors.correct(|_| (10, 20));
        assert_eq!(
            [1, 2, 3, 4].map(|level| cursors.get(level)),
            [20, 10, 15, 0]
        );
    }
}
