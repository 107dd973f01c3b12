//! What goes into the store and what comes back.

use std::net::SocketAddr;

use hotfire_protocol::{Message, MessageExt, message::id::offset_msg_id};

/// A message on its way into the store (`MessageExtBrokerInner`).
///
/// The code of the tag, by which consume queues are filtered, is not given: it is computed from
/// the record, so that a rebuilt consume queue is the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageInner {
    /// Topic, flag, properties and body, as they will be stored.
    pub message: Message,
    /// The queue within the topic.
    pub queue_id: i32,
    /// See [`hotfire_protocol::message::sys_flag`]. The two IPv6 bits are set by the store.
    pub sys_flag: i32,
    /// When the client sent it, in milliseconds since the epoch.
    pub born_timestamp: i64,
    /// The client's address.
    pub born_host: SocketAddr,
    /// This broker's address, as it goes into offset ids.
    pub store_host: SocketAddr,
    /// How often it was sent back.
    pub reconsume_times: i32,
    /// The commit log offset of the half message, in a committed transaction; else 0.
    pub prepared_transaction_offset: i64,
}

impl MessageInner {
    /// A message for a queue, born where and when it is stored unless the caller says otherwise.
    pub fn new(message: Message, queue_id: i32, store_host: SocketAddr) -> Self {
        Self {
            message,
            queue_id,
            sys_flag: 0,
            born_timestamp: 0,
            born_host: store_host,
            store_host,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
        }
    }

    /// The record to be, with what the store knows only when it appends left at 0.
    pub(crate) fn into_ext(self) -> MessageExt {
        MessageExt {
            message: self.message,
            queue_id: self.queue_id,
            queue_offset: 0,
            commit_log_offset: 0,
            store_size: 0,
            sys_flag: self.sys_flag,
            born_timestamp: self.born_timestamp,
            born_host: self.born_host,
            store_timestamp: 0,
            store_host: self.store_host,
            body_crc: 0,
            reconsume_times: self.reconsume_times,
            prepared_transaction_offset: self.prepared_transaction_offset,
        }
    }
}

/// A stored message, to be stored again: what is left out is what the store assigns.
impl From<MessageExt> for MessageInner {
    fn from(ext: MessageExt) -> Self {
        Self {
            message: ext.message,
            queue_id: ext.queue_id,
            sys_flag: ext.sys_flag,
            born_timestamp: ext.born_timestamp,
            born_host: ext.born_host,
            store_host: ext.store_host,
            reconsume_times: ext.reconsume_times,
            prepared_transaction_offset: ext.prepared_transaction_offset,
        }
    }
}

/// Several messages for one queue, which are stored all or none, one behind the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageBatch {
    /// What the messages have in common. Its body holds them, encoded as clients send a batch;
    /// its properties are appended to those of each, its own flag is not stored.
    pub shared: MessageInner,
}

/// How storing a message ended (`PutMessageStatus`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PutMessageStatus {
    /// Stored as durably as was asked for.
    PutOk,
    /// Stored; whether the disk has it is not known.
    FlushDiskTimeout,
    /// Stored; whether a replica has it is not known.
    FlushSlaveTimeout,
    /// Stored; there is no replica.
    SlaveNotAvailable,
    /// Not stored: the store is shut down, the disk is full, or a flush has failed.
    ServiceNotAvailable,
    /// Not stored: there is no room for another file.
    CreateMappedFileFailed,
    /// Not stored: topic or body do not fit, or a batch is malformed.
    MessageIllegal,
    /// Not stored: the properties do not fit.
    PropertiesSizeExceeded,
    /// Not stored: an append has been taking too long.
    OsPageCacheBusy,
    /// The disk refused the write: probably not stored.
    UnknownError,
}

impl PutMessageStatus {
    /// Whether the same message will be refused however often it is put: it does not fit. All other
    /// refusals are about the store, which may take it later.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::MessageIllegal | Self::PropertiesSizeExceeded)
    }

    /// The name in `PutMessageStatus`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PutOk => "PUT_OK",
            Self::FlushDiskTimeout => "FLUSH_DISK_TIMEOUT",
            Self::FlushSlaveTimeout => "FLUSH_SLAVE_TIMEOUT",
            Self::SlaveNotAvailable => "SLAVE_NOT_AVAILABLE",
            Self::ServiceNotAvailable => "SERVICE_NOT_AVAILABLE",
            Self::CreateMappedFileFailed => "CREATE_MAPPED_FILE_FAILED",
            Self::MessageIllegal => "MESSAGE_ILLEGAL",
            Self::PropertiesSizeExceeded => "PROPERTIES_SIZE_EXCEEDED",
            Self::OsPageCacheBusy => "OS_PAGE_CACHE_BUSY",
            Self::UnknownError => "UNKNOWN_ERROR",
        }
    }
}

/// How storing a message ended, and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutResult {
    /// How it ended.
    pub status: PutMessageStatus,
    /// Where the message is, if it is in the log.
    pub append: Option<AppendResult>,
}

impl PutResult {
    /// Nothing was stored.
    pub(crate) const fn refused(status: PutMessageStatus) -> Self {
        Self {
            status,
            append: None,
        }
    }

    /// Whether the message is in the log, durable or not (`PutMessageResult.isOk`).
    pub const fn is_stored(&self) -> bool {
        self.append.is_some()
    }
}

/// Where a message, or a batch, is in the log (`AppendMessageResult`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppendResult {
    /// The commit log offset of the first record.
    pub physical_offset: i64,
    /// The queue offset of the first message.
    pub queue_offset: i64,
    /// When it was stored, in milliseconds since the epoch.
    pub store_timestamp: i64,
    /// The bytes of all records.
    pub bytes: usize,
    /// The commit log offsets of the records behind the first.
    pub more_offsets: Vec<i64>,
    /// The address that goes into the offset ids.
    pub store_host: SocketAddr,
}

impl AppendResult {
    /// The number of messages.
    pub fn count(&self) -> usize {
        1 + self.more_offsets.len()
    }

    /// The offset id; for a batch those of all messages, separated by commas, as clients expect.
    pub fn offset_msg_id(&self) -> String {
        let mut ids = offset_msg_id(self.store_host, self.physical_offset);
        for &offset in &self.more_offsets {
            ids.push(',');
            ids.push_str(&offset_msg_id(self.store_host, offset));
        }
        ids
    }
}
