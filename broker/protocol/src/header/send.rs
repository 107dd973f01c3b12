//! Headers of sending messages.
//!
//! The header of a message exists twice: with long names (`SEND_MESSAGE`) and with letters
//! (`SEND_MESSAGE_V2`, `SEND_BATCH_MESSAGE`, `SEND_REPLY_MESSAGE_V2`). Here it is one struct.

use crate::header::Field;
use crate::{ExtFields, Header, HeaderError, RemotingCommand, RequestCode, header};

/// Declares the header of a message with both names of each field.
macro_rules! message_header {
    ($(#[$meta:meta])* pub struct $type:ident as $v2:ident {
        $($(#[$doc:meta])* $field:ident: $kind:ty = $name:literal | $letter:literal,)*
    }) => {
        header! {
            $(#[$meta])*
            pub struct $type { $($(#[$doc])* $field: $kind = $name,)* }
        }

        impl $type {
            /// Adds the fields under their letters.
            pub fn write_v2(&self, ext: &mut ExtFields) {
                $(Field::put(&self.$field, $letter, ext);)*
            }

            /// Reads the fields by their letters.
            ///
            /// # Errors
            /// A required field is missing or a value cannot be parsed.
            pub fn read_v2(ext: &ExtFields) -> Result<Self, HeaderError> {
                Ok(Self { $($field: Field::take($letter, ext)?,)* })
            }
        }

        /// The same with letters for names, on the wire.
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub struct $v2(pub $type);

        impl Header for $v2 {
            fn write(&self, ext: &mut ExtFields) {
                self.0.write_v2(ext);
            }

            fn read(ext: &ExtFields) -> Result<Self, HeaderError> {
                $type::read_v2(ext).map(Self)
            }
        }
    };
}

message_header! {
    /// Sends a message, or several as a batch; the body is the request's.
    pub struct SendMessageRequestHeader as SendMessageRequestHeaderV2 {
        /// The producer group.
        producer_group: String = "producerGroup" | "a",
        /// The topic.
        topic: String = "topic" | "b",
        /// The topic to take the configuration of a new topic from.
        default_topic: String = "defaultTopic" | "c",
        /// The number of queues of a new topic.
        default_topic_queue_nums: i32 = "defaultTopicQueueNums" | "d",
        /// The queue; negative: the broker chooses.
        queue_id: i32 = "queueId" | "e",
        /// See [`sys_flag`](crate::message::sys_flag).
        sys_flag: i32 = "sysFlag" | "f",
        /// When it was sent, in milliseconds since the epoch.
        born_timestamp: i64 = "bornTimestamp" | "g",
        /// The user's flag.
        flag: i32 = "flag" | "h",
        /// The properties as text.
        properties: Option<String> = "properties" | "i",
        /// How often it was sent back.
        reconsume_times: Option<i32> = "reconsumeTimes" | "j",
        /// Whether the client is of a unit.
        unit_mode: Option<bool> = "unitMode" | "k",
        /// The consumer's limit of retries, in messages to retry topics.
        max_reconsume_times: Option<i32> = "maxReconsumeTimes" | "l",
        /// Whether the body is a batch. Only the text `true` says so.
        batch: Option<bool> = "batch" | "m",
        /// The broker group that the sender means.
        broker_name: Option<String> = "bname" | "n",
    }
}

impl SendMessageRequestHeader {
    /// Reads the header of a sending request in the form that its code implies.
    ///
    /// # Errors
    /// A required field is missing or a value cannot be parsed.
    pub fn of(request: &RemotingCommand) -> Result<Self, HeaderError> {
        match RequestCode(request.code) {
            RequestCode::SEND_MESSAGE_V2
            | RequestCode::SEND_BATCH_MESSAGE
            | RequestCode::SEND_REPLY_MESSAGE_V2 => Self::read_v2(&request.ext),
            _ => Self::read(&request.ext),
        }
    }
}

header! {
    /// Where a message was stored.
    pub struct SendMessageResponseHeader {
        /// The offset id; those of a batch are separated by commas.
        msg_id: String = "msgId",
        /// The queue.
        queue_id: i32 = "queueId",
        /// The queue offset; of a batch, the first.
        queue_offset: i64 = "queueOffset",
        /// The transaction's id.
        transaction_id: Option<String> = "transactionId",
        /// The unique key of a batch (5.x).
        batch_uniq_id: Option<String> = "batchUniqId",
        /// The handle by which a message for a time can be called back (5.3.2).
        recall_handle: Option<String> = "recallHandle",
        /// The region of the broker.
        region_id: Option<String> = "MSG_REGION",
        /// Whether the message is to be traced.
        trace_on: Option<bool> = "TRACE_ON",
    }

    /// Sends a message back to be delivered again later.
    pub struct ConsumerSendMsgBackRequestHeader {
        /// The commit log offset of the message.
        offset: i64 = "offset",
        /// The consumer group.
        group: String = "group",
        /// The delay level; 0: the broker chooses, negative: to the dead letters.
        delay_level: i32 = "delayLevel",
        /// The unique key of the message.
        origin_msg_id: Option<String> = "originMsgId",
        /// The topic of the message.
        origin_topic: Option<String> = "originTopic",
        /// Whether the client is of a unit.
        unit_mode: Option<bool> = "unitMode",
        /// The consumer's limit of retries.
        max_reconsume_times: Option<i32> = "maxReconsumeTimes",
        /// The broker group that the sender means.
        broker_name: Option<String> = "bname",
    }

    /// Brings a reply to the client that waits for it (`PUSH_REPLY_MESSAGE_TO_CLIENT`).
    pub struct ReplyMessageRequestHeader {
        /// The producer group.
        producer_group: String = "producerGroup",
        /// The reply topic.
        topic: String = "topic",
        /// The topic to take the configuration of a new topic from.
        default_topic: String = "defaultTopic",
        /// The number of queues of a new topic.
        default_topic_queue_nums: i32 = "defaultTopicQueueNums",
        /// The queue.
        queue_id: i32 = "queueId",
        /// See [`sys_flag`](crate::message::sys_flag).
        sys_flag: i32 = "sysFlag",
        /// When it was sent, in milliseconds since the epoch.
        born_timestamp: i64 = "bornTimestamp",
        /// The user's flag.
        flag: i32 = "flag",
        /// The properties as text.
        properties: Option<String> = "properties",
        /// How often it was sent back.
        reconsume_times: Option<i32> = "reconsumeTimes",
        /// Whether the client is of a unit.
        unit_mode: Option<bool> = "unitMode",
        /// The sender's address.
        born_host: String = "bornHost",
        /// The broker's address.
        store_host: String = "storeHost",
        /// When the broker got it, in milliseconds since the epoch.
        store_timestamp: i64 = "storeTimestamp",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> SendMessageRequestHeader {
        SendMessageRequestHeader {
            producer_group: "pg".to_owned(),
            topic: "T".to_owned(),
            default_topic: "TBW102".to_owned(),
            default_topic_queue_nums: 4,
            born_timestamp: 1_700_000_000_000,
            batch: Some(true),
            ..SendMessageRequestHeader::default()
        }
    }

    #[test]
    fn the_code_of_a_request_implies_the_names_of_its_fields() {
        let v1 = RemotingCommand::request_with(RequestCode::SEND_MESSAGE, &sample());
        assert_eq!(v1.ext.get("producerGroup"), Some("pg"));
        let v2 = RemotingCommand::request_with(
            RequestCode::SEND_MESSAGE_V2,
            &SendMessageRequestHeaderV2(sample()),
        );
        assert_eq!(v2.ext.get("a"), Some("pg"));
        for request in [v1, v2] {
            assert_eq!(SendMessageRequestHeader::of(&request), Ok(sample()));
        }
    }

    #[test]
    fn a_batch_flag_written_as_a_number_is_no_batch() {
        let mut ext = ExtFields::new();
        sample().write_v2(&mut ext);
        ext.set("m", "1");
        let header = SendMessageRequestHeader::read_v2(&ext).unwrap();
        assert_eq!(header.batch, Some(false));
    }

    #[test]
    fn a_missing_required_field_is_named() {
        let error = SendMessageRequestHeader::read(&ExtFields::new()).unwrap_err();
        assert_eq!(error, HeaderError::Missing("producerGroup"));
    }
}
