//! Headers of calling a message back.

use crate::header;

header! {
    /// Asks that a message which waits for its time be dropped.
    pub struct RecallMessageRequestHeader {
        /// The producer group.
        producer_group: Option<String> = "producerGroup",
        /// The topic of the message.
        topic: String = "topic",
        /// The handle that its sender was given.
        recall_handle: String = "recallHandle",
        /// The broker group that the sender means.
        broker_name: Option<String> = "bname",
    }

    /// Says that it will be dropped.
    pub struct RecallMessageResponseHeader {
        /// The unique key of the message.
        msg_id: String = "msgId",
    }
}
