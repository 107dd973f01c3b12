//! Which consumers are connected, and what their groups subscribe to (`ConsumerManager`,
//! `ConsumerGroupInfo`).
//!
//! The subscriptions belong to the group, not to its members: each heartbeat overwrites them.
//! Members that subscribe to different things therefore take messages away from each other, in
//! RocketMQ and here.
//!
//! Invariant: a group without members is not in the table, and neither is a connection without
//! groups.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use hotfire_protocol::body::{
    ConsumeFromWhere, ConsumeType, ConsumerData, MessageModel, SubscriptionData,
};
use hotfire_remoting::ConnectionId;
use tokio::time::Instant;

use crate::client_info::{ClientInfo, Memberships, find_silent};
use crate::limits::{self, Full};

/// Consumer groups, their connections and subscriptions.
#[derive(Debug, Default)]
pub struct Consumers {
    groups: BTreeMap<Arc<str>, ConsumerGroup>,
    memberships: Memberships,
    /// What all subscriptions take, in bytes.
    subscription_bytes: usize,
}

/// A consumer group with members.
#[derive(Debug, Default)]
pub struct ConsumerGroup {
    members: BTreeMap<ConnectionId, ClientInfo>,
    subscriptions: BTreeMap<String, Arc<SubscriptionData>>,
    /// How messages reach the members, as the last heartbeat said.
    pub consume_type: ConsumeType,
    /// Whether the members share the messages, as the last heartbeat said.
    pub message_model: MessageModel,
    /// Where the group starts to read, as the last heartbeat said.
    pub consume_from_where: ConsumeFromWhere,
}

/// A group whose members or topics changed: its members want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MembersChanged {
    /// The group.
    pub group: String,
    /// The connections of its members now.
    pub connections: Vec<ConnectionId>,
}

/// What a subscription takes, in bytes.
fn weight(subscription: &SubscriptionData) -> usize {
    const ENTRY: usize = 64;
    let tags: usize = subscription
        .tags_set
        .iter()
        .map(|tag| tag.len() + ENTRY)
        .sum();
    let kind = subscription.expression_type.as_ref().map_or(0, String::len);
    let texts = 2 * subscription.topic.len() + subscription.sub_string.len() + kind;
    size_of::<SubscriptionData>() + ENTRY + texts + tags + 16 * subscription.code_set.len()
}

impl ConsumerGroup {
    /// The members by connection.
    pub fn members(&self) -> &BTreeMap<ConnectionId, ClientInfo> {
        &self.members
    }

    /// What the group subscribes to, by topic.
    pub fn subscriptions(&self) -> &BTreeMap<String, Arc<SubscriptionData>> {
        &self.subscriptions
    }

    /// Whether every member gets every message.
    pub fn is_broadcasting(&self) -> bool {
        self.message_model == MessageModel::Broadcasting
    }

    fn changed(&self, group: &str) -> MembersChanged {
        MembersChanged {
            group: group.to_owned(),
            connections: self.members.keys().copied().collect(),
        }
    }

    fn update_member(&mut self, connection: ConnectionId, client: ClientInfo) -> bool {
        match self.members.insert(connection, client) {
            None => true,
            Some(before) => {
                let now = &self.members[&connection].client_id;
                if before.client_id != *now {
                    let before = &*before.client_id;
                    tracing::error!(before, now = &**now, "a connection changed its id");
                }
                false
            }
        }
    }

    /// What a subscription of a heartbeat would add, in bytes.
    fn added(&self, new: &SubscriptionData) -> usize {
        match self.subscriptions.get(&new.topic) {
            Some(known) if new.sub_version <= known.sub_version => 0,
            _ => weight(new),
        }
    }

    /// Topics come and go as the heartbeat says; a known topic's subscription is replaced by a
    /// newer one. True if the set of topics changed. `bytes` is what all subscriptions take.
    fn update_subscriptions(
        &mut self,
        subscriptions: Vec<SubscriptionData>,
        bytes: &mut usize,
    ) -> bool {
        let before = self.subscriptions.len();
        // A set, because a heartbeat can name thousands of topics.
        let named: BTreeSet<_> = subscriptions.iter().map(|new| new.topic.as_str()).collect();
        self.subscriptions.retain(|topic, known| {
            let keep = named.contains(topic.as_str());
            if !keep {
                *bytes = bytes.saturating_sub(weight(known));
            }
            keep
        });
        let mut changed = self.subscriptions.len() != before;
        for new in subscriptions {
            match self.subscriptions.get_mut(&new.topic) {
                Some(known) if new.sub_version > known.sub_version => {
                    *bytes = bytes.saturating_sub(weight(known)) + weight(&new);
                    *known = Arc::new(new);
                }
                Some(_) => {}
                None => {
                    *bytes += weight(&new);
                    self.subscriptions.insert(new.topic.clone(), Arc::new(new));
                    changed = true;
                }
            }
        }
        changed
    }
}

