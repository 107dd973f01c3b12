//! The messages of a batch, made into one record each (`MessageExtEncoder.encode(MessageExtBatch)`).

use bytes::BytesMut;
use hotfire_protocol::MessageExt;
use hotfire_protocol::message::batch::{self, BatchError};
use hotfire_protocol::message::property;
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

/// Encodes every message of the batch that is `shared`'s body, and returns their number. Flag and
/// body are the message's own, all else is `shared`'s. The properties are the message's, as they
/// were sent, with those of `shared` behind them, even if a name is then there twice.
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
    let common = property::encode(&shared.message.properties);
    for mut element in elements {
        shared.message.flag = element.flag;
        shared.message.body = element.body;
        property::append(&mut element.properties, &common);
        record::encode_parts(shared, &element.properties, out).map_err(IllegalBatch::Encode)?;
    }
    Ok(count)
}
