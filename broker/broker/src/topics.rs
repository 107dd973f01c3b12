//! The broker's topics (`TopicConfigManager`).
//!
//! Every change counts up the data version, is written to `config/topics.json` and announced to the
//! name servers; writing and announcing are the caller's part.
//!
//! Invariant: the system topics are always there.

use std::collections::{BTreeMap, BTreeSet};

use hotfire_protocol::body::{DataVersion, TopicConfig, TopicConfigSerializeWrapper};
use hotfire_protocol::rules;
use hotfire_protocol::topic::{self, perm};
use serde::Serialize;

use crate::config::BrokerConfig;
use crate::limits;

/// Read and write, for topics of the broker's own.
pub(crate) const READ_WRITE: i32 = perm::READ | perm::WRITE;
/// The queues of the schedule topic: room for as many delay levels (`SCHEDULE_TOPIC_QUEUE_NUM`).
const SCHEDULE_QUEUES: i32 = 18;

/// The queues of an automatically created topic never exceed those of the default topic; for a
/// retry topic that a producer creates it is this many.
const RETRY_QUEUES_ON_SEND: i32 = 1;
/// Bit 0 of a topic's system flag: it belongs to a unit (`TopicSysFlag`).
pub const FLAG_UNIT: i32 = 1;
/// Bit 1 of a topic's system flag: it has subscriptions of units.
pub const FLAG_UNIT_SUB: i32 = 2;

/// The topics and their version. As JSON, it is the content of the file.
#[derive(Debug, Clone, Serialize)]
pub struct Topics {
    #[serde(rename = "dataVersion")]
    version: DataVersion,
    #[serde(rename = "topicConfigTable")]
    topics: BTreeMap<String, TopicConfig>,
    #[serde(skip)]
    auto_create: bool,
    /// How long the list of all is, as name servers are told it.
    #[serde(skip)]
    bytes: usize,
}

/// What a topic takes in the list that name servers are told, in bytes: its name twice, and the rest.
fn announced_bytes(name: &str) -> usize {
    const REST: usize = 180;
    2 * name.len() + REST
}

impl Topics {
    /// The system topics.
    pub fn new(config: &BrokerConfig, now_ms: i64) -> Self {
        let mut topics = Self {
            version: new_version(now_ms),
            topics: BTreeMap::new(),
            auto_create: config.auto_create_topic_enable,
            bytes: 0,
        };
        let inherit = |enabled| perm::INHERIT | if enabled { READ_WRITE } else { 0 };
        let cluster = config.broker_cluster_name.as_str();
        topics.add(topic::SELF_TEST_TOPIC, 1, READ_WRITE);
        if config.auto_create_topic_enable {
            let queues = config.default_topic_queue_nums;
            topics.add(topic::AUTO_CREATE_TOPIC, queues, inherit(true));
        }
        topics.add(topic::BENCHMARK_TOPIC, 1024, READ_WRITE);
        topics.add(cluster, 16, inherit(config.cluster_topic_enable));
        topics.add(&config.broker_name, 1, inherit(config.broker_topic_enable));
        topics.add(topic::OFFSET_MOVED_EVENT, 1, READ_WRITE);
        topics.add(topic::SCHEDULE_TOPIC, SCHEDULE_QUEUES, READ_WRITE);
        if config.store.timer_wheel_enable {
            topics.add(topic::TIMER_TOPIC, 1, READ_WRITE);
        }
        if config.trace_topic_enable {
            topics.add(&config.msg_trace_topic_name, 1, READ_WRITE);
        }
        topics.add(&topic::reply_topic(cluster), 1, READ_WRITE);
        topics
    }

    fn add(&mut self, name: &str, queues: i32, perm: i32) {
        let config = TopicConfig::new(name, queues, queues, perm);
        self.insert(config);
    }

    fn insert(&mut self, topic: TopicConfig) {
        let bytes = announced_bytes(&topic.topic_name);
        let before = self.topics.insert(topic.topic_name.clone(), topic);
        if before.is_none() {
            self.bytes += bytes;
        }
    }

    /// Whether a topic of this name can be created because somebody uses it: there must be room for
    /// it in the list that name servers are told.
    pub fn has_room(&self, name: &str) -> bool {
        let has_room = self.bytes + announced_bytes(name) <= limits::ANNOUNCED_BYTES;
        if !has_room {
            tracing::warn!(topic = name, "there are too many topics to create one more");
        }
        has_room
    }

