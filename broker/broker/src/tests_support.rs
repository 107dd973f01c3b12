//! What the unit tests share.

use hotfire_protocol::{Message, MessageExt};

/// A message as it was stored.
pub(crate) fn stored(message: Message, queue_id: i32) -> MessageExt {
    let host = "192.0.2.1:10911".parse().unwrap();
    MessageExt {
        message,
        queue_id,
        queue_offset: 0,
        commit_log_offset: 0,
        store_size: 0,
        sys_flag: 0,
        born_timestamp: 0,
        born_host: host,
        store_timestamp: 0,
        store_host: host,
        body_crc: 0,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
    }
}
