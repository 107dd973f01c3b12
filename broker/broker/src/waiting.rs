//! Requests that are put aside.

use hotfire_protocol::RemotingCommand;
use hotfire_remoting::Channel;
use tokio::time::Instant;

/// A request that waits for its turn.
pub(crate) struct Waiting {
    pub channel: Channel,
    pub request: RemotingCommand,
    /// When it came.
    pub since: Instant,
}

impl Waiting {
    /// A request that came just now.
    pub fn new(channel: &Channel, request: RemotingCommand) -> Self {
        Self {
            channel: channel.clone(),
            request,
            since: Instant::now(),
        }
    }

    /// What it takes, in bytes: its fields and its body.
    pub fn bytes(request: &RemotingCommand) -> usize {
        let fields = request.ext.iter();
        let fields: usize = fields.map(|(name, value)| name.len() + value.len()).sum();
        fields + request.body.len()
    }
}
