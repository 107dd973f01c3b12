//! A message on its way: checked, named and encoded once, sent any number of times.

use bytes::{Bytes, BytesMut};
use hotfire_protocol::header::send::{SendMessageRequestHeader, SendMessageRequestHeaderV2};
use hotfire_protocol::message::batch::{self, BatchElement};
use hotfire_protocol::message::compression::{CompressionType, compress};
use hotfire_protocol::message::{property, sys_flag};
use hotfire_protocol::topic::{check_topic, is_forbidden_topic, retry_group};
use hotfire_protocol::{Message, MessageQueue, RemotingCommand, RequestCode, SerializeType};

use super::request::REPLY_TYPE;
use crate::trace::record::{MessageType, Publish};
use crate::{ClientError, SendResult, SendStatus};

/// The level of compression (`compressLevel`).
const COMPRESSION_LEVEL: i32 = 5;

/// What limits a message.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The largest body, in bytes, before compression.
    pub max_message_size: usize,
    /// Bodies of so many bytes and more are compressed.
    pub compress_over: usize,
    /// How they are compressed.
    pub compression: CompressionType,
}

/// A message in the form in which every attempt sends it.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The topic.
    pub topic: String,
    /// The unique key; those of a batch separated by commas.
    pub msg_id: String,
    code: RequestCode,
    sys_flag: i32,
    flag: i32,
    properties: String,
    body: Bytes,
    reconsume_times: Option<i32>,
    max_reconsume_times: Option<i32>,
}

/// Checks a message as the Java client does before sending (`Validators.checkMessage`).
pub fn check(message: &Message, limits: &Limits) -> Result<(), ClientError> {
    let invalid = |reason: String| Err(ClientError::Invalid(reason));
    if let Err(error) = check_topic(&message.topic) {
        return invalid(error.to_string());
    }
    if is_forbidden_topic(&message.topic) {
        return invalid(format!(
            "sending to the system topic {} is forbidden",
            message.topic
        ));
    }
    match message.body.len() {
        0 => invalid("the message has no body".to_owned()),
        len if len > limits.max_message_size => {
            let max = limits.max_message_size;
            invalid(format!(
                "the body has {len} bytes, {max} at most are allowed"
            ))
        }
        _ => Ok(()),
    }
}

impl Prepared {
    /// Prepares one message, giving it the unique key unless it has one already.
    pub fn message(
        mut message: Message,
        unique_key: impl FnOnce() -> String,
        limits: &Limits,
    ) -> Result<Self, ClientError> {
        check(&message, limits)?;
        if !message.properties.contains(property::UNIQ_KEY) {
            message.properties.push(property::UNIQ_KEY, unique_key());
        }
        let msg_id = message.unique_key().unwrap_or_default().to_owned();
        let mut flags = 0;
        if message.body.len() >= limits.compress_over {
            let kind = limits.compression;
            // A body that cannot be compressed goes as it is.
            if let Ok(body) = compress(&message.body, kind, COMPRESSION_LEVEL) {
                message.body = body;
                flags |= kind.flag();
            }
        }
        if message.properties.get(property::TRAN_MSG) == Some("true") {
            flags |= sys_flag::TRANSACTION_PREPARED;
        }
        let code = match message.properties.get(property::MSG_TYPE) {
            Some(REPLY_TYPE) => RequestCode::SEND_REPLY_MESSAGE_V2,
            _ => RequestCode::SEND_MESSAGE_V2,
        };
        let (mut reconsume_times, mut max_reconsume_times) = (None, None);
        if retry_group(&message.topic).is_some() {
            let mut take = |name| message.properties.remove(name).and_then(|v| v.parse().ok());
            reconsume_times = take(property::RECONSUME_TIME);
            max_reconsume_times = take(property::MAX_RECONSUME_TIMES);
        }
        Ok(Self {
            topic: message.topic,
            msg_id,
            code,
            sys_flag: flags,
            flag: message.flag,
            properties: property::encode(&message.properties),
            body: message.body,
            reconsume_times,
            max_reconsume_times,
        })
    }

