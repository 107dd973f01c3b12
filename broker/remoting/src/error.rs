use std::io;
use std::sync::Arc;

/// Why a request has no response.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RpcError {
    /// No connection came about (`RemotingConnectException`).
    #[error("connect to <{addr}> failed: {source}")]
    Connect {
        /// The address as the caller gave it.
        addr: String,
        /// What the network said; `TimedOut` if it said nothing in time.
        source: Arc<io::Error>,
    },
    /// No response arrived in time (`RemotingTimeoutException`).
    #[error("no response from <{addr}> to request {code} within {millis} ms")]
    Timeout {
        /// The peer.
        addr: String,
        /// The request's code.
        code: i32,
        /// How long the caller was willing to wait.
        millis: u64,
    },
    /// The connection ended while the response was awaited (`RemotingSendRequestException`, as
    /// Java's fail-fast reports it).
    #[error("the connection to <{addr}> closed before the response came: {reason}")]
    Closed {
        /// The peer.
        addr: String,
        /// Why it ended.
        reason: String,
    },
    /// The connection had ended before the request could be handed to it
    /// (`RemotingSendRequestException`).
    #[error("send to <{addr}> failed: {reason}")]
    SendFailed {
        /// The peer.
        addr: String,
        /// Why.
        reason: String,
    },
    /// A limit of the connection is reached (`RemotingTooMuchRequestException`).
    #[error("too many requests to <{addr}>: {what}")]
    TooManyRequests {
        /// The peer.
        addr: String,
        /// Which limit.
        what: String,
    },
    /// The command does not fit into a frame.
    #[error("the command for <{addr}> cannot be encoded: {reason}")]
    Frame {
        /// The peer.
        addr: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The client has been shut down.
    #[error("the client is shut down")]
    ShutDown,
}

impl RpcError {
    /// Whether the request was certainly not sent, so that the peer cannot have acted on it. After
    /// any other error it may or may not have been processed.
    pub fn is_definite(&self) -> bool {
        !matches!(self, Self::Timeout { .. } | Self::Closed { .. })
    }

    /// Whether it is [`RpcError::Timeout`].
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Timeout { .. })
    }
}
