//! Headers of offsets: those that consumers commit and those that a queue has.

use crate::header;

header! {
    /// Asks for the offset that a group has committed.
    pub struct QueryConsumerOffsetRequestHeader {
        /// The consumer group.
        consumer_group: String = "consumerGroup",
        /// The topic.
        topic: String = "topic",
        /// The queue.
        queue_id: i32 = "queueId",
        /// Whether a young queue counts as committed at 0 (5.x; true if missing).
        set_zero_if_not_found: Option<bool> = "setZeroIfNotFound",
        /// The broker group that the sender means.
        broker_name: Option<String> = "bname",
    }

    /// The committed offset.
    pub struct QueryConsumerOffsetResponseHeader {
        /// The queue offset.
        offset: i64 = "offset",
    }

    /// Commits an offset.
    pub struct UpdateConsumerOffsetRequestHeader {
        /// The consumer group.
        consumer_group: String = "consumerGroup",
        /// The topic.
        topic: String = "topic",
        /// The queue.
        queue_id: i32 = "queueId",
        /// The offset of the next message to consume.
        commit_offset: i64 = "commitOffset",
        /// The broker group that the sender means.
        broker_name: Option<String> = "bname",
    }

    /// Asks for the offset at a time.
    pub struct SearchOffsetRequestHeader {
        /// The topic.
        topic: String = "topic",
        /// The queue.
        queue_id: i32 = "queueId",
        /// Milliseconds since the epoch.
        timestamp: i64 = "timestamp",
        /// `LOWER` or `UPPER` (5.1).
        boundary_type: Option<String> = "boundaryType",
        /// The broker group that the sender means.
        broker_name: Option<String> = "bname",
    }

    /// The offset at that time.
    pub struct SearchOffsetResponseHeader {
        /// The queue offset.
        offset: i64 = "offset",
    }

    /// Asks for the next offset to be written.
    pub struct GetMaxOffsetRequestHeader {
        /// The topic.
        topic: String = "topic",
        /// The queue.
        queue_id: i32 = "queueId",
        /// Whether only replicated messages count (5.x).
        committed: Option<bool> = "committed",
        /// The broker group that the sender means.
        broker_name: Option<String> = "bname",
    }

    /// The next offset to be written.
    pub struct GetMaxOffsetResponseHeader {
        /// The queue offset.
        offset: i64 = "offset",
    }

    /// Asks for the smallest offset.
    pub struct GetMinOffsetRequestHeader {
        /// The topic.
        topic: String = "topic",
        /// The queue.
        queue_id: i32 = "queueId",
        /// The broker group that the sender means.
        broker_name: Option<String> = "bname",
    }

    /// The smallest offset.
    pub struct GetMinOffsetResponseHeader {
        /// The queue offset.
        offset: i64 = "offset",
    }

    /// Asks when the oldest message was stored.
    pub struct GetEarliestMsgStoretimeRequestHeader {
        /// The topic.
        topic: String = "topic",
        /// The queue.
        queue_id: i32 = "queueId",
        /// The broker group that the sender means.
        broker_name: Option<String> = "bname",
    }

    /// When the oldest message was stored.
    pub struct GetEarliestMsgStoretimeResponseHeader {
        /// Milliseconds since the epoch; -1 in an empty queue.
        timestamp: i64 = "timestamp",
    }
}
