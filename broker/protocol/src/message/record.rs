//! The commit log record: the form in which a message is stored, replicated and pulled
//! (`MessageExtEncoder`, `MessageDecoder`).

use std::net::{IpAddr, SocketAddr};

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{Message, MessageExt, property, sys_flag};
use crate::hash::body_crc;

/// Begins a record whose topic length takes one byte (`MessageVersion.MESSAGE_VERSION_V1`).
pub const MAGIC_V1: i32 = 0xDAA3_20A7_u32 as i32;
/// Begins a record whose topic length takes two bytes (`MessageVersion.MESSAGE_VERSION_V2`).
pub const MAGIC_V2: i32 = 0xDAA3_20AB_u32 as i32;
/// Begins the filler at the end of a commit log file (`CommitLog.BLANK_MAGIC_CODE`).
pub const MAGIC_BLANK: i32 = 0xCBD4_3194_u32 as i32;

/// Where the fields that the store fills in stand in every record, in bytes from its start.
pub mod position {
    /// The queue offset.
    pub const QUEUE_OFFSET: usize = 20;
    /// The commit log offset.
    pub const PHYSICAL_OFFSET: usize = 28;
    /// The system flag.
    pub const SYS_FLAG: usize = 36;
    /// When the client sent it; the born host follows.
    pub const BORN_TIMESTAMP: usize = 40;
}

/// The longest topic of a version 1 record.
const V1_TOPIC_MAX: usize = 127;
/// The longest topic that a store takes at all, in bytes (retry topics).
pub const TOPIC_MAX: usize = 255;
/// The longest properties as text, in bytes: a positive 16-bit length.
pub const PROPERTIES_MAX: usize = i16::MAX as usize;

/// Why a message cannot become a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// Longer than 255 bytes.
    #[error("the topic has {0} bytes, {TOPIC_MAX} at most are stored")]
    TopicTooLong(usize),
    /// Longer than 32,767 bytes.
    #[error("the properties have {0} bytes, {PROPERTIES_MAX} at most are stored")]
    PropertiesTooLong(usize),
    /// Longer than a record can say.
    #[error("the body has {0} bytes")]
    BodyTooLong(usize),
}

