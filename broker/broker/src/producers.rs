//! Which producers are connected (`ProducerManager`).
//!
//! Invariant: a group without members is not in the table.

use std::collections::BTreeMap;

use hotfire_remoting::ConnectionId;
use tokio::time::Instant;

use crate::client_info::ClientInfo;

/// Producer groups and their connections.
#[derive(Debug, Default)]
pub struct Producers {
    groups: BTreeMap<String, BTreeMap<ConnectionId, ClientInfo>>,
    /// Counts the choices of [`Producers::in_turn`].
    turns: usize,
}

impl Producers {
    /// A heartbeat: a new connection is entered, a known one refreshed.
    pub fn register(&mut self, group: &str, connection: ConnectionId, client: ClientInfo) {
        if let Some(members) = self.groups.get_mut(group) {
            members.insert(connection, client);
        } else {
            let members = BTreeMap::from([(connection, client)]);
            self.groups.insert(group.to_owned(), members);
        }
    }

    /// A client says goodbye. True if it was there.
    pub fn unregister(&mut self, group: &str, connection: ConnectionId) -> bool {
        let Some(members) = self.groups.get_mut(group) else {
            return false;
        };
        let removed = members.remove(&connection).is_some();
        if members.is_empty() {
            self.groups.remove(group);
        }
        removed
    }

    /// A connection is gone: it leaves all groups.
    pub fn connection_closed(&mut self, connection: ConnectionId) {
        self.retain(|at, _| at != connection);
    }

    /// Removes the connections without a heartbeat for too long and returns them: they are to be
    /// closed.
    pub fn expire(&mut self, now: Instant) -> Vec<ConnectionId> {
        let mut expired = Vec::new();
        self.retain(|connection, client| {
            let keep = !client.is_expired(now);
            if !keep {
                expired.push(connection);
            }
            keep
        });
        expired
    }

    /// The members of a group, by connection; `None` if it has none.
    pub fn members(&self, group: &str) -> Option<&BTreeMap<ConnectionId, ClientInfo>> {
        self.groups.get(group)
    }

    /// The connection on which a client was heard last (`ProducerManager.findChannel`).
    pub fn find(&self, client_id: &str) -> Option<ConnectionId> {
        let clients = self.groups.values().flatten();
        clients
            .filter(|(_, client)| client.client_id == client_id)
            .max_by_key(|(connection, client)| (client.last_heartbeat, **connection))
            .map(|(connection, _)| *connection)
    }

    /// At most `count` members of a group to ask something, beginning with the one whose turn it is:
    /// the others are for when that one cannot be reached (`getAvailableChannel`).
    pub fn in_turn(&mut self, group: &str, count: usize) -> Vec<ConnectionId> {
        self.turns = self.turns.wrapping_add(1);
        let Some(members) = self.groups.get(group) else {
            return Vec::new();
        };
        let first = self.turns % members.len().max(1);
        let turn = members.keys().cycle().skip(first);
        turn.take(count.min(members.len())).copied().collect()
    }

    /// All groups that have members, with them.
    pub fn groups(&self) -> impl Iterator<Item = (&str, &BTreeMap<ConnectionId, ClientInfo>)> {
        let groups = self.groups.iter();
        groups.map(|(group, members)| (group.as_str(), members))
    }

    fn retain(&mut self, mut keep: impl FnMut(ConnectionId, &ClientInfo) -> bool) {
        for members in self.groups.values_mut() {
            members.retain(|&connection, client| keep(connection, client));
        }
        self.groups.retain(|_, members| !members.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client_info::{CLIENT_EXPIRY, tests::client};

    const FIRST: ConnectionId = ConnectionId(1);
    const SECOND: ConnectionId = ConnectionId(2);

    #[test]
    fn a_closed_connection_leaves_all_its_groups() {
        let (mut producers, now) = (Producers::default(), Instant::now());
        producers.register("g", FIRST, client("a", now));
        producers.register("h", FIRST, client("a", now));
        producers.register("h", SECOND, client("b", now));
        producers.connection_closed(FIRST);
        assert!(producers.members("g").is_none());
        assert_eq!(producers.members("h").unwrap().len(), 1);
    }

    #[test]
    fn a_producer_expires_after_120_seconds_of_silence() {
        let (mut producers, start) = (Producers::default(), Instant::now());
        producers.register("g", FIRST, client("a", start));
        assert_eq!(producers.expire(start + CLIENT_EXPIRY), []);
        let late = start + CLIENT_EXPIRY + std::time::Duration::from_millis(1);
        assert_eq!(producers.expire(late), [FIRST]);
        assert!(producers.members("g").is_none());
    }

    #[test]
    fn a_heartbeat_prolongs_a_producers_life() {
        let (mut producers, start) = (Producers::default(), Instant::now());
        producers.register("g", FIRST, client("a", start));
        producers.register("g", FIRST, client("a", start + CLIENT_EXPIRY));
        assert_eq!(producers.expire(start + CLIENT_EXPIRY * 2), []);
    }

    #[test]
    fn a_client_is_found_on_the_connection_where_it_was_heard_last() {
        let (mut producers, now) = (Producers::default(), Instant::now());
        let later = now + std::time::Duration::from_secs(1);
        producers.register("g", SECOND, client("a", now));
        producers.register("h", FIRST, client("a", later));
        assert_eq!(producers.find("a"), Some(FIRST));
        assert_eq!(producers.find("b"), None);
    }

    #[test]
    fn the_members_of_a_group_have_turns() {
        let (mut producers, now) = (Producers::default(), Instant::now());
        assert_eq!(producers.in_turn("g", 3), []);
        producers.register("g", FIRST, client("a", now));
        assert_eq!(producers.in_turn("g", 3), [FIRST]);
        producers.register("g", SECOND, client("b", now));
        let choices = [producers.in_turn("g", 3), producers.in_turn("g", 3)];
        assert_eq!(choices, [vec![SECOND, FIRST], vec![FIRST, SECOND]]);
        assert_eq!(producers.in_turn("g", 1), [SECOND]);
    }

    #[test]
    fn the_last_goodbye_ends_a_group() {
        let (mut producers, now) = (Producers::default(), Instant::now());
        producers.register("g", FIRST, client("a", now));
        assert!(!producers.unregister("g", SECOND));
        assert!(producers.unregister("g", FIRST));
        assert!(producers.members("g").is_none());
    }
}
