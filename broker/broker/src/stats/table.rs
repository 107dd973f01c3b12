//! Counters by name and key (`BrokerStatsManager`).

use std::time::Duration;

use hotfire_protocol::body::BrokerStatsData;
use hotfire_protocol::stats::StatsItem;
use rustc_hash::FxHashMap;
use tokio::time::Instant;

use crate::limits;

/// Counts messages put and got. Counters come into being when something is counted, and go when
/// their topic or group is deleted.
///
/// Left out of what Java counts: latencies and lags of reads, reads from disk, and what its cloud
/// bills for (`GROUP_GET_LATENCY`, `GROUP_GET_FALL_SIZE`, `COMMERCIAL_…`).
#[derive(Debug)]
pub struct BrokerStats {
    start: Instant,
    topics: FxHashMap<String, TopicStats>,
    /// How many counters topics and groups have.
    count: usize,
    broker_put: StatsItem,
    broker_get: StatsItem,
}

#[derive(Debug, Default)]
struct TopicStats {
    put: Option<Pair>,
    groups: FxHashMap<String, GroupStats>,
}

#[derive(Debug, Default)]
struct GroupStats {
    get: Option<Pair>,
    send_back: Option<StatsItem>,
}

impl GroupStats {
    /// How many counters there are.
    fn count(&self) -> usize {
        2 * usize::from(self.get.is_some()) + usize::from(self.send_back.is_some())
    }
}

/// Messages and their bytes.
#[derive(Debug)]
struct Pair {
    nums: StatsItem,
    size: StatsItem,
}

impl BrokerStats {
    /// Nothing counted yet.
    pub fn new(now: Instant) -> Self {
        Self {
            start: now,
            topics: FxHashMap::default(),
            count: 0,
            broker_put: StatsItem::new(Duration::ZERO),
            broker_get: StatsItem::new(Duration::ZERO),
        }
    }

    fn at(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.start)
    }

    /// Messages of a producer were stored: `TOPIC_PUT_NUMS`, `TOPIC_PUT_SIZE`, `BROKER_PUT_NUMS`.
    pub fn put(&mut self, topic: &str, messages: u64, bytes: u64, now: Instant) {
        let at = self.at(now);
        let known = self
            .topics
            .get(topic)
            .is_some_and(|topic| topic.put.is_some());
        if self.has_room(known, 2) {
            with(&mut self.topics, topic, |topic: &mut TopicStats| {
                let pair = topic.put.get_or_insert_with(|| Pair::new(at));
                pair.add(messages, bytes, at);
            });
        }
        self.broker_put.add(messages, at);
    }

    /// A group got messages: `GROUP_GET_NUMS`, `GROUP_GET_SIZE`, `BROKER_GET_NUMS`.
    pub fn got(&mut self, group: &str, topic: &str, messages: u64, bytes: u64, now: Instant) {
        let at = self.at(now);
        let known = self
            .group(group, topic)
            .is_some_and(|group| group.get.is_some());
        if self.has_room(known, 2) {
            self.with_group(group, topic, |group| {
                let pair = group.get.get_or_insert_with(|| Pair::new(at));
                pair.add(messages, bytes, at);
            });
        }
        self.broker_get.add(messages, at);
    }

    /// A group sent a message of a topic back: `SNDBCK_PUT_NUMS`.
    pub fn sent_back(&mut self, group: &str, topic: &str, now: Instant) {
        let at = self.at(now);
        let known = self
            .group(group, topic)
            .is_some_and(|group| group.send_back.is_some());
        if self.has_room(known, 1) {
            self.with_group(group, topic, |group| {
                let item = &mut group.send_back;
                item.get_or_insert_with(|| StatsItem::new(at)).add(1, at);
            });
        }
    }

    /// Whether there is room for the counters of a topic or group, unless they are there already.
    /// What there is no room for is counted for the broker only.
    fn has_room(&mut self, known: bool, counters: usize) -> bool {
        if known {
            return true;
        }
        let has_room = self.count + counters <= limits::COUNTERS;
        if has_room {
            self.count += counters;
        }
        has_room
    }

    fn group(&self, group: &str, topic: &str) -> Option<&GroupStats> {
        self.topics.get(topic)?.groups.get(group)
    }

    /// The figures of a counter, if there is such a one. Keys are a topic, `topic@group`, or for
    /// the broker's own counters anything: Java's has the name of the cluster.
    pub fn view(&mut self, name: &str, key: &str, now: Instant) -> Option<BrokerStatsData> {
        let at = self.at(now);
        let item = match name {
            "BROKER_PUT_NUMS" => Some(&mut self.broker_put),
            "BROKER_GET_NUMS" => Some(&mut self.broker_get),
            "TOPIC_PUT_NUMS" => self.put_of(key).map(|pair| &mut pair.nums),
            "TOPIC_PUT_SIZE" => self.put_of(key).map(|pair| &mut pair.size),
            "GROUP_GET_NUMS" => self.get_of(key).map(|pair| &mut pair.nums),
            "GROUP_GET_SIZE" => self.get_of(key).map(|pair| &mut pair.size),
            "SNDBCK_PUT_NUMS" => self.group_of(key)?.send_back.as_mut(),
            _ => None,
        };
        item.map(|item| item.data(at))
    }

    /// How many messages per second a group got of a topic, in the last minute.
    pub fn group_get_tps(&mut self, group: &str, topic: &str, now: Instant) -> f64 {
        let at = self.at(now);
        let group = self
            .topics
            .get_mut(topic)
            .and_then(|topic| topic.groups.get_mut(group));
        let pair = group.and_then(|group| group.get.as_mut());
        pair.map_or(0.0, |pair| pair.nums.data(at).stats_minute.tps)
    }

    /// Forgets a topic.
    pub fn remove_topic(&mut self, topic: &str) {
        if let Some(topic) = self.topics.remove(topic) {
            let groups: usize = topic.groups.values().map(GroupStats::count).sum();
            self.count -= groups + 2 * usize::from(topic.put.is_some());
        }
    }

    /// Forgets a group.
    pub fn remove_group(&mut self, group: &str) {
        for topic in self.topics.values_mut() {
            if let Some(group) = topic.groups.remove(group) {
                self.count -= group.count();
            }
        }
    }

    fn put_of(&mut self, topic: &str) -> Option<&mut Pair> {
        self.topics.get_mut(topic)?.put.as_mut()
    }

    fn group_of(&mut self, key: &str) -> Option<&mut GroupStats> {
        let (topic, group) = key.split_once('@')?;
        self.topics.get_mut(topic)?.groups.get_mut(group)
    }

    fn get_of(&mut self, key: &str) -> Option<&mut Pair> {
        self.group_of(key)?.get.as_mut()
    }

    fn with_group(&mut self, group: &str, topic: &str, count: impl FnOnce(&mut GroupStats)) {
        with(&mut self.topics, topic, |topic: &mut TopicStats| {
            with(&mut topic.groups, group, count);
        });
    }
}

