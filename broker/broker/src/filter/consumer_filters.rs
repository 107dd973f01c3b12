//! The SQL expressions that consumer groups registered (`ConsumerFilterManager`,
//! `ConsumerFilterData`).
//!
//! An entry stays after its group went away, for [`KEPT`]; a broker that was restarted counts every
//! entry as gone until the next heartbeat. It is pulled by all the same: going away only decides
//! when it is forgotten.
//!
//! Invariants: every entry has an expression that makes sense; the topics of each group, and the
//! bytes of all expressions, are those of the entries.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use hotfire_protocol::body::{ConsumerData, SubscriptionData};
use hotfire_protocol::filter::{self, sql::Sql};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::bloom::BloomFilterData;
use crate::limits::{self, Full};

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
    /// The topics that each group has entries for.
    #[serde(skip)]
    topics_of: BTreeMap<String, BTreeSet<String>>,
    /// How many entries there are.
    #[serde(skip)]
    count: usize,
    /// How long all expressions are together.
    #[serde(skip)]
    bytes: usize,
}

/// What a heartbeat's subscription asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// Nothing: tags, or an older version than the known one.
    Nothing,
    /// That the known expression is of this version, and lives.
    Refresh,
    /// That an expression is read.
    Read,
}

/// Expressions that were read, by group and topic; nothing where one makes no sense.
type Read = BTreeMap<(String, String), Option<ConsumerFilter>>;

/// A heartbeat: the expressions of its groups are registered. They are read while the table is not
/// locked.
///
/// # Errors
/// There is no room for them, or reading them would take too long; nothing is registered.
pub(crate) fn register(
    filters: &Mutex<ConsumerFilters>,
    heartbeat: &[ConsumerData],
    now_ms: i64,
) -> Result<(), Full> {
    let wanted: Vec<(&str, &SubscriptionData)> = {
        let mut filters = filters.lock();
        let groups = heartbeat.iter();
        let wanted = groups.flat_map(|data| {
            let (group, filters) = (data.group_name.as_str(), &filters);
            let subscriptions = data.subscription_data_set.iter();
            subscriptions
                .filter(move |new| filters.asks(group, new) == Asked::Read)
                .map(move |new| (group, new))
        });
        let wanted: Vec<_> = wanted.collect();
        let bytes = wanted.iter().map(|(_, new)| new.sub_string.len()).sum();
        let max = limits::NEW_SQL_BYTES;
        limits::check("bytes of new SQL expressions in one heartbeat", bytes, max)?;
        filters.make_room(wanted.len(), bytes)?;
        wanted
    };
    let mut read = read(wanted.into_iter(), now_ms);
    let mut filters = filters.lock();
    for data in heartbeat {
        let subscriptions = data.subscription_data_set.iter();
        filters.enter(&data.group_name, subscriptions, &mut read, now_ms);
    }
    Ok(())
}

