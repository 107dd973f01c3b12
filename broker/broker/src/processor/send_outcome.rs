//! What the outcome of an append means to its sender (`SendMessageProcessor.handlePutMessageResult`).

use hotfire_protocol::ResponseCode;
use hotfire_store::PutMessageStatus;

use crate::config::BrokerConfig;

/// The code of the answer and, if nothing was stored, why.
pub(crate) fn outcome(
    config: &BrokerConfig,
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
            "create mapped file failed: the disk is full or broken".to_owned(),
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
            "service not available now: the disk is full or has failed, or the store is shut down"
                .to_owned(),
        ),
        OsPageCacheBusy => (
            ResponseCode::SYSTEM_BUSY,
            "[PC_SYNCHRONIZED]broker busy, start flow control for a while".to_owned(),
        ),
        UnknownError => (ResponseCode::SYSTEM_ERROR, "UNKNOWN_ERROR".to_owned()),
    };
    (code, Some(remark))
}
