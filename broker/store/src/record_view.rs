//! A look at a commit log record where it lies, without copying or decoding what is not asked for.

use bytes::Buf;
use hotfire_protocol::hash::{body_crc, tags_code};
use hotfire_protocol::message::record::{DecodeError, MAGIC_V1, MAGIC_V2};
use hotfire_protocol::message::{property, sys_flag};
use hotfire_protocol::topic;

/// The bytes before the body of the shortest possible record.
pub(crate) const FIXED_MIN: usize = 91;

/// The fields of a record that the store itself needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordView<'a> {
    /// The size of the record in bytes.
    pub size: usize,
    /// The checksum of the body that the record states.
    pub body_crc: i32,
    /// The queue within the topic.
    pub queue_id: i32,
    /// The position in the queue.
    pub queue_offset: i64,
    /// The position in the commit log that the record states.
    pub physical_offset: i64,
    /// See [`sys_flag`].
    pub sys_flag: i32,
    /// When the client sent it.
    pub born_timestamp: i64,
    /// When the broker stored it.
    pub store_timestamp: i64,
    /// How often it was sent back.
    pub reconsume_times: i32,
    /// The body as stored.
    pub body: &'a [u8],
    /// The topic.
    pub topic: &'a str,
    /// The properties as text; not checked to be UTF-8.
    pub properties: &'a [u8],
}

/// The size and the magic number that the first 8 bytes of a record state.
pub(crate) fn size_and_magic(head: [u8; 8]) -> (i32, i32) {
    let mut head = &head[..];
    (head.get_i32(), head.get_i32())
}

/// Whether a magic number begins a message.
pub(crate) fn is_message(magic: i32) -> bool {
    magic == MAGIC_V1 || magic == MAGIC_V2
}

impl<'a> RecordView<'a> {
    /// Reads the record that `bytes` begin with. The checksum is not compared.
    ///
    /// # Errors
    /// The bytes do not begin with a whole record.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let short = |_| DecodeError::Length("record");
        let mut head = bytes.get(..8).ok_or(DecodeError::Truncated)?;
        let size = usize::try_from(head.get_i32()).map_err(|_| DecodeError::Length("record"))?;
        let magic = head.get_i32();
        if !is_message(magic) {
            return Err(DecodeError::Magic(magic));
        }
        if size < FIXED_MIN {
            return Err(DecodeError::Length("record"));
        }
        let mut rest = bytes.get(8..size).ok_or(DecodeError::Truncated)?;
        let stated_crc = rest.try_get_i32().map_err(short)?;
        let queue_id = rest.try_get_i32().map_err(short)?;
        let _flag = rest.try_get_i32().map_err(short)?;
        let queue_offset = rest.try_get_i64().map_err(short)?;
        let physical_offset = rest.try_get_i64().map_err(short)?;
        let flags = rest.try_get_i32().map_err(short)?;
        let born_timestamp = rest.try_get_i64().map_err(short)?;
        take(
            &mut rest,
            host_len(flags & sys_flag::BORN_HOST_V6 != 0),
            "born host",
        )?;
        let store_timestamp = rest.try_get_i64().map_err(short)?;
        take(
            &mut rest,
            host_len(flags & sys_flag::STORE_HOST_V6 != 0),
            "store host",
        )?;
        let reconsume_times = rest.try_get_i32().map_err(short)?;
        let _prepared_offset = rest.try_get_i64().map_err(short)?;
        let body_len = length(rest.try_get_i32().map_err(short)?, "body")?;
        let body = take(&mut rest, body_len, "body")?;
        let topic_len = if magic == MAGIC_V2 {
            length(i32::from(rest.try_get_i16().map_err(short)?), "topic")?
        } else {
            usize::from(rest.try_get_u8().map_err(short)?)
        };
        let topic = take(&mut rest, topic_len, "topic")?;
        let properties_len = length(i32::from(rest.try_get_i16().map_err(short)?), "properties")?;
        let properties = take(&mut rest, properties_len, "properties")?;
        if !rest.is_empty() {
            return Err(DecodeError::Length("record"));
        }
        Ok(Self {
            size,
            body_crc: stated_crc,
            queue_id,
            queue_offset,
            physical_offset,
            sys_flag: flags,
            born_timestamp,
            store_timestamp,
            reconsume_times,
            body,
            topic: std::str::from_utf8(topic).map_err(|_| DecodeError::Text("topic"))?,
            properties,
        })
    }

    /// Whether the body has the checksum that the record states. An empty body is not compared, as
    /// in Java.
    pub fn checksum_holds(&self) -> bool {
        self.body.is_empty() || body_crc(self.body) == self.body_crc
    }

    /// The value of a property; the last one, if the sender repeated it.
    pub fn property(&self, name: &str) -> Option<&'a str> {
        self.properties
            .split(|&byte| byte == 2)
            .filter_map(|entry| {
                let value = entry.strip_prefix(name.as_bytes())?.strip_prefix(&[1])?;
                (!value.is_empty()).then_some(value)
            })
            .next_back()
            .and_then(|value| std::str::from_utf8(value).ok())
    }

    /// Whether it gets a consume queue unit: half messages and roll-backs do not.
    pub fn is_consumable(&self) -> bool {
        sys_flag::is_consumable(self.sys_flag)
    }

    /// What goes into the consume queue unit beside position and size: the code of the tag or, for
    /// a delayed message, the time at which it is due (`CommitLog.checkMessageAndReturnSize`).
    pub(crate) fn unit_code(&self, delay_levels: &[i64]) -> i64 {
        if self.topic == topic::SCHEDULE_TOPIC
            && let Some(level) = self.property(property::DELAY)
            && let Ok(level) = level.parse::<usize>()
            && level > 0
        {
            // A level that is not configured counts as one second
            // (`ScheduleMessageService.computeDeliverTimestamp`); one too high as the highest.
            let delay = delay_levels
                .get(level.min(delay_levels.len()).wrapping_sub(1))
                .copied()
                .unwrap_or(1000);
            return self.store_timestamp.saturating_add(delay);
        }
        tags_code(self.property(property::TAGS))
    }
}

fn host_len(v6: bool) -> usize {
    if v6 { 20 } else { 8 }
}

fn length(field: i32, what: &'static str) -> Result<usize, DecodeError> {
    usize::try_from(field).map_err(|_| DecodeError::Length(what))
}

fn take<'a>(rest: &mut &'a [u8], len: usize, what: &'static str) -> Result<&'a [u8], DecodeError> {
    let (taken, left) = rest
        .split_at_checked(len)
        .ok_or(DecodeError::Length(what))?;
    *rest = left;
    Ok(taken)
}
