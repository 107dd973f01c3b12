//! The body of a broker's registration, plain and compressed.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{
    DataVersion, JsonError, TopicConfig, TopicConfigSerializeWrapper, TopicFilterType, body,
    fastjson, written,
};
use crate::frame::FRAME_MAX;
use crate::message::compression::{self, CompressionError, CompressionType};

/// The strongest compression, as in Java.
const LEVEL: i32 = 9;

body! {
    /// What a broker registers.
    #[derive(Default, Eq)]
    pub struct RegisterBrokerBody {
        /// Addresses of filter servers; none since class filters are gone.
        filter_server_list: Vec<String> = "filterServerList",
        /// All topics, or those that changed.
        topic_config_serialize_wrapper: TopicConfigSerializeWrapper = "topicConfigSerializeWrapper",
    }
}

/// Why bytes are not a registration.
#[derive(Debug, thiserror::Error)]
pub enum RegisterBodyError {
    /// The JSON, or a JSON part of it, cannot be read.
    #[error("the registration cannot be read: {0}")]
    Json(#[from] JsonError),
    /// It cannot be decompressed.
    #[error("the registration cannot be decompressed: {0}")]
    Compression(#[from] CompressionError),
    /// A part is longer than what is there.
    #[error("the registration ends early")]
    Truncated,
    /// A topic's text does not have five parts, three of them numbers.
    #[error("`{0}` does not describe a topic")]
    Topic(String),
}

impl RegisterBrokerBody {
    /// The bytes that travel.
    ///
    /// # Errors
    /// The compressor fails.
    pub fn encode(&self, compressed: bool) -> Result<Bytes, CompressionError> {
        if !compressed {
            return Ok(written(fastjson::to_vec(self)).into());
        }
        let wrapper = &self.topic_config_serialize_wrapper;
        let mut out = BytesMut::new();
        put_part(&mut out, &wrapper.data_version.to_json());
        out.put_i32(wrapper.topic_config_table.len() as i32);
        for topic in wrapper.topic_config_table.values() {
            put_part(&mut out, topic_text(topic).as_bytes());
        }
        put_part(
            &mut out,
            &written(fastjson::to_vec(&self.filter_server_list)),
        );
        compression::compress(&out, CompressionType::Zlib, LEVEL)
    }

    /// Reads the bytes that travelled. Empty ones are a broker without topics. What brokers of 5.x
    /// append to the compressed form is left alone.
    ///
    /// # Errors
    /// They are no registration.
    pub fn decode(bytes: &[u8], compressed: bool) -> Result<Self, RegisterBodyError> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        if !compressed {
            return Ok(fastjson::from_slice(bytes)?);
        }
        let plain = compression::decompress_as(bytes, CompressionType::Zlib, FRAME_MAX)?;
        let mut rest: &[u8] = &plain;
        let mut wrapper = TopicConfigSerializeWrapper {
            data_version: DataVersion::from_json(take_part(&mut rest)?)?,
            ..TopicConfigSerializeWrapper::default()
        };
        let topics = rest
            .try_get_i32()
            .map_err(|_| RegisterBodyError::Truncated)?;
        for _ in 0..topics {
            let topic = parse_topic(&String::from_utf8_lossy(take_part(&mut rest)?))?;
            wrapper
                .topic_config_table
                .insert(topic.topic_name.clone(), topic);
        }
        Ok(Self {
            filter_server_list: fastjson::from_slice(take_part(&mut rest)?)?,
            topic_config_serialize_wrapper: wrapper,
        })
    }
}

fn put_part(out: &mut BytesMut, part: &[u8]) {
    out.put_i32(part.len() as i32);
    out.put_slice(part);
}

fn take_part<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], RegisterBodyError> {
    let len = rest
        .try_get_i32()
        .ok()
        .and_then(|len| usize::try_from(len).ok());
    let (part, tail) = len
        .and_then(|len| rest.split_at_checked(len))
        .ok_or(RegisterBodyError::Truncated)?;
    *rest = tail;
    Ok(part)
}

/// A topic as text (`TopicConfig.encode`).
fn topic_text(topic: &TopicConfig) -> String {
    format!(
        "{} {} {} {} {}",
        topic.topic_name,
        topic.read_queue_nums,
        topic.write_queue_nums,
        topic.perm,
        topic.topic_filter_type.name()
    )
}

/// Attributes, which 5.x appends, are left alone.
fn parse_topic(text: &str) -> Result<TopicConfig, RegisterBodyError> {
    let error = || RegisterBodyError::Topic(text.to_owned());
    let parts: Vec<&str> = text.splitn(6, ' ').collect();
    let [name, read, write, perm, filter_type, ..] = parts[..] else {
        return Err(error());
    };
    let number = |digits: &str| digits.parse().map_err(|_| error());
    let topic = TopicConfig::new(name, number(read)?, number(write)?, number(perm)?);
    Ok(TopicConfig {
        topic_filter_type: TopicFilterType::from_name(filter_type).unwrap_or_default(),
        ..topic
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> RegisterBrokerBody {
        let topic = TopicConfig::new("T", 8, 4, 6);
        RegisterBrokerBody {
            filter_server_list: vec![],
            topic_config_serialize_wrapper: TopicConfigSerializeWrapper {
                data_version: DataVersion::default().next(1_700_000_000_000),
                topic_config_table: [("T".to_owned(), topic)].into(),
            },
        }
    }

    #[test]
    fn a_registration_survives_both_forms() {
        for compressed in [false, true] {
            let bytes = sample().encode(compressed).unwrap();
            assert_eq!(
                RegisterBrokerBody::decode(&bytes, compressed).unwrap(),
                sample()
            );
        }
    }

    #[test]
    fn an_empty_registration_has_no_topics() {
        for compressed in [false, true] {
            let body = RegisterBrokerBody::decode(b"", compressed).unwrap();
            assert_eq!(body, RegisterBrokerBody::default());
        }
    }

    #[test]
    fn attributes_of_a_5x_topic_are_left_alone() {
        let topic = parse_topic("T 8 4 6 SINGLE_TAG {\"+a\":\"b c\"}").unwrap();
        assert_eq!(topic, TopicConfig::new("T", 8, 4, 6));
    }

    #[test]
    fn a_registration_that_ends_early_is_an_error() {
        let mut plain = BytesMut::new();
        put_part(&mut plain, b"{}");
        plain.put_i32(i32::MAX);
        let bytes = compression::compress(&plain, CompressionType::Zlib, LEVEL).unwrap();
        let result = RegisterBrokerBody::decode(&bytes, true);
        assert!(matches!(result, Err(RegisterBodyError::Truncated)));
    }
}
