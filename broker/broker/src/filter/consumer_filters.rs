//! The SQL expressions that consumer groups registered (`ConsumerFilterManager`,
//! `ConsumerFilterData`).
//!
//! An entry stays after its group went away, for [`KEPT`]; a broker that was restarted counts every
//! entry as gone until the next heartbeat. It is pulled by all the same: going away only decides
//! when it is forgotten.
//!
//! Invariant: every entry has an expression that makes sense.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use hotfire_protocol::body::SubscriptionData;
use hotfire_protocol::filter::{self, sql::Sql};
use serde::{Deserialize, Serialize};

use super::bloom::BloomFilterData;

/// How long an entry outlives its group (`filterDataCleanTimeSpan`).
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// How long before a start the consumers are taken to have gone (`decode`).
const GONE_BEFORE_START_MS: i64 = 30_000;

/// The expression of a group for a topic (`ConsumerFilterData`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ConsumerFilter {
    bloom_filter_data: Option<BloomFilterData>,
    /// When it was registered, in milliseconds since the epoch.
    born_time: i64,
    /// The version of the subscription.
    client_version: i64,
    consumer_group: String,
    /// Only for readers of the file; `dead_time` says it.
    #[serde(default)]
    dead: bool,
    /// When its group went away; before `born_time` if it has not.
    dead_time: i64,
    expression: String,
    expression_type: String,
    topic: String,
    /// What the expression means.
    #[serde(skip)]
    sql: Option<Arc<Sql>>,
}

/// The expressions for a topic (`FilterDataMapByTopic`).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ByGroup {
    group_filter_data: BTreeMap<String, ConsumerFilter>,
    topic: String,
}

/// All expressions. As JSON, it is the content of `consumerFilter.json`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ConsumerFilters {
    filter_data_by_topic: BTreeMap<String, ByGroup>,
    /// Whether it was changed since it was last written.
    #[serde(skip)]
    changed: bool,
}

impl ConsumerFilter {
    /// Nothing for an expression that makes no sense: the client learns so when it pulls.
    fn new(group: &str, new: &SubscriptionData, now_ms: i64) -> Option<Self> {
        let kind = new.expression_type.as_deref().unwrap_or_default();
        let sql = (kind == filter::SQL92).then(|| Sql::parse(&new.sub_string))?;
        match sql {
            Ok(sql) => Some(Self {
                bloom_filter_data: Some(BloomFilterData::of(group, &new.topic)),
                born_time: now_ms,
                client_version: new.sub_version,
                consumer_group: group.to_owned(),
                dead: false,
                dead_time: 0,
                expression: new.sub_string.clone(),
                expression_type: kind.to_owned(),
                topic: new.topic.clone(),
                sql: Some(Arc::new(sql)),
            }),
            Err(error) => {
                let topic = &new.topic;
                tracing::error!(group, topic, %error, "cannot read an expression");
                None
            }
        }
    }

    fn is_dead(&self) -> bool {
        self.dead_time >= self.born_time
    }

    fn die(&mut self, at_ms: i64) {
        self.dead_time = at_ms.max(self.born_time);
        self.dead = true;
    }

    fn live(&mut self) {
        self.dead_time = 0;
        self.dead = self.is_dead();
    }
}

impl ConsumerFilters {
    /// Takes over what the file held. Expressions that make no sense any more are dropped.
    pub fn restore(file: Self, now_ms: i64) -> Self {
        let mut restored = file;
        for topic in restored.filter_data_by_topic.values_mut() {
            topic.group_filter_data.retain(|group, entry| {
                entry.sql = match Sql::parse(&entry.expression) {
                    Ok(sql) => Some(Arc::new(sql)),
                    Err(error) => {
                        tracing::error!(group, %error, "an expression on file makes no sense");
                        return false;
                    }
                };
                if !entry.is_dead() {
                    entry.die(now_ms - GONE_BEFORE_START_MS);
                }
                true
            });
        }
        restored
    }