    /// Prepares a batch: messages of one topic, without delay, that agree whether to wait for the
    /// store. It is not compressed.
    pub fn batch(
        messages: Vec<Message>,
        mut unique_key: impl FnMut() -> String,
        limits: &Limits,
    ) -> Result<Self, ClientError> {
        let invalid = |reason: &str| ClientError::Invalid(reason.to_owned());
        let first = messages
            .first()
            .ok_or_else(|| invalid("the batch has no message"))?;
        let (topic, waits) = (first.topic.clone(), first.waits_for_store());
        if retry_group(&topic).is_some() {
            return Err(invalid("a retry topic takes no batches"));
        }
        let mut ids = Vec::with_capacity(messages.len());
        let mut elements = Vec::with_capacity(messages.len());
        for mut message in messages {
            check(&message, limits)?;
            if message.topic != topic {
                return Err(invalid("the messages of a batch have different topics"));
            }
            if message.waits_for_store() != waits {
                return Err(invalid(
                    "the messages of a batch differ in waiting for the store",
                ));
            }
            if message.delay_level() > 0 {
                return Err(invalid("a message of a batch cannot be delayed"));
            }
            if !message.properties.contains(property::UNIQ_KEY) {
                message.properties.push(property::UNIQ_KEY, unique_key());
            }
            ids.push(message.unique_key().unwrap_or_default().to_owned());
            elements.push(BatchElement::of(&message));
        }
        let mut body = BytesMut::new();
        batch::encode(&elements, &mut body).map_err(|error| invalid(&error.to_string()))?;
        if body.len() > limits.max_message_size {
            return Err(invalid("the batch is larger than a message may be"));
        }
        let wait = [(property::WAIT, waits.to_string())].into_iter().collect();
        Ok(Self {
            topic,
            msg_id: ids.join(","),
            code: RequestCode::SEND_BATCH_MESSAGE,
            sys_flag: 0,
            flag: 0,
            properties: property::encode(&wait),
            body: body.freeze(),
            reconsume_times: None,
            max_reconsume_times: None,
        })
    }

    /// What a trace tells of an attempt that a broker answered.
    pub(crate) fn trace(
        &self,
        group: &str,
        addr: &str,
        begin_ms: i64,
        cost_ms: i64,
        result: &SendResult,
    ) -> Publish {
        let properties = property::decode(&self.properties);
        let text = |name| properties.get(name).map(str::to_owned);
        let half = properties.get(property::TRAN_MSG) == Some("true");
        Publish {
            begin_ms,
            region_id: result.region_id.clone(),
            group: group.to_owned(),
            topic: self.topic.clone(),
            msg_id: self.msg_id.clone(),
            tags: text(property::TAGS),
            keys: text(property::KEYS),
            store_host: addr.to_owned(),
            body_length: self.body.len(),
            cost_ms,
            message_type: match properties.contains(property::DELAY) {
                true => MessageType::Delay,
                false if half => MessageType::TransactionHalf,
                false => MessageType::Normal,
            },
            offset_msg_id: result.offset_msg_id.clone(),
            success: result.status == SendStatus::SendOk,
        }
    }

    /// The request of one attempt.
    pub fn request(
        &self,
        group: &str,
        queue: &MessageQueue,
        default_topic: &str,
        default_topic_queue_nums: i32,
        now_ms: i64,
        serialize: SerializeType,
    ) -> RemotingCommand {
        let header = SendMessageRequestHeader {
            producer_group: group.to_owned(),
            topic: self.topic.clone(),
            default_topic: default_topic.to_owned(),
            default_topic_queue_nums,
            queue_id: queue.queue_id,
            sys_flag: self.sys_flag,
            born_timestamp: now_ms,
            flag: self.flag,
            properties: Some(self.properties.clone()),
            reconsume_times: Some(self.reconsume_times.unwrap_or(0)),
            unit_mode: Some(false),
            max_reconsume_times: self.max_reconsume_times,
            batch: Some(self.code == RequestCode::SEND_BATCH_MESSAGE),
            broker_name: Some(queue.broker_name.clone()),
        };
        let header = SendMessageRequestHeaderV2(header);
        let mut request =
            RemotingCommand::request_with(self.code, &header).with_body(self.body.clone());
        request.serialize = serialize;
        request
    }
}

#[cfg(test)]
mod tests {
    use hotfire_protocol::message::compression::decompress;

    use super::*;

    const LIMITS: Limits = Limits {
        max_message_size: 100_000,
        compress_over: 4096,
        compression: CompressionType::Zlib,
    };

    fn prepared(message: Message) -> Result<Prepared, ClientError> {
        Prepared::message(message, || "KEY".to_owned(), &LIMITS)
    }

    fn refused(message: Message) -> bool {
        matches!(prepared(message), Err(ClientError::Invalid(_)))
    }

    #[test]
    fn a_message_without_body_or_with_too_much_is_refused() {
        assert!(refused(Message::new("t", "")));
        assert!(refused(Message::new("t", vec![0; 100_001])));
        assert!(prepared(Message::new("t", vec![0; 100_000])).is_ok());
    }

