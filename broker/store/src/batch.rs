//! The messages of a batch, made into one record each (`MessageExtEncoder.encode(MessageExtBatch)`).

use bytes::BytesMut;
use hotfire_protocol::MessageExt;
use hotfire_protocol::message::batch::{self, BatchError};
use hotfire_protocol::message::property;
use hotfire_protocol::message::record::{self, EncodeError, PROPERTIES_MAX};

use crate::property_crc;

/// Why a batch cannot be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IllegalBatch {
    /// There is no message in it.
    #[error("the batch is empty")]
    Empty,
    /// The system flag says that they are half messages, or rolled back: nobody would see them.
    #[error("half messages cannot be a batch")]
    Half,
    /// It is not a batch.
    #[error(transparent)]
    Malformed(BatchError),
    /// A message does not fit a record.
    #[error(transparent)]
    Encode(EncodeError),
    /// Its records would be too long together.
    #[error("its messages have more than {0} bytes together, with the properties of the batch")]
    TooLong(usize),
}

/// Encodes every message of the batch that is `shared`'s body, and returns their number. Flag and
/// body are the message's own, all else is `shared`'s. The properties are the message's, as they
/// were sent, with those of `shared` behind them, even if a name is then there twice.
///
/// Nothing is written before it is known that the records have no more than `max` bytes: the common
/// properties, which every record repeats, can make much of little.
pub(crate) fn encode_records(
    shared: &mut MessageExt,
    max: usize,
    out: &mut BytesMut,
) -> Result<usize, IllegalBatch> {
    let body = std::mem::take(&mut shared.message.body);
    let common = property::encode(&shared.message.properties);
    let size = stored_size(shared, &body, &common, max)?;
    out.reserve(size);
    let (mut count, mut properties) = (0, String::new());
    for element in batch::elements(body) {
        let element = element.map_err(IllegalBatch::Malformed)?;
        properties.clear();
        properties.push_str(element.properties());
        property::append(&mut properties, &common);
        property_crc::append(&mut properties);
        shared.message.flag = element.flag;
        shared.message.body = element.body;
        record::encode_parts(shared, &properties, out).map_err(IllegalBatch::Encode)?;
        count += 1;
    }
    Ok(count)
}

/// The bytes of all records.
fn stored_size(
    shared: &MessageExt,
    body: &bytes::Bytes,
    common: &str,
    max: usize,
) -> Result<usize, IllegalBatch> {
    let mut size = 0;
    for element in batch::elements(body.clone()) {
        let element = element.map_err(IllegalBatch::Malformed)?;
        let properties = property::appended_len(element.properties(), common)
            + property_crc::room_in(element.properties(), common);
        if properties > PROPERTIES_MAX {
            let error = EncodeError::PropertiesTooLong(properties);
            return Err(IllegalBatch::Encode(error));
        }
        let (born, store) = (shared.born_host, shared.store_host);
        let topic = shared.message.topic.len();
        size += record::size_of(born, store, topic, properties, element.body.len());
        if size > max {
            return Err(IllegalBatch::TooLong(max));
        }
    }
    if size == 0 {
        return Err(IllegalBatch::Empty);
    }
    Ok(size)
}