    /// A heartbeat of a group: its expressions are registered, those for topics that it does not
    /// name any more are as good as gone.
    pub fn register<'s>(
        &mut self,
        group: &str,
        subscriptions: impl Iterator<Item = &'s SubscriptionData> + Clone,
        now_ms: i64,
    ) {
        for new in subscriptions.clone() {
            if !new.is_tag() && !new.sub_string.is_empty() {
                self.register_one(group, new, now_ms);
            }
        }
        if self.filter_data_by_topic.is_empty() {
            return;
        }
        let named: BTreeSet<_> = subscriptions.map(|new| new.topic.as_str()).collect();
        for (topic, entries) in &mut self.filter_data_by_topic {
            if !named.contains(topic.as_str())
                && let Some(entry) = entries.group_filter_data.get_mut(group)
                && !entry.is_dead()
            {
                entry.die(now_ms);
                self.changed = true;
            }
        }
    }

    /// A newer version replaces the entry; an older one is ignored, the same one brings it back.
    fn register_one(&mut self, group: &str, new: &SubscriptionData, now_ms: i64) {
        let topic = self.filter_data_by_topic.get_mut(&new.topic);
        let known = topic.and_then(|topic| topic.group_filter_data.get_mut(group));
        if let Some(known) = known {
            let same = known.expression == new.sub_string
                && Some(&known.expression_type) == new.expression_type.as_ref();
            if new.sub_version < known.client_version {
                return;
            }
            if new.sub_version == known.client_version || same {
                self.changed |= known.client_version != new.sub_version || known.is_dead();
                known.client_version = new.sub_version;
                if known.is_dead() {
                    known.live();
                }
                return;
            }
        }
        self.changed = true;
        let entries = self.filter_data_by_topic.entry(new.topic.clone());
        let entries = &mut entries
            .or_insert_with(|| ByGroup {
                topic: new.topic.clone(),
                ..ByGroup::default()
            })
            .group_filter_data;
        match ConsumerFilter::new(group, new, now_ms) {
            Some(entry) => entries.insert(group.to_owned(), entry),
            None => entries.remove(group),
        };
    }

    /// Only these groups have members; the others went away, now or since the last call.
    pub fn retain_members(&mut self, groups: &BTreeSet<String>, now_ms: i64) {
        for entries in self.filter_data_by_topic.values_mut() {
            for (group, entry) in &mut entries.group_filter_data {
                if !entry.is_dead() && !groups.contains(group) {
                    entry.die(now_ms);
                    self.changed = true;
                }
            }
        }
    }

    /// A group's expression for a topic, and the version of its subscription.
    pub fn get(&self, topic: &str, group: &str) -> Option<(Arc<Sql>, i64)> {
        let entries = self.filter_data_by_topic.get(topic)?;
        let entry = entries.group_filter_data.get(group)?;
        Some((entry.sql.clone()?, entry.client_version))
    }

    /// A group's expressions for all topics.
    pub fn of_group(&self, group: &str) -> Vec<(String, Arc<Sql>)> {
        let topics = self.filter_data_by_topic.iter();
        topics
            .filter_map(|(topic, entries)| {
                let sql = entries.group_filter_data.get(group)?.sql.clone()?;
                Some((topic.clone(), sql))
            })
            .collect()
    }

    /// What is to be written to the file, if it was changed since the last call. Entries that went
    /// away long ago are forgotten on the occasion.
    pub fn changes(&mut self, now_ms: i64) -> Option<Self> {
        let kept_ms = KEPT.as_millis() as i64;
        self.filter_data_by_topic.retain(|_, entries| {
            let before = entries.group_filter_data.len();
            entries
                .group_filter_data
                .retain(|_, entry| !entry.is_dead() || now_ms - entry.dead_time < kept_ms);
            self.changed |= entries.group_filter_data.len() != before;
            !entries.group_filter_data.is_empty()
        });
        std::mem::take(&mut self.changed).then(|| self.clone())
    }
}

#[cfg(test)]
mod tests {
    use hotfire_protocol::body::fastjson;

    use super::*;

    const TOPIC: &str = "orders";

    fn registered(expression: &str, version: i64) -> ConsumerFilters {
        let mut filters = ConsumerFilters::default();
        beat(&mut filters, expression, version, 1000);
        filters
    }

    fn beat(filters: &mut ConsumerFilters, expression: &str, version: i64, now_ms: i64) {
        let subscription = SubscriptionData::sql(TOPIC, expression, version);
        filters.register("g", [&subscription].into_iter(), now_ms);
    }

    fn matches(filters: &ConsumerFilters, a: &str) -> bool {
        let (sql, _) = filters.get(TOPIC, "g").unwrap();
        sql.matches([("a", a)])
    }

