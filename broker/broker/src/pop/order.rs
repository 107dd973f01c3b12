//! Ordered pops: a queue gives a group nothing more until what it gave is acknowledged or its time
//! is up (`ConsumerOrderInfoManager`). As JSON, it is the content of `consumerOrderInfo.json`.

use std::collections::BTreeMap;

use hotfire_protocol::pop::Counted;
use serde::{Deserialize, Serialize};

use super::QueueKey;

/// What is not asked for during such a time is forgotten, in milliseconds.
const FORGET_AFTER_MS: i64 = 24 * 3600 * 1000;

/// What each queue has given to each group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderInfos {
    #[serde(default)]
    table: BTreeMap<String, BTreeMap<i32, OrderInfo>>,
}

/// The last ordered pop of a queue.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct OrderInfo {
    #[serde(rename = "a", skip_serializing_if = "Option::is_none")]
    attempt_id: Option<String>,
    /// A bit for each acknowledged message.
    #[serde(rename = "cm")]
    acked: i64,
    #[serde(rename = "i", skip_serializing_if = "Option::is_none")]
    invisible_time: Option<i64>,
    #[serde(rename = "l")]
    last_consumed_ms: i64,
    /// The first queue offset, then the distance of each further one from it.
    #[serde(rename = "o")]
    offsets: Vec<i64>,
    /// How often messages were popped before, by queue offset.
    #[serde(rename = "oc", skip_serializing_if = "Option::is_none")]
    counts: Option<BTreeMap<i64, i32>>,
    /// Times until which single messages are hidden, by queue offset.
    #[serde(rename = "ot", skip_serializing_if = "Option::is_none")]
    hidden_until: Option<BTreeMap<i64, i64>>,
    #[serde(rename = "popTime")]
    pop_time: i64,
}

/// An ordered pop.
#[derive(Debug, Clone, Copy)]
pub struct Popped<'a> {
    /// Says that it is the same attempt as an earlier one, whose answer got lost.
    pub attempt_id: Option<&'a str>,
    pub pop_time: i64,
    pub invisible_time: i64,
    /// The queue offsets of the messages.
    pub offsets: &'a [i64],
}

/// What an acknowledgement means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Committed {
    /// The group's offset becomes this one.
    Offset(i64),
    /// It is about an earlier pop: nothing happens.
    Stale,
    /// The message is none of the pop's.
    Illegal,
}

impl OrderInfo {
    fn all(&self) -> impl Iterator<Item = (usize, i64)> + '_ {
        let first = self.offsets.first().copied().unwrap_or_default();
        let offset = move |(at, &diff): (usize, &i64)| match at {
            0 => (at, first),
            _ => (at, first.saturating_add(diff)),
        };
        self.offsets.iter().enumerate().map(offset)
    }

    /// The messages that are not acknowledged.
    fn open(&self) -> impl Iterator<Item = i64> + '_ {
        let open = |at: usize| at >= 64 || self.acked >> at & 1 == 0;
        self.all()
            .filter(move |(at, _)| open(*at))
            .map(|(_, offset)| offset)
    }

    fn visible_at(&self, offset: i64, invisible_time: i64) -> i64 {
        let hidden = self.hidden_until.as_ref();
        hidden
            .and_then(|hidden| hidden.get(&offset).copied())
            .unwrap_or(self.pop_time.saturating_add(invisible_time))
    }
}

