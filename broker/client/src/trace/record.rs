//! The records of message traces and their text (`TraceDataEncoder`).
//!
//! The fields of a record are separated by `\x01`, and `\x02` ends it. What is missing is the word
//! `null`, as Java writes it.

use std::fmt::Write;

use hotfire_protocol::Message;

/// What happened to messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TraceRecord {
    /// A message was sent.
    Publish(Publish),
    /// Messages are about to be consumed.
    Before(Consumption),
    /// Messages were consumed, or not.
    After {
        /// What was consumed.
        consumption: Consumption,
        /// Milliseconds that it took, per message.
        cost_ms: i64,
        /// Whether the listener said so.
        success: bool,
        /// How the call ended.
        code: ContextCode,
        /// When it ended, in milliseconds since the epoch.
        ended_ms: i64,
    },
    /// A transaction was ended.
    EndTransaction(EndTransaction),
}

/// The kind of a message (`MessageType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MessageType {
    /// An ordinary one.
    Normal = 0,
    /// A half message.
    TransactionHalf = 1,
    /// The end of a transaction.
    TransactionCommit = 2,
    /// A delayed one.
    Delay = 3,
}

/// How a listener call ended (`ConsumeReturnType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ContextCode {
    /// The messages are consumed.
    Success = 0,
    /// The listener took longer than the consume timeout.
    TimeOut = 1,
    /// The listener panicked.
    Exception = 2,
    /// The messages are not consumed.
    Failed = 4,
}

/// A message that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Publish {
    /// When the attempt began, in milliseconds since the epoch.
    pub(crate) begin_ms: i64,
    pub(crate) region_id: String,
    pub(crate) group: String,
    pub(crate) topic: String,
    pub(crate) msg_id: String,
    pub(crate) tags: Option<String>,
    pub(crate) keys: Option<String>,
    /// The address of the broker.
    pub(crate) store_host: String,
    /// The length of the body as it was sent, in bytes.
    pub(crate) body_length: usize,
    pub(crate) cost_ms: i64,
    pub(crate) message_type: MessageType,
    pub(crate) offset_msg_id: String,
    pub(crate) success: bool,
}

/// The messages of one listener call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Consumption {
    /// When the call began, in milliseconds since the epoch.
    pub(crate) begin_ms: i64,
    pub(crate) region_id: Option<String>,
    pub(crate) group: String,
    /// Relates the record after the call to the one before it.
    pub(crate) request_id: String,
    pub(crate) messages: Vec<Consumed>,
}

/// A message of a listener call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Consumed {
    pub(crate) topic: String,
    pub(crate) msg_id: String,
    pub(crate) retry_times: i32,
    pub(crate) keys: Option<String>,
}

/// The end of a transaction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct EndTransaction {
    /// When it was sent, in milliseconds since the epoch.
    pub(crate) at_ms: i64,
    pub(crate) group: String,
    pub(crate) topic: String,
    pub(crate) msg_id: String,
    pub(crate) tags: Option<String>,
    pub(crate) keys: Option<String>,
    /// The address of the broker.
    pub(crate) store_host: String,
    pub(crate) transaction_id: String,
    /// The name of the state in Java (`LocalTransactionState`).
    pub(crate) state: &'static str,
    pub(crate) from_check: bool,
}

impl EndTransaction {
    /// What the message itself says; the rest is empty.
    pub(crate) fn of(message: &Message) -> Self {
        Self {
            topic: message.topic.clone(),
            tags: message.tag().map(str::to_owned),
            keys: message.keys().map(str::to_owned),
            ..Self::default()
        }
    }
}

fn or_null(text: &Option<String>) -> &str {
    text.as_deref().unwrap_or("null")
}

/// Writes the fields of one record.
fn line(out: &mut String, fields: &[&dyn std::fmt::Display]) {
    for (at, field) in fields.iter().enumerate() {
        let end = if at + 1 == fields.len() {
            '\u{2}'
        } else {
            '\u{1}'
        };
        // Writing to a string cannot fail.
        let _ = write!(out, "{field}{end}");
    }
}

impl TraceRecord {
    /// Adds the record's text.
    pub(crate) fn encode(&self, out: &mut String) {
        match self {
            Self::Publish(sent) => line(
                out,
                &[
                    &"Pub",
                    &sent.begin_ms,
                    &sent.region_id,
                    &sent.group,
                    &sent.topic,
                    &sent.msg_id,
                    &or_null(&sent.tags),
                    &or_null(&sent.keys),
                    &sent.store_host,
                    &sent.body_length,
                    &sent.cost_ms,
                    &(sent.message_type as i32),
                    &sent.offset_msg_id,
                    &sent.success,
                ],
            ),
            Self::Before(call) => {
                for message in &call.messages {
                    line(
                        out,
                        &[
                            &"SubBefore",
                            &call.begin_ms,
                            &or_null(&call.region_id),
                            &call.group,
                            &call.request_id,
                            &message.msg_id,
                            &message.retry_times,
                            &or_null(&message.keys),
                        ],
                    );
                }
            }
            Self::After {
                consumption,
                cost_ms,
                success,
                code,
                ended_ms,
            } => {
                for message in &consumption.messages {
                    line(
                        out,
                        &[
                            &"SubAfter",
                            &consumption.request_id,
                            &message.msg_id,
                            cost_ms,
                            success,
                            &or_null(&message.keys),
                            &(*code as i32),
                            ended_ms,
                        ],
                    );
                }
            }
            Self::EndTransaction(end) => line(
                out,
                &[
                    &"EndTransaction",
                    &end.at_ms,
                    &"null",
                    &end.group,
                    &end.topic,
                    &end.msg_id,
                    &or_null(&end.tags),
                    &or_null(&end.keys),
                    &end.store_host,
                    &(MessageType::TransactionCommit as i32),
                    &end.transaction_id,
                    &end.state,
                    &end.from_check,
                ],
            ),
        }
    }

