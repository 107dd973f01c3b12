//! Headers of transactions.

use crate::header;

header! {
    /// A producer decides about a half message, usually one-way.
    pub struct EndTransactionRequestHeader {
        /// The producer group.
        producer_group: String = "producerGroup",
        /// The queue offset of the half message.
        tran_state_table_offset: i64 = "tranStateTableOffset",
        /// The commit log offset of the half message.
        commit_log_offset: i64 = "commitLogOffset",
        /// 0 unknown, 8 commit, 12 rollback, as in the system flag.
        commit_or_rollback: i32 = "commitOrRollback",
        /// Whether a check was answered; false if missing.
        from_transaction_check: Option<bool> = "fromTransactionCheck",
        /// The unique key of the message.
        msg_id: String = "msgId",
        /// The transaction's id.
        transaction_id: Option<String> = "transactionId",
        /// The topic (5.x).
        topic: Option<String> = "topic",
        /// The broker group that the sender means.
        broker_name: Option<String> = "bname",
    }

    /// A broker asks about a half message, which is the body.
    pub struct CheckTransactionStateRequestHeader {
        /// The queue offset of the half message.
        tran_state_table_offset: i64 = "tranStateTableOffset",
        /// The commit log offset of the half message.
        commit_log_offset: i64 = "commitLogOffset",
        /// The unique key of the message.
        msg_id: Option<String> = "msgId",
        /// The transaction's id.
        transaction_id: Option<String> = "transactionId",
        /// The offset id of the message.
        offset_msg_id: Option<String> = "offsetMsgId",
        /// The topic (5.x).
        topic: Option<String> = "topic",
        /// The broker group that the sender means.
        broker_name: Option<String> = "bname",
    }

    /// Has a given-up half message checked again.
    pub struct ResumeCheckHalfMessageRequestHeader {
        /// The topic.
        topic: Option<String> = "topic",
        /// The id of the message.
        msg_id: Option<String> = "msgId",
    }
}
