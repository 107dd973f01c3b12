//! Asking a name server.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hotfire_protocol::RemotingCommand;
use hotfire_remoting::{Client, RpcError};
use tokio::time::Instant;

/// The name servers: one is used until a call of it fails, then the next
/// (`NettyRemotingClient.getAndCreateNameserverChannel`).
#[derive(Debug)]
pub struct NameServers {
    addrs: Vec<String>,
    chosen: AtomicUsize,
}

impl NameServers {
    /// Begins with a random one, so that clients spread.
    pub fn new(addrs: Vec<String>, random: u64) -> Self {
        let chosen = random.checked_rem(addrs.len() as u64).unwrap_or(0) as usize;
        Self {
            addrs,
            chosen: AtomicUsize::new(chosen),
        }
    }

    /// The one in use.
    pub fn chosen(&self) -> Option<(usize, &str)> {
        let at = self.chosen.load(Ordering::Relaxed);
        self.addrs.get(at).map(|addr| (at, addr.as_str()))
    }

    /// Turns to the next one, unless somebody else did so meanwhile.
    pub fn fail(&self, at: usize) {
        let next = (at + 1).checked_rem(self.addrs.len()).unwrap_or(0);
        let _ = self
            .chosen
            .compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Invokes; servers that cannot be connected to are passed over while there is time. One that
    /// does not answer costs this call, and the next call goes to another.
    ///
    /// # Errors
    /// As [`Client::invoke`], of the last server that was tried.
    pub async fn invoke(
        &self,
        client: &Client,
        request: RemotingCommand,
        timeout: Duration,
    ) -> Result<RemotingCommand, RpcError> {
        let deadline = Instant::now() + timeout;
        let mut tried = 0;
        loop {
            let (at, addr) = self.chosen().ok_or(RpcError::ShutDown)?;
            let left = deadline.saturating_duration_since(Instant::now());
            let error = match client.invoke(addr, request.clone(), left).await {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            self.fail(at);
            tried += 1;
            let another = tried < self.addrs.len() && Instant::now() < deadline;
            if !(another && error.is_definite()) {
                return Err(error);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers() -> NameServers {
        NameServers::new(vec!["ns1".to_owned(), "ns2".to_owned()], 3)
    }

    #[test]
    fn a_server_is_used_until_it_fails() {
        let servers = servers();
        assert_eq!(servers.chosen(), Some((1, "ns2")));
        servers.fail(1);
        assert_eq!(servers.chosen(), Some((0, "ns1")));
    }

    #[test]
    fn two_failures_of_one_server_skip_nobody() {
        let servers = servers();
        servers.fail(1);
        servers.fail(1);
        assert_eq!(servers.chosen(), Some((0, "ns1")));
    }

    #[test]
    fn without_servers_there_is_nobody_to_ask() {
        assert_eq!(NameServers::new(Vec::new(), 1).chosen(), None);
    }
}
