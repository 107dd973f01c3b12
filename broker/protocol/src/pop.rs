//! The texts of pop consumption (5.x): receipts, the tables of offsets in pop responses, and the
//! names that belong to it (`ExtraInfoUtil`, `KeyBuilder`, `PopAckConstants`).

use std::fmt;
use std::str::FromStr;

use crate::topic::{RETRY_PREFIX, REVIVE_PREFIX};

/// The number in place of a revive queue that marks an ordered pop
/// (`KeyBuilder.POP_ORDER_REVIVE_QUEUE`).
pub const ORDER_REVIVE_QUEUE: i32 = 999;
/// The group whose committed offsets tell how far the revive topic is worked off
/// (`PopAckConstants.REVIVE_GROUP`).
pub const REVIVE_GROUP: &str = "CID_RMQ_SYS_REVIVE_GROUP";
/// The tag of a check point in the revive topic.
pub const CHECK_POINT_TAG: &str = "ck";
/// The tag of an acknowledgement in the revive topic.
pub const ACK_TAG: &str = "ack";
/// The tag of several acknowledgements at once in the revive topic.
pub const BATCH_ACK_TAG: &str = "bAck";
/// The most messages that one request pops.
pub const POP_MAX: i32 = 32;

/// The topic that keeps the check points and acknowledgements of a cluster's pops.
pub fn revive_topic(cluster: &str) -> String {
    format!("{REVIVE_PREFIX}{cluster}")
}

/// The topic that unacknowledged messages of a topic go to, for one group
/// (`buildPopRetryTopicV1`).
pub fn retry_topic(topic: &str, group: &str) -> String {
    format!("{RETRY_PREFIX}{group}_{topic}")
}

/// The same as [`retry_topic`] with the separator of version 2.
pub fn retry_topic_v2(topic: &str, group: &str) -> String {
    format!("{RETRY_PREFIX}{group}+{topic}")
}

/// The topic whose messages a group's pop retry topic takes; any other topic stands for itself
/// (`parseNormalTopic`).
pub fn normal_topic<'a>(topic: &'a str, group: &str) -> &'a str {
    topic
        .strip_prefix(RETRY_PREFIX)
        .and_then(|rest| rest.strip_prefix(group))
        .and_then(|rest| rest.strip_prefix(['_', '+']))
        .unwrap_or(topic)
}

/// Why one of these texts cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no {what}")]
pub struct PopTextError {
    what: &'static str,
    text: String,
}

impl PopTextError {
    fn new(what: &'static str, text: &str) -> Self {
        Self {
            what,
            text: text.to_owned(),
        }
    }
}

/// From which kind of topic a message was popped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TopicKind {
    /// The topic itself.
    #[default]
    Normal,
    /// The group's retry topic for it.
    Retry,
    /// The group's retry topic for it, named as version 2 does.
    RetryV2,
}

impl TopicKind {
    /// The kind of a topic by its name.
    pub fn of(topic: &str) -> Self {
        match topic.strip_prefix(RETRY_PREFIX) {
            None => Self::Normal,
            Some(rest) if rest.contains('+') => Self::RetryV2,
            Some(_) => Self::Retry,
        }
    }

    /// The topic that is read for a topic that a group popped.
    pub fn real_topic(self, topic: &str, group: &str) -> String {
        match self {
            Self::Normal => topic.to_owned(),
            Self::Retry => retry_topic(topic, group),
            Self::RetryV2 => retry_topic_v2(topic, group),
        }
    }

    /// How it is written.
    pub const fn flag(self) -> &'static str {
        match self {
            Self::Normal => "0",
            Self::Retry => "1",
            Self::RetryV2 => "2",
        }
    }
}

impl FromStr for TopicKind {
    type Err = PopTextError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Normal, Self::Retry, Self::RetryV2]
            .into_iter()
            .find(|kind| kind.flag() == text)
            .ok_or_else(|| PopTextError::new("kind of topic", text))
    }
}

/// What entitles a consumer to acknowledge a popped message or to hide it for longer: the property
/// `POP_CK`, which acknowledgements bring back as `extraInfo`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Receipt {
    /// The first queue offset of the check point that the message belongs to.
    pub start_offset: i64,
    /// When the message was popped, in milliseconds since the epoch, by the broker's clock.
    pub pop_time: i64,
    /// How long it stays hidden from then on, in milliseconds.
    pub invisible_time: i64,
    /// The queue of the revive topic that the check point is in, or [`ORDER_REVIVE_QUEUE`].
    pub revive_queue: i32,
    /// From which kind of topic it was popped.
    pub kind: TopicKind,
    /// The name of the broker group.
    pub broker_name: String,
    /// The queue that it was popped from.
    pub queue_id: i32,
    /// Its offset in that queue, which old clients leave out.
    pub queue_offset: Option<i64>,
}

