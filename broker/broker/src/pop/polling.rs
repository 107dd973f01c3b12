//! Parked pops and notifications: long polling (`PopLongPollingService`).
//!
//! A request that finds nothing is parked under its topic, group and queue, -1 for all queues. A
//! message that its filter lets through wakes one request of each group, so that a crowd of waiting
//! consumers does not run for a single message. Deadlines are kept to the moment.
//!
//! Invariants: a parked request leaves the table exactly once, with its connection if not before; a
//! queue or a connection without parked requests is not in the table.

use std::collections::{BTreeMap, BTreeSet};

use hotfire_protocol::topic::retry_group;
use hotfire_remoting::ConnectionId;
use tokio::time::Instant;

use super::QueueKey;
use crate::filter::PullFilter;

/// The most requests that wait for one queue of a group (`popPollingSize`).
const QUEUE_MAX: usize = 1024;
/// The most requests that wait at all (`maxPopPollingSize`).
const ALL_MAX: usize = 100_000;
/// The most requests of one connection that wait, so that one does not take the place of all.
const CONNECTION_MAX: usize = ALL_MAX / 4;

/// A request that waits for messages.
#[derive(Debug)]
pub struct Parked<R> {
    /// When it is answered whatever there is.
    pub deadline: Instant,
    /// Which messages it waits for; all without one.
    pub filter: Option<PullFilter>,
    /// Who waits.
    pub connection: ConnectionId,
    /// What is needed to run it again.
    pub request: R,
}

/// Requests in the order of their deadlines.
type Slot = (Instant, u64);

/// All parked requests.
#[derive(Debug)]
pub struct Polling<R> {
    slots: BTreeMap<Slot, (QueueKey, Parked<R>)>,
    queues: BTreeMap<QueueKey, BTreeSet<Slot>>,
    connections: BTreeMap<ConnectionId, BTreeSet<Slot>>,
    parked: u64,
}

impl<R> Default for Polling<R> {
    fn default() -> Self {
        Self {
            slots: BTreeMap::new(),
            queues: BTreeMap::new(),
            connections: BTreeMap::new(),
            parked: 0,
        }
    }
}

impl<R> Polling<R> {
    /// Whether no request is parked.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// How many requests wait for a queue.
    pub fn waiting(&self, key: &QueueKey) -> usize {
        self.queues.get(key).map_or(0, BTreeSet::len)
    }

    /// When the next request is to be answered whatever there is.
    pub fn next_deadline(&self) -> Option<Instant> {
        let first = self.slots.first_key_value();
        first.map(|(&(deadline, _), _)| deadline)
    }

    /// Parks a request, unless too many are.
    ///
    /// # Errors
    /// The request, because it cannot be parked.
    pub fn park(&mut self, key: QueueKey, parked: Parked<R>) -> Result<(), R> {
        let of_connection = self.connections.get(&parked.connection);
        if self.slots.len() >= ALL_MAX
            || self.waiting(&key) > QUEUE_MAX
            || of_connection.map_or(0, BTreeSet::len) >= CONNECTION_MAX
        {
            return Err(parked.request);
        }
        self.parked += 1;
        let slot = (parked.deadline, self.parked);
        self.queues.entry(key.clone()).or_default().insert(slot);
        let of_connection = self.connections.entry(parked.connection).or_default();
        of_connection.insert(slot);
        self.slots.insert(slot, (key, parked));
        Ok(())
    }

    /// A message arrived in a queue: wakes one request of each group that waits for this queue, and
    /// one that waits for all queues, if their filters match. A message in the retry topic of a group
    /// wakes those of the group who wait for the topic that it came from.
    pub fn on_arrival(
        &mut self,
        topic: &str,
        queue_id: i32,
        matches: &mut dyn FnMut(&PullFilter) -> bool,
        alive: impl Fn(&R) -> bool,
    ) -> Vec<R> {
        let keys: Vec<QueueKey> = if let Some(rest) = retry_group(topic) {
            self.keys_of_retry_topic(topic, rest)
        } else {
            let first = QueueKey::new(topic, "", i32::MIN);
            let of_topic = self.queues.range(first..).map(|(key, _)| key);
            of_topic
                .take_while(|key| key.topic == topic)
                .filter(|key| key.queue_id == -1 || key.queue_id == queue_id)
                .cloned()
                .collect()
        };
        let woken = keys.iter();
        woken
            .filter_map(|key| self.wake_if(key, matches, &alive))
            .collect()
    }

