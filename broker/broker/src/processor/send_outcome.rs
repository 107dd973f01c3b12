//! What the outcome of an append means to its sender (`SendMessageProcessor.handlePutMessageResult`).

use hotfire_protocol::ResponseCode;
use hotfire_store::{MessageStore, PutMessageStatus};

use crate::config::BrokerConfig;

/// The code of the answer and, if nothing was stored, why: what the store says, if it was asked.
pub(crate) fn outcome(
    config: &BrokerConfig,
    store: Option<&MessageStore>,
    status: PutMessageStatus,
) -> (ResponseCode, Option<String>) {
    use PutMessageStatus::{
        CreateMappedFileFailed, FlushDiskTimeout, FlushSlaveTimeout, MessageIllegal,
        OsPageCacheBusy, PropertiesSizeExceeded, PutOk, ServiceNotAvailable, SlaveNotAvailable,
        UnknownError,
    };
    let (code, remark) = match status {
        PutOk => return (ResponseCode::SUCCESS, None),
        FlushDiskTimeout => return (ResponseCode::FLUSH_DISK_TIMEOUT, None),
        FlushSlaveTimeout => return (ResponseCode::FLUSH_SLAVE_TIMEOUT, None),
        SlaveNotAvailable => return (ResponseCode::SLAVE_NOT_AVAILABLE, None),
        CreateMappedFileFailed => (
            ResponseCode::SYSTEM_ERROR,
            format!("create mapped file failed: {}", why(store)),
        ),
        MessageIllegal | PropertiesSizeExceeded => (
            ResponseCode::MESSAGE_ILLEGAL,
            format!(
                "the message is illegal: the body may have {} bytes, the properties 32767, \
                 the topic 127",
                config.store.max_message_size
            ),
        ),
        ServiceNotAvailable => (
            ResponseCode::SERVICE_NOT_AVAILABLE,
            format!("service not available now: {}", why(store)),
        ),
        OsPageCacheBusy => (
            ResponseCode::SYSTEM_BUSY,
            "[PC_SYNCHRONIZED]broker busy, start flow control for a while".to_owned(),
        ),
        UnknownError => (ResponseCode::SYSTEM_ERROR, "UNKNOWN_ERROR".to_owned()),
    };
    (code, Some(remark))
}

/// What is wrong with the store. It may be well again by now.
fn why(store: Option<&MessageStore>) -> String {
    let why = store.and_then(MessageStore::why_not_writeable);
    why.unwrap_or_else(|| "it could not store the message; it can again".to_owned())
}
