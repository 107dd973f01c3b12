//! The names of RocketMQ's own message properties, and the encoding of properties as text
//! (`MessageConst`, `MessageDecoder`).

use crate::Properties;

/// Separates a name from its value.
const NAME_VALUE_SEPARATOR: char = '\u{1}';
/// Separates a property from the next.
const PROPERTY_SEPARATOR: char = '\u{2}';
/// Among so many properties equal names are replaced when they are read; looking for them among
/// more would let a hostile sender buy much time with few bytes.
const DEDUPLICATED_MAX: usize = 128;
/// Separates several keys.
pub const KEY_SEPARATOR: char = ' ';

macro_rules! properties {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)+) => {
        $($(#[$doc])* pub const $name: &str = $text;)+

        /// Every name above: users may not set them.
        pub const SYSTEM: &[&str] = &[$($text,)+];
    };
}

properties! {
    /// Space-separated keys to find the message by.
    KEYS = "KEYS";
    /// The tag, for filtering.
    TAGS = "TAGS";
    /// "false": answer the sender without waiting for flush and replication.
    WAIT = "WAIT";
    /// The delay level.
    DELAY = "DELAY";
    /// The topic of a message that was sent back.
    RETRY_TOPIC = "RETRY_TOPIC";
    /// The topic that a scheduled or half message is meant for.
    REAL_TOPIC = "REAL_TOPIC";
    /// The queue that a scheduled or half message is meant for.
    REAL_QID = "REAL_QID";
    /// "true": a half message.
    TRAN_MSG = "TRAN_MSG";
    /// The producer group.
    PGROUP = "PGROUP";
    /// The queue's smallest offset when the message was pulled.
    MIN_OFFSET = "MIN_OFFSET";
    /// The queue's largest offset when the message was pulled.
    MAX_OFFSET = "MAX_OFFSET";
    /// The first offset id of a message that was sent back.
    ORIGIN_MESSAGE_ID = "ORIGIN_MESSAGE_ID";
    /// How often it was sent back, where the client resends by itself.
    RECONSUME_TIME = "RECONSUME_TIME";
    /// The group's limit of retries, where the client resends by itself.
    MAX_RECONSUME_TIMES = "MAX_RECONSUME_TIMES";
    /// The region of the broker.
    MSG_REGION = "MSG_REGION";
    /// Whether the message is traced.
    TRACE_ON = "TRACE_ON";
    /// The unique id that the client gave it.
    UNIQ_KEY = "UNIQ_KEY";
    /// When a consumer began with it.
    CONSUME_START_TIMESTAMP = "CONSUME_START_TIME";
    /// The transaction's id.
    TRANSACTION_ID = "__transactionId__";
    /// How often a half message was checked.
    TRANSACTION_CHECK_TIMES = "TRANSACTION_CHECK_TIMES";
    /// Seconds before a half message is checked first.
    CHECK_IMMUNITY_TIME_IN_SECONDS = "CHECK_IMMUNITY_TIME_IN_SECONDS";
    /// The queue offset of the half message before.
    TRAN_PREPARED_QUEUE_OFFSET = "TRAN_PREPARED_QUEUE_OFFSET";
    /// The namespace of the client.
    INSTANCE_ID = "INSTANCE_ID";
    /// Relates a reply to its request.
    CORRELATION_ID = "CORRELATION_ID";
    /// The client that waits for a reply.
    REPLY_TO_CLIENT = "REPLY_TO_CLIENT";
    /// How long a request waits, in milliseconds.
    TTL = "TTL";
    /// When a broker handed a reply over, in milliseconds since the epoch.
    PUSH_REPLY_TIME = "PUSH_REPLY_TIME";
    /// When a reply arrived at the client, in milliseconds since the epoch.
    ARRIVE_TIME = "ARRIVE_TIME";
    /// The cluster's name.
    CLUSTER = "CLUSTER";
    /// The kind of message, for replies.
    MSG_TYPE = "MSG_TYPE";
    /// The receipt of a popped message.
    POP_CK = "POP_CK";
    /// When the message was popped first, in milliseconds since the epoch.
    FIRST_POP_TIME = "1ST_POP_TIME";
    /// The key that orders messages.
    SHARDING_KEY = "__SHARDINGKEY";
    /// The number of messages in an inner batch.
    INNER_NUM = "INNER_NUM";
    /// The delivery is to be so many seconds after the send.
    TIMER_DELAY_SEC = "TIMER_DELAY_SEC";
    /// The delivery is to be so many milliseconds after the send.
    TIMER_DELAY_MS = "TIMER_DELAY_MS";
    /// The delivery is to be at this time, in milliseconds since the epoch.
    TIMER_DELIVER_MS = "TIMER_DELIVER_MS";
    /// The tick of the timer wheel after which a message is due, in milliseconds since the epoch.
    TIMER_OUT_MS = "TIMER_OUT_MS";
    /// When a timed message was taken onto the wheel.
    TIMER_ENQUEUE_MS = "TIMER_ENQUEUE_MS";
    /// When a timed message was taken off the wheel.
    TIMER_DEQUEUE_MS = "TIMER_DEQUEUE_MS";
    /// How often a timed message went round.
    TIMER_ROLL_TIMES = "TIMER_ROLL_TIMES";
    /// The timed message that is to be dropped: topic, `+` and unique key.
    TIMER_DEL_UNIQKEY = "TIMER_DEL_UNIQKEY";
    /// The delay level of a message whose delay the wheel keeps.
    TIMER_DELAY_LEVEL = "TIMER_DELAY_LEVEL";
    /// The topic of a dead letter.
    DLQ_ORIGIN_TOPIC = "DLQ_ORIGIN_TOPIC";
    /// The id of a dead letter.
    DLQ_ORIGIN_MESSAGE_ID = "DLQ_ORIGIN_MESSAGE_ID";
}

/// Writes properties as text: name, 0x01, value, with 0x02 in between, as 4.9.8 does; other clients
/// write 0x02 after the last one too. There is no escaping: a value with one of the two separators
/// would corrupt the rest, so such entries are the sender's to refuse.
pub fn encode(properties: &Properties) -> String {
    let size: usize = properties
        .iter()
        .map(|(name, value)| name.len() + value.len() + 2)
        .sum();
    let mut text = String::with_capacity(size);
    for (name, value) in properties.iter() {
        if !text.is_empty() {
            text.push(PROPERTY_SEPARATOR);
        }
        text.push_str(name);
        text.push(NAME_VALUE_SEPARATOR);
        text.push_str(value);
    }
    text
}

/// The length of what [`encode`] writes, in bytes.
pub fn encoded_len(properties: &Properties) -> usize {
    let size: usize = properties
        .iter()
        .map(|(name, value)| name.len() + value.len() + 2)
        .sum();
    size.saturating_sub(1)
}

/// Appends more properties to properties as text, without looking for names that are there already.
pub fn append(text: &mut String, more: &str) {
    if !text.is_empty() && !more.is_empty() && !text.ends_with(PROPERTY_SEPARATOR) {
        text.push(PROPERTY_SEPARATOR);
    }
    text.push_str(more);
}

/// The length of what [`append`] makes of a text, in bytes.
pub fn appended_len(text: &str, more: &str) -> usize {
    let separated = text.is_empty() || more.is_empty() || text.ends_with(PROPERTY_SEPARATOR);
    text.len() + more.len() + usize::from(!separated)
}

/// The properties of a text, with or without a separator at the end. Entries without a name or a
/// value are dropped, as Java does; of two equal names the later value counts.
pub fn entries(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split(PROPERTY_SEPARATOR)
        .filter_map(|entry| entry.split_once(NAME_VALUE_SEPARATOR))
        .filter(|(name, value)| !name.is_empty() && !value.is_empty())
}

/// Reads properties from text; see [`entries`].
pub fn decode(text: &str) -> Properties {
    let mut properties = Properties::with_capacity(8);
    for (name, value) in entries(text) {
        if properties.len() < DEDUPLICATED_MAX {
            properties.set(name.to_owned(), value);
        } else {
            properties.push(name.to_owned(), value);
        }
    }
    properties
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_survive_the_way_through_text() {
        let properties: Properties = [(TAGS, "TagA"), ("user", "值")].into_iter().collect();
        assert_eq!(encode(&properties), "TAGS\u{1}TagA\u{2}user\u{1}值");
        assert_eq!(decode(&encode(&properties)), properties);
        assert_eq!(encoded_len(&properties), encode(&properties).len());
        assert_eq!(encoded_len(&Properties::new()), 0);
    }

    #[test]
    fn a_separator_at_the_end_is_accepted() {
        assert_eq!(decode("TAGS\u{1}TagA\u{2}").get(TAGS), Some("TagA"));
    }

    #[test]
    fn properties_are_appended_with_one_separator_in_between() {
        for (text, more, expected) in [
            ("a\u{1}1", "b\u{1}2", "a\u{1}1\u{2}b\u{1}2"),
            ("a\u{1}1\u{2}", "b\u{1}2", "a\u{1}1\u{2}b\u{1}2"),
            ("", "b\u{1}2", "b\u{1}2"),
            ("a\u{1}1", "", "a\u{1}1"),
        ] {
            let mut text = text.to_owned();
            assert_eq!(appended_len(&text, more), expected.len());
            append(&mut text, more);
            assert_eq!(text, expected);
        }
    }

    #[test]
    fn entries_without_name_or_value_are_dropped() {
        assert_eq!(
            decode("\u{1}v\u{2}k\u{1}\u{2}alone\u{2}a\u{1}b\u{2}").len(),
            1
        );
    }
}
