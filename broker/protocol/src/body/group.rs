//! The configurations of consumer groups, and lists of them.

use std::collections::BTreeMap;

use super::{DataVersion, SubscriptionData, body, json_methods};

body! {
    /// A consumer group as a broker has it.
    #[derive(Eq)]
    pub struct SubscriptionGroupConfig {
        /// The broker that the group reads from first.
        broker_id: i64 = "brokerId",
        /// Whether its members may broadcast.
        consume_broadcast_enable: bool = "consumeBroadcastEnable",
        /// Whether it may consume.
        consume_enable: bool = "consumeEnable",
        /// Whether it may begin at the smallest offset.
        consume_from_min_enable: bool = "consumeFromMinEnable",
        /// The group.
        group_name: String = "groupName",
        /// Whether its members are told of each other's coming and going.
        notify_consumer_ids_changed_enable: bool = "notifyConsumerIdsChangedEnable",
        /// How often a message is delivered again before it is a dead letter.
        retry_max_times: i32 = "retryMaxTimes",
        /// The number of queues of the retry topic.
        retry_queue_nums: i32 = "retryQueueNums",
        /// The broker that the group reads from when it lags.
        which_broker_when_consume_slowly: i64 = "whichBrokerWhenConsumeSlowly",
    }

    /// The consumer groups of a broker (`subscriptionGroup.json`).
    #[derive(Default, Eq)]
    pub struct SubscriptionGroupWrapper {
        /// Their version.
        data_version: DataVersion = "dataVersion",
        /// Groups by name.
        subscription_group_table: BTreeMap<String, SubscriptionGroupConfig> =
            "subscriptionGroupTable",
    }

    /// A list of groups.
    #[derive(Default, Eq)]
    pub struct GroupList {
        /// The groups.
        group_list: Vec<String> = "groupList",
    }

    /// Groups to create or change.
    #[derive(Default, Eq)]
    pub struct SubscriptionGroupList {
        /// The groups.
        group_config_list: Vec<SubscriptionGroupConfig> = "groupConfigList",
    }

    /// What a group subscribes to.
    #[derive(Default, Eq)]
    pub struct QuerySubscriptionResponseBody {
        /// The consumer group.
        group: String = "group",
        /// Its subscription, if it has one.
        subscription_data: Option<SubscriptionData> = "subscriptionData",
        /// The topic.
        topic: String = "topic",
    }
}

json_methods!(
    SubscriptionGroupConfig,
    SubscriptionGroupWrapper,
    GroupList,
    SubscriptionGroupList,
    QuerySubscriptionResponseBody,
);

/// Java's defaults.
impl Default for SubscriptionGroupConfig {
    fn default() -> Self {
        Self {
            broker_id: 0,
            consume_broadcast_enable: true,
            consume_enable: true,
            consume_from_min_enable: true,
            group_name: String::new(),
            notify_consumer_ids_changed_enable: true,
            retry_max_times: 16,
            retry_queue_nums: 1,
            which_broker_when_consume_slowly: 1,
        }
    }
}