    /// Adds what the file held; its version goes on from there. What would be refused today stays,
    /// because there may be messages in it, and is reported.
    pub fn restore(&mut self, file: TopicConfigSerializeWrapper) {
        self.version = file.data_version;
        for topic in file.topic_config_table.values() {
            if let Err(wrong) = rules::check_stored_topic(topic) {
                let topic = &topic.topic_name;
                tracing::warn!(topic, %wrong, "kept a topic that would be refused today");
            }
        }
        for (name, topic) in file.topic_config_table {
            let bytes = announced_bytes(&name);
            if self.topics.insert(name, topic).is_none() {
                self.bytes += bytes;
            }
        }
    }

    /// Switches automatic creation on or off.
    pub fn set_auto_create(&mut self, auto_create: bool) {
        self.auto_create = auto_create;
    }

    /// How many topics there are.
    pub fn len(&self) -> usize {
        self.topics.len()
    }

    /// The names of all topics.
    pub fn names(&self) -> BTreeSet<String> {
        self.topics.keys().cloned().collect()
    }

    /// A topic.
    pub fn get(&self, name: &str) -> Option<&TopicConfig> {
        self.topics.get(name)
    }

    /// Creates a topic that a producer sends to: like the default topic, if that may be inherited
    /// from, with as many queues as the producer asks for, but no more than the default topic has
    /// and at least one (`createTopicInSendMessageMethod`). A retry topic is created without an example. False if
    /// the topic must not be created.
    pub fn create_for_send(&mut self, wanted: &TopicWanted<'_>, now_ms: i64) -> bool {
        if self.topics.contains_key(wanted.topic) {
            return true;
        }
        if !self.has_room(wanted.topic) {
            return false;
        }
        // Without automatic creation the default topic, left from earlier days, is no example.
        let is_off = !self.auto_create && wanted.default_topic == topic::AUTO_CREATE_TOPIC;
        let example = self.topics.get(wanted.default_topic);
        // Without a queue nothing could be sent to it.
        let queues = |example: &TopicConfig| {
            let queues = wanted.queues.min(example.write_queue_nums);
            queues.clamp(1, rules::QUEUES_MAX)
        };
        let created = match example.filter(|topic| perm::is_inherited(topic.perm) && !is_off) {
            Some(example) => TopicConfig {
                topic_name: wanted.topic.to_owned(),
                read_queue_nums: queues(example),
                write_queue_nums: queues(example),
                perm: example.perm & READ_WRITE,
                topic_filter_type: example.topic_filter_type,
                ..TopicConfig::default()
            },
            None if topic::retry_group(wanted.topic).is_some() => {
                let queues = RETRY_QUEUES_ON_SEND;
                TopicConfig::new(wanted.topic, queues, queues, READ_WRITE)
            }
            None => return false,
        };
        let topic_sys_flag = wanted.sys_flag;
        self.put(
            TopicConfig {
                topic_sys_flag,
                ..created
            },
            now_ms,
        );
        true
    }

    /// Creates a retry or dead-letter topic, or another one of the broker's own, if it is not there
    /// (`createTopicInSendMessageBackMethod`). True if it was created.
    pub fn create_internal(&mut self, topic: TopicConfig, now_ms: i64) -> bool {
        let missing = !self.topics.contains_key(&topic.topic_name);
        if missing {
            self.put(topic, now_ms);
        }
        missing
    }

    /// Gives a topic that is there at least so many queues, to read and to write. The topic, if that
    /// changed it.
    pub fn enlarge(&mut self, name: &str, queues: i32, now_ms: i64) -> Option<TopicConfig> {
        let topic = self.topics.get_mut(name)?;
        if topic.read_queue_nums.min(topic.write_queue_nums) >= queues {
            return None;
        }
        topic.read_queue_nums = topic.read_queue_nums.max(queues);
        topic.write_queue_nums = topic.write_queue_nums.max(queues);
        let enlarged = topic.clone();
        self.version = self.version.next(now_ms);
        Some(enlarged)
    }

    /// Creates or replaces a topic.
    pub fn put(&mut self, topic: TopicConfig, now_ms: i64) {
        self.insert(topic);
        self.version = self.version.next(now_ms);
    }

    /// Counts up the version without a change of its own: what is announced has changed.
    pub fn touch(&mut self, now_ms: i64) {
        self.version = self.version.next(now_ms);
    }

    /// Deletes a topic. True if it was there.
    pub fn delete(&mut self, name: &str, now_ms: i64) -> bool {
        let deleted = self.topics.remove(name).is_some();
        if deleted {
            self.bytes -= announced_bytes(name);
            self.version = self.version.next(now_ms);
        }
        deleted
    }

