//! The connections of groups.

use std::collections::BTreeMap;

use super::{ConsumeFromWhere, ConsumeType, MessageModel, SubscriptionData, body, json_methods};

body! {
    /// The members of a consumer group.
    #[derive(Default, Eq)]
    pub struct GetConsumerListByGroupResponseBody {
        /// Client ids.
        consumer_id_list: Vec<String> = "consumerIdList",
    }

    /// A client's connection.
    #[derive(Default, Eq)]
    pub struct Connection {
        /// The client's address.
        client_addr: String = "clientAddr",
        /// The client.
        client_id: String = "clientId",
        /// Its language, by name.
        language: String = "language",
        /// Its protocol version.
        version: i32 = "version",
    }

    /// The connections of a consumer group.
    #[derive(Default, Eq)]
    pub struct ConsumerConnection {
        /// The connections.
        connection_set: Vec<Connection> = "connectionSet",
        /// Where the group begins without offsets.
        consume_from_where: ConsumeFromWhere = "consumeFromWhere",
        /// How members get their messages.
        consume_type: ConsumeType = "consumeType",
        /// How members share messages.
        message_model: MessageModel = "messageModel",
        /// Subscriptions by topic.
        subscription_table: BTreeMap<String, SubscriptionData> = "subscriptionTable",
    }

    /// The connections of a producer group.
    #[derive(Default, Eq)]
    pub struct ProducerConnection {
        /// The connections.
        connection_set: Vec<Connection> = "connectionSet",
    }

    /// A producer and when it was heard of last.
    #[derive(Default, Eq)]
    pub struct ProducerInfo {
        /// The client.
        client_id: String = "clientId",
        /// Its language, by name.
        language: String = "language",
        /// When its last heartbeat came, in milliseconds since the epoch.
        last_update_timestamp: i64 = "lastUpdateTimestamp",
        /// Its address, with Java's leading slash.
        remote_ip: String = "remoteIP",
        /// Its protocol version.
        version: i32 = "version",
    }

    /// All producers.
    #[derive(Default, Eq)]
    pub struct ProducerTableInfo {
        /// Producers by group.
        data: BTreeMap<String, Vec<ProducerInfo>> = "data",
    }
}

json_methods!(
    GetConsumerListByGroupResponseBody,
    ConsumerConnection,
    ProducerConnection,
    ProducerTableInfo,
);
