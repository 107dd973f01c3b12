//! The header of a send, borrowed: this is the busiest path of the broker, and most of the texts are
//! only looked at.

use hotfire_protocol::{HeaderError, RemotingCommand, RequestCode};

use super::{field, text};

/// The names of the fields that are read, in one of the header's two forms.
struct Names {
    group: &'static str,
    topic: &'static str,
    default_topic: &'static str,
    default_topic_queue_nums: &'static str,
    queue_id: &'static str,
    sys_flag: &'static str,
    born_timestamp: &'static str,
    flag: &'static str,
    properties: &'static str,
    reconsume_times: &'static str,
    unit_mode: &'static str,
    max_reconsume_times: &'static str,
    batch: &'static str,
}

const LONG: Names = Names {
    group: "producerGroup",
    topic: "topic",
    default_topic: "defaultTopic",
    default_topic_queue_nums: "defaultTopicQueueNums",
    queue_id: "queueId",
    sys_flag: "sysFlag",
    born_timestamp: "bornTimestamp",
    flag: "flag",
    properties: "properties",
    reconsume_times: "reconsumeTimes",
    unit_mode: "unitMode",
    max_reconsume_times: "maxReconsumeTimes",
    batch: "batch",
};

const SHORT: Names = Names {
    group: "a",
    topic: "b",
    default_topic: "c",
    default_topic_queue_nums: "d",
    queue_id: "e",
    sys_flag: "f",
    born_timestamp: "g",
    flag: "h",
    properties: "i",
    reconsume_times: "j",
    unit_mode: "k",
    max_reconsume_times: "l",
    batch: "m",
};

/// The header of a send, in either form.
pub(super) struct SendHeader<'a> {
    pub topic: &'a str,
    pub default_topic: &'a str,
    pub default_topic_queue_nums: i32,
    pub queue_id: i32,
    pub sys_flag: i32,
    pub born_timestamp: i64,
    pub flag: i32,
    pub properties: &'a str,
    pub reconsume_times: i32,
    pub unit_mode: bool,
    pub max_reconsume_times: Option<i32>,
    pub batch: bool,
}

impl<'a> SendHeader<'a> {
    /// Reads it, with the names that the request's code implies.
    pub fn read(request: &'a RemotingCommand) -> Result<Self, HeaderError> {
        let ext = &request.ext;
        let names = match RequestCode(request.code) {
            RequestCode::SEND_MESSAGE | RequestCode::SEND_REPLY_MESSAGE => &LONG,
            _ => &SHORT,
        };
        text(ext, names.group)?;
        let flag = |name| field::<Option<bool>>(ext, name).map(Option::unwrap_or_default);
        Ok(Self {
            topic: text(ext, names.topic)?,
            default_topic: text(ext, names.default_topic)?,
            default_topic_queue_nums: field(ext, names.default_topic_queue_nums)?,
            queue_id: field(ext, names.queue_id)?,
            sys_flag: field(ext, names.sys_flag)?,
            born_timestamp: field(ext, names.born_timestamp)?,
            flag: field(ext, names.flag)?,
            properties: ext.get(names.properties).unwrap_or_default(),
            reconsume_times: field::<Option<i32>>(ext, names.reconsume_times)?.unwrap_or(0),
            unit_mode: flag(names.unit_mode)?,
            max_reconsume_times: field(ext, names.max_reconsume_times)?,
            batch: flag(names.batch)?,
        })
    }
}
