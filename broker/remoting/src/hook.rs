use std::fmt;

use hotfire_protocol::RemotingCommand;

/// Something that is done to every request before a [`Client`](crate::Client) sends it (`RPCHook`).
pub trait RequestHook: fmt::Debug + Send + Sync {
    /// Adds to or changes a request that goes to `address`. The opaque is not set yet.
    fn before_request(&self, address: &str, request: &mut RemotingCommand);
}
