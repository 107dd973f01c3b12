//! How connections enter groups with heartbeats, and leave them.

use std::sync::Arc;

use hotfire_protocol::body::{SubscriptionGroupConfig, TopicConfig};
use hotfire_protocol::{rules, topic};
use hotfire_remoting::ConnectionId;

use crate::state::State;
use crate::topics::{FLAG_UNIT, READ_WRITE, Topics};

impl State {
    /// A heartbeat names groups: those that are not there are created, if that is allowed, and so are
    /// their retry topics, with one write of the files and one announcement for all. Says of each
    /// whether its members are to be told of each other; the second of a pair is whether the client
    /// is of a unit.
    pub fn enter_groups(self: &Arc<Self>, wanted: &[(&str, bool)]) -> Vec<bool> {
        let auto_create = self.config().auto_create_subscription_group;
        let now_ms = self.env.now_ms();
        let known: Vec<bool> = {
            let groups = self.groups.read();
            let known = wanted.iter().map(|(group, _)| groups.get(group).is_some());
            known.collect()
        };
        if known.contains(&false) {
            let mut groups = self.groups.write();
            let mut created = 0;
            for ((group, _), _) in wanted.iter().zip(known).filter(|(_, known)| !known) {
                if groups.create_if_missing(group, auto_create, now_ms) {
                    tracing::info!(group, "created a consumer group");
                    created += 1;
                }
            }
            drop(groups);
            if created > 0 {
                self.save_groups();
            }
        }
        let mut notifies = Vec::with_capacity(wanted.len());
        let mut retries = Vec::new();
        {
            let groups = self.groups.read();
            for &(name, unit) in wanted {
                let group = groups.get(name);
                notifies.push(group.is_none_or(|group| group.notify_consumer_ids_changed_enable));
                retries.extend(group.map(|group| (group.clone(), unit)));
            }
        }
        self.ensure_retry_topics(&retries);
        notifies
    }

    /// The retry topics of groups, as [`State::ensure_retry_topic`] makes them.
    fn ensure_retry_topics(self: &Arc<Self>, groups: &[(SubscriptionGroupConfig, bool)]) {
        let missing = |topics: &Topics, group: &SubscriptionGroupConfig| {
            let queues = group.retry_queue_nums.clamp(0, rules::QUEUES_MAX);
            let topic = topics.get(&topic::retry_topic(&group.group_name));
            topic.is_none_or(|known| known.read_queue_nums.min(known.write_queue_nums) < queues)
        };
        let missing: Vec<_> = {
            let topics = self.topics.read();
            let missing = groups.iter().filter(|(group, _)| missing(&topics, group));
            missing.collect()
        };
        let changed = missing.into_iter().filter(|(group, unit)| {
            // One at a time, so that sends have their turn.
            self.make_retry_topic(group, *unit).is_some()
        });
        if changed.count() > 0 {
            self.save_topics();
            self.announce_topics();
        }
    }

    /// Creates a group's retry topic or gives it queues, without writing or announcing it. `None` if
    /// it is as it should be, its name is too long, or there are too many topics.
    fn make_retry_topic(&self, group: &SubscriptionGroupConfig, unit: bool) -> Option<()> {
        let topic = topic::retry_topic(&group.group_name);
        topic::check_topic(&topic).ok()?;
        let queues = group.retry_queue_nums.clamp(0, rules::QUEUES_MAX);
        let now_ms = self.env.now_ms();
        let config = TopicConfig {
            topic_sys_flag: if unit { FLAG_UNIT } else { 0 },
            ..TopicConfig::new(&*topic, queues, queues, READ_WRITE)
        };
        let mut topics = self.topics.write();
        if topics.get(&topic).is_none() && !topics.has_room(&topic) {
            return None;
        }
        if topics.create_internal(config, now_ms) {
            tracing::info!(topic, queues, "created a topic");
            return Some(());
        }
        topics.enlarge(&topic, queues, now_ms)?;
        tracing::info!(topic, queues, "enlarged a retry topic");
        Some(())
    }

    /// A connection closed: it leaves all groups, and what waits for it is dropped.
    pub fn connection_closed(&self, connection: ConnectionId) {
        self.leave_groups(connection);
        self.hold.lock().connection_closed(connection);
        for woken in [&self.woken, &self.pop.woken] {
            woken
                .lock()
                .retain(|waiting| waiting.channel.id() != connection);
        }
        for polling in [&self.pop.polling, &self.pop.notifications] {
            polling.lock().connection_closed(connection);
        }
        self.gate.lock().connection_closed(connection);
    }

    /// A connection leaves all groups.
    pub fn leave_groups(&self, connection: ConnectionId) {
        self.producers.lock().connection_closed(connection);
        let changed = self.consumers.lock().connection_closed(connection);
        for changed in &changed {
            self.notify_members(changed);
        }
    }
}
