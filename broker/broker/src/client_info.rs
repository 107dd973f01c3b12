//! A connected client, as the tables of producers and consumers know it (`ClientChannelInfo`).

use std::net::SocketAddr;
use std::time::Duration;

use hotfire_protocol::Language;
use tokio::time::Instant;

/// How long a client lives without a heartbeat (`CHANNEL_EXPIRED_TIMEOUT`).
pub const CLIENT_EXPIRY: Duration = Duration::from_secs(120);
/// How often the tables are searched for expired clients (`ClientHousekeepingService`).
pub const EXPIRY_SCAN: Duration = Duration::from_secs(10);

/// A client on one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientInfo {
    /// What the client calls itself; equal ids in one group confuse its rebalance.
    pub client_id: String,
    /// Its address.
    pub address: SocketAddr,
    /// Its language.
    pub language: Language,
    /// Its protocol version.
    pub version: i32,
    /// Its last heartbeat.
    pub last_heartbeat: Instant,
}

impl ClientInfo {
    /// Whether it has been silent for too long.
    pub fn is_expired(&self, now: Instant) -> bool {
        now.duration_since(self.last_heartbeat) > CLIENT_EXPIRY
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A Java client that was heard at `now`.
    pub(crate) fn client(id: &str, now: Instant) -> ClientInfo {
        ClientInfo {
            client_id: id.to_owned(),
            address: "192.0.2.1:40000".parse().unwrap(),
            language: Language::JAVA,
            version: 409,
            last_heartbeat: now,
        }
    }
}