    /// Marks the topics that the name servers' configuration calls ordered, and only those. True if
    /// anything changed (`updateOrderTopicConfig`).
    pub fn set_ordered(&mut self, ordered: &BTreeMap<String, String>, now_ms: i64) -> bool {
        let mut changed = false;
        for (name, topic) in &mut self.topics {
            let order = ordered.contains_key(name);
            changed |= topic.order != order;
            topic.order = order;
        }
        if changed {
            self.version = self.version.next(now_ms);
        }
        changed
    }

    /// All topics with the permissions that name servers are to see: what the broker as a whole
    /// does not permit, no topic does.
    pub fn to_announce(&self, broker_permission: i32) -> TopicConfigSerializeWrapper {
        let announced = |topic: &TopicConfig| {
            let mut topic = topic.clone();
            if broker_permission & READ_WRITE != READ_WRITE {
                topic.perm &= broker_permission;
            }
            (topic.topic_name.clone(), topic)
        };
        TopicConfigSerializeWrapper {
            topic_config_table: self.topics.values().map(announced).collect(),
            data_version: self.version,
        }
    }
}

/// The version of a table that was not changed yet.
pub(crate) fn new_version(now_ms: i64) -> DataVersion {
    DataVersion {
        timestamp: now_ms,
        ..DataVersion::default()
    }
}

/// A topic that a producer wants to send to.
#[derive(Debug, Clone, Copy)]
pub struct TopicWanted<'a> {
    /// Its name.
    pub topic: &'a str,
    /// The topic to take for an example, `TBW102` as a rule.
    pub default_topic: &'a str,
    /// The number of queues that the producer asks for.
    pub queues: i32,
    /// The system flag that it gets.
    pub sys_flag: i32,
}

#[cfg(test)]
mod tests {
    use hotfire_protocol::body::fastjson;

    use super::*;

    fn topics() -> Topics {
        Topics::new(&BrokerConfig::default(), 1_000)
    }