impl Consumers {
    /// Checks that there is room for a heartbeat.
    ///
    /// # Errors
    /// There is not; nothing of the heartbeat is to be entered.
    pub fn check(&self, heartbeat: &[ConsumerData], connection: ConnectionId) -> Result<(), Full> {
        let (mut new, mut bytes) = (0, self.subscription_bytes);
        for data in heartbeat {
            let subscriptions = &data.subscription_data_set;
            let max = limits::SUBSCRIPTIONS_PER_GROUP;
            limits::check("subscriptions of one group", subscriptions.len(), max)?;
            let group = self.groups.get(data.group_name.as_str());
            if group.is_none_or(|group| !group.members.contains_key(&connection)) {
                new += 1;
                let count = group.map_or(0, |group| group.members.len()) + 1;
                limits::check("members of one group", count, limits::MEMBERS_PER_GROUP)?;
            }
            for new in subscriptions {
                bytes += group.map_or_else(|| weight(new), |group| group.added(new));
            }
        }
        limits::check("bytes of subscriptions", bytes, limits::SUBSCRIPTION_BYTES)?;
        self.memberships.check(connection, new)
    }

    /// A heartbeat for one group. If it changed the group's members or topics, and its members get
    /// such news (not in broadcasting, where nothing is shared out), says whom to tell.
    pub fn register(
        &mut self,
        heartbeat: ConsumerData,
        connection: ConnectionId,
        client: ClientInfo,
        notifies: bool,
    ) -> Option<MembersChanged> {
        let name: Arc<str> = match self.groups.get_key_value(heartbeat.group_name.as_str()) {
            Some((name, _)) => name.clone(),
            None => heartbeat.group_name.as_str().into(),
        };
        let group = self.groups.entry(name.clone()).or_default();
        group.consume_type = heartbeat.consume_type;
        group.message_model = heartbeat.message_model;
        group.consume_from_where = heartbeat.consume_from_where;
        let new_member = group.update_member(connection, client);
        if new_member {
            self.memberships.enter(connection, name);
        }
        let bytes = &mut self.subscription_bytes;
        let new_topics = group.update_subscriptions(heartbeat.subscription_data_set, bytes);
        let changed = (new_member || new_topics) && notifies && !group.is_broadcasting();
        changed.then(|| group.changed(&heartbeat.group_name))
    }

    /// A client says goodbye.
    pub fn unregister(
        &mut self,
        group: &str,
        connection: ConnectionId,
        notifies: bool,
    ) -> Option<MembersChanged> {
        let entry = self.groups.get_mut(group)?;
        entry.members.remove(&connection)?;
        self.memberships.leave(connection, group);
        if entry.members.is_empty() {
            let subscriptions = entry.subscriptions.values();
            let bytes: usize = subscriptions.map(|known| weight(known)).sum();
            self.subscription_bytes = self.subscription_bytes.saturating_sub(bytes);
            self.groups.remove(group);
            return None;
        }
        notifies.then(|| entry.changed(group))
    }

    /// A connection is gone: it leaves all groups.
    pub fn connection_closed(&mut self, connection: ConnectionId) -> Vec<MembersChanged> {
        let groups = self.memberships.of(connection).into_iter();
        self.remove(groups.map(|group| (group, connection)))
    }

    /// Removes members without a heartbeat for too long, from the group `from` on, a piece at a time.
    /// Returns their connections, which are to be closed unless they are in other groups; the members
    /// that stay and are to be told; and where to go on.
    pub fn expire(
        &mut self,
        from: Option<&Arc<str>>,
        now: Instant,
    ) -> (Vec<ConnectionId>, Vec<MembersChanged>, Option<Arc<str>>) {
        let start = from.map_or(Bound::Unbounded, |from| Bound::Included(from.clone()));
        let groups = self.groups.range((start, Bound::Unbounded));
        let silent = find_silent(groups.map(|(name, group)| (name, &group.members)), now);
        let connections = silent.members.iter().map(|(_, connection)| *connection);
        let connections = connections.collect();
        let changed = self.remove(silent.members.into_iter());
        (connections, changed, silent.next)
    }