    /// The topic of the messages, by which records are sent together.
    pub(crate) fn topic(&self) -> &str {
        match self {
            Self::Publish(sent) => &sent.topic,
            Self::Before(call)
            | Self::After {
                consumption: call, ..
            } => call.messages.first().map_or("", |message| &message.topic),
            Self::EndTransaction(end) => &end.topic,
        }
    }

    /// What the record can be found by: ids and keys of the messages.
    pub(crate) fn keys(&self) -> Vec<&str> {
        let of = |msg_id, keys| [Some(msg_id), keys].into_iter().flatten().collect();
        match self {
            Self::Publish(sent) => of(sent.msg_id.as_str(), sent.keys.as_deref()),
            Self::EndTransaction(end) => of(end.msg_id.as_str(), end.keys.as_deref()),
            Self::Before(call)
            | Self::After {
                consumption: call, ..
            } => {
                let messages = call.messages.iter();
                messages
                    .flat_map(|message| [Some(message.msg_id.as_str()), message.keys.as_deref()])
                    .flatten()
                    .collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(record: &TraceRecord) -> String {
        let mut out = String::new();
        record.encode(&mut out);
        out.replace('\u{1}', "|").replace('\u{2}', ";")
    }

    fn consumption() -> Consumption {
        let message = |msg_id: &str, keys: Option<&str>| Consumed {
            topic: "orders".to_owned(),
            msg_id: msg_id.to_owned(),
            retry_times: 2,
            keys: keys.map(str::to_owned),
        };
        Consumption {
            begin_ms: 1000,
            region_id: None,
            group: "readers".to_owned(),
            request_id: "REQ".to_owned(),
            messages: vec![message("A", Some("k1 k2")), message("B", None)],
        }
    }

    #[test]
    fn a_sent_message_is_one_record() {
        let record = TraceRecord::Publish(Publish {
            begin_ms: 1000,
            region_id: "DefaultRegion".to_owned(),
            group: "writers".to_owned(),
            topic: "orders".to_owned(),
            msg_id: "UNIQ".to_owned(),
            tags: Some("TagA".to_owned()),
            keys: None,
            store_host: "127.0.0.1:10911".to_owned(),
            body_length: 5,
            cost_ms: 3,
            message_type: MessageType::Delay,
            offset_msg_id: "OFFSET".to_owned(),
            success: true,
        });
        assert_eq!(
            text(&record),
            "Pub|1000|DefaultRegion|writers|orders|UNIQ|TagA|null|127.0.0.1:10911|5|3|3|OFFSET|true;"
        );
        assert_eq!(record.keys(), ["UNIQ"]);
    }

    #[test]
    fn each_message_of_a_listener_call_is_a_record_before_and_one_after() {
        let before = TraceRecord::Before(consumption());
        assert_eq!(
            text(&before),
            "SubBefore|1000|null|readers|REQ|A|2|k1 k2;SubBefore|1000|null|readers|REQ|B|2|null;"
        );
        let after = TraceRecord::After {
            consumption: consumption(),
            cost_ms: 7,
            success: false,
            code: ContextCode::Failed,
            ended_ms: 1014,
        };
        assert_eq!(
            text(&after),
            "SubAfter|REQ|A|7|false|k1 k2|4|1014;SubAfter|REQ|B|7|false|null|4|1014;"
        );
        assert_eq!(after.keys(), ["A", "k1 k2", "B"]);
        assert_eq!(after.topic(), "orders");
    }

    #[test]
    fn the_end_of_a_transaction_says_how_it_ended() {
        let record = TraceRecord::EndTransaction(EndTransaction {
            at_ms: 1000,
            group: "writers".to_owned(),
            topic: "orders".to_owned(),
            msg_id: "UNIQ".to_owned(),
            tags: None,
            keys: Some("k".to_owned()),
            store_host: "127.0.0.1:10911".to_owned(),
            transaction_id: "UNIQ".to_owned(),
            state: "COMMIT_MESSAGE",
            from_check: true,
        });
        assert_eq!(
            text(&record),
            "EndTransaction|1000|null|writers|orders|UNIQ|null|k|127.0.0.1:10911|2|UNIQ|\
             COMMIT_MESSAGE|true;"
        );
    }
}
