//! The retry topics of pops: where what is revived goes, and what is read again.
//!
//! A group has one for each topic that it pops, under either of two names: group and topic joined by
//! `_` or, with `enableRetryTopicV2`, by `+`. What was put under the other name while the setting
//! was another one is still read. Apache RocketMQ does the same when it has gone from `_` to `+`,
//! unless `retrieveMessageFromPopRetryTopicV1` is off, but reads one of the two per pop, and nothing
//! but `_` when the setting is taken back.

use hotfire_protocol::pop::{retry_topic, retry_topic_v2};

use crate::config::BrokerConfig;

/// The retry topic that messages of a topic are put into for a group (`buildPopRetryTopic`).
pub fn retry_topic_to_write(config: &BrokerConfig, topic: &str, group: &str) -> String {
    if config.enable_retry_topic_v2 {
        retry_topic_v2(topic, group)
    } else {
        retry_topic(topic, group)
    }
}

/// The retry topics that a group may find messages of a topic in; not all of them exist.
pub fn retry_topics_to_read(config: &BrokerConfig, topic: &str, group: &str) -> Vec<String> {
    let mut topics = vec![retry_topic_v2(topic, group)];
    if !config.enable_retry_topic_v2 || config.retrieve_message_from_pop_retry_topic_v1 {
        topics.insert(0, retry_topic(topic, group));
    }
    topics
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = "%RETRY%readers_orders";
    const V2: &str = "%RETRY%readers+orders";

    fn config(enable_retry_topic_v2: bool, retrieve_v1: bool) -> BrokerConfig {
        BrokerConfig {
            enable_retry_topic_v2,
            retrieve_message_from_pop_retry_topic_v1: retrieve_v1,
            ..BrokerConfig::default()
        }
    }

    #[test]
    fn one_name_is_written() {
        let to = |v2| retry_topic_to_write(&config(v2, true), "orders", "readers");
        assert_eq!([to(false), to(true)], [V1, V2]);
    }

    #[test]
    fn both_names_are_read_unless_the_old_one_is_switched_off() {
        let from = |v2, v1| retry_topics_to_read(&config(v2, v1), "orders", "readers");
        assert_eq!(from(false, false), [V1, V2]);
        assert_eq!(from(true, true), [V1, V2]);
        assert_eq!(from(true, false), [V2]);
    }
}
