//! Headers of pulling messages (`PULL_MESSAGE`, `LITE_PULL_MESSAGE`).

use crate::header;

header! {
    /// Asks for messages of one queue; their tags are matched by the broker.
    pub struct PullMessageRequestHeader {
        /// The consumer group.
        consumer_group: String = "consumerGroup",
        /// The topic.
        topic: String = "topic",
        /// The queue.
        queue_id: i32 = "queueId",
        /// The first offset wanted.
        queue_offset: i64 = "queueOffset",
        /// At most so many messages.
        max_msg_nums: i32 = "maxMsgNums",
        /// See [`sys_flag`].
        sys_flag: i32 = "sysFlag",
        /// The consumer's offset, stored by the way if the flag says so.
        commit_offset: i64 = "commitOffset",
        /// How long the broker may wait for messages, in milliseconds.
        suspend_timeout_millis: i64 = "suspendTimeoutMillis",
        /// The filter expression, if the flag says so.
        subscription: Option<String> = "subscription",
        /// The version of the subscription, in milliseconds since the epoch.
        sub_version: i64 = "subVersion",
        /// `TAG` (also if missing) or `SQL92`.
        expression_type: Option<String> = "expressionType",
        /// At most so many bytes (5.x).
        max_msg_bytes: Option<i32> = "maxMsgBytes",
        /// The broker group that the sender means.
        broker_name: Option<String> = "bname",
    }

    /// Where to go on.
    pub struct PullMessageResponseHeader {
        /// The broker to ask next: 0 is the master.
        suggest_which_broker_id: i64 = "suggestWhichBrokerId",
        /// The offset to ask for next.
        next_begin_offset: i64 = "nextBeginOffset",
        /// The queue's smallest offset.
        min_offset: i64 = "minOffset",
        /// The queue's largest offset plus one.
        max_offset: i64 = "maxOffset",
    }
}

/// The bits of `sysFlag` in a pull request (`PullSysFlag`).
pub mod sys_flag {
    /// The request commits an offset by the way.
    pub const COMMIT_OFFSET: i32 = 0x1;
    /// The broker may wait for messages.
    pub const SUSPEND: i32 = 0x2;
    /// The request carries its filter expression.
    pub const SUBSCRIPTION: i32 = 0x4;
    /// The subscription is of class filter mode.
    pub const CLASS_FILTER: i32 = 0x8;
    /// The request is of a lite pull consumer.
    pub const LITE_PULL: i32 = 0x10;

    /// The flag of a request that may do these things.
    pub const fn build(commit_offset: bool, suspend: bool, subscription: bool) -> i32 {
        (commit_offset as i32 * COMMIT_OFFSET)
            | (suspend as i32 * SUSPEND)
            | (subscription as i32 * SUBSCRIPTION)
    }
}
