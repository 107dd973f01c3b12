//! The messages of a batch, made into one record each (`MessageExtEncoder.encode(MessageExtBatch)`).

use bytes::BytesMut;
use hotfire_protocol::MessageExt;
use hotfire_protocol::message::batch::{self, BatchError};
use hotfire_protocol::message::record::{self, EncodeError};

/// Why a batch cannot be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum IllegalBatch {
    /// There is no message in it.
    #[error("the batch is empty")]
    Empty,
    /// It is not a batch.
    #[error(transparent)]
    Malformed(BatchError),
    /// A message does not fit a record.
    #[error(transparent)]
    Encode(EncodeError),
}

/// Encodes every message of the batch that is `shared`'s body, each with all else from `shared` and
/// its properties as they were sent, and returns their number.
pub(crate) fn encode_records(
    shared: &mut MessageExt,
    out: &mut BytesMut,
) -> Result<usize, IllegalBatch> {
    let body = std::mem::take(&mut shared.message.body);
    let elements = batch::decode(body).map_err(IllegalBatch::Malformed)?;
    if elements.is_empty() {
        return Err(IllegalBatch::Empty);
    }
    let count = elements.len();
    for element in elements {
        shared.message.flag = element.flag;
        shared.message.body = element.body;
        record::encode_parts(shared, &element.properties, out).map_err(IllegalBatch::Encode)?;
    }
    Ok(count)
}
