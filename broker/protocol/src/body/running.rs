//! What a consumer tells of itself on request.

use std::collections::BTreeMap;

use super::{ConsumeResult, SubscriptionData, body, json_methods};
use crate::MessageQueue;

body! {
    /// What a consumer is doing.
    #[derive(Default)]
    pub struct ConsumerRunningInfo {
        /// The stacks of its threads, if asked for.
        jstack: Option<String> = "jstack",
        /// Its queues.
        mq_table: BTreeMap<MessageQueue, ProcessQueueInfo> = "mqTable",
        /// Its settings.
        properties: BTreeMap<String, String> = "properties",
        /// Its statistics by topic.
        status_table: BTreeMap<String, ConsumeStatus> = "statusTable",
        /// Its subscriptions.
        subscription_set: Vec<SubscriptionData> = "subscriptionSet",
    }

    /// What a consumer holds of a queue.
    #[derive(Default, Eq)]
    pub struct ProcessQueueInfo {
        /// Messages held.
        cached_msg_count: i64 = "cachedMsgCount",
        /// The largest offset held.
        cached_msg_max_offset: i64 = "cachedMsgMaxOffset",
        /// The smallest offset held.
        cached_msg_min_offset: i64 = "cachedMsgMinOffset",
        /// Their size in MiB.
        cached_msg_size_in_mib: i64 = "cachedMsgSizeInMiB",
        /// The offset to commit.
        commit_offset: i64 = "commitOffset",
        /// Whether the queue was given away.
        droped: bool = "droped",
        /// When a message was consumed last, in milliseconds since the epoch.
        last_consume_timestamp: i64 = "lastConsumeTimestamp",
        /// When it was locked last.
        last_lock_timestamp: i64 = "lastLockTimestamp",
        /// When it was pulled from last.
        last_pull_timestamp: i64 = "lastPullTimestamp",
        /// Whether it is locked.
        locked: bool = "locked",
        /// Messages being consumed in order.
        transaction_msg_count: i64 = "transactionMsgCount",
        /// The largest offset of them.
        transaction_msg_max_offset: i64 = "transactionMsgMaxOffset",
        /// The smallest offset of them.
        transaction_msg_min_offset: i64 = "transactionMsgMinOffset",
        /// How often it could not be unlocked.
        try_unlock_times: i64 = "tryUnlockTimes",
    }

    /// A consumer's statistics of a topic.
    #[derive(Default)]
    pub struct ConsumeStatus {
        /// Messages that failed within the last hour.
        consume_failed_msgs: i64 = "consumeFailedMsgs",
        /// Messages that failed per second.
        consume_failed_tps: f64 = "consumeFailedTPS",
        /// Messages consumed per second.
        consume_ok_tps: f64 = "consumeOKTPS",
        /// Milliseconds per message.
        consume_rt: f64 = "consumeRT",
        /// Milliseconds per pull.
        pull_rt: f64 = "pullRT",
        /// Messages pulled per second.
        pull_tps: f64 = "pullTPS",
    }

    /// How a message consumed on command went.
    #[derive(Eq)]
    pub struct ConsumeMessageDirectlyResult {
        /// Whether the listener commits by itself.
        auto_commit: bool = "autoCommit",
        /// What came of it.
        consume_result: ConsumeResult = "consumeResult",
        /// Whether the listener is an ordered one.
        order: bool = "order",
        /// What went wrong.
        remark: Option<String> = "remark",
        /// How long it took, in milliseconds.
        spent_time_mills: i64 = "spentTimeMills",
    }
}

json_methods!(ConsumerRunningInfo, ConsumeMessageDirectlyResult);

/// Java's defaults.
impl Default for ConsumeMessageDirectlyResult {
    fn default() -> Self {
        Self {
            auto_commit: true,
            consume_result: ConsumeResult::Success,
            order: false,
            remark: None,
            spent_time_mills: 0,
        }
    }
}
