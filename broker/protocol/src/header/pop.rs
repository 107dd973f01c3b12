//! Headers of popping messages (5.x).

use crate::header;

header! {
    /// Asks for messages, hidden from others until acknowledged.
    pub struct PopMessageRequestHeader {
        /// The consumer group.
        consumer_group: String = "consumerGroup",
        /// The topic.
        topic: String = "topic",
        /// The queue; -1 for any.
        queue_id: i32 = "queueId",
        /// At most so many messages.
        max_msg_nums: i32 = "maxMsgNums",
        /// How long the message stays hidden, in milliseconds.
        invisible_time: i64 = "invisibleTime",
        /// How long the broker may wait for messages, in milliseconds.
        poll_time: i64 = "pollTime",
        /// When the request was made, in milliseconds since the epoch.
        born_time: i64 = "bornTime",
        /// Where a new group begins: 0 at the smallest offset, 1 at the largest.
        init_mode: i32 = "initMode",
        /// The kind of filter expression.
        exp_type: Option<String> = "expType",
        /// The filter expression.
        exp: Option<String> = "exp",
        /// Whether the messages are consumed in order.
        order: Option<bool> = "order",
        /// Tells a repeated attempt of an ordered pop.
        attempt_id: Option<String> = "attemptId",
    }

    /// Receipts of popped messages.
    pub struct PopMessageResponseHeader {
        /// When the message was popped, in milliseconds since the epoch.
        pop_time: i64 = "popTime",
        /// How long the message stays hidden, in milliseconds.
        invisible_time: i64 = "invisibleTime",
        /// The queue of the revive topic that watches over the message.
        revive_qid: i32 = "reviveQid",
        /// How many more messages there are.
        rest_num: i64 = "restNum",
        /// The first offset of each queue.
        start_offset_info: Option<String> = "startOffsetInfo",
        /// The offsets of each queue.
        msg_offset_info: Option<String> = "msgOffsetInfo",
        /// How often ordered messages were consumed.
        order_count_info: Option<String> = "orderCountInfo",
    }

    /// Acknowledges a message.
    pub struct AckMessageRequestHeader {
        /// The consumer group.
        consumer_group: String = "consumerGroup",
        /// The topic.
        topic: String = "topic",
        /// The queue.
        queue_id: i32 = "queueId",
        /// The receipt (`POP_CK`).
        extra_info: String = "extraInfo",
        /// The queue offset.
        offset: i64 = "offset",
    }

    /// Hides a message for longer, or less long.
    pub struct ChangeInvisibleTimeRequestHeader {
        /// The consumer group.
        consumer_group: String = "consumerGroup",
        /// The topic.
        topic: String = "topic",
        /// The queue.
        queue_id: i32 = "queueId",
        /// The receipt (`POP_CK`).
        extra_info: String = "extraInfo",
        /// The queue offset.
        offset: i64 = "offset",
        /// How long the message stays hidden, in milliseconds.
        invisible_time: i64 = "invisibleTime",
    }

    /// The new receipt.
    pub struct ChangeInvisibleTimeResponseHeader {
        /// When the message was popped, in milliseconds since the epoch.
        pop_time: i64 = "popTime",
        /// How long the message stays hidden, in milliseconds.
        invisible_time: i64 = "invisibleTime",
        /// The queue of the revive topic that watches over the message.
        revive_qid: i32 = "reviveQid",
    }

    /// Asks to be told of messages to pop.
    pub struct NotificationRequestHeader {
        /// The consumer group.
        consumer_group: String = "consumerGroup",
        /// The topic.
        topic: String = "topic",
        /// The queue.
        queue_id: i32 = "queueId",
        /// How long the broker may wait for messages, in milliseconds.
        poll_time: i64 = "pollTime",
        /// When the request was made, in milliseconds since the epoch.
        born_time: i64 = "bornTime",
        /// Whether the messages are consumed in order.
        order: Option<bool> = "order",
        /// Tells a repeated attempt of an ordered pop.
        attempt_id: Option<String> = "attemptId",
    }

    /// Whether there are messages to pop.
    pub struct NotificationResponseHeader {
        /// Whether there are.
        has_msg: bool = "hasMsg",
        /// Whether too many are waiting.
        polling_full: Option<bool> = "pollingFull",
    }

    /// Looks at messages without popping them.
    pub struct PeekMessageRequestHeader {
        /// The topic.
        topic: String = "topic",
        /// The queue.
        queue_id: i32 = "queueId",
        /// At most so many messages.
        max_msg_nums: i32 = "maxMsgNums",
        /// The consumer group.
        consumer_group: String = "consumerGroup",
    }

    /// Asks how many wait for messages to pop.
    pub struct PollingInfoRequestHeader {
        /// The consumer group.
        consumer_group: String = "consumerGroup",
        /// The topic.
        topic: String = "topic",
        /// The queue.
        queue_id: i32 = "queueId",
    }

    /// How many wait.
    pub struct PollingInfoResponseHeader {
        /// The number of waiting requests.
        polling_num: i32 = "pollingNum",
    }
}
