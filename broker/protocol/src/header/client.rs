//! Headers of clients: their groups, and what a broker asks of them.

use crate::header;

header! {
    /// A client leaves.
    pub struct UnregisterClientRequestHeader {
        /// The client.
        client_id: String = "clientID",
        /// The producer group that it leaves.
        producer_group: Option<String> = "producerGroup",
        /// The consumer group that it leaves.
        consumer_group: Option<String> = "consumerGroup",
    }

    /// Asks for the members of a group.
    pub struct GetConsumerListByGroupRequestHeader {
        /// The consumer group.
        consumer_group: String = "consumerGroup",
    }

    /// Tells that a group has other members now.
    pub struct NotifyConsumerIdsChangedRequestHeader {
        /// The consumer group.
        consumer_group: String = "consumerGroup",
    }

    /// Asks for the connections of a consumer group.
    pub struct GetConsumerConnectionListRequestHeader {
        /// The consumer group.
        consumer_group: String = "consumerGroup",
    }

    /// Asks for the connections of a producer group.
    pub struct GetProducerConnectionListRequestHeader {
        /// The producer group.
        producer_group: String = "producerGroup",
    }

    /// Asks what a consumer is doing.
    pub struct GetConsumerRunningInfoRequestHeader {
        /// The consumer group.
        consumer_group: String = "consumerGroup",
        /// The client.
        client_id: String = "clientId",
        /// Whether its threads' stacks are wanted.
        jstack_enable: Option<bool> = "jstackEnable",
    }

    /// Has a consumer consume one message.
    pub struct ConsumeMessageDirectlyResultRequestHeader {
        /// The consumer group.
        consumer_group: String = "consumerGroup",
        /// The client.
        client_id: Option<String> = "clientId",
        /// The offset id of the message.
        msg_id: Option<String> = "msgId",
        /// The name of the broker group.
        broker_name: Option<String> = "brokerName",
        /// The topic.
        topic: Option<String> = "topic",
    }

    /// Sets the offsets of a group to a time.
    pub struct ResetOffsetRequestHeader {
        /// The topic.
        topic: String = "topic",
        /// The consumer group.
        group: String = "group",
        /// Milliseconds since the epoch; -1 for the largest offset.
        timestamp: i64 = "timestamp",
        /// Whether offsets may move forward too.
        is_force: Option<bool> = "isForce",
        /// Only this queue; -1 for all (5.x).
        queue_id: Option<i32> = "queueId",
        /// To this offset instead (5.x).
        offset: Option<i64> = "offset",
    }

    /// Asks for the offsets that consumers hold.
    pub struct GetConsumerStatusRequestHeader {
        /// The topic.
        topic: String = "topic",
        /// The consumer group.
        group: String = "group",
        /// Only this client.
        client_addr: Option<String> = "clientAddr",
    }
}
