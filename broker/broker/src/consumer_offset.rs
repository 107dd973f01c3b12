//! The offsets that consumer groups committed (`ConsumerOffsetManager`).
//!
//! A commit is a blind overwrite: no generation or lease protects it, and going backwards is
//! accepted, as in RocketMQ. The table is written to `config/consumerOffset.json` every 5 s and at
//! a clean stop, so a crash forgets at most 5 s of commits.
//!
//! A copy of the table shares what does not change afterwards, so that taking one to be written costs
//! a look at each group and not at each offset.
//!
//! Invariant: a key's topic and group contain no `@`, which the file puts between the two.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::time::Instant;

use crate::limits::{self, Full};

/// The next offset to consume, by group, topic and queue.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConsumerOffsets {
    groups: BTreeMap<String, Arc<GroupOffsets>>,
    /// How many pairs of a group and a topic there are.
    topics: usize,
    /// How many offsets there are.
    queues: usize,
    /// Whether anything was changed since it was last asked.
    changed: bool,
    /// When all were looked at last for those that nobody needs.
    looked_at: Option<Instant>,
}

/// The next offset to consume, by queue id.
pub type QueueOffsets = BTreeMap<i32, i64>;
type GroupOffsets = BTreeMap<String, Arc<QueueOffsets>>;

/// Separates topic and group in the keys of the file.
const TOPIC_GROUP_SEPARATOR: char = '@';

impl ConsumerOffsets {
    /// Checks that there is room for an offset. What a client commits needs it; what the broker
    /// itself does is about messages that are there.
    ///
    /// # Errors
    /// There are too many.
    pub fn check(&self, group: &str, topic: &str, queue_id: i32) -> Result<(), Full> {
        match self.queues(group, topic) {
            Some(queues) if queues.contains_key(&queue_id) => return Ok(()),
            Some(_) => {}
            None => {
                let max = limits::OFFSET_TOPICS;
                limits::check("groups and topics with offsets", self.topics + 1, max)?;
            }
        }
        limits::check("committed offsets", self.queues + 1, limits::OFFSETS)
    }

    /// Sets an offset and returns the one before.
    pub fn commit(&mut self, group: &str, topic: &str, queue_id: i32, offset: i64) -> Option<i64> {
        let known = self.get(group, topic, queue_id);
        if known == Some(offset) {
            return known;
        }
        self.changed = true;
        if !self.groups.contains_key(group) {
            self.groups.insert(group.to_owned(), Arc::default());
        }
        let topics = Arc::make_mut(self.groups.get_mut(group)?);
        if !topics.contains_key(topic) {
            self.topics += 1;
            topics.insert(topic.to_owned(), Arc::default());
        }
        let queues = Arc::make_mut(topics.get_mut(topic)?);
        let before = queues.insert(queue_id, offset);
        self.queues += usize::from(before.is_none());
        before
    }

    /// Whether anything was changed since the last call.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// The committed offset of a queue.
    pub fn get(&self, group: &str, topic: &str, queue_id: i32) -> Option<i64> {
        self.queues(group, topic)?.get(&queue_id).copied()
    }

    /// The committed offsets of a topic.
    pub fn queues(&self, group: &str, topic: &str) -> Option<&QueueOffsets> {
        self.groups.get(group)?.get(topic).map(Arc::as_ref)
    }

    /// The topics that a group has committed offsets of.
    pub fn topics_of(&self, group: &str) -> impl Iterator<Item = &str> {
        let topics = self.groups.get(group).map(Arc::as_ref);
        let topics = topics.into_iter().flatten();
        topics.map(|(topic, _)| topic.as_str())
    }

    /// The groups that have committed offsets of a topic.
    pub fn groups_of(&self, topic: &str) -> impl Iterator<Item = &str> {
        self.groups
            .iter()
            .filter(move |(_, topics)| topics.contains_key(topic))
            .map(|(group, _)| group.as_str())
    }