impl Pair {
    fn new(at: Duration) -> Self {
        Self {
            nums: StatsItem::new(at),
            size: StatsItem::new(at),
        }
    }

    fn add(&mut self, messages: u64, bytes: u64, at: Duration) {
        self.nums.add(messages, at);
        self.size.add(bytes, at);
    }
}

/// Counts with what is found or made under a key; what is found costs no allocation.
fn with<T: Default>(map: &mut FxHashMap<String, T>, key: &str, count: impl FnOnce(&mut T)) {
    if let Some(known) = map.get_mut(key) {
        count(known);
    } else {
        count(map.entry(key.to_owned()).or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn sum(stats: &mut BrokerStats, name: &str, key: &str) -> Option<i64> {
        let now = stats.start + MINUTE;
        stats.view(name, key, now).map(|data| data.stats_minute.sum)
    }

    #[test]
    fn messages_are_counted_by_topic_and_group() {
        let start = Instant::now();
        let mut stats = BrokerStats::new(start);
        stats.put("t", 3, 300, start);
        stats.put("t", 1, 50, start);
        stats.got("g", "t", 2, 200, start);
        stats.sent_back("g", "t", start);
        let mut sum = |name, key| sum(&mut stats, name, key);
        assert_eq!(sum("TOPIC_PUT_NUMS", "t"), Some(4));
        assert_eq!(sum("TOPIC_PUT_SIZE", "t"), Some(350));
        assert_eq!(sum("GROUP_GET_NUMS", "t@g"), Some(2));
        assert_eq!(sum("GROUP_GET_SIZE", "t@g"), Some(200));
        assert_eq!(sum("SNDBCK_PUT_NUMS", "t@g"), Some(1));
        assert_eq!(sum("BROKER_PUT_NUMS", "DefaultCluster"), Some(4));
        assert_eq!(sum("BROKER_GET_NUMS", "DefaultCluster"), Some(2));
    }

    #[test]
    fn what_never_counted_anything_is_not_there() {
        let start = Instant::now();
        let mut stats = BrokerStats::new(start);
        stats.put("t", 1, 1, start);
        for (name, key) in [
            ("TOPIC_PUT_NUMS", "u"),
            ("GROUP_GET_NUMS", "t@g"),
            ("GROUP_GET_NUMS", "t"),
            ("NO_SUCH_NUMS", "t"),
        ] {
            assert_eq!(sum(&mut stats, name, key), None, "{name} {key}");
        }
    }

    #[test]
    fn deleted_topics_and_groups_are_forgotten() {
        let start = Instant::now();
        let mut stats = BrokerStats::new(start);
        stats.put("t", 1, 1, start);
        stats.got("g", "t", 1, 1, start);
        stats.remove_group("g");
        assert_eq!(sum(&mut stats, "GROUP_GET_NUMS", "t@g"), None);
        stats.sent_back("g", "t", start);
        assert_eq!(stats.count, 3);
        stats.remove_topic("t");
        assert_eq!(sum(&mut stats, "TOPIC_PUT_NUMS", "t"), None);
        assert_eq!(stats.count, 0);
    }

    #[test]
    fn topics_without_number_are_counted_for_the_broker_only() {
        let start = Instant::now();
        let mut stats = BrokerStats::new(start);
        stats.put("known", 1, 1, start);
        stats.count = limits::COUNTERS;
        stats.put("known", 1, 1, start);
        stats.put("one more", 1, 1, start);
        stats.got("g", "known", 1, 1, start);
        assert_eq!(sum(&mut stats, "TOPIC_PUT_NUMS", "known"), Some(2));
        assert_eq!(sum(&mut stats, "TOPIC_PUT_NUMS", "one more"), None);
        assert_eq!(sum(&mut stats, "BROKER_PUT_NUMS", ""), Some(3));
        assert_eq!(stats.topics.len(), 1);
    }

    #[test]
    fn the_rate_of_a_group_is_that_of_the_last_minute() {
        let start = Instant::now();
        let mut stats = BrokerStats::new(start);
        stats.got("g", "t", 120, 1, start);
        assert_eq!(stats.group_get_tps("g", "t", start + MINUTE), 2.0);
        assert_eq!(stats.group_get_tps("h", "t", start + MINUTE), 0.0);
    }
}