    /// The keys under which those wait who are woken by a message in a retry topic: those for the
    /// retry topic itself, and, of the group that its name begins with, for the topic that its name
    /// ends with. `rest` is the name without the prefix; where the group ends it does not say.
    fn keys_of_retry_topic(&self, topic: &str, rest: &str) -> Vec<QueueKey> {
        let ends = rest.match_indices(['_', '+']);
        let named = ends.map(|(end, _)| (&rest[end + 1..], &rest[..end]));
        let mut keys: Vec<_> = self
            .keys_from(topic, "")
            .map_while(|key| (key.topic == topic).then(|| key.clone()))
            .collect();
        for (topic, group) in named {
            let keys_of = self.keys_from(topic, group);
            let same = |key: &&QueueKey| key.topic == topic && key.group == group;
            keys.extend(keys_of.take_while(same).cloned());
        }
        keys.sort();
        keys.dedup();
        keys
    }

    fn keys_from(&self, topic: &str, group: &str) -> impl Iterator<Item = &QueueKey> {
        let first = QueueKey::new(topic, group, i32::MIN);
        self.queues.range(first..).map(|(key, _)| key)
    }

    /// A connection closed: nobody waits for its requests any more.
    pub fn connection_closed(&mut self, connection: ConnectionId) {
        for slot in self.connections.remove(&connection).into_iter().flatten() {
            self.take(slot);
        }
    }

    /// Wakes the request for a queue with the earliest deadline, whatever its filter.
    pub fn wake(&mut self, key: &QueueKey, alive: impl Fn(&R) -> bool) -> Option<R> {
        self.wake_if(key, &mut |_| true, alive)
    }

    /// Wakes the request for a queue with the earliest deadline whose filter matches. Requests that
    /// nobody waits for any more are dropped on the way.
    fn wake_if(
        &mut self,
        key: &QueueKey,
        matches: &mut dyn FnMut(&PullFilter) -> bool,
        alive: impl Fn(&R) -> bool,
    ) -> Option<R> {
        let slots: Vec<Slot> = self.queues.get(key)?.iter().copied().collect();
        for slot in slots {
            let Some((_, parked)) = self.slots.get(&slot) else {
                continue;
            };
            if !alive(&parked.request) {
                self.take(slot);
            } else if parked.filter.as_ref().is_none_or(&mut *matches) {
                return self.take(slot);
            }
        }
        None
    }

    /// The requests whose deadline has come.
    pub fn expired(&mut self, now: Instant) -> Vec<R> {
        let due = self.slots.range(..=(now, u64::MAX));
        let due: Vec<Slot> = due.map(|(&slot, _)| slot).collect();
        due.into_iter().filter_map(|slot| self.take(slot)).collect()
    }

    /// Takes out the requests that wait for queues that are gone.
    pub fn take_all(&mut self, gone: impl Fn(&QueueKey) -> bool) -> Vec<R> {
        let slots = self.queues.iter().filter(|(key, _)| gone(key));
        let slots: Vec<Slot> = slots.flat_map(|(_, slots)| slots.iter().copied()).collect();
        slots
            .into_iter()
            .filter_map(|slot| self.take(slot))
            .collect()
    }