impl Receipt {
    /// When the message becomes visible again, in milliseconds since the epoch.
    pub const fn visible_at(&self) -> i64 {
        self.pop_time.saturating_add(self.invisible_time)
    }

    /// Whether the message was popped in order.
    pub const fn is_order(&self) -> bool {
        self.revive_queue == ORDER_REVIVE_QUEUE
    }
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} {} {} {} {} {}",
            self.start_offset,
            self.pop_time,
            self.invisible_time,
            self.revive_queue,
            self.kind.flag(),
            self.broker_name,
            self.queue_id
        )?;
        match self.queue_offset {
            Some(offset) => write!(f, " {offset}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Receipt {
    type Err = PopTextError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split(' ');
        let mut read = || {
            Some(Self {
                start_offset: parts.next()?.parse().ok()?,
                pop_time: parts.next()?.parse().ok()?,
                invisible_time: parts.next()?.parse().ok()?,
                revive_queue: parts.next()?.parse().ok()?,
                kind: parts.next()?.parse().ok()?,
                broker_name: parts.next()?.to_owned(),
                queue_id: parts.next()?.parse().ok()?,
                queue_offset: match parts.next() {
                    Some(offset) => Some(offset.parse().ok()?),
                    None => None,
                },
            })
        };
        read().ok_or_else(|| PopTextError::new("receipt", text))
    }
}

/// An entry of one of the tables in a pop response: `kind key value`.
fn entries<'a, K, V>(
    what: &'static str,
    text: &'a str,
    key: impl Fn(&'a str) -> Option<K>,
    value: impl Fn(&'a str) -> Option<V>,
) -> Result<Vec<(TopicKind, K, V)>, PopTextError> {
    let entry = |text: &'a str| {
        let mut parts = text.split(' ');
        let kind = parts.next()?.parse().ok()?;
        let read = (kind, key(parts.next()?)?, value(parts.next()?)?);
        parts.next().is_none().then_some(read)
    };
    text.split(';')
        .filter(|text| !text.is_empty())
        .map(|text| entry(text).ok_or_else(|| PopTextError::new(what, text)))
        .collect()
}

fn number<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

/// Writes entries behind each other, separated by semicolons.
fn join<T>(entries: &[T], write: impl Fn(&T, &mut String)) -> String {
    let mut text = String::new();
    for entry in entries {
        if !text.is_empty() {
            text.push(';');
        }
        write(entry, &mut text);
    }
    text
}

/// The first offset of each check point, by kind and queue (`startOffsetInfo`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StartOffsets(pub Vec<(TopicKind, i32, i64)>);

impl StartOffsets {
    /// The first offset of a queue.
    pub fn of(&self, kind: TopicKind, queue_id: i32) -> Option<i64> {
        let mut all = self.0.iter();
        let found = all.find(|(of, queue, _)| (*of, *queue) == (kind, queue_id));
        found.map(|(_, _, offset)| *offset)
    }
}

impl fmt::Display for StartOffsets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&join(&self.0, |(kind, queue, offset), text| {
            text.push_str(&format!("{} {queue} {offset}", kind.flag()));
        }))
    }
}

impl FromStr for StartOffsets {
    type Err = PopTextError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        entries("list of first offsets", text, number, number).map(Self)
    }
}

/// The offsets of the messages, by kind and queue (`msgOffsetInfo`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MessageOffsets(pub Vec<(TopicKind, i32, Vec<i64>)>);

impl fmt::Display for MessageOffsets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&join(&self.0, |(kind, queue, offsets), text| {
            let offsets: Vec<_> = offsets.iter().map(i64::to_string).collect();
            text.push_str(&format!("{} {queue} {}", kind.flag(), offsets.join(",")));
        }))
    }
}

impl FromStr for MessageOffsets {
    type Err = PopTextError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let offsets = |text: &str| text.split(',').map(number).collect();
        entries("list of offsets", text, number, offsets).map(Self)
    }
}

/// What a count of an ordered pop is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Counted {
    /// The least count of the queue's messages, for old clients.
    Queue(i32),
    /// One message, by queue and queue offset.
    Message(i32, i64),
}

/// How often the messages of an ordered pop were popped before (`orderCountInfo`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OrderCounts(pub Vec<(TopicKind, Counted, i32)>);

impl OrderCounts {
    /// How often a message was popped before.
    pub fn of(&self, kind: TopicKind, queue_id: i32, offset: i64) -> Option<i32> {
        let find = |counted: Counted| {
            let mut all = self.0.iter();
            let found = all.find(|(of, what, _)| (*of, *what) == (kind, counted));
            found.map(|(_, _, count)| *count)
        };
        find(Counted::Message(queue_id, offset)).or_else(|| find(Counted::Queue(queue_id)))
    }
}

