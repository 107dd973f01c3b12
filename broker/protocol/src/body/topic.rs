//! Topic configurations and their version.

use std::collections::BTreeMap;

use super::{TopicFilterType, body, json_methods};
use crate::topic::perm;

body! {
    /// A topic as a broker has it.
    #[derive(Eq)]
    pub struct TopicConfig {
        /// Whether its messages are ordered across the cluster.
        order: bool = "order",
        /// See [`perm`].
        perm: i32 = "perm",
        /// The number of queues to read from.
        read_queue_nums: i32 = "readQueueNums",
        /// How many tags its messages have.
        topic_filter_type: TopicFilterType = "topicFilterType",
        /// The topic.
        topic_name: String = "topicName",
        /// Bit 0: of a unit, bit 1: with a subscription of a unit.
        topic_sys_flag: i32 = "topicSysFlag",
        /// The number of queues to write to.
        write_queue_nums: i32 = "writeQueueNums",
    }

    /// The version of a configuration. Versions are equal or not; which is newer, nobody asks.
    #[derive(Default, Eq, Copy)]
    pub struct DataVersion {
        /// How often it changed.
        counter: i64 = "counter",
        /// The broker's epoch (5.x); 0 is not written.
        #[serde(skip_serializing_if = "is_zero")]
        state_version: i64 = "stateVersion",
        /// When it changed last, in milliseconds since the epoch.
        timestamp: i64 = "timestamp",
    }

    /// The topics of a broker (`topics.json`).
    #[derive(Default, Eq)]
    pub struct TopicConfigSerializeWrapper {
        /// Their version.
        data_version: DataVersion = "dataVersion",
        /// Topics by name.
        topic_config_table: BTreeMap<String, TopicConfig> = "topicConfigTable",
    }

    /// Topics to create or change.
    #[derive(Default, Eq)]
    pub struct CreateTopicListRequestBody {
        /// The topics.
        topic_config_list: Vec<TopicConfig> = "topicConfigList",
    }
}

json_methods!(
    TopicConfig,
    DataVersion,
    TopicConfigSerializeWrapper,
    CreateTopicListRequestBody,
);

fn is_zero(value: &i64) -> bool {
    *value == 0
}

/// 16 queues, readable and writable: Java's defaults.
impl Default for TopicConfig {
    fn default() -> Self {
        Self::new("", 16, 16, perm::READ | perm::WRITE)
    }
}

impl TopicConfig {
    /// An unordered topic.
    pub fn new(
        topic_name: impl Into<String>,
        read_queue_nums: i32,
        write_queue_nums: i32,
        perm: i32,
    ) -> Self {
        Self {
            order: false,
            perm,
            read_queue_nums,
            topic_filter_type: TopicFilterType::SingleTag,
            topic_name: topic_name.into(),
            topic_sys_flag: 0,
            write_queue_nums,
        }
    }
}

impl DataVersion {
    /// The version after a change at `now_ms`.
    #[must_use]
    pub fn next(self, now_ms: i64) -> Self {
        Self {
            counter: self.counter.wrapping_add(1),
            timestamp: now_ms,
            ..self
        }
    }
}
