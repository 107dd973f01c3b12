use std::time::Duration;

/// What one connection may take.
///
/// The size of a frame is limited too, by [`hotfire_protocol::frame::FRAME_MAX`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// A connection without a byte read or written for this long is closed: 120 s
    /// (`serverChannelMaxIdleTimeSeconds`, `clientChannelMaxIdleTimeSeconds`).
    pub idle: Duration,
    /// Requests of ours that may wait for their responses; one more is refused with
    /// [`RpcError::TooManyRequests`](crate::RpcError::TooManyRequests). 65,535
    /// (`clientAsyncSemaphoreValue`).
    pub requests_out: usize,
    /// Requests of the peer whose handlers may be running ([`Handled::Later`](crate::Handled));
    /// one more is answered with SYSTEM_BUSY, or dropped if it is one-way. Requests that a handler
    /// has put aside ([`Handled::None`](crate::Handled)) are the handler's to limit. 10,000 (the
    /// capacity of `sendThreadPoolQueue`).
    pub requests_in: usize,
    /// Bytes that may wait to be written. A request beyond is refused; a response beyond closes the
    /// connection, since a peer that does not read its answers cannot be told so. 64 MiB, four
    /// frames of the greatest size. (Netty's water marks only make a channel "not writable";
    /// RocketMQ's server goes on buffering by default.)
    pub unwritten_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(120),
            requests_out: 65_535,
            requests_in: 10_000,
            unwritten_bytes: 64 << 20,
        }
    }
}
