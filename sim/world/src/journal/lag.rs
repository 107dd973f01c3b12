use hotfire_check::history::{
    Event, GroupId, Names, NodeId, OpId, QueueRef, Recorder, SendKind, TopicId, Value,
};
use hotfire_protocol::pop::retry_topic;
use rustc_hash::{FxHashMap, FxHashSet};

use super::halves::Halves;
use super::hidden::{Hidden, HiddenRecord};
use crate::scenario::{Listener, Model, Scenario, member_name};

/// Where delayed messages wait (`TopicValidator.RMQ_SYS_SCHEDULE_TOPIC`), and those for a time
/// (`TimerMessageStore.TIMER_TOPIC`).
const WAITING_TOPICS: [&str; 2] = ["SCHEDULE_TOPIC_XXXX", "rmq_sys_wheel_timer"];
/// Where half messages wait (`TopicValidator.RMQ_SYS_TRANS_HALF_TOPIC`).
const HALF_TOPIC: &str = "RMQ_SYS_TRANS_HALF_TOPIC";
/// Where half messages go that were given up (`TopicValidator.RMQ_SYS_TRANS_CHECK_MAX_TIME_TOPIC`).
const GIVEN_UP_TOPIC: &str = "TRANS_CHECK_MAX_TIME_TOPIC";

/// What is left to consume: how far the queues go, how far every group has got, what still waits
/// for its delay. It looks into the brokers, which the clients cannot, and decides when a run is
/// over; the verdict does not depend on it.
#[derive(Debug)]
pub struct Lag {
    groups: Vec<Group>,
    waiting: [TopicId; 2],
    half_topic: TopicId,
    given_up_topic: TopicId,
    halves: Halves,
    /// The next offset of every queue.
    ends: FxHashMap<QueueRef, (TopicId, i64)>,
    /// Who has got how far: the group, or a member of it if it broadcasts.
    reached: FxHashMap<(Reader, QueueRef), i64>,
    /// Messages that wait for their delay or their time, and where.
    delayed: FxHashMap<Delayed, Vec<(QueueRef, i64)>>,
    /// Messages that were popped.
    hidden: Hidden,
    /// Queues of a broker that is being recovered of which it has not said that they are there.
    unconfirmed: FxHashSet<QueueRef>,
    /// Which message a send was for that may be called back.
    timed: FxHashMap<OpId, Value>,
    /// Messages that somebody asked to have back.
    recalled: FxHashSet<Value>,
}

#[derive(Debug)]
struct Group {
    id: GroupId,
    topics: FxHashSet<TopicId>,
    /// The members that each have to get everything; empty if the group shares it.
    broadcasting_to: Vec<NodeId>,
}

/// Who reads a queue to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Reader {
    Group(GroupId),
    Member(GroupId, NodeId),
}

/// A message that waits: with the count of its redeliveries, because copies may wait for several.
type Delayed = (Value, u16);

impl Lag {
    /// Nothing yet, for the groups of a scenario.
    pub fn new(scenario: &Scenario, recorder: &mut Recorder) -> Self {
        let mut groups = Vec::new();
        for (name, spec) in &scenario.consumers {
            let retry = format!("%RETRY%{name}");
            let broadcasting = spec.model == Model::Broadcasting;
            let members = if broadcasting { spec.nodes } else { 0 };
            let popped = spec.topics.keys();
            let popped = popped.filter(|_| spec.listener == Listener::Simple);
            let pop_retries: Vec<_> = popped.map(|topic| retry_topic(topic, name)).collect();
            groups.push(Group {
                id: recorder.group(name),
                topics: spec
                    .topics
                    .keys()
                    .chain((!broadcasting).then_some(&retry))
                    .chain(&pop_retries)
                    .map(|topic| recorder.topic(topic))
                    .collect(),
                broadcasting_to: (0..members)
                    .map(|index| recorder.node(&member_name(name, index)))
                    .collect(),
            });
        }
        Self {
            groups,
            waiting: WAITING_TOPICS.map(|topic| recorder.topic(topic)),
            half_topic: recorder.topic(HALF_TOPIC),
            given_up_topic: recorder.topic(GIVEN_UP_TOPIC),
            halves: Halves::default(),
            ends: FxHashMap::default(),
            reached: FxHashMap::default(),
            delayed: FxHashMap::default(),
            hidden: Hidden::default(),
            unconfirmed: FxHashSet::default(),
            timed: FxHashMap::default(),
            recalled: FxHashSet::default(),
        }
    }

