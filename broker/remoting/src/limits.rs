use std::time::Duration;

/// What one connection may take.
///
/// The size of a frame is limited too, by [`hotfire_protocol::frame::FRAME_MAX`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// A connection without a byte read or written for this long is closed: 120 s
    /// (`serverChannelMaxIdleTimeSeconds`, `clientChannelMaxIdleTimeSeconds`).
    pub idle: Duration,
    /// A connection whose frame is incomplete and grows by less than 4 KiB within this time is
    /// closed: 60 s. (RocketMQ waits for as long as any byte comes.)
    pub stalled_frame: Duration,
    /// Requests of ours that may wait for their responses; one more is refused with
    /// [`RpcError::TooManyRequests`](crate::RpcError::TooManyRequests). 65,535
    /// (`clientAsyncSemaphoreValue`).
    pub requests_out: usize,
    /// Requests of the peer whose handlers may be running ([`Handled::Later`](crate::Handled));
    /// one more is answered with SYSTEM_BUSY, or dropped if it is one-way. Requests that a handler
    /// has put aside ([`Handled::None`](crate::Handled)) are the handler's to limit. 10,000 (the
    /// capacity of `sendThreadPoolQueue`).
    pub requests_in: usize,
    /// Bytes of bodies that these requests may have: 128 MiB, eight frames of the greatest size.
    pub request_bytes_in: usize,
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
            stalled_frame: Duration::from_secs(60),
            requests_out: 65_535,
            requests_in: 10_000,
            request_bytes_in: 128 << 20,
            unwritten_bytes: 64 << 20,
        }
    }
}

/// What all connections of a server may take together. RocketMQ knows no such limits; these are far
/// beyond what its clients need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TotalLimits {
    /// Connections at a time; one more is closed at once. 50,000, or what the network allows
    /// ([`Network::connections_max`](hotfire_env::Network::connections_max)) if that is less.
    pub connections: usize,
    /// Connections from one address, so that no single machine takes all of them: half of
    /// [`TotalLimits::connections`], which leaves room for thousands of clients behind one address.
    pub connections_per_address: usize,
    /// Bytes of frames that are not complete yet. Beyond, the connections that have been at theirs
    /// for the longest time are closed. 256 MiB.
    pub partial_bytes: usize,
    /// Bytes that wait to be written and that peers do not read. Beyond, the connections that have
    /// not read for the longest time are closed. 512 MiB.
    pub unwritten_bytes: usize,
    /// Requests whose handlers may be running; one more is answered with SYSTEM_BUSY. 100,000 (the
    /// capacity of `pullThreadPoolQueue`).
    pub requests_in: usize,
    /// Bytes of bodies that these requests may have: 512 MiB.
    pub request_bytes_in: usize,
}

impl Default for TotalLimits {
    fn default() -> Self {
        Self {
            connections: 50_000,
            connections_per_address: 25_000,
            partial_bytes: 256 << 20,
            unwritten_bytes: 512 << 20,
            requests_in: 100_000,
            request_bytes_in: 512 << 20,
        }
    }
}

impl TotalLimits {
    /// None at all: for a client, whose connections are its own choice.
    pub const UNLIMITED: Self = Self {
        connections: usize::MAX,
        connections_per_address: usize::MAX,
        partial_bytes: usize::MAX,
        unwritten_bytes: usize::MAX,
        requests_in: usize::MAX,
        request_bytes_in: usize::MAX,
    };
}