    #[test]
    fn a_heartbeat_registers_an_expression() {
        let filters = registered("a > 5", 1);
        assert!(matches(&filters, "6") && !matches(&filters, "5"));
        assert!(filters.get(TOPIC, "other").is_none());
        assert!(filters.get("other", "g").is_none());
    }

    #[test]
    fn only_a_newer_version_changes_an_expression() {
        let mut filters = registered("a > 5", 2);
        for version in [1, 2] {
            beat(&mut filters, "a > 7", version, 2000);
            assert!(matches(&filters, "6"));
        }
        beat(&mut filters, "a > 7", 3, 2000);
        assert!(!matches(&filters, "6"));
        assert_eq!(filters.get(TOPIC, "g").unwrap().1, 3);
    }

    #[test]
    fn a_newer_version_of_the_same_expression_counts_as_its_version() {
        let mut filters = registered("a > 5", 2);
        beat(&mut filters, "a > 5", 9, 2000);
        assert_eq!(filters.get(TOPIC, "g").unwrap().1, 9);
    }

    #[test]
    fn a_new_expression_that_makes_no_sense_removes_the_old_one() {
        let mut filters = registered("a > 5", 1);
        beat(&mut filters, "a > > 5", 2, 2000);
        assert!(filters.get(TOPIC, "g").is_none());
    }

    #[test]
    fn tags_are_not_registered() {
        let mut filters = ConsumerFilters::default();
        let tags = SubscriptionData::parse(TOPIC, "TagA", 1).unwrap();
        filters.register("g", [&tags].into_iter(), 1000);
        assert!(filters.get(TOPIC, "g").is_none());
    }

    #[test]
    fn an_expression_outlives_its_group_for_a_day() {
        let mut filters = registered("a > 5", 1);
        filters.retain_members(&BTreeSet::new(), 2000);
        let day = 24 * 3_600_000;
        assert!(filters.changes(2000 + day - 1).is_some());
        assert!(filters.get(TOPIC, "g").is_some());
        assert!(filters.changes(2000 + day).is_some());
        assert!(filters.get(TOPIC, "g").is_none());
    }

    #[test]
    fn an_expression_whose_topic_is_not_named_any_more_is_gone_like_its_group() {
        let mut filters = registered("a > 5", 1);
        filters.register("g", std::iter::empty(), 2000);
        assert!(filters.changes(2000 + 24 * 3_600_000).is_some());
        assert!(filters.get(TOPIC, "g").is_none());
    }

    #[test]
    fn a_group_that_comes_back_keeps_its_expression() {
        let mut filters = registered("a > 5", 1);
        filters.retain_members(&BTreeSet::new(), 2000);
        beat(&mut filters, "a > 5", 1, 3000);
        filters.changes(3000 + 24 * 3_600_000);
        assert!(filters.get(TOPIC, "g").is_some());
    }

    #[test]
    fn the_file_is_written_only_after_a_change() {
        let mut filters = registered("a > 5", 1);
        assert!(filters.changes(1000).is_some());
        assert!(filters.changes(1000).is_none());
        beat(&mut filters, "a > 5", 1, 2000);
        assert!(filters.changes(2000).is_none());
    }

    #[test]
    fn the_file_of_apache_rocketmq_is_read_and_written() {
        let written = include_str!("../../tests/fixtures/consumerFilter.json");
        let file: ConsumerFilters = fastjson::from_slice(written.as_bytes()).unwrap();
        let restored = ConsumerFilters::restore(file, 1_795_331_900_000);
        let (sql, version) = restored.get("GoldenSql", "Golden_sgroup").unwrap();
        assert!(sql.matches([("a", "2"), ("name", "x")]));
        assert_eq!(version, 1_795_331_816_684);
        let again = fastjson::to_pretty_vec(&restored).unwrap();
        assert_eq!(String::from_utf8(again).unwrap(), written);
    }

    #[test]
    fn after_a_start_every_group_counts_as_gone_until_its_heartbeat() {
        let restored = ConsumerFilters::restore(registered("a > 5", 1), 100_000);
        let entry = &restored.filter_data_by_topic[TOPIC].group_filter_data["g"];
        assert_eq!(entry.dead_time, 70_000);
        assert!(matches(&restored, "6"));
    }
}