    fn take(&mut self, slot: Slot) -> Option<R> {
        let (key, parked) = self.slots.remove(&slot)?;
        if let Some(queue) = self.queues.get_mut(&key) {
            queue.remove(&slot);
            if queue.is_empty() {
                self.queues.remove(&key);
            }
        }
        if let Some(of_connection) = self.connections.get_mut(&parked.connection) {
            of_connection.remove(&slot);
            if of_connection.is_empty() {
                self.connections.remove(&parked.connection);
            }
        }
        Some(parked.request)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use hotfire_protocol::body::SubscriptionData;
    use hotfire_store::MessageFilter;

    use super::*;

    const TAG_A: i64 = 2_598_919;
    const TAG_B: i64 = 2_598_920;

    struct Held {
        polling: Polling<&'static str>,
        start: Instant,
    }

    impl Held {
        fn new() -> Self {
            Self {
                polling: Polling::default(),
                start: Instant::now(),
            }
        }

        fn at(&self, seconds: u64) -> Instant {
            self.start + Duration::from_secs(seconds)
        }

        fn park(&mut self, name: &'static str, group: &str, queue_id: i32, seconds: u64) {
            let parked = Parked {
                deadline: self.at(seconds),
                filter: SubscriptionData::parse("orders", "TagA", 1)
                    .ok()
                    .map(|wanted| PullFilter::tags(Arc::new(wanted))),
                connection: ConnectionId(seconds),
                request: name,
            };
            let key = QueueKey::new("orders", group, queue_id);
            self.polling.park(key, parked).unwrap();
        }

        fn arrive(&mut self, queue_id: i32, tags_code: i64) -> Vec<&'static str> {
            self.arrive_at("orders", queue_id, tags_code)
        }

        fn arrive_at(&mut self, topic: &str, queue_id: i32, tags_code: i64) -> Vec<&'static str> {
            let mut matches = |filter: &PullFilter| filter.matches_code(tags_code);
            let alive = |name: &&str| *name != "gone";
            self.polling
                .on_arrival(topic, queue_id, &mut matches, alive)
        }
    }

    #[test]
    fn a_message_wakes_one_request_of_each_group_and_kind() {
        let mut held = Held::new();
        held.park("any 1", "g", -1, 20);
        held.park("any 2", "g", -1, 10);
        held.park("queue 0", "g", 0, 20);
        held.park("queue 1", "g", 1, 20);
        held.park("other group", "h", -1, 20);
        assert_eq!(held.arrive(0, TAG_A), ["any 2", "queue 0", "other group"]);
        assert_eq!(held.arrive(0, TAG_A), ["any 1"]);
        assert_eq!(held.arrive(0, TAG_A), [""; 0]);
    }

    #[test]
    fn a_revived_message_wakes_its_group() {
        let mut held = Held::new();
        held.park("g", "g", -1, 20);
        held.park("h", "h", -1, 20);
        let woken = held.arrive_at("%RETRY%h_orders", 0, TAG_A);
        assert_eq!(woken, ["h"]);
    }

    #[test]
    fn a_message_that_the_filter_stops_wakes_nobody() {
        let mut held = Held::new();
        held.park("a", "g", -1, 20);
        assert_eq!(held.arrive(0, TAG_B), [""; 0]);
        let key = QueueKey::new("orders", "g", -1);
        assert_eq!(held.polling.wake(&key, |_| true), Some("a"));
    }

    #[test]
    fn a_request_whose_peer_is_gone_is_passed_over() {
        let mut held = Held::new();
        held.park("gone", "g", -1, 10);
        held.park("here", "g", -1, 20);
        assert_eq!(held.arrive(0, TAG_A), ["here"]);
        assert!(held.polling.is_empty());
    }

    #[test]
    fn a_deadline_is_kept() {
        let mut held = Held::new();
        held.park("late", "g", -1, 20);
        held.park("early", "g", 3, 10);
        assert_eq!(held.polling.next_deadline(), Some(held.at(10)));
        let now = held.at(10);
        assert_eq!(held.polling.expired(now), ["early"]);
        assert_eq!(held.polling.waiting(&QueueKey::new("orders", "g", -1)), 1);
        assert_eq!(held.polling.next_deadline(), Some(held.at(20)));
    }

    #[test]
    fn too_many_requests_are_turned_away() {
        let mut held = Held::new();
        for _ in 0..=QUEUE_MAX {
            held.park("one", "g", -1, 20);
        }
        let parked = Parked {
            deadline: held.at(20),
            filter: None,
            connection: ConnectionId(1),
            request: "one too many",
        };
        let key = QueueKey::new("orders", "g", -1);
        assert_eq!(held.polling.park(key, parked), Err("one too many"));
    }

    #[test]
    fn what_is_parked_for_a_connection_goes_with_it() {
        let mut held = Held::new();
        held.park("of 10", "g", -1, 10);
        held.park("of 20", "g", -1, 20);
        held.polling.connection_closed(ConnectionId(10));
        assert_eq!(held.arrive(0, TAG_A), ["of 20"]);
        held.polling.connection_closed(ConnectionId(20));
        let Polling {
            slots,
            queues,
            connections,
            ..
        } = held.polling;
        assert!(slots.is_empty() && queues.is_empty() && connections.is_empty());
    }

    #[test]
    fn a_retry_topic_wakes_the_group_and_topic_that_its_name_is_made_of() {
        for (group, topic) in [("a_b", "c"), ("a", "b_c"), ("a_b_c", "d+e")] {
            for retry_topic in [
                hotfire_protocol::pop::retry_topic(topic, group),
                hotfire_protocol::pop::retry_topic_v2(topic, group),
            ] {
                let mut held = Held::new();
                for (name, key) in [
                    ("wanted", QueueKey::new(topic, group, -1)),
                    ("other group", QueueKey::new(topic, "other", -1)),
                    ("other topic", QueueKey::new("other", group, -1)),
                ] {
                    let parked = Parked {
                        deadline: held.at(1),
                        filter: None,
                        connection: ConnectionId(1),
                        request: name,
                    };
                    held.polling.park(key, parked).unwrap();
                }
                let woken = held.arrive_at(&retry_topic, 0, TAG_A);
                assert_eq!(woken, ["wanted"], "{retry_topic}");
            }
        }
    }
}
