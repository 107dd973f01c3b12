//! RocketMQ's binary header encoding (`RocketMQSerializable`).

use std::borrow::Cow;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{FIELDS_MAX, FrameError};
use crate::{ExtFields, Language, RemotingCommand, RequestCode, SerializeType, fields};

/// Request codes that do not fit the 16 bits which the encoding has for them. Apache RocketMQ cuts
/// them off and then does not know them any more; no other code has their lower halves.
const WIDE_CODES: [RequestCode; 8] = [
    RequestCode::POP_MESSAGE,
    RequestCode::ACK_MESSAGE,
    RequestCode::PEEK_MESSAGE,
    RequestCode::CHANGE_MESSAGE_INVISIBLETIME,
    RequestCode::NOTIFICATION,
    RequestCode::POLLING_INFO,
    RequestCode::POP_ROLLBACK,
    RequestCode::BATCH_ACK_MESSAGE,
];

/// Appends the header.
pub(super) fn encode(cmd: &RemotingCommand, out: &mut BytesMut) -> Result<(), FrameError> {
    let code = cmd.code as i16;
    if widen(code, cmd.is_response()) != cmd.code {
        return Err(FrameError::NotBinary("code"));
    }
    out.put_i16(code);
    out.put_u8(cmd.language.0);
    out.put_i16(cmd.version as i16);
    out.put_i32(cmd.opaque);
    out.put_i32(cmd.flag);
    put_text(out, cmd.remark.as_deref().unwrap_or_default());
    let length_at = out.len();
    out.put_i32(0);
    for (name, value) in cmd.ext.iter() {
        let name_len =
            i16::try_from(name.len()).map_err(|_| FrameError::NotBinary("field name"))?;
        out.put_i16(name_len);
        out.put_slice(name.as_bytes());
        put_text(out, value);
    }
    // Lengths that wrap here belong to a frame beyond the limit, which the caller refuses.
    let length = (out.len() - length_at - 4) as i32;
    out[length_at..length_at + 4].copy_from_slice(&length.to_be_bytes());
    Ok(())
}

fn put_text(out: &mut BytesMut, text: &str) {
    out.put_i32(text.len() as i32);
    out.put_slice(text.as_bytes());
}

/// Reads a header; the body of the result is empty. Bytes after the fields are ignored.
pub(super) fn decode(header: &Bytes) -> Result<RemotingCommand, FrameError> {
    let mut rest: &[u8] = header;
    let short = |_| FrameError::Binary("fixed part");
    let code = rest.try_get_i16().map_err(short)?;
    let language = Language(rest.try_get_u8().map_err(short)?);
    let version = i32::from(rest.try_get_i16().map_err(short)?);
    let opaque = rest.try_get_i32().map_err(short)?;
    let flag = rest.try_get_i32().map_err(short)?;
    let remark = take(&mut rest, "remark")?;
    let mut command = RemotingCommand {
        code: 0,
        language,
        version,
        opaque,
        flag,
        remark: (!remark.is_empty()).then(|| text(remark).into_owned()),
        ext: decode_fields(take(&mut rest, "fields")?)?,
        serialize: SerializeType::RocketMq,
        body: Bytes::new(),
    };
    command.code = widen(code, command.is_response());
    Ok(command)
}

/// Fields with an empty name or value are dropped: what Java reads as null.
fn decode_fields(mut rest: &[u8]) -> Result<ExtFields, FrameError> {
    let mut ext = ExtFields::with_capacity(if rest.is_empty() { 0 } else { 16 });
    while rest.has_remaining() {
        let len = rest
            .try_get_i16()
            .map_err(|_| FrameError::Binary("field name"))?;
        let name = split(&mut rest, usize::try_from(len).ok(), "field name")?;
        let value = take(&mut rest, "field value")?;
        if !name.is_empty() && !value.is_empty() {
            let name = match text(name) {
                Cow::Borrowed(name) => fields::interned(name),
                Cow::Owned(name) => Cow::Owned(name),
            };
            if ext.len() == FIELDS_MAX {
                return Err(FrameError::TooManyFields);
            }
            ext.push(name, text(value));
        }
    }
    Ok(ext)
}

/// Text that is not UTF-8 is repaired as Java repairs it.
fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

fn take<'a>(rest: &mut &'a [u8], what: &'static str) -> Result<&'a [u8], FrameError> {
    let len = rest.try_get_i32().map_err(|_| FrameError::Binary(what))?;
    split(rest, usize::try_from(len).ok(), what)
}

fn split<'a>(
    rest: &mut &'a [u8],
    len: Option<usize>,
    what: &'static str,
) -> Result<&'a [u8], FrameError> {
    let (head, tail) = len
        .and_then(|len| rest.split_at_checked(len))
        .ok_or(FrameError::Binary(what))?;
    *rest = tail;
    Ok(head)
}

fn widen(code: i16, response: bool) -> i32 {
    if response {
        return i32::from(code);
    }
    WIDE_CODES
        .iter()
        .find(|wide| wide.0 as i16 == code)
        .map_or(i32::from(code), |wide| wide.0)
}