fn read<'h>(wanted: impl Iterator<Item = (&'h str, &'h SubscriptionData)>, now_ms: i64) -> Read {
    let read = |(group, new): (&str, &SubscriptionData)| {
        let key = (group.to_owned(), new.topic.clone());
        (key, ConsumerFilter::new(group, new, now_ms))
    };
    wanted.map(read).collect()
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
        restored.count_again();
        restored
    }

    /// Computes what is known beside the entries.
    fn count_again(&mut self) {
        (self.count, self.bytes) = (0, 0);
        self.topics_of.clear();
        for (topic, entries) in &self.filter_data_by_topic {
            for (group, entry) in &entries.group_filter_data {
                self.count += 1;
                self.bytes += entry.expression.len();
                let topics = self.topics_of.entry(group.clone()).or_default();
                topics.insert(topic.clone());
            }
        }
    }

    /// Checks that there is room for so many expressions more. Those that went away are forgotten
    /// early if there is not.
    fn make_room(&mut self, count: usize, bytes: usize) -> Result<(), Full> {
        let full = |filters: &Self| {
            let max = limits::EXPRESSIONS;
            limits::check("SQL expressions", filters.count + count, max)?;
            let max = limits::EXPRESSION_BYTES;
            limits::check("bytes of SQL expressions", filters.bytes + bytes, max)
        };
        if count > 0 && full(self).is_err() {
            let before = self.count;
            self.retain(|entry| !entry.is_dead());
            let forgotten = before - self.count;
            tracing::warn!(forgotten, "forgot SQL expressions of groups that went away");
            return full(self);
        }
        Ok(())
    }

    fn retain(&mut self, keep: impl Fn(&ConsumerFilter) -> bool) {
        let before = self.count;
        self.filter_data_by_topic.retain(|_, entries| {
            entries.group_filter_data.retain(|_, entry| keep(entry));
            !entries.group_filter_data.is_empty()
        });
        self.count_again();
        self.changed |= self.count != before;
    }

    fn known(&self, group: &str, topic: &str) -> Option<&ConsumerFilter> {
        let entries = self.filter_data_by_topic.get(topic)?;
        entries.group_filter_data.get(group)
    }

    fn known_mut(&mut self, group: &str, topic: &str) -> Option<&mut ConsumerFilter> {
        let entries = self.filter_data_by_topic.get_mut(topic)?;
        entries.group_filter_data.get_mut(group)
    }

    /// A newer version replaces the entry; an older one is ignored, the same one brings it back.
    fn asks(&self, group: &str, new: &SubscriptionData) -> Asked {
        if new.is_tag() || new.sub_string.is_empty() {
            return Asked::Nothing;
        }
        let Some(known) = self.known(group, &new.topic) else {
            return Asked::Read;
        };
        let same = known.expression == new.sub_string
            && Some(&known.expression_type) == new.expression_type.as_ref();
        if new.sub_version < known.client_version {
            Asked::Nothing
        } else if new.sub_version == known.client_version || same {
            Asked::Refresh
        } else {
            Asked::Read
        }
    }

    /// A heartbeat of a group: its expressions, which were read before, are entered; those for topics
    /// that it does not name any more are as good as gone.
    fn enter<'s>(
        &mut self,
        group: &str,
        subscriptions: impl Iterator<Item = &'s SubscriptionData> + Clone,
        read: &mut Read,
        now_ms: i64,
    ) {
        for new in subscriptions.clone() {
            match self.asks(group, new) {
                Asked::Nothing => {}
                Asked::Refresh => self.refresh(group, new),
                Asked::Read => {
                    let key = (group.to_owned(), new.topic.clone());
                    // What is not there somebody else has changed meanwhile.
                    match read.remove(&key) {
                        Some(Some(entry)) => self.put(entry),
                        Some(None) => self.remove(group, &new.topic),
                        None => {}
                    }
                }
            }
        }
        let Some(topics) = self.topics_of.get(group) else {
            return;
        };
        let named: BTreeSet<_> = subscriptions.map(|new| new.topic.as_str()).collect();
        let left = topics
            .iter()
            .filter(|topic| !named.contains(topic.as_str()));
        for topic in left.cloned().collect::<Vec<_>>() {
            if let Some(entry) = self.known_mut(group, &topic)
                && !entry.is_dead()
            {
                entry.die(now_ms);
                self.changed = true;
            }
        }
    }

    fn refresh(&mut self, group: &str, new: &SubscriptionData) {
        let Some(known) = self.known_mut(group, &new.topic) else {
            return;
        };
        let changed = known.client_version != new.sub_version || known.is_dead();
        known.client_version = new.sub_version;
        if known.is_dead() {
            known.live();
        }
        self.changed |= changed;
    }

    fn put(&mut self, entry: ConsumerFilter) {
        let (group, topic) = (entry.consumer_group.clone(), entry.topic.clone());
        self.remove(&group, &topic);
        self.changed = true;
        self.count += 1;
        self.bytes += entry.expression.len();
        let topics = self.topics_of.entry(group.clone()).or_default();
        topics.insert(topic.clone());
        let entries = self.filter_data_by_topic.entry(topic.clone());
        let entries = entries.or_insert_with(|| ByGroup {
            topic,
            ..ByGroup::default()
        });
        entries.group_filter_data.insert(group, entry);
    }

    fn remove(&mut self, group: &str, topic: &str) {
        let Some(entries) = self.filter_data_by_topic.get_mut(topic) else {
            return;
        };
        let Some(entry) = entries.group_filter_data.remove(group) else {
            return;
        };
        if entries.group_filter_data.is_empty() {
            self.filter_data_by_topic.remove(topic);
        }
        self.changed = true;
        self.count -= 1;
        self.bytes -= entry.expression.len();
        if let Some(topics) = self.topics_of.get_mut(group) {
            topics.remove(topic);
            if topics.is_empty() {
                self.topics_of.remove(group);
            }
        }
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
        let topics = self.topics_of.get(group).into_iter().flatten();
        topics
            .filter_map(|topic| Some((topic.clone(), self.known(group, topic)?.sql.clone()?)))
            .collect()
    }

    /// Forgets a topic.
    pub fn remove_topic(&mut self, topic: &str) {
        self.changed |= self.filter_data_by_topic.remove(topic).is_some();
    }

    /// Forgets a group.
    pub fn remove_group(&mut self, group: &str) {
        for entries in self.filter_data_by_topic.values_mut() {
            self.changed |= entries.group_filter_data.remove(group).is_some();
        }
    }

    /// What is to be written to the file, if it was changed since the last call. Entries that went
    /// away long ago are forgotten on the occasion.
    pub fn changes(&mut self, now_ms: i64) -> Option<Self> {
        let kept_ms = KEPT.as_millis() as i64;
        let old = |entry: &ConsumerFilter| {
            entry.is_dead() && now_ms.saturating_sub(entry.dead_time) >= kept_ms
        };
        let mut topics = self.filter_data_by_topic.values();
        if topics.any(|entries| entries.group_filter_data.values().any(old)) {
            self.retain(|entry| !old(entry));
        }
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
        heartbeat(filters, "g", vec![subscription], now_ms).unwrap();
    }

    fn heartbeat(
        filters: &mut ConsumerFilters,
        group: &str,
        subscriptions: Vec<SubscriptionData>,
        now_ms: i64,
    ) -> Result<(), Full> {
        let data = ConsumerData {
            group_name: group.to_owned(),
            subscription_data_set: subscriptions,
            ..ConsumerData::default()
        };
        let shared = Mutex::new(std::mem::take(filters));
        let registered = register(&shared, &[data], now_ms);
        *filters = shared.into_inner();
        let mut counted = filters.clone();
        counted.count_again();
        let of = |filters: &ConsumerFilters| {
            let topics_of = filters.topics_of.clone();
            (filters.count, filters.bytes, topics_of)
        };
        assert_eq!(of(filters), of(&counted));
        registered
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
        heartbeat(&mut filters, "g", vec![tags], 1000).unwrap();
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
        heartbeat(&mut filters, "g", Vec::new(), 2000).unwrap();
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

    #[test]
    fn expressions_that_went_away_make_room_and_those_that_live_do_not() {
        let mut filters = ConsumerFilters::default();
        let mut next = 0;
        let full = loop {
            let round: usize = next;
            let topics = (0..100).map(|at| {
                let expression = format!("a = '{}'", "x".repeat(1_000));
                SubscriptionData::sql(&format!("{round}-{at}"), &expression, 1)
            });
            next += 1;
            if let Err(full) = heartbeat(&mut filters, &next.to_string(), topics.collect(), 1000) {
                break full;
            }
        };
        assert_eq!(full.what, "bytes of SQL expressions");
        assert!(filters.bytes <= limits::EXPRESSION_BYTES);
        filters.retain_members(&BTreeSet::from(["1".to_owned()]), 2000);
        let expression = format!("a = '{}'", "x".repeat(1_000));
        let topic = |at: usize| SubscriptionData::sql(&at.to_string(), &expression, 1);
        heartbeat(&mut filters, "new", (0..100).map(topic).collect(), 3000).unwrap();
        assert_eq!(filters.count, 200);
    }

    #[test]
    fn one_heartbeat_has_no_more_new_sql_than_can_be_read_at_once() {
        let mut filters = ConsumerFilters::default();
        let expression = format!("a = '{}'", "x".repeat(10_000));
        let subscription = |at: usize| SubscriptionData::sql(&at.to_string(), &expression, 1);
        let many = (0..limits::NEW_SQL_BYTES / 10_000 + 1).map(subscription);
        let refused = heartbeat(&mut filters, "g", many.collect(), 1000);
        assert!(refused.is_err());
        assert_eq!(filters.count, 0);
    }
}
