//! Headers of looking up messages.

use crate::header;

header! {
    /// Asks for messages by key.
    pub struct QueryMessageRequestHeader {
        /// The topic.
        topic: String = "topic",
        /// A key, or a unique key where `_UNIQUE_KEY_QUERY` says so.
        key: String = "key",
        /// At most so many messages.
        max_num: i32 = "maxNum",
        /// The first store time, in milliseconds since the epoch.
        begin_timestamp: i64 = "beginTimestamp",
        /// The last store time, in milliseconds since the epoch.
        end_timestamp: i64 = "endTimestamp",
        /// Whether the key is a unique key.
        unique_key_query: Option<bool> = "_UNIQUE_KEY_QUERY",
    }

    /// How far the index is.
    pub struct QueryMessageResponseHeader {
        /// The store time of the last message in the index.
        index_last_update_timestamp: i64 = "indexLastUpdateTimestamp",
        /// The commit log offset of the last message in the index.
        index_last_update_phyoffset: i64 = "indexLastUpdatePhyoffset",
    }

    /// Asks for one message.
    pub struct ViewMessageRequestHeader {
        /// The commit log offset of the message.
        offset: i64 = "offset",
    }

    /// Asks for units of a consume queue.
    pub struct QueryConsumeQueueRequestHeader {
        /// The topic.
        topic: String = "topic",
        /// The queue.
        queue_id: i32 = "queueId",
        /// The first unit; negative: from the end.
        index: i64 = "index",
        /// At most so many units.
        count: i32 = "count",
        /// The consumer group.
        consumer_group: Option<String> = "consumerGroup",
    }

    /// Asks for a statistic.
    pub struct ViewBrokerStatsDataRequestHeader {
        /// The name of the statistic.
        stats_name: String = "statsName",
        /// What it is about: a topic, or topic and group.
        stats_key: String = "statsKey",
    }
}