impl OrderInfos {
    /// Whether nothing was popped in order.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    fn name(key: &QueueKey) -> String {
        format!("{}@{}", key.topic, key.group)
    }

    fn get(&self, key: &QueueKey) -> Option<&OrderInfo> {
        self.table.get(&Self::name(key))?.get(&key.queue_id)
    }

    fn get_mut(&mut self, key: &QueueKey) -> Option<&mut OrderInfo> {
        self.table.get_mut(&Self::name(key))?.get_mut(&key.queue_id)
    }

    /// A queue has given messages. Returns how often each was given before, with the least count
    /// last.
    pub fn update(
        &mut self,
        key: &QueueKey,
        popped: Popped<'_>,
        now_ms: i64,
    ) -> Vec<(Counted, i32)> {
        let queues = self.table.entry(Self::name(key)).or_default();
        let before = queues.remove(&key.queue_id);
        let counts = before.as_ref().map(|before| counts(before, popped));
        let first = popped.offsets.first().copied().unwrap_or_default();
        let mut offsets: Vec<_> = popped.offsets.iter().map(|offset| offset - first).collect();
        if let Some(start) = offsets.first_mut() {
            *start = first;
        }
        let least = match &counts {
            Some(counts) if counts.len() == offsets.len() => {
                counts.values().copied().min().unwrap_or_default()
            }
            _ => 0,
        };
        let mut told = Vec::new();
        for (&offset, &count) in counts.iter().flatten() {
            told.push((Counted::Message(key.queue_id, offset), count));
        }
        told.push((Counted::Queue(key.queue_id), least));
        let info = OrderInfo {
            attempt_id: popped.attempt_id.map(str::to_owned),
            acked: 0,
            invisible_time: Some(popped.invisible_time),
            last_consumed_ms: now_ms,
            offsets,
            counts,
            hidden_until: None,
            pop_time: popped.pop_time,
        };
        queues.insert(key.queue_id, info);
        told
    }

    /// Whether a queue gives nothing now, because what it gave is still hidden.
    pub fn is_blocked(
        &self,
        key: &QueueKey,
        attempt_id: Option<&str>,
        invisible_time: i64,
        now_ms: i64,
    ) -> bool {
        let Some(info) = self.get(key) else {
            return false;
        };
        if info.attempt_id.is_some() && info.attempt_id.as_deref() == attempt_id {
            return false;
        }
        let invisible = info.invisible_time.filter(|&time| time > 0);
        let invisible = invisible.unwrap_or(invisible_time);
        info.open()
            .any(|offset| now_ms < info.visible_at(offset, invisible))
    }

    /// When a blocked queue may give messages again, if nothing is acknowledged.
    pub fn free_at(&self, key: &QueueKey) -> Option<i64> {
        let info = self.get(key)?;
        let invisible = info.invisible_time.filter(|&time| time > 0)?;
        info.open()
            .map(|offset| info.visible_at(offset, invisible))
            .max()
    }

    /// A message of the pop at `pop_time` is acknowledged. What a crash has made forget can only be
    /// acknowledged at the group's committed offset; Java skips what lies before it.
    pub fn acknowledge(
        &mut self,
        key: &QueueKey,
        offset: i64,
        pop_time: i64,
        committed: i64,
    ) -> Committed {
        let Some(info) = self.get_mut(key) else {
            return if offset == committed {
                Committed::Offset(offset.saturating_add(1))
            } else {
                Committed::Stale
            };
        };
        if info.offsets.is_empty() {
            return Committed::Illegal;
        }
        if info.pop_time != pop_time {
            return Committed::Stale;
        }
        let Some((at, _)) = info.all().find(|&(at, of)| of == offset && at < 64) else {
            return Committed::Illegal;
        };
        info.acked |= 1 << at;
        let next = info.open().next();
        let last = info.all().last().map(|(_, last)| last.saturating_add(1));
        next.or(last).map_or(Committed::Stale, Committed::Offset)
    }

    /// Hides a message of the pop at `pop_time` until another time.
    pub fn hide_until(&mut self, key: &QueueKey, offset: i64, pop_time: i64, visible_at: i64) {
        if let Some(info) = self.get_mut(key).filter(|info| info.pop_time == pop_time) {
            let hidden = info.hidden_until.get_or_insert_default();
            hidden.insert(offset, visible_at);
        }
    }

    /// Forgets what a queue has given: somebody set the group's offset.
    pub fn clear(&mut self, key: &QueueKey) {
        if let Some(queues) = self.table.get_mut(&Self::name(key)) {
            queues.remove(&key.queue_id);
        }
    }

    /// Keeps only some topics and groups.
    pub fn retain(&mut self, keep: impl Fn(&str, &str) -> bool) {
        self.table.retain(|name, _| {
            let names = name.split_once('@');
            names.is_some_and(|(topic, group)| keep(topic, group))
        });
    }

    /// Forgets queues that are not there any more, or were not asked for in a day. `queues` tells
    /// how many queues a topic has, if topic and group are there.
    pub fn clean(&mut self, now_ms: i64, queues: impl Fn(&str, &str) -> Option<i32>) {
        self.table.retain(|name, infos| {
            let Some(count) = name
                .split_once('@')
                .and_then(|(topic, group)| queues(topic, group))
            else {
                return false;
            };
            infos.retain(|&queue_id, info| {
                queue_id < count && now_ms.saturating_sub(info.last_consumed_ms) <= FORGET_AFTER_MS
            });
            !infos.is_empty()
        });
    }
}

/// How often the messages of a pop were given before; only those that were.
fn counts(before: &OrderInfo, popped: Popped<'_>) -> BTreeMap<i64, i32> {
    let known = before.counts.clone().unwrap_or_default();
    if before.attempt_id.is_some() && before.attempt_id.as_deref() == popped.attempt_id {
        return known;
    }
    let given = |offset: i64| before.all().any(|(_, of)| of == offset);
    let again = popped.offsets.iter().filter(|&&offset| given(offset));
    again
        .map(|offset| (*offset, known.get(offset).map_or(1, |count| count + 1)))
        .collect()
}

#[cfg(test)]
mod tests {
    use hotfire_protocol::body::fastjson;

    use super::*;

    fn key() -> QueueKey {
        QueueKey::new("orders", "readers", 1)
    }

