//! Which producers are connected (`ProducerManager`).
//!
//! Invariant: a group without members is not in the table, and neither is a connection or a client
//! without groups.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use hotfire_remoting::ConnectionId;
use tokio::time::Instant;

use crate::client_info::{ClientInfo, Memberships, find_silent};
use crate::limits::{self, Full};

/// Producer groups and their connections.
#[derive(Debug, Default)]
pub struct Producers {
    groups: BTreeMap<Arc<str>, BTreeMap<ConnectionId, ClientInfo>>,
    memberships: Memberships,
    /// When each client was heard on each of its connections.
    clients: BTreeMap<Arc<str>, BTreeMap<ConnectionId, Instant>>,
    /// The ids of the clients on each connection.
    ids: BTreeMap<ConnectionId, BTreeSet<Arc<str>>>,
    /// Counts the choices of [`Producers::in_turn`].
    turns: usize,
}

impl Producers {
    /// Checks that there is room for a heartbeat.
    ///
    /// # Errors
    /// There is not; nothing of the heartbeat is to be entered.
    pub fn check<'g>(
        &self,
        groups: impl Iterator<Item = &'g str>,
        connection: ConnectionId,
        client: &ClientInfo,
    ) -> Result<(), Full> {
        let mut new = 0;
        for group in groups {
            let members = self.groups.get(group);
            if members.is_none_or(|members| !members.contains_key(&connection)) {
                new += 1;
                let count = members.map_or(0, BTreeMap::len) + 1;
                limits::check("members of one group", count, limits::MEMBERS_PER_GROUP)?;
            }
        }
        if let Some(ids) = self.ids.get(&connection)
            && !ids.contains(&client.client_id)
        {
            let max = limits::CLIENT_IDS_PER_CONNECTION;
            limits::check("client ids of one connection", ids.len() + 1, max)?;
        }
        self.memberships.check(connection, new)
    }

    /// A heartbeat: a new connection is entered, a known one refreshed.
    pub fn register(&mut self, group: &str, connection: ConnectionId, client: ClientInfo) {
        let heard = self.clients.entry(client.client_id.clone()).or_default();
        heard.insert(connection, client.last_heartbeat);
        let ids = self.ids.entry(connection).or_default();
        ids.insert(client.client_id.clone());
        if let Some(members) = self.groups.get_mut(group)
            && let Some(known) = members.get_mut(&connection)
        {
            *known = client;
            return;
        }
        let group: Arc<str> = match self.groups.get_key_value(group) {
            Some((group, _)) => group.clone(),
            None => group.into(),
        };
        self.memberships.enter(connection, group.clone());
        self.groups
            .entry(group)
            .or_default()
            .insert(connection, client);
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
        if self.memberships.leave(connection, group) {
            self.forget_ids(connection);
        }
        removed
    }

    /// A connection is gone: it leaves all groups.
    pub fn connection_closed(&mut self, connection: ConnectionId) {
        for group in self.memberships.of(connection) {
            self.unregister(&group, connection);
        }
    }

    /// Removes members without a heartbeat for too long, from the group `from` on, a piece at a time.
    /// Returns their connections, which are to be closed unless they are in other groups, and where
    /// to go on.
    pub fn expire(
        &mut self,
        from: Option<&Arc<str>>,
        now: Instant,
    ) -> (Vec<ConnectionId>, Option<Arc<str>>) {
        let start = from.map_or(Bound::Unbounded, |from| Bound::Included(from.clone()));
        let silent = find_silent(self.groups.range((start, Bound::Unbounded)), now);
        for (group, connection) in &silent.members {
            self.unregister(group, *connection);
        }
        let connections = silent.members.iter().map(|(_, connection)| *connection);
        (connections.collect(), silent.next)
    }

    /// Whether a connection is in any group.
    pub fn has(&self, connection: ConnectionId) -> bool {
        self.memberships.has(connection)
    }

    /// The members of a group, by connection; `None` if it has none.
    pub fn members(&self, group: &str) -> Option<&BTreeMap<ConnectionId, ClientInfo>> {
        self.groups.get(group)
    }

    /// The connection on which a client was heard last (`ProducerManager.findChannel`).
    pub fn find(&self, client_id: &str) -> Option<ConnectionId> {
        let heard = self.clients.get(client_id)?.iter();
        heard
            .max_by_key(|(connection, heard)| (**heard, **connection))
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
        groups.map(|(group, members)| (&**group, members))
    }

    fn forget_ids(&mut self, connection: ConnectionId) {
        for id in self.ids.remove(&connection).into_iter().flatten() {
            if let Some(heard) = self.clients.get_mut(&id) {
                heard.remove(&connection);
                if heard.is_empty() {
                    self.clients.remove(&id);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client_info::{CLIENT_EXPIRY, tests::client};

    const FIRST: ConnectionId = ConnectionId(1);
    const SECOND: ConnectionId = ConnectionId(2);

    fn silent(producers: &mut Producers, now: Instant) -> Vec<ConnectionId> {
        let (mut found, mut from) = (Vec::new(), None);
        loop {
            let (silent, next) = producers.expire(from.as_ref(), now);
            found.extend(silent);
            from = next;
            if from.is_none() {
                return found;
            }
        }
    }

    fn is_empty(producers: &Producers) -> bool {
        let Producers {
            groups,
            memberships,
            clients,
            ids,
            ..
        } = producers;
        groups.is_empty() && memberships.len() == 0 && clients.is_empty() && ids.is_empty()
    }

    #[test]
    fn a_group_that_is_silent_leaves_the_connection_to_one_that_is_not() {
        let (mut producers, start) = (Producers::default(), Instant::now());
        producers.register("silent", FIRST, client("a", start));
        let late = start + CLIENT_EXPIRY + std::time::Duration::from_millis(1);
        producers.register("heard", FIRST, client("a", late));
        assert_eq!(silent(&mut producers, late), [FIRST]);
        assert!(producers.has(FIRST));
        assert!(producers.members("silent").is_none());
        assert_eq!(producers.find("a"), Some(FIRST));
    }

    #[test]
    fn nothing_is_left_of_a_connection_that_closed() {
        let (mut producers, now) = (Producers::default(), Instant::now());
        for group in 0..1000 {
            producers.register(&group.to_string(), FIRST, client("a", now));
        }
        producers.register("0", FIRST, client("b", now));
        producers.connection_closed(FIRST);
        assert!(is_empty(&producers), "{producers:?}");
    }

    #[test]
    fn silent_producers_are_found_however_many_groups_there_are() {
        let (mut producers, start) = (Producers::default(), Instant::now());
        for connection in 0..3_000 {
            let id = ConnectionId(connection);
            producers.register(&(connection / 2).to_string(), id, client("a", start));
        }
        let late = start + CLIENT_EXPIRY * 2;
        assert_eq!(silent(&mut producers, late).len(), 3_000);
        assert!(is_empty(&producers), "{producers:?}");
    }

    #[test]
    fn a_group_has_a_largest_number_of_members() {
        let (mut producers, now) = (Producers::default(), Instant::now());
        for connection in 0..limits::MEMBERS_PER_GROUP as u64 {
            producers.register("g", ConnectionId(connection), client("a", now));
        }
        let check = |producers: &Producers, connection| {
            producers.check(
                ["g"].into_iter(),
                ConnectionId(connection),
                &client("a", now),
            )
        };
        assert!(check(&producers, u64::MAX).is_err());
        assert_eq!(check(&producers, 0), Ok(()));
        producers.connection_closed(ConnectionId(7));
        assert_eq!(check(&producers, u64::MAX), Ok(()));
    }

    #[test]
    fn a_connection_does_not_change_its_id_for_ever() {
        let (mut producers, now) = (Producers::default(), Instant::now());
        let mut entered = 0;
        for id in 0..1_000 {
            let client = client(&id.to_string(), now);
            if producers.check(["g"].into_iter(), FIRST, &client).is_ok() {
                producers.register("g", FIRST, client);
                entered += 1;
            }
        }
        assert_eq!(entered, limits::CLIENT_IDS_PER_CONNECTION);
        assert_eq!(producers.clients.len(), entered);
    }

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
        assert_eq!(silent(&mut producers, start + CLIENT_EXPIRY), []);
        let late = start + CLIENT_EXPIRY + std::time::Duration::from_millis(1);
        assert_eq!(silent(&mut producers, late), [FIRST]);
        assert!(producers.members("g").is_none());
    }

    #[test]
    fn a_heartbeat_prolongs_a_producers_life() {
        let (mut producers, start) = (Producers::default(), Instant::now());
        producers.register("g", FIRST, client("a", start));
        producers.register("g", FIRST, client("a", start + CLIENT_EXPIRY));
        assert_eq!(silent(&mut producers, start + CLIENT_EXPIRY * 2), []);
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
