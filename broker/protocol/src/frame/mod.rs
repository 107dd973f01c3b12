//! Frames: how commands travel over a connection (`RemotingCommand`, `NettyDecoder`).
//!
//! A frame is a 32-bit length (of what follows it), a byte naming the header encoding, a 24-bit
//! header length, the header and the body. Both header encodings are understood in every frame; an
//! answer mirrors the one of its request.
//!
//! Invariants: [`decode`] consumes a whole frame or nothing, never panics, and allocates no more
//! than a small multiple of the frame's own length; a length field alone reserves nothing.

mod binary;
mod json;

use bytes::{Buf, BufMut, BytesMut};

use crate::{RemotingCommand, SerializeType};

/// The longest frame, length field included: `com.rocketmq.remoting.frameMaxLength`, in bytes.
pub const FRAME_MAX: usize = 16_777_216;

/// The length field, which does not count itself.
const LENGTH_SIZE: usize = 4;
/// The header encoding and the header length.
const MARK_SIZE: usize = 4;
/// The longest header: what 24 bits can say.
const HEADER_MAX: usize = 0xFF_FFFF;
/// The most fields of a header that are read. Real ones have some twenty; without a limit, short
/// fields would need many times the memory of their frame.
const FIELDS_MAX: usize = 1024;

/// Why bytes are not a frame, or a command cannot become one. A connection that sends such bytes
/// cannot be understood any more and is to be closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Longer than [`FRAME_MAX`].
    #[error("a frame of {0} bytes, {FRAME_MAX} at most are allowed")]
    TooLong(u64),
    /// A length that has no room for the header's mark, or is negative.
    #[error("a frame cannot have the length {0}")]
    Length(i32),
    /// The header is longer than its frame.
    #[error("a header of {header} bytes in a frame of {frame} bytes")]
    HeaderLength {
        /// What the mark says.
        header: usize,
        /// What the length field says.
        frame: usize,
    },
    /// Neither JSON (0) nor RocketMQ's binary encoding (1).
    #[error("unknown header encoding {0}")]
    SerializeType(u8),
    /// The JSON header is not one.
    #[error("the JSON header cannot be read: {0}")]
    Json(String),
    /// The binary header ends early or a length in it is impossible.
    #[error("the length of the {0} does not fit the binary header")]
    Binary(&'static str),
    /// More fields than any client sends.
    #[error("a header of more than {FIELDS_MAX} fields")]
    TooManyFields,
    /// The binary encoding has 16 bits for the code and 16 for a field name's length.
    #[error("the {0} does not fit the binary header")]
    NotBinary(&'static str),
}

/// Takes one frame off the front of `buf`; `Ok(None)` if it is not complete yet.
///
/// # Errors
/// What `buf` begins with is not a frame.
pub fn decode(buf: &mut BytesMut) -> Result<Option<RemotingCommand>, FrameError> {
    let Some(field) = buf.first_chunk::<LENGTH_SIZE>() else {
        return Ok(None);
    };
    let field = i32::from_be_bytes(*field);
    let length = usize::try_from(field).map_err(|_| FrameError::Length(field))?;
    if length < MARK_SIZE {
        return Err(FrameError::Length(field));
    }
    if LENGTH_SIZE + length > FRAME_MAX {
        return Err(FrameError::TooLong((LENGTH_SIZE + length) as u64));
    }
    if buf.len() < LENGTH_SIZE + length {
        return Ok(None);
    }
    let mut frame = buf.split_to(LENGTH_SIZE + length).freeze();
    frame.advance(LENGTH_SIZE);
    let mark = frame.get_u32();
    let header_len = (mark & HEADER_MAX as u32) as usize;
    if header_len > frame.len() {
        return Err(FrameError::HeaderLength {
            header: header_len,
            frame: length,
        });
    }
    let header = frame.split_to(header_len);
    let mut command = match (mark >> 24) as u8 {
        0 => json::decode(&header)?,
        1 => binary::decode(&header)?,
        other => return Err(FrameError::SerializeType(other)),
    };
    // An empty one would keep the whole buffer alive for as long as the command lives.
    if !frame.is_empty() {
        command.body = frame;
    }
    Ok(Some(command))
}

/// The length of the header of the frame that `buf` begins with; `None` if it is not complete yet,
/// or is none.
pub fn header_len(buf: &[u8]) -> Option<usize> {
    let (length, rest) = buf.split_first_chunk::<LENGTH_SIZE>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let mark = rest.first_chunk::<MARK_SIZE>()?;
    let complete = rest.len() >= length;
    complete.then_some((u32::from_be_bytes(*mark) as usize) & HEADER_MAX)
}

/// Takes the frame that `buf` begins with off its front without looking into it; `None` if it is not
/// complete yet, or is none.
pub fn split(buf: &mut BytesMut) -> Option<BytesMut> {
    header_len(buf)?;
    let length = u32::from_be_bytes(*buf.first_chunk::<LENGTH_SIZE>()?) as usize;
    Some(buf.split_to(LENGTH_SIZE + length))
}

/// Appends a command as one frame, length field and body included.
///
/// # Errors
/// It does not fit a frame; `out` is then as it was.
pub fn encode(cmd: &RemotingCommand, out: &mut BytesMut) -> Result<(), FrameError> {
    let start = out.len();
    let result = encode_at(cmd, out, start);
    if result.is_err() {
        out.truncate(start);
    }
    result
}

fn encode_at(cmd: &RemotingCommand, out: &mut BytesMut, start: usize) -> Result<(), FrameError> {
    if cmd.body.len() > FRAME_MAX {
        return Err(FrameError::TooLong(cmd.body.len() as u64));
    }
    out.reserve(LENGTH_SIZE + MARK_SIZE + header_size_hint(cmd) + cmd.body.len());
    out.put_u64(0);
    let kind: u8 = match cmd.serialize {
        SerializeType::Json => {
            json::encode(cmd, out);
            0
        }
        SerializeType::RocketMq => {
            binary::encode(cmd, out)?;
            1
        }
    };
    let header_start = start + LENGTH_SIZE + MARK_SIZE;
    let header_len = out.len() - header_start;
    out.put_slice(&cmd.body);
    let total = out.len() - start;
    if total > FRAME_MAX || header_len > HEADER_MAX {
        return Err(FrameError::TooLong(total as u64));
    }
    let length = (total - LENGTH_SIZE) as u32;
    let mark = (u32::from(kind) << 24) | header_len as u32;
    let prefix = (u64::from(length) << 32) | u64::from(mark);
    out[start..header_start].copy_from_slice(&prefix.to_be_bytes());
    Ok(())
}

/// Room for the header without escapes, so that the output grows at most once.
fn header_size_hint(cmd: &RemotingCommand) -> usize {
    let fields: usize = cmd
        .ext
        .iter()
        .map(|(name, value)| name.len() + value.len() + 6)
        .sum();
    160 + cmd.remark.as_ref().map_or(0, String::len) + fields
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ExtFields, Language, RequestCode, ResponseCode};
    use bytes::Bytes;

    fn frame(kind: u8, header: &[u8], body: &[u8]) -> BytesMut {
        let mut out = BytesMut::new();
        out.put_u32((4 + header.len() + body.len()) as u32);
        out.put_u32((u32::from(kind) << 24) | header.len() as u32);
        out.put_slice(header);
        out.put_slice(body);
        out
    }

    fn json(header: &str) -> Result<RemotingCommand, FrameError> {
        decode(&mut frame(0, header.as_bytes(), b"")).map(|command| command.unwrap())
    }

    fn encoded(command: &RemotingCommand) -> BytesMut {
        let mut out = BytesMut::new();
        encode(command, &mut out).unwrap();
        out
    }

    #[test]
    fn a_json_header_is_written_as_java_writes_it() {
        let mut command = RemotingCommand::request(RequestCode::GET_ROUTEINFO_BY_TOPIC)
            .with_remark("a \"b\"\n\u{1}")
            .with_body("body");
        command.ext.set("topic", "T");
        let header = concat!(
            r#"{"code":105,"extFields":{"topic":"T"},"flag":0,"language":"JAVA","opaque":0,"#,
            r#""remark":"a \"b\"\n\u0001","serializeTypeCurrentRPC":"JSON","version":409}"#
        );
        assert_eq!(encoded(&command), frame(0, header.as_bytes(), b"body"));
    }

    #[test]
    fn null_remark_and_no_fields_are_left_out() {
        let command =
            RemotingCommand::request(RequestCode::HEART_BEAT).response(ResponseCode::SUCCESS);
        let header = concat!(
            r#"{"code":0,"flag":1,"language":"JAVA","opaque":0,"#,
            r#""serializeTypeCurrentRPC":"JSON","version":409}"#
        );
        assert_eq!(encoded(&command), frame(0, header.as_bytes(), b""));
    }

    #[test]
    fn header_values_of_any_scalar_type_become_text() {
        let command = json(
            "{\"code\":\"310\",\
             \"extFields\":{\"d\":4,\"k\":false,\"x\":null,\"n\":-1.5,\"b\":\"T\"},\
             \"language\":12,\"what\":[{}],\"opaque\":7}\n",
        )
        .unwrap();
        assert_eq!(command.code, 310);
        assert_eq!(command.language, Language::RUST);
        assert_eq!((command.opaque, command.flag, command.version), (7, 0, 0));
        let ext: ExtFields = [("d", "4"), ("k", "false"), ("n", "-1.5"), ("b", "T")]
            .into_iter()
            .collect();
        assert_eq!(command.ext, ext);
    }

    #[test]
    fn an_unknown_language_is_other_and_a_missing_one_java() {
        assert_eq!(
            json(r#"{"code":1,"language":"KLINGON"}"#).unwrap().language,
            Language::OTHER
        );
        assert_eq!(json(r#"{"code":1}"#).unwrap().language, Language::JAVA);
    }

    #[test]
    fn what_only_fastjson_takes_for_json_is_read_too() {
        let mut bytes = frame(0, b"{code:34,'extFields':{\"i\":\"k\x01v\x02\xFF\"},}", b"");
        let command = decode(&mut bytes).unwrap().unwrap();
        assert_eq!(command.code, 34);
        assert_eq!(command.ext.get("i"), Some("k\u{1}v\u{2}\u{FFFD}"));
    }

    #[test]
    fn fields_beyond_reason_are_refused() {
        let fields: Vec<String> = (0..=FIELDS_MAX).map(|at| format!("\"{at}\":1")).collect();
        let header = format!("{{\"extFields\":{{{}}}}}", fields.join(","));
        assert!(matches!(json(&header), Err(FrameError::Json(_))));
        let mut fields = Vec::new();
        for _ in 0..=FIELDS_MAX {
            fields.extend_from_slice(b"\0\x01n\0\0\0\x01v");
        }
        let mut header = vec![0; 17];
        header.extend_from_slice(&(fields.len() as u32).to_be_bytes());
        header.extend_from_slice(&fields);
        assert_eq!(
            decode(&mut frame(1, &header, b"")),
            Err(FrameError::TooManyFields)
        );
    }

    #[test]
    fn a_binary_header_has_the_documented_layout() {
        let mut command = RemotingCommand::request(RequestCode::GET_ROUTEINFO_BY_TOPIC);
        command.serialize = SerializeType::RocketMq;
        command.opaque = 5;
        command.ext.set("topic", "T");
        let header = [
            0, 105, 0, 0x01, 0x99, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 12, 0, 5, b't',
            b'o', b'p', b'i', b'c', 0, 0, 0, 1, b'T',
        ];
        assert_eq!(encoded(&command), frame(1, &header, b""));
        assert_eq!(
            decode(&mut frame(1, &header, b"")).unwrap().unwrap(),
            command
        );
    }

    #[test]
    fn a_pop_code_survives_the_16_bits_of_the_binary_header() {
        let mut command = RemotingCommand::request(RequestCode::POP_MESSAGE);
        command.serialize = SerializeType::RocketMq;
        let mut bytes = encoded(&command);
        assert_eq!(bytes[8..10], 3442_i16.to_be_bytes());
        assert_eq!(decode(&mut bytes).unwrap().unwrap().code, 200_050);
    }

    #[test]
    fn a_code_that_16_bits_cannot_tell_is_refused() {
        let mut command = RemotingCommand::request(RequestCode(100_000));
        command.serialize = SerializeType::RocketMq;
        let mut out = BytesMut::from("before");
        assert_eq!(
            encode(&command, &mut out),
            Err(FrameError::NotBinary("code"))
        );
        assert_eq!(out, "before");
    }

    #[test]
    fn an_empty_value_in_a_binary_header_is_none_at_all() {
        let mut command = RemotingCommand::request(RequestCode::HEART_BEAT).with_remark("");
        command.serialize = SerializeType::RocketMq;
        command.ext.set("empty", "");
        command.ext.set("full", "x");
        let back = decode(&mut encoded(&command)).unwrap().unwrap();
        assert_eq!(back.ext.len(), 1);
        assert_eq!(back.remark, None);
    }

    #[test]
    fn a_frame_is_taken_whole_or_not_at_all() {
        let whole = frame(0, br#"{"code":34}"#, b"body");
        for len in 0..whole.len() {
            let mut part = BytesMut::from(&whole[..len]);
            assert_eq!(decode(&mut part), Ok(None));
            assert_eq!(part.len(), len);
        }
        let mut two = BytesMut::new();
        two.extend_from_slice(&whole);
        two.extend_from_slice(&whole[..5]);
        let command = decode(&mut two).unwrap().unwrap();
        assert_eq!(command.body, Bytes::from_static(b"body"));
        assert_eq!(two.len(), 5);
    }

    #[test]
    fn impossible_frames_are_refused() {
        let refused = |bytes: &[u8]| decode(&mut BytesMut::from(bytes)).unwrap_err();
        assert_eq!(refused(&[0xFF; 4]), FrameError::Length(-1));
        assert_eq!(refused(&[0, 0, 0, 3]), FrameError::Length(3));
        assert_eq!(
            refused(&[1, 0, 0, 0]),
            FrameError::TooLong(FRAME_MAX as u64 + 4)
        );
        assert!(matches!(
            refused(&[0, 0, 0, 4, 0, 0, 0, 1]),
            FrameError::HeaderLength { .. }
        ));
        assert_eq!(
            refused(&[0, 0, 0, 4, 2, 0, 0, 0]),
            FrameError::SerializeType(2)
        );
        assert!(matches!(json("[]"), Err(FrameError::Json(_))));
        assert!(matches!(json(""), Err(FrameError::Json(_))));
    }

    #[test]
    fn a_body_beyond_the_limit_is_refused() {
        let command =
            RemotingCommand::request(RequestCode::SEND_MESSAGE).with_body(vec![0; FRAME_MAX]);
        let mut out = BytesMut::new();
        assert!(matches!(
            encode(&command, &mut out),
            Err(FrameError::TooLong(_))
        ));
        assert!(out.is_empty());
    }
}
