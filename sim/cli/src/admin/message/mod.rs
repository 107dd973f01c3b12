//! Commands about messages.

mod find;
mod read;
mod send;

use encoding_rs::Encoding;
use hotfire_protocol::{MessageExt, date};
use serde_json::{Value, json};

use super::report::{Columns, Content, content_of};

pub use self::find::{QueryById, QueryByKey, QueryByUniqueKey};
pub use self::read::{Consume, Print};
pub use self::send::Send;

/// Everything about a message.
fn details(message: &MessageExt) -> Content {
    let fields = &message.message;
    let properties = fields.properties.iter();
    let properties = properties.map(|(name, value)| (name.to_owned(), json!(value)));
    content_of([
        ("msgId", json!(message.msg_id())),
        ("offsetMsgId", json!(message.offset_msg_id())),
        ("topic", json!(fields.topic)),
        ("tags", json!(fields.tag())),
        ("keys", json!(fields.keys())),
        ("queueId", json!(message.queue_id)),
        ("queueOffset", json!(message.queue_offset)),
        ("commitLogOffset", json!(message.commit_log_offset)),
        ("reconsumeTimes", json!(message.reconsume_times)),
        ("bornTime", json!(date::human(message.born_timestamp))),
        ("storeTime", json!(date::human(message.store_timestamp))),
        ("bornHost", json!(message.born_host.to_string())),
        ("storeHost", json!(message.store_host.to_string())),
        ("sysFlag", json!(message.sys_flag)),
        ("properties", Value::Object(properties.collect())),
        ("bodySize", json!(fields.body.len())),
        ("body", json!(String::from_utf8_lossy(&fields.body))),
    ])
}

const FOUND: Columns = &[
    ("Message ID", "msgId"),
    ("QID", "queueId"),
    ("Offset", "queueOffset"),
    ("Store Time", "storeTime"),
    ("Tags", "tags"),
    ("Keys", "keys"),
    ("Offset Message ID", "offsetMsgId"),
    ("Body", "body"),
];

/// One line about a message, with its body if it is known what that is written in.
fn row(message: &MessageExt, charset: Option<&'static Encoding>) -> Vec<Value> {
    let text = charset.map(|charset| charset.decode(&message.message.body).0);
    vec![
        json!(message.msg_id()),
        json!(message.queue_id),
        json!(message.queue_offset),
        json!(date::human(message.store_timestamp)),
        json!(message.message.tag()),
        json!(message.message.keys()),
        json!(message.offset_msg_id()),
        json!(text),
    ]
}
