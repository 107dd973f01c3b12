//! How groups get the messages of topics (`MessageRequestModeManager`).

use hotfire_protocol::body::{
    MessageRequestMode, MessageRequestModeSerializeWrapper, SetMessageRequestModeRequestBody,
};
use hotfire_protocol::topic::RETRY_PREFIX;
use serde::{Deserialize, Serialize};

use crate::config::BrokerConfig;
use crate::limits::{self, Full};

/// What administrators have set. As JSON, it is the content of `messageRequestMode.json`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestModes(MessageRequestModeSerializeWrapper);

impl RequestModes {
    /// The JSON of all.
    pub fn to_json(&self) -> Vec<u8> {
        self.0.to_json()
    }

    /// Sets how a group gets the messages of a topic.
    ///
    /// # Errors
    /// There are too many such settings.
    pub fn set(&mut self, mode: SetMessageRequestModeRequestBody) -> Result<(), Full> {
        let topics = &mut self.0.message_request_mode_map;
        let groups = topics.get(&mode.topic);
        if groups.is_none_or(|groups| !groups.contains_key(&mode.consumer_group)) {
            // Administrators set few, so that counting them costs less than a count to keep.
            let count: usize = topics.values().map(|groups| groups.len()).sum();
            limits::check("request modes", count + 1, limits::REQUEST_MODES)?;
        }
        let groups = topics.entry(mode.topic.clone()).or_default();
        groups.insert(mode.consumer_group.clone(), mode);
        Ok(())
    }

    /// Forgets a topic. True if anything was set for it.
    pub fn remove_topic(&mut self, topic: &str) -> bool {
        self.0.message_request_mode_map.remove(topic).is_some()
    }

    /// Forgets a group. True if anything was set for it.
    pub fn remove_group(&mut self, group: &str) -> bool {
        let mut removed = false;
        self.0.message_request_mode_map.retain(|_, groups| {
            removed |= groups.remove(group).is_some();
            !groups.is_empty()
        });
        removed
    }

    /// How a group gets the messages of a topic, and how many members share queues: as set, or by
    /// default. Retry topics are always pulled.
    pub fn of(&self, topic: &str, group: &str, config: &BrokerConfig) -> (MessageRequestMode, i32) {
        let topics = &self.0.message_request_mode_map;
        if let Some(set) = topics.get(topic).and_then(|groups| groups.get(group)) {
            return (set.mode, set.pop_share_queue_num);
        }
        match config.default_message_request_mode {
            MessageRequestMode::Pop if !topic.starts_with(RETRY_PREFIX) => {
                (MessageRequestMode::Pop, config.default_pop_share_queue_num)
            }
            _ => (MessageRequestMode::Pull, 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_counts_for_its_topic_and_group_only() {
        let mut modes = RequestModes::default();
        let set = modes.set(SetMessageRequestModeRequestBody {
            consumer_group: "readers".to_owned(),
            mode: MessageRequestMode::Pop,
            pop_share_queue_num: 2,
            topic: "orders".to_owned(),
        });
        assert_eq!(set, Ok(()));
        let config = BrokerConfig::default();
        let of = |topic, group| modes.of(topic, group, &config);
        assert_eq!(of("orders", "readers"), (MessageRequestMode::Pop, 2));
        assert_eq!(of("orders", "auditors"), (MessageRequestMode::Pull, 0));
        assert_eq!(of("parcels", "readers"), (MessageRequestMode::Pull, 0));
    }

    #[test]
    fn by_default_all_but_retry_topics_may_be_popped() {
        let modes = RequestModes::default();
        let config = BrokerConfig {
            default_message_request_mode: MessageRequestMode::Pop,
            ..BrokerConfig::default()
        };
        let of = |topic| modes.of(topic, "readers", &config);
        assert_eq!(of("orders"), (MessageRequestMode::Pop, -1));
        assert_eq!(of("%RETRY%readers"), (MessageRequestMode::Pull, 0));
    }
}