    /// Removes members. Each group that still has some is told once.
    fn remove(
        &mut self,
        members: impl Iterator<Item = (Arc<str>, ConnectionId)>,
    ) -> Vec<MembersChanged> {
        let mut groups = BTreeSet::new();
        for (group, connection) in members {
            self.unregister(&group, connection, false);
            groups.insert(group);
        }
        let (mut changed, mut told) = (Vec::new(), 0);
        for name in groups {
            let Some(group) = self.groups.get(&name) else {
                continue;
            };
            told += group.members.len();
            if told > limits::NOTIFICATIONS {
                tracing::warn!("too many members to tell all of them that others left");
                break;
            }
            changed.push(group.changed(&name));
        }
        changed
    }

    /// Whether a connection is in any group.
    pub fn has(&self, connection: ConnectionId) -> bool {
        self.memberships.has(connection)
    }

    /// A group that has members.
    pub fn group(&self, group: &str) -> Option<&ConsumerGroup> {
        self.groups.get(group)
    }

    /// All groups that have members.
    pub fn groups(&self) -> impl Iterator<Item = (&str, &ConsumerGroup)> {
        self.groups.iter().map(|(name, group)| (&**name, group))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client_info::{CLIENT_EXPIRY, tests::client};

    const FIRST: ConnectionId = ConnectionId(1);
    const SECOND: ConnectionId = ConnectionId(2);

    fn heartbeat(topics: &[(&str, &str, i64)]) -> ConsumerData {
        let subscriptions = topics.iter().map(|&(topic, expression, version)| {
            SubscriptionData::parse(topic, expression, version).unwrap()
        });
        ConsumerData {
            group_name: "g".to_owned(),
            subscription_data_set: subscriptions.collect(),
            ..ConsumerData::default()
        }
    }

    struct Group(Consumers, Instant);

    impl Group {
        fn new() -> Self {
            Self(Consumers::default(), Instant::now())
        }

        /// A heartbeat's notification: the connections to tell.
        fn beat(&mut self, at: ConnectionId, topics: &[(&str, &str, i64)]) -> Vec<ConnectionId> {
            let client = client(&format!("{at:?}"), self.1);
            self.0
                .register(heartbeat(topics), at, client, true)
                .map(|changed| changed.connections)
                .unwrap_or_default()
        }

        fn expression(&self, topic: &str) -> Option<&str> {
            let subscription = self.0.group("g")?.subscriptions().get(topic)?;
            Some(&subscription.sub_string)
        }
    }

    #[test]
    fn every_member_is_told_about_a_new_member() {
        let mut group = Group::new();
        assert_eq!(group.beat(FIRST, &[("t", "*", 1)]), [FIRST]);
        assert_eq!(group.beat(SECOND, &[("t", "*", 1)]), [FIRST, SECOND]);
        assert_eq!(group.beat(FIRST, &[("t", "*", 1)]), []);
    }

    #[test]
    fn the_newest_version_of_a_subscription_wins() {
        let mut group = Group::new();
        group.beat(FIRST, &[("t", "TagA", 5)]);
        group.beat(SECOND, &[("t", "TagB", 4)]);
        assert_eq!(group.expression("t"), Some("TagA"));
        group.beat(SECOND, &[("t", "TagB", 6)]);
        assert_eq!(group.expression("t"), Some("TagB"));
    }

    #[test]
    fn a_heartbeat_that_omits_a_topic_takes_it_from_the_group() {
        let mut group = Group::new();
        group.beat(FIRST, &[("t", "*", 1), ("u", "*", 1)]);
        assert_eq!(group.beat(FIRST, &[("t", "*", 1)]), [FIRST]);
        assert_eq!(group.expression("u"), None);
    }

    #[test]
    fn a_broadcasting_group_is_not_told_about_members() {
        let mut group = Group::new();
        let mut data = heartbeat(&[("t", "*", 1)]);
        data.message_model = MessageModel::Broadcasting;
        let client = client("a", group.1);
        assert_eq!(group.0.register(data, FIRST, client, true), None);
    }

    #[test]
    fn a_group_can_switch_notifications_off() {
        let mut group = Group::new();
        let client = client("a", group.1);
        let data = heartbeat(&[("t", "*", 1)]);
        assert_eq!(group.0.register(data, FIRST, client, false), None);
    }

    #[test]
    fn the_remaining_members_are_told_when_one_leaves() {
        for leave in [
            (|group| group.0.unregister("g", FIRST, true).into_iter().collect())
                as fn(&mut Group) -> Vec<MembersChanged>,
            |group| group.0.connection_closed(FIRST),
        ] {
            let mut group = Group::new();
            group.beat(FIRST, &[("t", "*", 1)]);
            group.beat(SECOND, &[("t", "*", 1)]);
            let changed = leave(&mut group);
            assert_eq!(changed.len(), 1);
            assert_eq!(changed[0].connections, [SECOND]);
        }
    }

    #[test]
    fn the_last_member_takes_the_group_along() {
        let mut group = Group::new();
        group.beat(FIRST, &[("t", "*", 1)]);
        assert_eq!(group.0.connection_closed(FIRST), []);
        assert!(group.0.group("g").is_none());
    }

    #[test]
    fn a_member_expires_after_120_seconds_of_silence() {
        let mut group = Group::new();
        group.beat(FIRST, &[("t", "*", 1)]);
        group.1 += CLIENT_EXPIRY;
        group.beat(SECOND, &[("t", "*", 1)]);
        let now = group.1 + std::time::Duration::from_millis(1);
        let (expired, changed, next) = group.0.expire(None, now);
        assert_eq!(next, None);
        assert_eq!(expired, [FIRST]);
        assert_eq!(changed[0].connections, [SECOND]);
    }

    #[test]
    fn a_group_that_is_silent_leaves_the_connection_to_one_that_is_not() {
        let mut group = Group::new();
        group.beat(FIRST, &[("t", "*", 1)]);
        let late = group.1 + CLIENT_EXPIRY + std::time::Duration::from_millis(1);
        let other = ConsumerData {
            group_name: "heard".to_owned(),
            ..heartbeat(&[])
        };
        group.0.register(other, FIRST, client("a", late), true);
        let (expired, ..) = group.0.expire(None, late);
        assert_eq!(expired, [FIRST]);
        assert!(group.0.group("g").is_none());
        assert!(group.0.has(FIRST));
    }

    #[test]
    fn nothing_is_left_of_a_connection_that_closed() {
        let mut group = Group::new();
        group.beat(FIRST, &[("t", "a || b", 1), ("u", "*", 1)]);
        group.beat(FIRST, &[("t", "c", 2)]);
        assert!(group.0.subscription_bytes > 0);
        group.0.connection_closed(FIRST);
        let Consumers {
            groups,
            memberships,
            subscription_bytes,
        } = group.0;
        assert!(groups.is_empty());
        assert_eq!((memberships.len(), subscription_bytes), (0, 0));
    }

    #[test]
    fn a_heartbeat_beyond_a_limit_is_refused_and_a_refresh_is_not() {
        let mut group = Group::new();
        group.beat(FIRST, &[("t", "*", 1)]);
        let known = heartbeat(&[("t", "*", 1)]);
        let large = heartbeat(&[("u", "*", 1)]);
        group.0.subscription_bytes = limits::SUBSCRIPTION_BYTES;
        let beats = |data: &ConsumerData| group.0.check(std::slice::from_ref(data), FIRST);
        assert_eq!(beats(&known), Ok(()));
        assert_eq!(beats(&large).unwrap_err().what, "bytes of subscriptions");
        let subscription = SubscriptionData::parse("t", "*", 1).unwrap();
        let many = ConsumerData {
            subscription_data_set: vec![subscription; limits::SUBSCRIPTIONS_PER_GROUP + 1],
            ..heartbeat(&[])
        };
        assert_eq!(beats(&many).unwrap_err().what, "subscriptions of one group");
    }

    #[test]
    fn the_end_of_a_connection_in_many_groups_tells_a_limited_number_of_members() {
        let mut consumers = Consumers::default();
        let now = Instant::now();
        for connection in 0..20 {
            for name in 0..1_000 {
                let data = ConsumerData {
                    group_name: name.to_string(),
                    ..ConsumerData::default()
                };
                let id = ConnectionId(connection);
                consumers.register(data, id, client("a", now), false);
            }
        }
        let told = consumers.connection_closed(ConnectionId(0));
        let told: usize = told.iter().map(|changed| changed.connections.len()).sum();
        assert!(told <= limits::NOTIFICATIONS && told > limits::NOTIFICATIONS / 2);
    }
}
