//! Lists of topics, for tools.

use hotfire_protocol::body::TopicList;

use super::RouteInfoManager;

/// The topic belongs to a unit (`TopicSysFlag.FLAG_UNIT`).
const FLAG_UNIT: i32 = 1;
/// The topic is subscribed to from within a unit (`TopicSysFlag.FLAG_UNIT_SUB`).
const FLAG_UNIT_SUB: i32 = 2;

impl RouteInfoManager {
    /// All topics.
    pub fn all_topics(&self) -> TopicList {
        list(self.topic_queue_table.keys().cloned().collect())
    }

    /// The topics of a cluster's brokers.
    pub fn topics_by_cluster(&self, cluster: &str) -> TopicList {
        let Some(names) = self.cluster_addr_table.get(cluster) else {
            return list(Vec::new());
        };
        let topics = self
            .topic_queue_table
            .iter()
            .filter(|(_, brokers)| brokers.keys().any(|name| names.contains(name)))
            .map(|(topic, _)| topic.clone());
        list(topics.collect())
    }

    /// The topics that every broker has for itself: the names of the clusters and of the brokers.
    /// With them, the address of one broker that can tell the other system topics.
    pub fn system_topics(&self) -> TopicList {
        let mut topics = Vec::new();
        for (cluster, names) in &self.cluster_addr_table {
            topics.push(cluster.clone());
            topics.extend(names.iter().cloned());
        }
        let mut addrs = self
            .broker_addr_table
            .values()
            .flat_map(|broker| broker.broker_addrs.values());
        TopicList {
            broker_addr: addrs.next().cloned(),
            ..list(topics)
        }
    }

    /// The topics that belong to a unit.
    pub fn unit_topics(&self) -> TopicList {
        self.topics_with(|flag| flag & FLAG_UNIT != 0)
    }

    /// The topics that are subscribed to from within a unit.
    pub fn has_unit_sub_topics(&self) -> TopicList {
        self.topics_with(|flag| flag & FLAG_UNIT_SUB != 0)
    }

    /// The topics that are subscribed to from within a unit and do not belong to one.
    pub fn has_unit_sub_ununit_topics(&self) -> TopicList {
        self.topics_with(|flag| flag & FLAG_UNIT == 0 && flag & FLAG_UNIT_SUB != 0)
    }

    /// Topics by the flags that one of their brokers gives them.
    fn topics_with(&self, wanted: impl Fn(i32) -> bool) -> TopicList {
        let topics = self
            .topic_queue_table
            .iter()
            .filter(|(_, brokers)| {
                brokers
                    .values()
                    .next()
                    .is_some_and(|queues| wanted(queues.topic_sys_flag))
            })
            .map(|(topic, _)| topic.clone());
        list(topics.collect())
    }
}

fn list(topic_list: Vec<String>) -> TopicList {
    TopicList {
        topic_list,
        ..TopicList::default()
    }
}
