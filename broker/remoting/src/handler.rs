use hotfire_env::BoxFuture;
use hotfire_protocol::RemotingCommand;

use crate::Channel;

/// What becomes of a request.
pub enum Handled {
    /// The answer, at once. The cheapest way: it is encoded straight into the connection's buffer.
    /// Dropped if the request is one-way.
    Reply(RemotingCommand),
    /// No answer now: the request is one-way, or the handler keeps the channel and answers later
    /// with [`Channel::send`].
    None,
    /// The answer takes waiting: the future runs as a task of its own.
    Later(BoxFuture<'static, Option<RemotingCommand>>),
}

/// Serves the requests of a peer. Called by the connection's task: it must not block, and while it
/// runs nothing else happens on that connection.
///
/// A handler that panics closes the connection, with the panic as the reason, and the panic goes on
/// to the runtime.
pub trait RequestHandler: Send + Sync + 'static {
    /// Takes a request.
    fn handle(&self, channel: &Channel, request: RemotingCommand) -> Handled;

    /// A connection is open.
    fn connected(&self, channel: &Channel) {
        let _ = channel;
    }

    /// A connection has ended, whoever ended it. Called once, after the last request; not called
    /// when the runtime itself is torn down.
    fn closed(&self, channel: &Channel, reason: &str) {
        let _ = (channel, reason);
    }
}