/// Why bytes are not a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end before the record does.
    #[error("the record ends early")]
    Truncated,
    /// Neither of the two magic numbers.
    #[error("{0:#010x} does not begin a record")]
    Magic(i32),
    /// A length field that does not fit the record.
    #[error("the length of the {0} does not fit the record")]
    Length(&'static str),
    /// The body does not have its checksum.
    #[error("the body's checksum is {found}, the record says {expected}")]
    Checksum {
        /// What the record says.
        expected: i32,
        /// What the body has.
        found: i32,
    },
    /// Topic or properties are not UTF-8.
    #[error("the {0} is not UTF-8")]
    Text(&'static str),
    /// A port above 65,535.
    #[error("the {0} has no valid port")]
    Port(&'static str),
}

/// The bytes of a record with a topic, properties as text and a body of these lengths.
pub fn size_of(
    born_host: SocketAddr,
    store_host: SocketAddr,
    topic: usize,
    properties: usize,
    body: usize,
) -> usize {
    let long_topic = topic > V1_TOPIC_MAX;
    91 - 16
        + host_len(born_host)
        + host_len(store_host)
        + body
        + usize::from(long_topic)
        + topic
        + properties
}

/// Appends a message as a record and returns the record's size.
///
/// Size, magic number, checksum and the two IPv6 bits of the system flag are computed; all else is
/// taken as it is.
///
/// # Errors
/// Topic, properties or body do not fit; nothing has been written then.
pub fn encode(message: &MessageExt, out: &mut BytesMut) -> Result<usize, EncodeError> {
    let properties = property::encode(&message.message.properties);
    encode_parts(message, &properties, out)
}

/// [`encode`] with properties that are text already: those of a batch's elements are stored as they
/// were sent, with those of the batch behind them.
///
/// # Errors
/// As [`encode`].
pub fn encode_parts(
    ext: &MessageExt,
    properties: &str,
    out: &mut BytesMut,
) -> Result<usize, EncodeError> {
    let Message {
        topic, flag, body, ..
    } = &ext.message;
    if topic.len() > TOPIC_MAX {
        return Err(EncodeError::TopicTooLong(topic.len()));
    }
    if properties.len() > PROPERTIES_MAX {
        return Err(EncodeError::PropertiesTooLong(properties.len()));
    }
    let long_topic = topic.len() > V1_TOPIC_MAX;
    let (born, store) = (ext.born_host, ext.store_host);
    let size = size_of(born, store, topic.len(), properties.len(), body.len());
    let size_field = i32::try_from(size).map_err(|_| EncodeError::BodyTooLong(body.len()))?;

    out.reserve(size);
    out.put_i32(size_field);
    out.put_i32(if long_topic { MAGIC_V2 } else { MAGIC_V1 });
    out.put_i32(body_crc(body));
    out.put_i32(ext.queue_id);
    out.put_i32(*flag);
    out.put_i64(ext.queue_offset);
    out.put_i64(ext.commit_log_offset);
    out.put_i32(with_host_bits(ext.sys_flag, ext.born_host, ext.store_host));
    out.put_i64(ext.born_timestamp);
    put_host(out, ext.born_host);
    out.put_i64(ext.store_timestamp);
    put_host(out, ext.store_host);
    out.put_i32(ext.reconsume_times);
    out.put_i64(ext.prepared_transaction_offset);
    out.put_i32(body.len() as i32);
    out.put_slice(body);
    if long_topic {
        out.put_i16(topic.len() as i16);
    } else {
        out.put_u8(topic.len() as u8);
    }
    out.put_slice(topic.as_bytes());
    out.put_i16(properties.len() as i16);
    out.put_slice(properties.as_bytes());
    Ok(size)
}

/// Reads the record that `bytes` begin with, and moves past it. The body shares the memory of
/// `bytes`. With `check_crc`, the body must have its checksum.
///
/// # Errors
/// The bytes are not a whole record; `bytes` is then unchanged.
pub fn decode(bytes: &mut Bytes, check_crc: bool) -> Result<MessageExt, DecodeError> {
    let size = peek_size(bytes)?;
    let mut rest = bytes.slice(..size);
    let message = decode_exact(&mut rest, size, check_crc)?;
    bytes.advance(size);
    Ok(message)
}

/// Reads records until `bytes` end, as the body of a pull response holds them.
///
/// # Errors
/// Something in between is not a record.
pub fn decode_all(mut bytes: Bytes, check_crc: bool) -> Result<Vec<MessageExt>, DecodeError> {
    let mut messages = Vec::new();
    while bytes.has_remaining() {
        messages.push(decode(&mut bytes, check_crc)?);
    }
    Ok(messages)
}

/// The size of the record that `bytes` begin with, checked against what is there.
fn peek_size(bytes: &Bytes) -> Result<usize, DecodeError> {
    let field = bytes.get(..4).and_then(|field| field.try_into().ok());
    let size = i32::from_be_bytes(field.ok_or(DecodeError::Truncated)?);
    let size = usize::try_from(size).map_err(|_| DecodeError::Length("record"))?;
    if size < 8 {
        return Err(DecodeError::Length("record"));
    }
    if size > bytes.len() {
        return Err(DecodeError::Truncated);
    }
    Ok(size)
}

fn decode_exact(rest: &mut Bytes, size: usize, check_crc: bool) -> Result<MessageExt, DecodeError> {
    let short = |_| DecodeError::Length("record");
    rest.advance(4);
    let magic = rest.try_get_i32().map_err(short)?;
    if magic != MAGIC_V1 && magic != MAGIC_V2 {
        return Err(DecodeError::Magic(magic));
    }
    let crc = rest.try_get_i32().map_err(short)?;
    let queue_id = rest.try_get_i32().map_err(short)?;
    let flag = rest.try_get_i32().map_err(short)?;
    let queue_offset = rest.try_get_i64().map_err(short)?;
    let commit_log_offset = rest.try_get_i64().map_err(short)?;
    let flags = rest.try_get_i32().map_err(short)?;
    let born_timestamp = rest.try_get_i64().map_err(short)?;
    let born_host = take_host(rest, flags & sys_flag::BORN_HOST_V6 != 0, "born host")?;
    let store_timestamp = rest.try_get_i64().map_err(short)?;
    let store_host = take_host(rest, flags & sys_flag::STORE_HOST_V6 != 0, "store host")?;
    let reconsume_times = rest.try_get_i32().map_err(short)?;
    let prepared_transaction_offset = rest.try_get_i64().map_err(short)?;

    let body_len = rest.try_get_i32().map_err(short)?;
    let body = take(rest, usize::try_from(body_len).ok(), "body")?;
    if check_crc && !body.is_empty() {
        let found = body_crc(&body);
        if found != crc {
            return Err(DecodeError::Checksum {
                expected: crc,
                found,
            });
        }
    }
    let topic_len = if magic == MAGIC_V2 {
        usize::try_from(rest.try_get_i16().map_err(short)?).ok()
    } else {
        Some(usize::from(rest.try_get_u8().map_err(short)?))
    };
    let topic = take(rest, topic_len, "topic")?;
    let properties_len = rest.try_get_i16().map_err(short)?;
    let properties = take(rest, usize::try_from(properties_len).ok(), "properties")?;
    if rest.has_remaining() {
        return Err(DecodeError::Length("record"));
    }
    let text = |bytes: &Bytes, name| {
        std::str::from_utf8(bytes)
            .map(str::to_owned)
            .map_err(|_| DecodeError::Text(name))
    };
    Ok(MessageExt {
        message: Message {
            topic: text(&topic, "topic")?,
            flag,
            properties: property::decode(
                std::str::from_utf8(&properties).map_err(|_| DecodeError::Text("properties"))?,
            ),
            body,
        },
        queue_id,
        queue_offset,
        commit_log_offset,
        store_size: size as i32,
        sys_flag: flags,
        born_timestamp,
        born_host,
        store_timestamp,
        store_host,
        body_crc: crc,
        reconsume_times,
        prepared_transaction_offset,
    })
}

fn take(rest: &mut Bytes, len: Option<usize>, what: &'static str) -> Result<Bytes, DecodeError> {
    match len {
        Some(len) if len <= rest.len() => Ok(rest.split_to(len)),
        _ => Err(DecodeError::Length(what)),
    }
}

/// The length of a host field: the address and the port as a 32-bit integer.
fn host_len(host: SocketAddr) -> usize {
    if host.is_ipv4() { 8 } else { 20 }
}

fn with_host_bits(flags: i32, born: SocketAddr, store: SocketAddr) -> i32 {
    let bit = |host: SocketAddr, bit| if host.is_ipv6() { bit } else { 0 };
    (flags & !(sys_flag::BORN_HOST_V6 | sys_flag::STORE_HOST_V6))
        | bit(born, sys_flag::BORN_HOST_V6)
        | bit(store, sys_flag::STORE_HOST_V6)
}

fn put_host(out: &mut BytesMut, host: SocketAddr) {
    match host.ip() {
        IpAddr::V4(ip) => out.put_slice(&ip.octets()),
        IpAddr::V6(ip) => out.put_slice(&ip.octets()),
    }
    out.put_i32(i32::from(host.port()));
}

fn take_host(rest: &mut Bytes, v6: bool, what: &'static str) -> Result<SocketAddr, DecodeError> {
    let short = |_| DecodeError::Length(what);
    let ip: IpAddr = if v6 {
        rest.try_get_u128().map_err(short)?.to_be_bytes().into()
    } else {
        rest.try_get_u32().map_err(short)?.to_be_bytes().into()
    };
    let port = rest.try_get_i32().map_err(short)?;
    let port = u16::try_from(port).map_err(|_| DecodeError::Port(what))?;
    Ok(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> MessageExt {
        MessageExt {
            message: Message::new("TopicTest", "hi").with_tag("TagA"),
            queue_id: 3,
            queue_offset: 5,
            commit_log_offset: 1000,
            store_size: 111,
            sys_flag: 0,
            born_timestamp: 1_700_000_000_000,
            born_host: "127.0.0.1:50000".parse().unwrap(),
            store_timestamp: 1_700_000_000_123,
            store_host: "127.0.0.1:10911".parse().unwrap(),
            body_crc: body_crc(b"hi"),
            reconsume_times: 0,
            prepared_transaction_offset: 0,
        }
    }

    fn encoded(message: &MessageExt) -> Bytes {
        let mut out = BytesMut::new();
        assert_eq!(encode(message, &mut out).unwrap(), out.len());
        out.freeze()
    }

    #[test]
    fn a_record_has_the_layout_of_apache_rocketmq() {
        let mut out = BytesMut::new();
        encode_parts(&sample(), "TAGS\u{1}TagA\u{2}", &mut out).unwrap();
        let hex: String = out.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "00000070daa320a758932aac0000000300000000000000000000000500000000000003e800000000\
             0000018bcfe568007f0000010000c3500000018bcfe5687b7f00000100002a9f00000000\
             0000000000000000000000026869\
             09546f70696354657374000a54414753015461674102"
        );
    }

    #[test]
    fn a_record_survives_the_round_trip() {
        let message = sample();
        let mut bytes = encoded(&message);
        assert_eq!(decode(&mut bytes, true).unwrap(), message);
        assert!(bytes.is_empty());
    }

    #[test]
    fn a_topic_above_127_bytes_makes_a_version_2_record() {
        let mut message = sample();
        message.message.topic = "%RETRY%".to_owned() + &"g".repeat(200);
        let mut bytes = encoded(&message);
        assert_eq!(bytes[4..8], MAGIC_V2.to_be_bytes());
        assert_eq!(
            decode(&mut bytes, true).unwrap().message.topic,
            message.message.topic
        );
    }

    #[test]
    fn an_ipv6_host_sets_its_bit_and_takes_12_bytes_more() {
        let mut message = sample();
        message.born_host = "[::1]:50000".parse().unwrap();
        let mut bytes = encoded(&message);
        assert_eq!(bytes.len(), 111 + 12);
        let back = decode(&mut bytes, true).unwrap();
        assert_eq!(back.born_host, message.born_host);
        assert_eq!(back.sys_flag, sys_flag::BORN_HOST_V6);
    }

    #[test]
    fn a_body_with_another_checksum_is_refused() {
        let mut bytes = BytesMut::from(&encoded(&sample())[..]);
        bytes[88] ^= 1;
        let error = decode(&mut bytes.freeze(), true).unwrap_err();
        assert!(matches!(error, DecodeError::Checksum { .. }));
    }

    #[test]
    fn a_record_cut_anywhere_is_an_error() {
        let whole = encoded(&sample());
        for len in 0..whole.len() {
            assert!(decode(&mut whole.slice(..len), true).is_err(), "{len}");
        }
    }

    #[test]
    fn what_does_not_fit_a_record_is_refused() {
        let mut message = sample();
        message.message.topic = "t".repeat(256);
        let mut out = BytesMut::new();
        assert_eq!(
            encode(&message, &mut out),
            Err(EncodeError::TopicTooLong(256))
        );
        message.message.topic = "t".to_owned();
        message.message.properties.set("k", "v".repeat(40_000));
        assert!(matches!(
            encode(&message, &mut out),
            Err(EncodeError::PropertiesTooLong(_))
        ));
        assert!(out.is_empty());
    }
}