    fn popped(pop_time: i64, offsets: &[i64]) -> Popped<'_> {
        Popped {
            attempt_id: None,
            pop_time,
            invisible_time: 10_000,
            offsets,
        }
    }

    /// Messages 5, 6 and 8, given at 1,000 for 10 s.
    fn given() -> OrderInfos {
        let mut infos = OrderInfos::default();
        let told = infos.update(&key(), popped(1_000, &[5, 6, 8]), 1_000);
        assert_eq!(told, [(Counted::Queue(1), 0)]);
        infos
    }

    #[test]
    fn a_queue_is_blocked_until_the_time_is_up() {
        let infos = given();
        assert!(infos.is_blocked(&key(), None, 10_000, 10_999));
        assert!(!infos.is_blocked(&key(), None, 10_000, 11_000));
        assert_eq!(infos.free_at(&key()), Some(11_000));
        assert!(!OrderInfos::default().is_blocked(&key(), None, 10_000, 0));
    }

    #[test]
    fn a_queue_is_free_when_everything_is_acknowledged() {
        let mut infos = given();
        let acks = [5, 8, 6].map(|offset| infos.acknowledge(&key(), offset, 1_000, 5));
        let expected = [6, 6, 9].map(Committed::Offset);
        assert_eq!(acks, expected);
        assert!(!infos.is_blocked(&key(), None, 10_000, 1_001));
    }

    #[test]
    fn an_acknowledgement_of_an_earlier_pop_changes_nothing() {
        let mut infos = given();
        assert_eq!(infos.acknowledge(&key(), 5, 999, 5), Committed::Stale);
        assert_eq!(infos.acknowledge(&key(), 7, 1_000, 5), Committed::Illegal);
        assert!(infos.is_blocked(&key(), None, 10_000, 1_001));
    }

    #[test]
    fn what_was_forgotten_is_acknowledged_from_the_front_only() {
        let mut infos = OrderInfos::default();
        assert_eq!(infos.acknowledge(&key(), 6, 1_000, 5), Committed::Stale);
        assert_eq!(infos.acknowledge(&key(), 5, 1_000, 5), Committed::Offset(6));
    }

    #[test]
    fn a_repeated_attempt_is_not_blocked_and_not_counted() {
        let mut infos = OrderInfos::default();
        let attempt = Popped {
            attempt_id: Some("a"),
            ..popped(1_000, &[5])
        };
        infos.update(&key(), attempt, 1_000);
        assert!(!infos.is_blocked(&key(), Some("a"), 10_000, 1_001));
        assert!(infos.is_blocked(&key(), Some("b"), 10_000, 1_001));
        let again = Popped {
            pop_time: 2_000,
            ..attempt
        };
        let told = infos.update(&key(), again, 2_000);
        assert_eq!(told, [(Counted::Queue(1), 0)]);
    }

    #[test]
    fn messages_that_are_given_again_are_counted() {
        let mut infos = given();
        let told = infos.update(&key(), popped(20_000, &[5, 6]), 20_000);
        let message = |offset| Counted::Message(1, offset);
        let expected = [(message(5), 1), (message(6), 1), (Counted::Queue(1), 1)];
        assert_eq!(told, expected);
        let told = infos.update(&key(), popped(40_000, &[6, 8]), 40_000);
        assert_eq!(told, [(message(6), 2), (Counted::Queue(1), 0)]);
    }

    #[test]
    fn a_message_can_be_hidden_for_longer_than_the_others() {
        let mut infos = given();
        infos.hide_until(&key(), 6, 1_000, 50_000);
        assert!(infos.is_blocked(&key(), None, 10_000, 49_999));
        infos.acknowledge(&key(), 6, 1_000, 5);
        assert!(!infos.is_blocked(&key(), None, 10_000, 11_000));
    }

    #[test]
    fn the_file_is_the_json_of_java() {
        let mut infos = given();
        infos.acknowledge(&key(), 5, 1_000, 5);
        let json = String::from_utf8(fastjson::to_vec(&infos).unwrap()).unwrap();
        assert_eq!(
            json,
            "{\"table\":{\"orders@readers\":{1:{\"cm\":1,\"i\":10000,\"l\":1000,\
             \"o\":[5,1,3],\"popTime\":1000}}}}"
        );
        let again: OrderInfos = fastjson::from_slice(json.as_bytes()).unwrap();
        assert_eq!(again, infos);
    }

    #[test]
    fn what_is_gone_or_old_is_forgotten() {
        let mut infos = given();
        infos.clean(2_000, |_, _| Some(2));
        assert!(infos.get(&key()).is_some());
        infos.clean(2_000, |_, _| Some(1));
        assert_eq!(infos, OrderInfos::default());
        let mut infos = given();
        infos.clean(FORGET_AFTER_MS + 1_001, |_, _| Some(2));
        assert_eq!(infos, OrderInfos::default());
    }
}