    fn wanted(topic: &str, queues: i32) -> TopicWanted<'_> {
        TopicWanted {
            topic,
            default_topic: "TBW102",
            queues,
            sys_flag: 0,
        }
    }

    #[test]
    fn the_system_topics_are_there_from_the_start() {
        let topics = topics();
        let found: Vec<_> = topics
            .topics
            .values()
            .map(|topic| {
                (
                    topic.topic_name.as_str(),
                    topic.write_queue_nums,
                    topic.perm,
                )
            })
            .collect();
        assert_eq!(
            found,
            [
                ("BenchmarkTest", 1024, 6),
                ("DefaultCluster", 16, 7),
                ("DefaultCluster_REPLY_TOPIC", 1, 6),
                ("OFFSET_MOVED_EVENT", 1, 6),
                ("SCHEDULE_TOPIC_XXXX", 18, 6),
                ("SELF_TEST_TOPIC", 1, 6),
                ("TBW102", 8, 7),
                ("broker-a", 1, 7),
                ("rmq_sys_wheel_timer", 1, 6),
            ]
        );
        assert_eq!(
            (topics.version.counter, topics.version.timestamp),
            (0, 1_000)
        );
    }

    #[test]
    fn a_new_topic_takes_after_the_default_topic() {
        let mut topics = topics();
        assert!(topics.create_for_send(&wanted("orders", 4), 2_000));
        let orders = topics.get("orders").unwrap();
        assert_eq!((orders.read_queue_nums, orders.write_queue_nums), (4, 4));
        assert_eq!(
            orders.perm, READ_WRITE,
            "the right to inherit is not inherited"
        );
        assert_eq!(
            (topics.version.counter, topics.version.timestamp),
            (1, 2_000)
        );
    }

    #[test]
    fn a_new_topic_has_no_more_queues_than_the_default_topic() {
        let mut topics = topics();
        topics.create_for_send(&wanted("many", 100), 0);
        topics.create_for_send(&wanted("none", -1), 0);
        assert_eq!(topics.get("many").unwrap().write_queue_nums, 8);
        assert_eq!(topics.get("none").unwrap().write_queue_nums, 1);
    }

    #[test]
    fn a_topic_is_not_created_after_one_that_cannot_be_inherited_from() {
        let mut topics = topics();
        let default_topic = "BenchmarkTest";
        let wish = TopicWanted {
            default_topic,
            ..wanted("orders", 4)
        };
        assert!(!topics.create_for_send(&wish, 0));
        let default_topic = "nowhere";
        assert!(!topics.create_for_send(
            &TopicWanted {
                default_topic,
                ..wish
            },
            0
        ));
    }

    #[test]
    fn automatic_creation_can_be_switched_off_even_if_the_default_topic_is_left() {
        let config = BrokerConfig {
            auto_create_topic_enable: false,
            ..BrokerConfig::default()
        };
        let mut without = Topics::new(&config, 0);
        assert!(without.get("TBW102").is_none());
        without.restore(topics().to_announce(READ_WRITE));
        assert!(without.get("TBW102").is_some());
        assert!(!without.create_for_send(&wanted("orders", 4), 0));
    }

    #[test]
    fn a_retry_topic_needs_no_example() {
        let config = BrokerConfig {
            auto_create_topic_enable: false,
            ..BrokerConfig::default()
        };
        let mut topics = Topics::new(&config, 0);
        assert!(topics.create_for_send(&wanted("%RETRY%g", 4), 0));
        assert_eq!(topics.get("%RETRY%g").unwrap().write_queue_nums, 1);
    }

    #[test]
    fn a_known_topic_is_left_as_it_is() {
        let mut topics = topics();
        let known = TopicConfig::new("orders", 2, 2, READ_WRITE);
        assert!(topics.create_internal(known.clone(), 0));
        assert!(!topics.create_internal(TopicConfig::new("orders", 9, 9, 6), 0));
        assert!(topics.create_for_send(&wanted("orders", 4), 0));
        assert_eq!(topics.get("orders"), Some(&known));
        assert_eq!(topics.version.counter, 1);
    }

    #[test]
    fn ordered_topics_are_those_that_the_name_server_says() {
        let mut topics = topics();
        let ordered = |names: &[&str]| {
            let entry = |name: &&str| ((*name).to_owned(), "broker-a:8".to_owned());
            names.iter().map(entry).collect()
        };
        assert!(topics.set_ordered(&ordered(&["TBW102", "unknown"]), 0));
        assert!(topics.get("TBW102").unwrap().order);
        assert!(!topics.set_ordered(&ordered(&["TBW102"]), 0));
        assert!(topics.set_ordered(&ordered(&[]), 0));
        assert!(!topics.get("TBW102").unwrap().order);
    }

    #[test]
    fn what_the_broker_does_not_permit_no_topic_announces() {
        let announced = topics().to_announce(perm::READ);
        assert_eq!(
            announced.topic_config_table["BenchmarkTest"].perm,
            perm::READ
        );
    }

    #[test]
    fn the_file_is_what_apache_rocketmq_writes() {
        let golden = include_str!("../tests/fixtures/topics.json");
        let mut config = BrokerConfig::default();
        // 4.9 has no timer wheel.
        config.store.timer_wheel_enable = false;
        let mut restored = Topics::new(&config, 1_000);
        restored.restore(fastjson::from_slice(golden.as_bytes()).unwrap());
        assert_eq!(restored.version.counter, 15);
        assert_eq!(restored.get("GoldenOrder").unwrap().write_queue_nums, 4);
        let json = String::from_utf8(fastjson::to_pretty_vec(&restored).unwrap()).unwrap();
        // Java's hash map has another order; the entries are the same.
        let entries = |text: &str| {
            let mut entries: Vec<_> = text
                .split("\n\t\t\"")
                .map(|e| e.trim_end_matches(['\n', '\t', '}', ',']).to_owned())
                .collect();
            entries.sort();
            entries
        };
        assert_eq!(entries(&json), entries(golden));
    }

    #[test]
    fn topics_are_created_by_use_while_a_frame_can_tell_of_all() {
        use hotfire_protocol::frame::FRAME_MAX;
        let mut topics = topics();
        let name = |at: usize| format!("{at}{}", "t".repeat(100));
        let mut created = 0;
        while topics.create_for_send(&wanted(&name(created), 4), 0) {
            created += 1;
        }
        let announced = topics.to_announce(READ_WRITE).to_json();
        assert!(announced.len() <= limits::ANNOUNCED_BYTES && announced.len() < FRAME_MAX);
        assert!(announced.len() > limits::ANNOUNCED_BYTES * 3 / 4);
        topics.create_internal(TopicConfig::new("%DLQ%g", 1, 1, READ_WRITE), 0);
        assert!(topics.get("%DLQ%g").is_some());
        for at in 0..3 {
            topics.delete(&name(at), 0);
        }
        assert!(topics.create_for_send(&wanted("one-more", 4), 0));
    }
}
