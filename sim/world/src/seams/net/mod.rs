//! The simulated network: turmoil's TCP under a link layer that makes it behave like a kernel's.
//!
//! turmoil carries bytes from host to host, each segment one tick after it was sent; its own
//! partitions and failure rates are never used, because they tear holes into streams. Everything else
//! is decided here, for each direction between two logical nodes ([`Disturbance`]):
//!
//! - A link that is down *stalls* its streams: bytes come, in order, with the first retransmission
//!   after it recovers ([`tcp::arrival`]), or the connection dies of [`tcp::USER_TIMEOUT`]. There are
//!   no keep-alives: an idle connection does not notice.
//! - Connecting into silence is retried as a kernel retries SYNs, and times out after 127 seconds;
//!   where a machine runs but nobody listens, it is refused after one round trip.
//! - Loss is a delay of one or more retransmission timeouts, never a hole.
//! - One direction holds [`tcp::WINDOW`] bytes that were not read; writes beyond that wait. While
//!   acknowledgements cannot get through, what the reader has read does not count.
//! - Reads may get only a part of what has arrived, so that codecs must reassemble.
//! - Closing a socket with unread bytes resets the connection. A process that dies closes its sockets;
//!   a machine that loses power falls silent, and its next incarnation answers old connections with a
//!   reset.
//!
//! A [`FrameFilter`] can withhold, delay or duplicate whole RocketMQ frames on their way.
//!
//! Simplifications: what the reader has read is known to the writer at once, not a transit time later;
//! a delayed frame may be overtaken by others, as if the peer had answered late.

mod connect;
mod filters;
mod frame;
mod inbox;
pub(crate) mod link;
mod listener;
mod network;
mod stream;
pub mod tcp;
#[cfg(test)]
mod tests;
pub(crate) mod wire;

pub(crate) use connect::process_id;
pub use frame::{FrameFilter, FrameInfo, FrameVerdict};
pub use link::{Disturbance, FaultId, NetworkConfig};
pub(crate) use network::{Fabric, SimNetwork};
