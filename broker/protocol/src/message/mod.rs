//! Messages: what a user sends, what a broker stores and what a consumer gets.

pub mod batch;
pub mod compression;
pub mod id;
pub mod property;
pub mod recall;
pub mod record;
pub mod sys_flag;

use std::fmt;
use std::net::SocketAddr;

use bytes::Bytes;
use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};

use crate::Properties;

/// A queue of a topic on one broker group.
///
/// The order of fields is the order of comparison in Java (`MessageQueue.compareTo`: topic, broker
/// name, queue id), on which all members of a consumer group must agree.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct MessageQueue {
    /// The topic.
    pub topic: String,
    /// The name of the broker group.
    pub broker_name: String,
    /// The number of the queue within the topic on that broker group.
    pub queue_id: i32,
}

impl MessageQueue {
    /// A queue.
    pub fn new(topic: impl Into<String>, broker_name: impl Into<String>, queue_id: i32) -> Self {
        Self {
            topic: topic.into(),
            broker_name: broker_name.into(),
            queue_id,
        }
    }

    /// The queues of a topic on a broker group, of which there are `count`. No more than any broker
    /// accepts: what a garbled route may cost at most.
    pub fn of_broker(topic: &str, broker_name: &str, count: i32) -> impl Iterator<Item = Self> {
        const MAX: i32 = 65_536;
        (0..count.min(MAX)).map(move |id| Self::new(topic, broker_name, id))
    }
}

/// Fields in alphabetical order, as everything on the wire, not in the order of comparison.
impl Serialize for MessageQueue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("MessageQueue", 3)?;
        fields.serialize_field("brokerName", &self.broker_name)?;
        fields.serialize_field("queueId", &self.queue_id)?;
        fields.serialize_field("topic", &self.topic)?;
        fields.end()
    }
}

impl fmt::Display for MessageQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}:{}", self.topic, self.broker_name, self.queue_id)
    }
}

/// A message as its sender sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// The topic.
    pub topic: String,
    /// A number for the user's own purposes.
    pub flag: i32,
    /// Tags, keys, the user's properties and RocketMQ's.
    pub properties: Properties,
    /// The payload.
    pub body: Bytes,
}

impl Message {
    /// A message without properties.
    pub fn new(topic: impl Into<String>, body: impl Into<Bytes>) -> Self {
        Self {
            topic: topic.into(),
            body: body.into(),
            ..Self::default()
        }
    }

    /// The same with a tag.
    #[must_use]
    pub fn with_tag(self, tag: impl Into<String>) -> Self {
        self.with_property(property::TAGS, tag)
    }

    /// The same with a key to find it by; several are separated by spaces.
    #[must_use]
    pub fn with_key(self, key: impl Into<String>) -> Self {
        self.with_property(property::KEYS, key)
    }

    /// The same, delivered after the delay of a level: 1 is the shortest, 0 means at once.
    #[must_use]
    pub fn with_delay_level(self, level: i32) -> Self {
        self.with_property(property::DELAY, level.to_string())
    }

    /// The same, delivered when so much time has passed at the broker; instead of a delay level.
    #[must_use]
    pub fn with_delay(self, delay: std::time::Duration) -> Self {
        self.with_property(property::TIMER_DELAY_MS, delay.as_millis().to_string())
    }

    /// The same, delivered at a time of the broker's clock, in milliseconds since the epoch; instead
    /// of a delay level. If the time has passed it is delivered at once.
    #[must_use]
    pub fn with_deliver_at(self, time_ms: i64) -> Self {
        self.with_property(property::TIMER_DELIVER_MS, time_ms.to_string())
    }

    /// The same with a property.
    #[must_use]
    pub fn with_property(
        mut self,
        name: impl Into<std::borrow::Cow<'static, str>>,
        value: impl Into<String>,
    ) -> Self {
        self.properties.set(name, value);
        self
    }

    /// The tag.
    pub fn tag(&self) -> Option<&str> {
        self.properties.get(property::TAGS)
    }

    /// The keys, separated by spaces.
    pub fn keys(&self) -> Option<&str> {
        self.properties.get(property::KEYS)
    }

    /// The delay level; 0 without one.
    pub fn delay_level(&self) -> i32 {
        self.properties
            .get(property::DELAY)
            .and_then(|level| level.parse().ok())
            .unwrap_or(0)
    }

    /// Whether the sender waits for the broker's flush and replication (`WAIT`, default true).
    pub fn waits_for_store(&self) -> bool {
        self.properties
            .get(property::WAIT)
            .is_none_or(|wait| wait.eq_ignore_ascii_case("true"))
    }

    /// The unique id that the sending client gave it.
    pub fn unique_key(&self) -> Option<&str> {
        self.properties.get(property::UNIQ_KEY)
    }
}

/// A stored message: what a commit log record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageExt {
    /// What was sent. The body is as it stands in the record: compressed if `sys_flag` says so.
    pub message: Message,
    /// The queue within the topic.
    pub queue_id: i32,
    /// The position in the queue.
    pub queue_offset: i64,
    /// The position in the commit log, in bytes.
    pub commit_log_offset: i64,
    /// The size of the record, in bytes.
    pub store_size: i32,
    /// See [`sys_flag`].
    pub sys_flag: i32,
    /// When the client sent it, in milliseconds since the epoch, by the client's clock.
    pub born_timestamp: i64,
    /// The client's address.
    pub born_host: SocketAddr,
    /// When the broker stored it, in milliseconds since the epoch, by the broker's clock.
    pub store_timestamp: i64,
    /// The broker's address.
    pub store_host: SocketAddr,
    /// The checksum of the body as stored.
    pub body_crc: i32,
    /// How often it was sent back.
    pub reconsume_times: i32,
    /// The commit log offset of the half message, in a committed transaction; else 0.
    pub prepared_transaction_offset: i64,
}

impl MessageExt {
    /// The id made of the broker's address and the commit log offset.
    pub fn offset_msg_id(&self) -> String {
        id::offset_msg_id(self.store_host, self.commit_log_offset)
    }

    /// The id that users see: the unique key, or the offset id without one.
    pub fn msg_id(&self) -> String {
        self.message
            .unique_key()
            .map_or_else(|| self.offset_msg_id(), str::to_owned)
    }
}