    #[test]
    fn an_impossible_or_forbidden_topic_is_refused() {
        for topic in ["", "a b", "SCHEDULE_TOPIC_XXXX"] {
            assert!(refused(Message::new(topic, "x")), "{topic}");
        }
    }

    #[test]
    fn a_message_is_given_a_unique_key_unless_it_has_one() {
        assert_eq!(prepared(Message::new("t", "x")).unwrap().msg_id, "KEY");
        let own = Message::new("t", "x").with_property(property::UNIQ_KEY, "OWN");
        assert_eq!(prepared(own).unwrap().msg_id, "OWN");
    }

    #[test]
    fn a_body_of_4096_bytes_is_compressed_by_zlib() {
        let small = prepared(Message::new("t", vec![7; 4095])).unwrap();
        assert_eq!((small.sys_flag, small.body.len()), (0, 4095));
        let large = prepared(Message::new("t", vec![7; 4096])).unwrap();
        assert_eq!(large.sys_flag, 0x301);
        assert_eq!(
            decompress(&large.body, 0x301, 10_000).unwrap(),
            vec![7; 4096]
        );
    }

    #[test]
    fn the_flags_of_a_compressed_body_name_how_it_was_compressed() {
        for (compression, flags) in [
            (CompressionType::Lz4, 0x101),
            (CompressionType::Zstd, 0x201),
            (CompressionType::Zlib, 0x301),
        ] {
            let limits = Limits {
                compression,
                ..LIMITS
            };
            let message = Message::new("t", vec![7; 5000]);
            let packed = Prepared::message(message, String::new, &limits).unwrap();
            assert_eq!(packed.sys_flag, flags);
            let unpacked = decompress(&packed.body, flags, 10_000).unwrap();
            assert_eq!(unpacked, vec![7; 5000]);
        }
    }

    #[test]
    fn only_to_a_retry_topic_do_the_retry_counts_travel_in_the_header() {
        let counted = |topic: &str| {
            Message::new(topic, "x")
                .with_property(property::RECONSUME_TIME, "3")
                .with_property(property::MAX_RECONSUME_TIMES, "16")
        };
        let retry = prepared(counted("%RETRY%g")).unwrap();
        assert_eq!(
            (retry.reconsume_times, retry.max_reconsume_times),
            (Some(3), Some(16))
        );
        assert!(!retry.properties.contains("RECONSUME_TIME"));
        assert_eq!(prepared(counted("t")).unwrap().reconsume_times, None);
    }

    #[test]
    fn the_request_has_letters_for_names() {
        let message = Message::new("t", "x").with_tag("TagA");
        let queue = MessageQueue::new("t", "b", 2);
        let request =
            prepared(message)
                .unwrap()
                .request("pg", &queue, "TBW102", 4, 99, SerializeType::Json);
        assert_eq!(request.code, RequestCode::SEND_MESSAGE_V2.0);
        for (letter, value) in [
            ("a", "pg"),
            ("b", "t"),
            ("c", "TBW102"),
            ("d", "4"),
            ("e", "2"),
            ("g", "99"),
            ("i", "TAGS\u{1}TagA\u{2}UNIQ_KEY\u{1}KEY"),
            ("m", "false"),
            ("n", "b"),
        ] {
            assert_eq!(request.ext.get(letter), Some(value), "{letter}");
        }
    }

    #[test]
    fn a_batch_is_one_request_with_a_key_for_each_message() {
        let mut keys = 0;
        let messages = vec![Message::new("t", "one"), Message::new("t", "two")];
        let key = || {
            keys += 1;
            format!("K{keys}")
        };
        let batch = Prepared::batch(messages, key, &LIMITS).unwrap();
        assert_eq!(
            (batch.msg_id.as_str(), batch.code),
            ("K1,K2", RequestCode::SEND_BATCH_MESSAGE)
        );
        let elements = batch::decode(batch.body.clone()).unwrap();
        assert_eq!(elements.len(), 2);
        assert_eq!(elements[1].message("t").unique_key(), Some("K2"));
    }

    #[test]
    fn a_batch_of_messages_that_do_not_fit_together_is_refused() {
        let one = || Message::new("t", "x");
        for other in [
            Message::new("u", "x"),
            one().with_delay_level(1),
            one().with_property(property::WAIT, "false"),
            Message::new("t", ""),
        ] {
            assert!(Prepared::batch(vec![one(), other], String::new, &LIMITS).is_err());
        }
        assert!(Prepared::batch(Vec::new(), String::new, &LIMITS).is_err());
        let retry = vec![Message::new("%RETRY%g", "x")];
        assert!(Prepared::batch(retry, String::new, &LIMITS).is_err());
    }
}
