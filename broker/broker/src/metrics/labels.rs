//! The labels of figures (`BrokerMetricsConstant`).

use hotfire_metrics::Labels;
use hotfire_protocol::Properties;
use hotfire_protocol::message::property;
use hotfire_protocol::topic::is_system_topic;

/// Begins the names of the system's consumer groups.
const SYSTEM_GROUP_PREFIX: &str = "cid_rmq_sys_";

/// What kind of message a producer sent (`TopicMessageType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MessageType {
    Normal,
    Fifo,
    Delay,
    Transaction,
}

impl MessageType {
    /// By a message's properties (`BrokerMetricsManager.getMessageType`).
    pub fn of(properties: &Properties) -> Self {
        let has = |name| properties.contains(name);
        if properties
            .get(property::TRAN_MSG)
            .is_some_and(|half| half.eq_ignore_ascii_case("true"))
        {
            Self::Transaction
        } else if has(property::SHARDING_KEY) {
            Self::Fifo
        } else if has(property::DELAY)
            || has(property::TIMER_DELIVER_MS)
            || has(property::TIMER_DELAY_SEC)
            || has(property::TIMER_DELAY_MS)
        {
            Self::Delay
        } else {
            Self::Normal
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Fifo => "fifo",
            Self::Delay => "delay",
            Self::Transaction => "transaction",
        }
    }
}

pub fn flag(value: bool) -> String {
    value.to_string()
}

/// Whether a topic or a group is the system's own.
pub fn is_system(topic: &str, group: &str) -> bool {
    let group = group.to_ascii_lowercase();
    is_system_topic(topic) || group.starts_with(SYSTEM_GROUP_PREFIX)
}

pub fn sent(topic: &str, kind: MessageType) -> Labels {
    let mut labels = sized(topic, kind);
    labels.push(("is_system", flag(is_system(topic, ""))));
    labels
}

pub fn sized(topic: &str, kind: MessageType) -> Labels {
    vec![
        ("topic", topic.to_owned()),
        ("message_type", kind.name().to_owned()),
    ]
}

pub fn received(group: &str, topic: &str, retried: bool) -> Labels {
    vec![
        ("topic", topic.to_owned()),
        ("consumer_group", group.to_owned()),
        ("is_retry", flag(retried)),
        ("is_system", flag(is_system(topic, group))),
    ]
}

/// Of what the store tells (`DefaultStoreMetricsConstant`).
pub fn stored() -> Labels {
    vec![
        ("storage_type", "local".to_owned()),
        ("storage_medium", "disk".to_owned()),
    ]
}