    /// All groups that have committed offsets.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        self.groups.keys().map(String::as_str)
    }

    /// Whether it is time for a look at all offsets again; the look is then taken for done.
    pub fn may_look(&mut self, now: Instant) -> bool {
        let since = |at: Instant| now.saturating_duration_since(at);
        let may = self
            .looked_at
            .is_none_or(|at| since(at) >= limits::OFFSETS_LOOK);
        if may {
            self.looked_at = Some(now);
        }
        may
    }

    /// Keeps the offsets of some groups and topics. Returns how many pairs were forgotten.
    pub fn retain(&mut self, keep: impl Fn(&str, &str) -> bool) -> usize {
        let before = self.topics;
        for (group, topics) in &mut self.groups {
            if topics.keys().all(|topic| keep(group, topic)) {
                continue;
            }
            let (count, queues) = (&mut self.topics, &mut self.queues);
            Arc::make_mut(topics).retain(|topic, offsets| {
                let keeps = keep(group, topic);
                if !keeps {
                    *count -= 1;
                    *queues -= offsets.len();
                }
                keeps
            });
        }
        self.groups.retain(|_, topics| !topics.is_empty());
        self.changed |= self.topics != before;
        before - self.topics
    }

    /// Forgets a group.
    pub fn remove_group(&mut self, group: &str) {
        if let Some(topics) = self.groups.remove(group) {
            self.changed = true;
            self.topics -= topics.len();
            self.queues -= topics.values().map(|queues| queues.len()).sum::<usize>();
        }
    }

    /// Forgets a topic.
    pub fn remove_topic(&mut self, topic: &str) {
        let (mut topics, mut queues) = (0, 0);
        for of_group in self.groups.values_mut() {
            if of_group.contains_key(topic)
                && let Some(removed) = Arc::make_mut(of_group).remove(topic)
            {
                topics += 1;
                queues += removed.len();
            }
        }
        self.groups.retain(|_, topics| !topics.is_empty());
        self.changed |= topics > 0;
        self.topics -= topics;
        self.queues -= queues;
    }
}

/// The shape of the file.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct File<Q> {
    offset_table: BTreeMap<String, Q>,
}

impl Serialize for ConsumerOffsets {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let entries = self.groups.iter().flat_map(|(group, topics)| {
            let key = move |topic: &str| format!("{topic}{TOPIC_GROUP_SEPARATOR}{group}");
            topics
                .iter()
                .map(move |(topic, queues)| (key(topic), &**queues))
        });
        let offset_table = entries.collect();
        File { offset_table }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ConsumerOffsets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let file = File::<QueueOffsets>::deserialize(deserializer)?;
        let mut offsets = Self::default();
        for (key, queues) in file.offset_table {
            let (topic, group) = key
                .split_once(TOPIC_GROUP_SEPARATOR)
                .ok_or_else(|| D::Error::custom(format!("`{key}` is not topic@group")))?;
            offsets.topics += 1;
            offsets.queues += queues.len();
            let topics = offsets.groups.entry(group.to_owned()).or_default();
            Arc::make_mut(topics).insert(topic.to_owned(), Arc::new(queues));
        }
        Ok(offsets)
    }
}

/// What a broker answers to a member that asks for its start position: the committed offset;
/// without one 0, if the queue's first message is still there and in memory, so that a new group
/// misses nothing of a young topic; else nothing, and the member decides by its own rule
/// (`ConsumerManageProcessor.queryConsumerOffset`).
pub fn start_position(
    committed: Option<i64>,
    min_offset: i64,
    first_is_in_memory: bool,
    zero_if_not_found: bool,
) -> Option<i64> {
    committed
        .filter(|&offset| offset >= 0)
        .or_else(|| (min_offset <= 0 && first_is_in_memory && zero_if_not_found).then_some(0))
}

#[cfg(test)]
mod tests {
    use hotfire_protocol::body::fastjson;

    use super::*;

    #[test]
    fn a_commit_overwrites_even_backwards() {
        let mut offsets = ConsumerOffsets::default();
        assert_eq!(offsets.commit("g", "t", 0, 9), None);
        assert_eq!(offsets.commit("g", "t", 0, 4), Some(9));
        assert_eq!(offsets.get("g", "t", 0), Some(4));
        assert_eq!(offsets.get("g", "t", 1), None);
        assert_eq!(offsets.get("h", "t", 0), None);
    }

    fn json(offsets: &ConsumerOffsets) -> String {
        String::from_utf8(fastjson::to_pretty_vec(offsets).unwrap()).unwrap()
    }

    #[test]
    fn the_file_is_in_fastjsons_pretty_dialect() {
        let mut offsets = ConsumerOffsets::default();
        assert_eq!(json(&offsets), "{\n\t\"offsetTable\":{}\n}");
        offsets.commit("Golden_group", "GoldenTopic", 1, 2);
        offsets.commit("Golden_group", "GoldenTopic", 0, 4);
        offsets.commit("Golden_group", "%RETRY%Golden_group", 0, 2);
        assert_eq!(
            json(&offsets),
            "{\n\t\"offsetTable\":{\n\t\t\"%RETRY%Golden_group@Golden_group\":{0:2\n\t\t},\
             \n\t\t\"GoldenTopic@Golden_group\":{0:4,1:2\n\t\t}\n\t}\n}"
        );
    }