impl fmt::Display for OrderCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&join(&self.0, |(kind, counted, count), text| {
            let key = match counted {
                Counted::Queue(queue) => queue.to_string(),
                Counted::Message(queue, offset) => format!("qo{queue}%{offset}"),
            };
            text.push_str(&format!("{} {key} {count}", kind.flag()));
        }))
    }
}

impl FromStr for OrderCounts {
    type Err = PopTextError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let key = |text: &str| match text.strip_prefix("qo") {
            None => number(text).map(Counted::Queue),
            Some(text) => {
                let (queue, offset) = text.split_once('%')?;
                Some(Counted::Message(number(queue)?, number(offset)?))
            }
        };
        entries("list of counts", text, key, number).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_receipt_is_the_text_that_java_writes() {
        let receipt = Receipt {
            start_offset: 100,
            pop_time: 1_700_000_000_000,
            invisible_time: 60_000,
            revive_queue: 3,
            kind: TopicKind::Retry,
            broker_name: "broker-a".to_owned(),
            queue_id: 2,
            queue_offset: Some(104),
        };
        let text = "100 1700000000000 60000 3 1 broker-a 2 104";
        assert_eq!(receipt.to_string(), text);
        assert_eq!(text.parse::<Receipt>().unwrap(), receipt);
        assert_eq!(receipt.visible_at(), 1_700_000_060_000);
    }

    #[test]
    fn an_old_clients_receipt_has_no_queue_offset() {
        let text = "100 1700000000000 60000 999 0 broker-a 2";
        let receipt: Receipt = text.parse().unwrap();
        assert!(receipt.is_order() && receipt.queue_offset.is_none());
        assert_eq!(receipt.to_string(), text);
    }

    #[test]
    fn half_a_receipt_is_none() {
        for text in ["", "1", "1 2 3 4 0", "1 2 3 4 7 b 0 1", "x 2 3 4 0 b 0 1"] {
            assert!(text.parse::<Receipt>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_tables_of_a_response_are_the_texts_that_java_writes() {
        let starts = StartOffsets(vec![(TopicKind::Normal, 0, 5), (TopicKind::Retry, 0, 7)]);
        assert_eq!(starts.to_string(), "0 0 5;1 0 7");
        let offsets = MessageOffsets(vec![(TopicKind::Normal, 0, vec![5, 6, 9])]);
        assert_eq!(offsets.to_string(), "0 0 5,6,9");
        let counts = OrderCounts(vec![
            (TopicKind::Normal, Counted::Message(1, 5), 2),
            (TopicKind::Normal, Counted::Queue(1), 0),
        ]);
        assert_eq!(counts.to_string(), "0 qo1%5 2;0 1 0");
        assert_eq!(counts.of(TopicKind::Normal, 1, 5), Some(2));
        assert_eq!(counts.of(TopicKind::Normal, 1, 6), Some(0));
        assert_eq!(counts.of(TopicKind::Retry, 1, 6), None);
    }

    #[test]
    fn an_empty_table_is_an_empty_text() {
        assert_eq!("".parse::<StartOffsets>().unwrap().to_string(), "");
    }

    #[test]
    fn retry_topics_are_named_by_group_and_topic() {
        assert_eq!(retry_topic("orders", "g"), "%RETRY%g_orders");
        assert_eq!(normal_topic("%RETRY%g_orders", "g"), "orders");
        assert_eq!(normal_topic("%RETRY%g+orders", "g"), "orders");
        assert_eq!(normal_topic("orders", "g"), "orders");
        assert_eq!(TopicKind::of("%RETRY%g+orders"), TopicKind::RetryV2);
        assert_eq!(
            TopicKind::Retry.real_topic("orders", "g"),
            "%RETRY%g_orders"
        );
    }

    fn kind() -> impl Strategy<Value = TopicKind> {
        prop_oneof![
            Just(TopicKind::Normal),
            Just(TopicKind::Retry),
            Just(TopicKind::RetryV2)
        ]
    }

    proptest! {
        #[test]
        fn tables_survive_the_round_trip(
            starts in proptest::collection::vec((kind(), 0..9i32, any::<i64>()), 0..5),
            offsets in proptest::collection::vec(
                (kind(), 0..9i32, proptest::collection::vec(any::<i64>(), 1..5)), 0..5),
        ) {
            let starts = StartOffsets(starts);
            prop_assert_eq!(starts.to_string().parse::<StartOffsets>().unwrap(), starts);
            let offsets = MessageOffsets(offsets);
            prop_assert_eq!(offsets.to_string().parse::<MessageOffsets>().unwrap(), offsets);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[0-9 ;,%qo-]{0,40}") {
            let _ = text.parse::<Receipt>();
            let _ = text.parse::<StartOffsets>();
            let _ = text.parse::<MessageOffsets>();
            let _ = text.parse::<OrderCounts>();
        }
    }
}
