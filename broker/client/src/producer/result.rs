use hotfire_protocol::{MessageQueue, ResponseCode};

/// How a message was stored. All of these count as sent (`SendStatus`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendStatus {
    /// As safely as the broker is configured for.
    SendOk,
    /// Stored, but not on disk in time.
    FlushDiskTimeout,
    /// Stored, but not on a slave in time.
    FlushSlaveTimeout,
    /// Stored, but there is no slave.
    SlaveNotAvailable,
}

impl SendStatus {
    /// The status that a response code stands for; `None` if it means that the send failed.
    pub fn of(code: ResponseCode) -> Option<Self> {
        match code {
            ResponseCode::SUCCESS => Some(Self::SendOk),
            ResponseCode::FLUSH_DISK_TIMEOUT => Some(Self::FlushDiskTimeout),
            ResponseCode::FLUSH_SLAVE_TIMEOUT => Some(Self::FlushSlaveTimeout),
            ResponseCode::SLAVE_NOT_AVAILABLE => Some(Self::SlaveNotAvailable),
            _ => None,
        }
    }

    /// The name that Java gives it.
    pub fn name(self) -> &'static str {
        match self {
            Self::SendOk => "SEND_OK",
            Self::FlushDiskTimeout => "FLUSH_DISK_TIMEOUT",
            Self::FlushSlaveTimeout => "FLUSH_SLAVE_TIMEOUT",
            Self::SlaveNotAvailable => "SLAVE_NOT_AVAILABLE",
        }
    }
}

/// Where a message was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendResult {
    /// How it was stored.
    pub status: SendStatus,
    /// The unique key that the message was given; those of a batch are separated by commas.
    pub msg_id: String,
    /// The broker's id for it, which says where in the commit log it is; of a batch as above.
    pub offset_msg_id: String,
    /// The queue.
    pub queue: MessageQueue,
    /// The position in the queue; of a batch, the first.
    pub queue_offset: i64,
    /// The transaction's id, if the broker names one.
    pub transaction_id: Option<String>,
    /// By this a message for a time can be called back, see [`Producer::recall`]; brokers from 5.3.2
    /// on give it.
    ///
    /// [`Producer::recall`]: crate::Producer::recall
    pub recall_handle: Option<String>,
    /// The region of the broker.
    pub region_id: String,
    /// Whether the broker wants the message to be traced.
    pub trace_on: bool,
    /// How many attempts may have reached a broker, this one included: the message may be stored so
    /// many times.
    pub attempts: u32,
}
