//! Load balancing by brokers (5.x): which queues a member of a group reads, and whether it pulls or
//! pops them.

use std::collections::BTreeMap;

use super::{MessageModel, body, json_methods, names};
use crate::MessageQueue;

names! {
    /// How the members of a group get the messages of a topic (`MessageRequestMode`).
    pub enum MessageRequestMode {
        /// Each pulls from queues of its own.
        #[default]
        Pull = "PULL",
        /// They pop, and may share queues.
        Pop = "POP",
    }
}

body! {
    /// Asks which queues of a topic a member of a group is to read.
    #[derive(Default, Eq)]
    pub struct QueryAssignmentRequestBody {
        /// The member.
        client_id: String = "clientId",
        /// The consumer group.
        consumer_group: String = "consumerGroup",
        /// Whether its members share the messages.
        message_model: MessageModel = "messageModel",
        /// How queues are shared: `AVG` or `AVG_BY_CIRCLE`.
        strategy_name: String = "strategyName",
        /// The topic.
        topic: String = "topic",
    }

    /// The queues that a member is to read. Missing means that nobody knows, and that it keeps what
    /// it has.
    #[derive(Default, Eq)]
    pub struct QueryAssignmentResponseBody {
        /// The queues.
        #[serde(skip_serializing_if = "Option::is_none")]
        message_queue_assignments: Option<Vec<MessageQueueAssignment>> =
            "messageQueueAssignments",
    }

    /// A queue that a member is to read.
    #[derive(Default, Eq)]
    pub struct MessageQueueAssignment {
        /// Whatever else there is to say; brokers say nothing.
        #[serde(skip_serializing_if = "Option::is_none")]
        attachments: Option<BTreeMap<String, String>> = "attachments",
        /// The queue; -1 for all of its topic on that broker group.
        message_queue: MessageQueue = "messageQueue",
        /// How it gets the messages.
        mode: MessageRequestMode = "mode",
    }

    /// Sets how a group gets the messages of a topic.
    #[derive(Default, Eq)]
    pub struct SetMessageRequestModeRequestBody {
        /// The consumer group.
        consumer_group: String = "consumerGroup",
        /// How it gets them.
        mode: MessageRequestMode = "mode",
        /// When popping: of how many members that follow it in the list a member reads the queues
        /// too. With 0 or less, or nearly as many as there are members, all read all.
        pop_share_queue_num: i32 = "popShareQueueNum",
        /// The topic.
        topic: String = "topic",
    }

    /// What was set, by topic and group (`messageRequestMode.json`).
    #[derive(Default, Eq)]
    pub struct MessageRequestModeSerializeWrapper {
        /// Settings by topic and group.
        message_request_mode_map: BTreeMap<String, BTreeMap<String, SetMessageRequestModeRequestBody>> =
            "messageRequestModeMap",
    }
}

json_methods!(
    QueryAssignmentRequestBody,
    QueryAssignmentResponseBody,
    SetMessageRequestModeRequestBody,
    MessageRequestModeSerializeWrapper,
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assignment_is_the_json_of_java() {
        let body = QueryAssignmentResponseBody {
            message_queue_assignments: Some(vec![MessageQueueAssignment {
                message_queue: MessageQueue::new("orders", "broker-a", -1),
                mode: MessageRequestMode::Pop,
                attachments: None,
            }]),
        };
        let json = String::from_utf8(body.to_json()).unwrap();
        assert_eq!(
            json,
            "{\"messageQueueAssignments\":[{\"messageQueue\":{\"brokerName\":\"broker-a\",\
             \"queueId\":-1,\"topic\":\"orders\"},\"mode\":\"POP\"}]}"
        );
        assert_eq!(
            QueryAssignmentResponseBody::from_json(json.as_bytes()),
            Ok(body)
        );
    }

    #[test]
    fn no_assignment_is_another_thing_than_an_empty_one() {
        let none = QueryAssignmentResponseBody::default();
        assert_eq!(none.to_json(), b"{}");
        let empty = QueryAssignmentResponseBody {
            message_queue_assignments: Some(Vec::new()),
        };
        assert_eq!(empty.to_json(), br#"{"messageQueueAssignments":[]}"#);
    }

    #[test]
    fn the_file_of_java_is_read() {
        let json = br#"{"messageRequestModeMap":{"orders":{"readers":{"consumerGroup":"readers",
            "mode":"POP","popShareQueueNum":2,"topic":"orders"}}}}"#;
        let modes = MessageRequestModeSerializeWrapper::from_json(json).unwrap();
        let mode = &modes.message_request_mode_map["orders"]["readers"];
        assert_eq!(
            (mode.mode, mode.pop_share_queue_num),
            (MessageRequestMode::Pop, 2)
        );
    }
}