    /// Takes note of what a record of a revive topic says.
    pub(super) fn see_hidden(&mut self, queue: QueueRef, offset: i64, record: HiddenRecord) {
        self.hidden.appended(queue, offset, record);
    }

    /// Takes note of an event.
    pub fn see(&mut self, names: &Names, node: NodeId, event: &Event) {
        let recovers = matches!(event, Event::Recovered { .. } | Event::QueueMax { .. });
        if !recovers {
            // All that a broker still has it names in one go.
            for queue in std::mem::take(&mut self.unconfirmed) {
                self.recovered(names, queue, 0);
            }
        }
        match *event {
            Event::Recovered { .. } => self.unconfirmed = self.queues_of(names, node),
            Event::Appended {
                queue,
                offset,
                value,
                reconsume,
                ..
            } => self.appended(names, queue, offset, value.map(|value| (value, reconsume))),
            Event::SendInvoked {
                op,
                value,
                kind: SendKind::Timed,
                ..
            } => {
                self.timed.insert(op, value);
            }
            // It may come all the same, as often as attempts were made to send it; nobody can tell,
            // so nobody waits for it.
            Event::RecallInvoked { op } => {
                if let Some(value) = self.timed.remove(&op) {
                    self.recalled.insert(value);
                    self.delayed.remove(&(value, 0));
                }
            }
            Event::QueueMax { queue, offset } => {
                self.unconfirmed.remove(&queue);
                self.recovered(names, queue, offset);
            }
            Event::HalfEnded { queue, offset } => self.halves.ended(queue, offset),
            Event::OffsetSet {
                group,
                queue,
                offset,
            }
            | Event::OffsetReset {
                group,
                queue,
                offset,
            } => {
                self.reached.insert((Reader::Group(group), queue), offset);
            }
            Event::Committed {
                group,
                queue,
                offset,
            } => {
                self.reached
                    .insert((Reader::Member(group, node), queue), offset);
            }
            _ => {}
        }
    }

    fn appended(&mut self, names: &Names, queue: QueueRef, offset: i64, message: Option<Delayed>) {
        let Some(topic) = names.queue_of(queue).map(|queue| queue.topic) else {
            return;
        };
        self.ends.insert(queue, (topic, offset + 1));
        let Some(message) = message else {
            return;
        };
        if topic == self.half_topic {
            self.halves.stored(message.0, queue, offset);
        } else if topic == self.given_up_topic {
            self.halves.given_up(message.0);
        }
        if !self.waiting.contains(&topic) {
            self.comes(message);
        } else if message.1 > 0 || !self.recalled.contains(&message.0) {
            self.delayed
                .entry(message)
                .or_default()
                .push((queue, offset));
        }
    }

    /// A message does not wait any more.
    fn comes(&mut self, message: Delayed) {
        if let Some(waiting) = self.delayed.get_mut(&message) {
            waiting.pop();
            if waiting.is_empty() {
                self.delayed.remove(&message);
            }
        }
    }

    /// The queues on a broker.
    fn queues_of(&self, names: &Names, node: NodeId) -> FxHashSet<QueueRef> {
        let broker = names.serves(node);
        let is_its =
            |queue: &&QueueRef| names.queue_of(**queue).map(|queue| queue.broker) == broker;
        self.ends.keys().filter(is_its).copied().collect()
    }

    fn recovered(&mut self, names: &Names, queue: QueueRef, end: i64) {
        let Some(topic) = names.queue_of(queue).map(|queue| queue.topic) else {
            return;
        };
        self.ends.insert(queue, (topic, end));
        self.hidden.recovered(queue, end);
        if topic == self.half_topic {
            self.halves.lost(queue, end);
        }
        if self.waiting.contains(&topic) {
            self.delayed.retain(|_, waiting| {
                waiting.retain(|(at, offset)| *at != queue || *offset < end);
                !waiting.is_empty()
            });
        }
    }

