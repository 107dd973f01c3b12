//! Statistics of queues, groups and brokers.

use std::collections::BTreeMap;

use super::{SubscriptionData, body, json_methods};
use crate::MessageQueue;

body! {
    /// The offsets of a queue.
    #[derive(Default, Eq)]
    pub struct TopicOffset {
        /// When the last message was stored, in milliseconds since the epoch.
        last_update_timestamp: i64 = "lastUpdateTimestamp",
        /// The largest offset plus one.
        max_offset: i64 = "maxOffset",
        /// The smallest offset.
        min_offset: i64 = "minOffset",
    }

    /// The queues of a topic.
    #[derive(Default, Eq)]
    pub struct TopicStatsTable {
        /// Offsets by queue.
        offset_table: BTreeMap<MessageQueue, TopicOffset> = "offsetTable",
    }

    /// How far a group is in a queue.
    #[derive(Default, Eq)]
    pub struct OffsetWrapper {
        /// The queue's largest offset plus one.
        broker_offset: i64 = "brokerOffset",
        /// The committed offset.
        consumer_offset: i64 = "consumerOffset",
        /// When the last consumed message was stored, in milliseconds since the epoch.
        last_timestamp: i64 = "lastTimestamp",
    }

    /// How far a group is.
    #[derive(Default)]
    pub struct ConsumeStats {
        /// Messages consumed per second.
        consume_tps: f64 = "consumeTps",
        /// Offsets by queue.
        offset_table: BTreeMap<MessageQueue, OffsetWrapper> = "offsetTable",
    }

    /// How far all groups are.
    #[derive(Default)]
    pub struct ConsumeStatsList {
        /// The broker.
        broker_addr: String = "brokerAddr",
        /// One table per group: its statistics per topic.
        consume_stats_list: Vec<BTreeMap<String, Vec<ConsumeStats>>> = "consumeStatsList",
        /// How many messages all groups lag behind.
        total_diff: i64 = "totalDiff",
    }

    /// How far a group is in a queue, in time.
    #[derive(Default, Eq)]
    pub struct QueueTimeSpan {
        /// When the last consumed message was stored, in milliseconds since the epoch.
        consume_time_stamp: i64 = "consumeTimeStamp",
        /// The same as text.
        consume_time_stamp_str: Option<String> = "consumeTimeStampStr",
        /// How long the group lags behind, in milliseconds.
        delay_time: i64 = "delayTime",
        /// When the last message was stored.
        max_time_stamp: i64 = "maxTimeStamp",
        /// The same as text.
        max_time_stamp_str: Option<String> = "maxTimeStampStr",
        /// The queue.
        message_queue: MessageQueue = "messageQueue",
        /// When the first message was stored.
        min_time_stamp: i64 = "minTimeStamp",
        /// The same as text.
        min_time_stamp_str: Option<String> = "minTimeStampStr",
    }

    /// How far a group is in a topic, in time.
    #[derive(Default, Eq)]
    pub struct QueryConsumeTimeSpanBody {
        /// The queues.
        consume_time_span_set: Vec<QueueTimeSpan> = "consumeTimeSpanSet",
    }

    /// A statistic over one span of time.
    #[derive(Default)]
    pub struct BrokerStatsItem {
        /// The average per event.
        avgpt: f64 = "avgpt",
        /// The sum.
        sum: i64 = "sum",
        /// The events per second.
        tps: f64 = "tps",
    }

    /// A statistic.
    #[derive(Default)]
    pub struct BrokerStatsData {
        /// Over the last day.
        stats_day: BrokerStatsItem = "statsDay",
        /// Over the last hour.
        stats_hour: BrokerStatsItem = "statsHour",
        /// Over the last minute.
        stats_minute: BrokerStatsItem = "statsMinute",
    }

    /// A unit of a consume queue.
    #[derive(Default, Eq)]
    pub struct ConsumeQueueData {
        /// The filter's bit map.
        bit_map: Option<String> = "bitMap",
        /// Whether the filter matches.
        eval: bool = "eval",
        /// The unit's extension, as JSON.
        extend_data_json: Option<String> = "extendDataJson",
        /// What went wrong.
        msg: Option<String> = "msg",
        /// The commit log offset.
        physic_offset: i64 = "physicOffset",
        /// The size of the record.
        physic_size: i32 = "physicSize",
        /// The tags code.
        tags_code: i64 = "tagsCode",
    }

    /// Units of a consume queue.
    #[derive(Default, Eq)]
    pub struct QueryConsumeQueueResponseBody {
        /// The group's filter, as text.
        filter_data: Option<String> = "filterData",
        /// The largest index.
        max_queue_index: i64 = "maxQueueIndex",
        /// The smallest index.
        min_queue_index: i64 = "minQueueIndex",
        /// The units.
        queue_data: Vec<ConsumeQueueData> = "queueData",
        /// The group's subscription.
        subscription_data: Option<SubscriptionData> = "subscriptionData",
    }
}

json_methods!(
    TopicStatsTable,
    ConsumeStats,
    ConsumeStatsList,
    QueryConsumeTimeSpanBody,
    BrokerStatsData,
    QueryConsumeQueueResponseBody,
);
