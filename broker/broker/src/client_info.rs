//! A connected client, as the tables of producers and consumers know it (`ClientChannelInfo`), and
//! which groups it is in.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hotfire_protocol::Language;
use hotfire_remoting::ConnectionId;
use tokio::time::Instant;

use crate::limits::{self, Full};

/// How long a client lives without a heartbeat (`CHANNEL_EXPIRED_TIMEOUT`).
pub const CLIENT_EXPIRY: Duration = Duration::from_secs(120);
/// How often the tables are searched for expired clients (`ClientHousekeepingService`).
pub const EXPIRY_SCAN: Duration = Duration::from_secs(10);
/// How many members such a search looks at before others have their turn.
pub const EXPIRY_PIECE: usize = 2_000;

/// A client on one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientInfo {
    /// What the client calls itself; equal ids in one group confuse its rebalance. Shared by all
    /// groups of a heartbeat.
    pub client_id: Arc<str>,
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
        now.saturating_duration_since(self.last_heartbeat) > CLIENT_EXPIRY
    }
}

/// The groups of each connection, so that its end costs what it had, and not a look at all groups.
#[derive(Debug, Default)]
pub struct Memberships {
    connections: BTreeMap<ConnectionId, BTreeSet<Arc<str>>>,
    count: usize,
}

impl Memberships {
    /// Checks that a connection can enter so many groups more.
    ///
    /// # Errors
    /// It would be in too many, or there are too many memberships.
    pub fn check(&self, connection: ConnectionId, new: usize) -> Result<(), Full> {
        if new == 0 {
            return Ok(());
        }
        let groups = self.connections.get(&connection).map_or(0, BTreeSet::len);
        let max = limits::GROUPS_PER_CONNECTION;
        limits::check("groups of one connection", groups + new, max)?;
        limits::check(
            "members of all groups",
            self.count + new,
            limits::MEMBERSHIPS,
        )
    }

    /// A connection enters a group.
    pub fn enter(&mut self, connection: ConnectionId, group: Arc<str>) {
        if self
            .connections
            .entry(connection)
            .or_default()
            .insert(group)
        {
            self.count += 1;
        }
    }

    /// A connection leaves a group. True if it is in none any more.
    pub fn leave(&mut self, connection: ConnectionId, group: &str) -> bool {
        let Some(groups) = self.connections.get_mut(&connection) else {
            return true;
        };
        if groups.remove(group) {
            self.count -= 1;
        }
        let gone = groups.is_empty();
        if gone {
            self.connections.remove(&connection);
        }
        gone
    }

    /// The groups of a connection.
    pub fn of(&self, connection: ConnectionId) -> Vec<Arc<str>> {
        let groups = self.connections.get(&connection);
        groups.into_iter().flatten().cloned().collect()
    }

    /// Whether a connection is in any group.
    pub fn has(&self, connection: ConnectionId) -> bool {
        self.connections.contains_key(&connection)
    }

    /// How many there are.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.count
    }
}

/// What one piece of a search for silent members found.
#[derive(Debug, Default)]
pub struct Silent {
    /// The groups that they were in, and their connections.
    pub members: Vec<(Arc<str>, ConnectionId)>,
    /// Where the search goes on; nothing if it is at its end.
    pub next: Option<Arc<str>>,
}

/// Searches groups, from `from` on, for members that have been silent for too long.
pub fn find_silent<'g>(
    groups: impl Iterator<Item = (&'g Arc<str>, &'g BTreeMap<ConnectionId, ClientInfo>)>,
    now: Instant,
) -> Silent {
    let mut found = Silent::default();
    let mut looked_at = 0;
    for (group, members) in groups {
        if looked_at >= EXPIRY_PIECE {
            found.next = Some(group.clone());
            break;
        }
        looked_at += members.len();
        let silent = members.iter().filter(|(_, client)| client.is_expired(now));
        let silent = silent.map(|(&connection, _)| (group.clone(), connection));
        found.members.extend(silent);
    }
    found
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A Java client that was heard at `now`.
    pub(crate) fn client(id: &str, now: Instant) -> ClientInfo {
        ClientInfo {
            client_id: id.into(),
            address: "192.0.2.1:40000".parse().unwrap(),
            language: Language::JAVA,
            version: 409,
            last_heartbeat: now,
        }
    }

    #[test]
    fn a_connection_can_be_in_so_many_groups_and_no_more() {
        let mut memberships = Memberships::default();
        let connection = ConnectionId(1);
        for group in 0..limits::GROUPS_PER_CONNECTION {
            assert_eq!(memberships.check(connection, 1), Ok(()));
            memberships.enter(connection, group.to_string().into());
        }
        assert!(memberships.check(connection, 1).is_err());
        assert_eq!(memberships.check(connection, 0), Ok(()));
        assert_eq!(memberships.check(ConnectionId(2), 1), Ok(()));
        for group in memberships.of(connection) {
            memberships.leave(connection, &group);
        }
        assert_eq!(memberships.len(), 0);
        assert!(!memberships.has(connection));
    }
}
