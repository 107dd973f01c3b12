//! Locking queues for ordered consumption.

use std::collections::BTreeSet;

use super::{body, json_methods};
use crate::MessageQueue;

body! {
    /// Asks for locks, or for their renewal.
    #[derive(Default, Eq)]
    pub struct LockBatchRequestBody {
        /// The client.
        client_id: String = "clientId",
        /// The consumer group.
        consumer_group: String = "consumerGroup",
        /// The queues.
        mq_set: BTreeSet<MessageQueue> = "mqSet",
    }

    /// The locks that the client has now, of those it asked for.
    #[derive(Default, Eq)]
    pub struct LockBatchResponseBody {
        /// The queues.
        lock_ok_mq_set: BTreeSet<MessageQueue> = "lockOKMQSet",
    }

    /// Gives locks back.
    #[derive(Default, Eq)]
    pub struct UnlockBatchRequestBody {
        /// The client.
        client_id: String = "clientId",
        /// The consumer group.
        consumer_group: String = "consumerGroup",
        /// The queues.
        mq_set: BTreeSet<MessageQueue> = "mqSet",
    }
}

json_methods!(
    LockBatchRequestBody,
    LockBatchResponseBody,
    UnlockBatchRequestBody
);
