//! Consumer offsets.

use std::collections::BTreeMap;

use super::{body, json_methods};
use crate::MessageQueue;

body! {
    /// Sets the offsets of a group.
    #[derive(Default, Eq)]
    pub struct ResetOffsetBody {
        /// Offsets by queue.
        offset_table: BTreeMap<MessageQueue, i64> = "offsetTable",
    }

    /// The same as a list, for C++ clients: they cannot read maps keyed by objects.
    #[derive(Default, Eq)]
    pub struct ResetOffsetBodyForC {
        /// Queues and their offsets.
        offset_table: Vec<MessageQueueForC> = "offsetTable",
    }

    /// A queue and its offset.
    #[derive(Default, Eq)]
    pub struct MessageQueueForC {
        /// The broker group.
        broker_name: String = "brokerName",
        /// The offset.
        offset: i64 = "offset",
        /// The queue.
        queue_id: i32 = "queueId",
        /// The topic.
        topic: String = "topic",
    }

    /// The offsets that consumers hold.
    #[derive(Default, Eq)]
    pub struct GetConsumerStatusBody {
        /// A broker's answer: offsets by queue by client.
        consumer_table: BTreeMap<String, BTreeMap<MessageQueue, i64>> = "consumerTable",
        /// A client's answer: offsets by queue.
        message_queue_table: BTreeMap<MessageQueue, i64> = "messageQueueTable",
    }

    /// The smallest offsets among groups.
    #[derive(Default, Eq)]
    pub struct QueryCorrectionOffsetBody {
        /// Offsets by queue id; the largest number where the compared group is behind all others.
        correction_offsets: BTreeMap<i32, i64> = "correctionOffsets",
    }

    /// The committed offsets of a broker (`consumerOffset.json`).
    #[derive(Default, Eq)]
    pub struct ConsumerOffsetSerializeWrapper {
        /// Offsets by queue id by `topic@group`.
        offset_table: BTreeMap<String, BTreeMap<i32, i64>> = "offsetTable",
    }

    /// How far a broker has delivered scheduled messages (`delayOffset.json`).
    #[derive(Default, Eq)]
    pub struct DelayOffsetSerializeWrapper {
        /// Offsets by delay level.
        offset_table: BTreeMap<i32, i64> = "offsetTable",
    }
}

json_methods!(
    ResetOffsetBody,
    ResetOffsetBodyForC,
    GetConsumerStatusBody,
    QueryCorrectionOffsetBody,
    ConsumerOffsetSerializeWrapper,
    DelayOffsetSerializeWrapper,
);
