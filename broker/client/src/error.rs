//! What can go wrong, and what is known about a send that went wrong.

use hotfire_protocol::ResponseCode;
use hotfire_remoting::RpcError;

/// Why a call of the client failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClientError {
    /// An option, a group, a topic or a message is not acceptable. Nothing was sent.
    #[error("{0}")]
    Invalid(String),
    /// No name server knows the topic, or none could be asked.
    #[error("no route info of topic `{topic}`: {reason}")]
    NoRoute {
        /// The topic.
        topic: String,
        /// What the last name server said.
        reason: String,
    },
    /// The route names no address for this broker.
    #[error("the broker `{0}` has no address")]
    NoBroker(String),
    /// A broker or name server answered with a code that means failure.
    #[error("{addr} answered {code}: {remark}")]
    Response {
        /// Who answered.
        addr: String,
        /// The code.
        code: ResponseCode,
        /// The text that came with it.
        remark: String,
    },
    /// There was no answer.
    #[error(transparent)]
    Rpc(#[from] RpcError),
    /// The answer cannot be understood.
    #[error("{addr} sent an answer that cannot be read: {reason}")]
    Malformed {
        /// Who answered.
        addr: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The local offset file of a broadcasting consumer cannot be used.
    #[error("the offset file {path}: {reason}")]
    OffsetFile {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The time for the whole call is over; see [`SendError`] for what the attempts came to.
    #[error("the call took longer than its timeout")]
    CallTimeout,
    /// The producer or consumer has been shut down.
    #[error("the client is shut down")]
    ShutDown,
}

/// The name of the exception by which access control refuses, in the remark of its answer.
const ACL_EXCEPTION: &str = "AclException";

impl ClientError {
    /// The code that a broker or name server answered with.
    pub fn code(&self) -> Option<ResponseCode> {
        match self {
            Self::Response { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Whether the request may have had an effect although the call failed.
    ///
    /// An answer with an error code is a refusal, with two exceptions: a broker answers SYSTEM_BUSY
    /// and SYSTEM_ERROR also for requests that it gave up half way, and both have been seen for
    /// messages that were stored. What access control refuses is a SYSTEM_ERROR too, but it is
    /// refused before anything is done.
    pub fn is_unknown(&self) -> bool {
        match self {
            Self::Rpc(error) => !error.is_definite(),
            Self::Response { code, remark, .. } => {
                let half_way = matches!(
                    *code,
                    ResponseCode::SYSTEM_BUSY | ResponseCode::SYSTEM_ERROR
                );
                half_way && !remark.contains(ACL_EXCEPTION)
            }
            Self::Malformed { .. } => true,
            _ => false,
        }
    }
}

/// Why a send failed.
///
/// The message may have been stored all the same: once for each attempt that reached a broker. Only
/// if [`is_unknown`](Self::is_unknown) is false was it certainly not.
#[derive(Debug, Clone, thiserror::Error)]
#[error("send failed after {}, {}: {source}", tried(*.attempts), outcome(*.unknown))]
pub struct SendError {
    /// What the last attempt failed with.
    pub source: ClientError,
    /// How many attempts handed the message to a connection, so that it may have reached a broker.
    pub attempts: u32,
    /// Whether one of the attempts may have been stored.
    pub unknown: bool,
}

fn tried(attempts: u32) -> String {
    match attempts {
        1 => "1 attempt".to_owned(),
        _ => format!("{attempts} attempts"),
    }
}

fn outcome(unknown: bool) -> &'static str {
    if unknown {
        "perhaps stored"
    } else {
        "not stored"
    }
}

impl SendError {
    /// Whether the message may have been stored. A definite refusal after an attempt that timed out
    /// is still unknown: the earlier attempt may have succeeded.
    pub fn is_unknown(&self) -> bool {
        self.unknown
    }
}

/// An error before anything was sent.
impl From<ClientError> for SendError {
    fn from(source: ClientError) -> Self {
        Self {
            unknown: source.is_unknown(),
            source,
            attempts: 0,
        }
    }
}
