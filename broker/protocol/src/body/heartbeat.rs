//! What clients tell brokers of themselves.

use std::collections::BTreeSet;

use super::{ConsumeFromWhere, ConsumeType, MessageModel, body, json_methods};

body! {
    /// The groups of a client.
    #[derive(Default, Eq)]
    pub struct HeartbeatData {
        /// The client.
        client_id: String = "clientID",
        /// Its consumer groups.
        consumer_data_set: Vec<ConsumerData> = "consumerDataSet",
        /// Its producer groups.
        producer_data_set: Vec<ProducerData> = "producerDataSet",
    }

    /// A producer group.
    #[derive(Default, Eq)]
    pub struct ProducerData {
        /// The group.
        group_name: String = "groupName",
    }

    /// A consumer group and what its members subscribe.
    #[derive(Default, Eq)]
    pub struct ConsumerData {
        /// Where the group begins without offsets.
        consume_from_where: ConsumeFromWhere = "consumeFromWhere",
        /// How the member gets its messages.
        consume_type: ConsumeType = "consumeType",
        /// The group.
        group_name: String = "groupName",
        /// How members share messages.
        message_model: MessageModel = "messageModel",
        /// Its subscriptions.
        subscription_data_set: Vec<SubscriptionData> = "subscriptionDataSet",
        /// Whether the client is of a unit.
        unit_mode: bool = "unitMode",
    }

    /// What a group wants of a topic; see [`filter`](crate::filter).
    #[derive(Default, Eq)]
    pub struct SubscriptionData {
        /// Filters are classes; gone since 4.x, and then nothing else filters.
        class_filter_mode: bool = "classFilterMode",
        /// The hashes of the tags.
        code_set: BTreeSet<i32> = "codeSet",
        /// `TAG` (also if missing) or `SQL92`.
        expression_type: Option<String> = "expressionType",
        /// The expression.
        sub_string: String = "subString",
        /// When it was made, in milliseconds since the epoch; larger is newer.
        sub_version: i64 = "subVersion",
        /// The tags.
        tags_set: BTreeSet<String> = "tagsSet",
        /// The topic.
        topic: String = "topic",
    }

    /// Asks a broker to check a subscription.
    #[derive(Default, Eq)]
    pub struct CheckClientRequestBody {
        /// The client.
        client_id: String = "clientId",
        /// The consumer group.
        group: String = "group",
        /// The client's namespace.
        namespace: Option<String> = "namespace",
        /// The subscription.
        subscription_data: SubscriptionData = "subscriptionData",
    }
}

json_methods!(
    HeartbeatData,
    ProducerData,
    ConsumerData,
    SubscriptionData,
    CheckClientRequestBody
);
