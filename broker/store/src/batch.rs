//! The messages of a batch, as clients send them, made into one record each
//! (`MessageExtEncoder.encode(MessageExtBatch)`).

use bytes::{Buf, Bytes, BytesMut};
use hotfire_protocol::MessageExt;
use hotfire_protocol::message::record::{self, EncodeError};

/// Why a batch cannot be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BatchError {
    /// There is no message in it.
    #[error("the batch is empty")]
    Empty,
    /// A length that does not fit.
    #[error("the batch's length fields do not fit its {0} bytes")]
    Length(usize),
    /// Properties that are not text.
    #[error("the properties of a message are not UTF-8")]
    Text,
    /// A message that does not fit a record.
    #[error(transparent)]
    Encode(EncodeError),
}

/// Encodes every message of the batch that is `shared`'s body, each with all else from `shared` and
/// its properties as they were sent, and returns their number.
pub(crate) fn encode_records(
    shared: &mut MessageExt,
    out: &mut BytesMut,
) -> Result<usize, BatchError> {
    let mut rest = std::mem::take(&mut shared.message.body);
    let whole = rest.len();
    let mut count = 0;
    while !rest.is_empty() {
        let element = next(&mut rest).ok_or(BatchError::Length(whole))?;
        shared.message.flag = element.flag;
        shared.message.body = element.body;
        let properties = std::str::from_utf8(&element.properties).map_err(|_| BatchError::Text)?;
        record::encode_parts(shared, properties, out).map_err(BatchError::Encode)?;
        count += 1;
    }
    if count == 0 {
        return Err(BatchError::Empty);
    }
    Ok(count)
}

struct Element {
    flag: i32,
    body: Bytes,
    properties: Bytes,
}

/// Size, magic number, checksum, flag, body length, body, properties length, properties. Magic
/// number and checksum are 0 in what clients send; the size is not needed.
fn next(rest: &mut Bytes) -> Option<Element> {
    let _size = rest.try_get_i32().ok()?;
    let _magic = rest.try_get_i32().ok()?;
    let _crc = rest.try_get_i32().ok()?;
    let flag = rest.try_get_i32().ok()?;
    let body_len = usize::try_from(rest.try_get_i32().ok()?).ok()?;
    let body = (body_len <= rest.len()).then(|| rest.split_to(body_len))?;
    let properties_len = usize::try_from(rest.try_get_i16().ok()?).ok()?;
    let properties = (properties_len <= rest.len()).then(|| rest.split_to(properties_len))?;
    Some(Element {
        flag,
        body,
        properties,
    })
}