    #[test]
    fn the_file_of_apache_rocketmq_is_read() {
        let golden = include_bytes!("../tests/fixtures/consumerOffset.json");
        let offsets: ConsumerOffsets = fastjson::from_slice(golden).unwrap();
        assert_eq!(offsets.get("Golden_group", "GoldenTopic", 3), Some(4));
        assert_eq!(json(&offsets).len(), golden.len());
    }

    #[test]
    fn a_broken_file_is_an_error() {
        for text in ["", "{", "[]", "{\"offsetTable\":{\"t@g\":{\"a\":1}}}"] {
            let read = fastjson::from_slice::<ConsumerOffsets>(text.as_bytes());
            assert!(read.is_err(), "{text}");
        }
    }

    #[test]
    fn topics_and_groups_can_be_listed_and_forgotten() {
        let mut offsets = ConsumerOffsets::default();
        offsets.commit("g", "t", 0, 1);
        offsets.commit("g", "u", 0, 1);
        offsets.commit("h", "t", 0, 1);
        assert_eq!(offsets.groups_of("t").collect::<Vec<_>>(), ["g", "h"]);
        assert_eq!(offsets.topics_of("g").collect::<Vec<_>>(), ["t", "u"]);
        offsets.remove_topic("t");
        assert_eq!(offsets.groups_of("t").count(), 0);
        offsets.remove_group("g");
        assert!(offsets.take_changed());
        assert_eq!(offsets, ConsumerOffsets::default());
    }

    #[test]
    fn a_new_group_on_a_young_topic_starts_at_zero() {
        assert_eq!(start_position(None, 0, true, true), Some(0));
        assert_eq!(start_position(None, 7, true, true), None);
        assert_eq!(start_position(None, 0, false, true), None);
        assert_eq!(start_position(None, 0, true, false), None);
        assert_eq!(start_position(Some(5), 7, true, true), Some(5));
    }

    #[test]
    fn offsets_are_counted_and_a_copy_is_not_changed() {
        let mut offsets = ConsumerOffsets::default();
        for queue_id in 0..3 {
            offsets.commit("g", "t", queue_id, 1);
        }
        offsets.commit("h", "t", 0, 1);
        offsets.commit("h", "u", 0, 1);
        assert_eq!((offsets.topics, offsets.queues), (3, 5));
        let copy = offsets.clone();
        offsets.commit("g", "t", 0, 7);
        assert_eq!(copy.get("g", "t", 0), Some(1));
        offsets.remove_topic("t");
        assert_eq!((offsets.topics, offsets.queues), (1, 1));
        assert_eq!(copy.get("h", "t", 0), Some(1));
        offsets.remove_group("h");
        assert_eq!((offsets.topics, offsets.queues), (0, 0));
        let read: ConsumerOffsets = fastjson::from_slice(json(&copy).as_bytes()).unwrap();
        assert_eq!((read.topics, read.queues), (3, 5));
    }

    #[test]
    fn a_full_table_takes_commits_of_what_it_knows_and_of_nothing_else() {
        let mut offsets = ConsumerOffsets::default();
        offsets.commit("g", "t", 0, 1);
        (offsets.topics, offsets.queues) = (limits::OFFSET_TOPICS, limits::OFFSETS - 1);
        assert_eq!(offsets.check("g", "t", 0), Ok(()));
        assert_eq!(offsets.check("g", "t", 1), Ok(()));
        assert!(offsets.check("g", "u", 0).is_err());
        offsets.commit("g", "t", 1, 1);
        assert!(offsets.check("g", "t", 2).is_err());
    }

    #[test]
    fn what_is_committed_again_changes_nothing() {
        let mut offsets = ConsumerOffsets::default();
        offsets.commit("g", "t", 0, 1);
        assert!(offsets.take_changed());
        offsets.commit("g", "t", 0, 1);
        assert!(!offsets.take_changed());
        offsets.commit("g", "t", 0, 0);
        assert!(offsets.take_changed());
    }

    #[test]
    fn what_nobody_needs_can_be_forgotten_once_in_a_while() {
        let mut offsets = ConsumerOffsets::default();
        for (group, topic) in [("g", "t"), ("g", "gone"), ("gone", "t")] {
            offsets.commit(group, topic, 0, 1);
            offsets.commit(group, topic, 1, 1);
        }
        assert_eq!(
            offsets.retain(|group, topic| group == "g" && topic == "t"),
            2
        );
        assert_eq!((offsets.topics, offsets.queues), (1, 2));
        assert_eq!(offsets.groups().collect::<Vec<_>>(), ["g"]);
        let now = Instant::now();
        let looks = [0, 59, 60].map(|after| now + std::time::Duration::from_secs(after));
        assert_eq!(looks.map(|at| offsets.may_look(at)), [true, false, true]);
    }
}
