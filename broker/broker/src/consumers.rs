//! Which consumers are connected, and what their groups subscribe to (`ConsumerManager`,
//! `ConsumerGroupInfo`).
//!
//! The subscriptions belong to the group, not to its members: each heartbeat overwrites them.
//! Members that subscribe to different things therefore take messages away from each other, in
//! RocketMQ and here.
//!
//! Invariant: a group without members is not in the table.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hotfire_protocol::body::{
    ConsumeFromWhere, ConsumeType, ConsumerData, MessageModel, SubscriptionData,
};
use hotfire_remoting::ConnectionId;
use tokio::time::Instant;

use crate::client_info::ClientInfo;

/// Consumer groups, their connections and subscriptions.
#[derive(Debug, Default)]
pub struct Consumers {
    groups: BTreeMap<String, ConsumerGroup>,
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
                    tracing::error!(
                        before = before.client_id,
                        now,
                        "a connection changed its id"
                    );
                }
                false
            }
        }
    }

    /// Topics come and go as the heartbeat says; a known topic's subscription is replaced by a
    /// newer one. True if the set of topics changed.
    fn update_subscriptions(&mut self, subscriptions: Vec<SubscriptionData>) -> bool {
        let before = self.subscriptions.len();
        // A set, because a hostile heartbeat can name a million topics.
        let named: BTreeSet<_> = subscriptions.iter().map(|new| new.topic.as_str()).collect();
        self.subscriptions
            .retain(|topic, _| named.contains(topic.as_str()));
        let mut changed = self.subscriptions.len() != before;
        for new in subscriptions {
            match self.subscriptions.get_mut(&new.topic) {
                Some(known) if new.sub_version > known.sub_version => *known = Arc::new(new),
                Some(_) => {}
                None => {
                    self.subscriptions.insert(new.topic.clone(), Arc::new(new));
                    changed = true;
                }
            }
        }
        changed
    }
}

impl Consumers {
    /// A heartbeat for one group. If it changed the group's members or topics, and its members get
    /// such news (not in broadcasting, where nothing is shared out), says whom to tell.
    pub fn register(
        &mut self,
        heartbeat: ConsumerData,
        connection: ConnectionId,
        client: ClientInfo,
        notifies: bool,
    ) -> Option<MembersChanged> {
        let group = self.groups.entry(heartbeat.group_name.clone()).or_default();
        group.consume_type = heartbeat.consume_type;
        group.message_model = heartbeat.message_model;
        group.consume_from_where = heartbeat.consume_from_where;
        let new_member = group.update_member(connection, client);
        let new_topics = group.update_subscriptions(heartbeat.subscription_data_set);
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
        let changed = notifies.then(|| entry.changed(group));
        if entry.members.is_empty() {
            self.groups.remove(group);
        }
        changed.filter(|changed| !changed.connections.is_empty())
    }

    /// A connection is gone: it leaves all groups.
    pub fn connection_closed(&mut self, connection: ConnectionId) -> Vec<MembersChanged> {
        self.retain(|at, _| at != connection)
    }

    /// Removes the connections without a heartbeat for too long. They are to be closed; the members
    /// that stay are to be told.
    pub fn expire(&mut self, now: Instant) -> (Vec<ConnectionId>, Vec<MembersChanged>) {
        let mut expired = Vec::new();
        let changed = self.retain(|connection, client| {
            let keep = !client.is_expired(now);
            if !keep {
                expired.push(connection);
            }
            keep
        });
        (expired, changed)
    }

    /// A group that has members.
    pub fn group(&self, group: &str) -> Option<&ConsumerGroup> {
        self.groups.get(group)
    }

    /// All groups that have members.
    pub fn groups(&self) -> impl Iterator<Item = (&str, &ConsumerGroup)> {
        self.groups
            .iter()
            .map(|(name, group)| (name.as_str(), group))
    }

    fn retain(
        &mut self,
        mut keep: impl FnMut(ConnectionId, &ClientInfo) -> bool,
    ) -> Vec<MembersChanged> {
        let mut changed = Vec::new();
        for (name, group) in &mut self.groups {
            let before = group.members.len();
            group
                .members
                .retain(|&connection, client| keep(connection, client));
            if group.members.len() != before && !group.members.is_empty() {
                changed.push(group.changed(name));
            }
        }
        self.groups.retain(|_, group| !group.members.is_empty());
        changed
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
        let (expired, changed) = group.0.expire(now);
        assert_eq!(expired, [FIRST]);
        assert_eq!(changed[0].connections, [SECOND]);
    }
}