    /// Messages that are still to be consumed, by all groups together, messages that wait for their
    /// delay, messages that were popped and not acknowledged, and transactions without an end.
    pub fn left(&self) -> u64 {
        let waiting: usize = self.delayed.values().map(Vec::len).sum();
        let mut left = waiting as u64 + self.hidden.left() + self.halves.len();
        for (queue, (topic, end)) in &self.ends {
            for group in self
                .groups
                .iter()
                .filter(|group| group.topics.contains(topic))
            {
                if group.broadcasting_to.is_empty() {
                    left += self.missing(Reader::Group(group.id), *queue, *end);
                }
                for member in &group.broadcasting_to {
                    left += self.missing(Reader::Member(group.id, *member), *queue, *end);
                }
            }
        }
        left
    }

    fn missing(&self, reader: Reader, queue: QueueRef, end: i64) -> u64 {
        let reached = self.reached.get(&(reader, queue)).copied().unwrap_or(0);
        u64::try_from(end - reached).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCENARIO: &str = r#"
        story = "x"
        [run]
        duration = "1s"
        [topics.t]
        [topics.u]
        [producers.p]
        topic = "t"
        load = { shape = "constant", rate = "1/s" }
        [consumers.shared]
        topics = "t"
        [consumers.everyone]
        nodes = 2
        topics = "t"
        model = "broadcasting"
    "#;

    struct World {
        recorder: Recorder,
        lag: Lag,
    }

    impl World {
        fn new() -> Self {
            let scenario = Scenario::parse("x", SCENARIO).unwrap();
            let mut recorder = Recorder::new();
            let lag = Lag::new(&scenario, &mut recorder);
            Self { recorder, lag }
        }

        fn see(&mut self, node: &str, make: impl FnOnce(&mut Recorder) -> Event) {
            let node = self.recorder.node(node);
            let event = make(&mut self.recorder);
            self.lag.see(self.recorder.names(), node, &event);
        }

        fn append(&mut self, topic: &str, offset: i64, value: u64, reconsume: u16) {
            self.see("broker-a", |recorder| Event::Appended {
                queue: recorder.queue(topic, "broker-a", 0),
                reconsume,
                offset,
                physical: 0,
                value: Some(Value(value)),
            });
        }

        fn commit(&mut self, group: &str, member: Option<&str>, offset: i64) {
            self.see(member.unwrap_or("broker-a"), |recorder| {
                let queue = recorder.queue("t", "broker-a", 0);
                let group = recorder.group(group);
                match member {
                    None => Event::OffsetSet {
                        group,
                        queue,
                        offset,
                    },
                    Some(_) => Event::Committed {
                        group,
                        queue,
                        offset,
                    },
                }
            });
        }
    }

    #[test]
    fn a_message_is_left_to_every_group_and_every_broadcasting_member() {
        let mut world = World::new();
        world.append("t", 0, 7, 0);
        assert_eq!(world.lag.left(), 3);
        world.commit("shared", None, 1);
        world.commit("everyone", Some("everyone-1"), 1);
        assert_eq!(world.lag.left(), 1);
        world.commit("everyone", Some("everyone-2"), 1);
        assert_eq!(world.lag.left(), 0);
    }

    #[test]
    fn a_topic_that_nobody_reads_leaves_nothing() {
        let mut world = World::new();
        world.append("u", 0, 7, 0);
        world.append("%DLQ%shared", 0, 7, 16);
        assert_eq!(world.lag.left(), 0);
    }

    #[test]
    fn a_delayed_message_is_left_until_it_is_appended_again() {
        let mut world = World::new();
        world.append(WAITING_TOPICS[0], 0, 7, 1);
        assert_eq!(world.lag.left(), 1);
        world.append("u", 0, 7, 0);
        assert_eq!(world.lag.left(), 1, "another copy, not the delayed one");
        world.append("%RETRY%shared", 0, 7, 1);
        assert_eq!(world.lag.left(), 1, "now it is in the retry topic");
    }

    #[test]
    fn what_a_power_loss_took_is_not_left() {
        let mut world = World::new();
        world.append("u", 0, 1, 0);
        world.append(WAITING_TOPICS[0], 0, 1, 1);
        world.append(WAITING_TOPICS[0], 1, 2, 1);
        world.see("broker-a", |recorder| Event::QueueMax {
            queue: recorder.queue(WAITING_TOPICS[0], "broker-a", 0),
            offset: 1,
        });
        assert_eq!(world.lag.left(), 1);
    }

    #[test]
    fn a_queue_that_is_not_there_any_more_after_a_power_loss_leaves_nothing() {
        let mut world = World::new();
        world.recorder.broker_node("broker-a", "broker-a");
        world.append(WAITING_TOPICS[0], 0, 1, 1);
        world.append(WAITING_TOPICS[1], 0, 2, 0);
        world.see("broker-a", |_| Event::Recovered {
            max_physical: 0,
            truncated_bytes: 0,
        });
        world.see("broker-a", |recorder| Event::QueueMax {
            queue: recorder.queue(WAITING_TOPICS[1], "broker-a", 0),
            offset: 1,
        });
        world.append("u", 0, 3, 0);
        assert_eq!(world.lag.left(), 1, "what the other queue holds");
    }

    #[test]
    fn a_timed_message_is_left_until_it_comes_or_is_called_back() {
        let mut world = World::new();
        world.append(WAITING_TOPICS[1], 0, 7, 0);
        world.append(WAITING_TOPICS[1], 1, 8, 0);
        assert_eq!(world.lag.left(), 2);
        world.append("u", 0, 7, 0);
        assert_eq!(world.lag.left(), 1);
        world.see("p", |recorder| Event::SendInvoked {
            op: recorder.next_op(),
            value: Value(8),
            topic: recorder.topic("u"),
            order: None,
            kind: SendKind::Timed,
            delay_level: 0,
            bytes: 1,
        });
        world.see("p", |_| Event::RecallInvoked { op: OpId(0) });
        assert_eq!(world.lag.left(), 0);
    }

    #[test]
    fn no_copy_of_a_message_that_is_called_back_is_waited_for() {
        let mut world = World::new();
        world.see("p", |recorder| Event::SendInvoked {
            op: recorder.next_op(),
            value: Value(8),
            topic: recorder.topic("u"),
            order: None,
            kind: SendKind::Timed,
            delay_level: 0,
            bytes: 1,
        });
        world.append(WAITING_TOPICS[1], 0, 8, 0);
        world.append(WAITING_TOPICS[1], 1, 8, 0);
        world.see("p", |_| Event::RecallInvoked { op: OpId(0) });
        assert_eq!(world.lag.left(), 0, "one copy of each attempt");
        world.append(WAITING_TOPICS[1], 2, 8, 0);
        assert_eq!(world.lag.left(), 0, "a late attempt");
        world.append(WAITING_TOPICS[0], 0, 8, 1);
        assert_eq!(world.lag.left(), 1, "it came and is to come again");
    }

    #[test]
    fn a_transaction_is_left_until_its_end_is_noted() {
        let mut world = World::new();
        world.append(HALF_TOPIC, 0, 7, 0);
        world.append(HALF_TOPIC, 1, 8, 0);
        assert_eq!(world.lag.left(), 2);
        world.see("broker-a", |recorder| Event::HalfEnded {
            queue: recorder.queue(HALF_TOPIC, "broker-a", 0),
            offset: 0,
        });
        assert_eq!(world.lag.left(), 1);
        // The other is asked about, under a new offset, and in the end given up.
        world.append(HALF_TOPIC, 2, 8, 0);
        assert_eq!(world.lag.left(), 1);
        world.append(GIVEN_UP_TOPIC, 0, 8, 0);
        assert_eq!(world.lag.left(), 0);
    }
}
