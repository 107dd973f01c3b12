//! Headers of administration.

use crate::header;

header! {
    /// Deletes a group from a broker.
    pub struct DeleteSubscriptionGroupRequestHeader {
        /// The consumer group.
        group_name: String = "groupName",
        /// Whether its offsets go too (4.9).
        remove_offset: Option<bool> = "removeOffset",
        /// Whether its offsets go too (5.x).
        clean_offset: Option<bool> = "cleanOffset",
    }

    /// Asks for the offsets of a group.
    pub struct GetConsumeStatsRequestHeader {
        /// The consumer group.
        consumer_group: String = "consumerGroup",
        /// Only of this topic.
        topic: Option<String> = "topic",
    }

    /// Asks for the offsets of all groups.
    pub struct GetConsumeStatsInBrokerHeader {
        /// Whether the groups are ordered ones.
        is_order: bool = "isOrder",
    }

    /// Copies a group's offsets to another.
    pub struct CloneGroupOffsetRequestHeader {
        /// The group to copy from.
        src_group: String = "srcGroup",
        /// The group to copy to.
        dest_group: String = "destGroup",
        /// Only of this topic.
        topic: Option<String> = "topic",
        /// Whether the group to copy to may be without members only.
        offline: Option<bool> = "offline",
    }

    /// The version of a broker's configuration.
    pub struct GetBrokerConfigResponseHeader {
        /// A data version, as JSON.
        version: String = "version",
    }

    /// Asks for the smallest offsets among groups.
    pub struct QueryCorrectionOffsetHeader {
        /// Without these groups, separated by commas.
        filter_groups: Option<String> = "filterGroups",
        /// The group to compare with.
        compare_group: String = "compareGroup",
        /// The topic.
        topic: String = "topic",
    }

    /// Asks for the configuration of a group (5.x).
    pub struct GetSubscriptionGroupConfigRequestHeader {
        /// The consumer group.
        group: String = "group",
    }

    /// Asks for the configuration of a topic (5.x).
    pub struct GetTopicConfigRequestHeader {
        /// The topic.
        topic: String = "topic",
    }

    /// Asks which topics a group has offsets of.
    pub struct QueryTopicsByConsumerRequestHeader {
        /// The consumer group.
        group: String = "group",
    }

    /// Asks what a group subscribes to.
    pub struct QuerySubscriptionByConsumerRequestHeader {
        /// The consumer group.
        group: String = "group",
        /// The topic.
        topic: String = "topic",
    }
}
