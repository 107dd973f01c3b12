//! A little queue system that is correct, with crashes, retries and rebalances, and records its
//! history.

use std::collections::BTreeMap;

use hotfire_check::contract::{Contract, Flush, FlushWindow, GroupContract, TopicContract};
use hotfire_check::history::*;

/// Nodes, queues and groups have fixed numbers in the order in which `World::new` names them.
const QUEUES: usize = 3;
/// The queue of the concurrent group's retry topic; the dead-letter queue is the next one.
const RETRY: usize = QUEUES;
const DLQ: usize = QUEUES + 1;
const SCHEDULE: usize = QUEUES + 2;
const MAX_RECONSUME: u32 = 2;
const MEMBERS: usize = 3;
const DELAY_MS: u64 = 400;

/// Noted events that can be changed before they become a history.
pub struct Run {
    pub recorder: Recorder,
    pub events: Vec<(SimTime, NodeId, Event)>,
    pub contract: Contract,
}

impl Run {
    /// The history of the events, in order of time.
    pub fn history(self) -> (History, Contract) {
        let mut recorder = self.recorder;
        for (at, node, event) in self.events {
            recorder.record(at, node, event);
        }
        (recorder.finish(Meta::default()), self.contract)
    }
}

/// What may go wrong in a run.
#[derive(Debug, Clone, Copy)]
pub struct Weather {
    pub rebalances: bool,
    pub crashes: bool,
    pub power: bool,
    pub failures: bool,
    pub retried_sends: bool,
}

struct Rng(u64);

impl Rng {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % n
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Held {
    Waiting,
    Running(DeliveryId),
    Done,
}

/// A member's view of a queue it owns.
struct Owned {
    position: i64,
    /// By offset: value, reconsume times, state.
    buffer: BTreeMap<i64, (u64, u32, Held)>,
}

struct Group {
    id: GroupId,
    orderly: bool,
    members: Vec<NodeId>,
    /// By queue: the owner and what it holds.
    owners: BTreeMap<usize, (usize, Owned)>,
    ledger: BTreeMap<u64, ()>,
}

#[derive(Clone, Copy)]
struct Entry {
    queue: usize,
    value: u64,
    reconsume: u32,
}

pub struct World {
    run: Run,
    rng: Rng,
    weather: Weather,
    now: u64,
    producer: NodeId,
    broker: NodeId,
    operator: NodeId,
    queues: Vec<QueueRef>,
    topic: TopicId,
    log: Vec<Entry>,
    flushed: usize,
    offsets: BTreeMap<(usize, usize), i64>,
    persisted: BTreeMap<(usize, usize), i64>,
    last_tick: u64,
    last_persist: u64,
    schedule: Vec<(u64, usize, u64, u32)>,
    groups: Vec<Group>,
    next_value: u64,
    next_seq: BTreeMap<u32, u32>,
}

impl World {
    /// A run of `steps` random steps from a seed, drained at the end.
    pub fn run(seed: u64, steps: usize, weather: Weather) -> Run {
        let mut world = Self::new(seed, weather);
        for _ in 0..steps {
            world.step(true);
        }
        world.note(world.operator, Event::Phase(Phase::Drain));
        let mut idle = 0;
        while idle < 3 {
            for _ in 0..200 {
                world.step(false);
            }
            idle = if world.is_drained() { idle + 1 } else { 0 };
        }
        world.now += 200_000_000;
        world.note(world.operator, Event::Phase(Phase::Done { drained: true }));
        world.run
    }

    fn new(seed: u64, weather: Weather) -> Self {
        let mut r = Recorder::new();
        let producer = r.node("producer");
        let broker = r.broker_node("broker", "b");
        let operator = r.node("operator");
        let mut queues: Vec<_> = (0..QUEUES).map(|q| r.queue("t", "b", q as i32)).collect();
        queues.push(r.queue("%RETRY%c", "b", 0));
        queues.push(r.queue("%DLQ%c", "b", 0));
        queues.push(r.queue("SCHEDULE_TOPIC_XXXX", "b", 2));
        let topic = r.topic("t");
        let groups = [("c", false), ("o", true)].map(|(name, orderly)| Group {
            id: r.group(name),
            orderly,
            members: (0..MEMBERS)
                .map(|m| r.node(&format!("{name}-{m}")))
                .collect(),
            owners: BTreeMap::new(),
            ledger: BTreeMap::new(),
        });
        let concurrent = GroupContract {
            max_reconsume: MAX_RECONSUME as i32,
            idempotent: true,
            ..GroupContract::concurrent("c", &["t"])
        };
        let contract = Contract {
            flush: Flush::Async(FlushWindow::default()),
            groups: vec![concurrent, GroupContract::orderly("o", &["t"])],
            topics: vec![TopicContract {
                topic: "t".to_owned(),
                queues: QUEUES as u32,
                brokers: vec!["b".to_owned()],
            }],
            // Members pull when chance has it.
            wake_ms: 20_000,
            delay_levels_ms: vec![DELAY_MS; 18],
            ..Contract::default()
        };
        let mut world = Self {
            run: Run {
                recorder: r,
                events: Vec::new(),
                contract,
            },
            rng: Rng(seed | 1),
            weather,
            now: 0,
            producer,
            broker,
            operator,
            queues,
            topic,
            log: Vec::new(),
            flushed: 0,
            offsets: BTreeMap::new(),
            persisted: BTreeMap::new(),
            last_tick: 0,
            last_persist: 0,
            schedule: Vec::new(),
            groups: groups.into(),
            next_value: 1000,
            next_seq: BTreeMap::new(),
        };
        for group in 0..2 {
            for member in 0..MEMBERS {
                world.join(group, member);
            }
            for queue in 0..QUEUES + usize::from(group == 0) {
                world.assign(group, queue, queue % MEMBERS);
            }
        }
        world.now += 10_000_000;
        world
    }

    fn note(&mut self, node: NodeId, event: Event) {
        self.run.events.push((SimTime(self.now), node, event));
        self.now += 100;
    }

    fn step(&mut self, load: bool) {
        self.now += 1000 + self.rng.below(40_000) as u64;
        self.tick();
        let group = self.rng.below(2);
        match self.rng.below(if load { 100 } else { 85 }) {
            0..20 => self.pull(group),
            20..45 => self.hand_out(group),
            45..75 => self.finish(group),
            75..85 => self.commit_some(group),
            85..97 => self.send(),
            97 if self.weather.rebalances => self.rebalance(group),
            98 if self.weather.crashes && self.rng.one_in(3) => self.member_dies(group),
            99 if self.weather.crashes && self.rng.one_in(3) => self.broker_dies(),
            _ => {}
        }
    }

    fn tick(&mut self) {
        if self.now - self.last_tick >= 500_000 {
            self.last_tick = self.now;
            self.flushed = self.log.len();
        }
        if self.now - self.last_persist >= 5_000_000 {
            self.last_persist = self.now;
            self.persisted = self.offsets.clone();
        }
        let now = self.now;
        let (due, later) = self
            .schedule
            .iter()
            .copied()
            .partition(|entry| entry.0 <= now);
        self.schedule = later;
        let due: Vec<_> = due;
        for (_, _, value, reconsume) in due {
            self.append(RETRY, value, reconsume);
        }
    }

    fn queue_len(&self, queue: usize) -> i64 {
        self.log.iter().filter(|entry| entry.queue == queue).count() as i64
    }

    fn append(&mut self, queue: usize, value: u64, reconsume: u32) -> i64 {
        let (offset, physical) = (self.queue_len(queue), self.log.len() as i64 * 300);
        self.log.push(Entry {
            queue,
            value,
            reconsume,
        });
        let (value, reconsume) = (Some(Value(value)), reconsume as u16);
        let queue = self.queues[queue];
        self.note(
            self.broker,
            Event::Appended {
                queue,
                reconsume,
                offset,
                physical,
                value,
            },
        );
        offset
    }

    fn send(&mut self) {
        let (op, value) = (self.run.recorder.next_op(), self.next_value);
        self.next_value += 1;
        let id = self.rng.below(8) as u32;
        let seq = self.next_seq.entry(id).or_insert(0);
        let order = Some(Order { id, seq: *seq });
        *seq += 1;
        let (topic, target) = (self.topic, id as usize % QUEUES);
        let queue = self.queues[target];
        let invoked = Event::SendInvoked {
            op,
            value: Value(value),
            topic,
            order,
            kind: SendKind::Normal,
            delay_level: 0,
            bytes: 64,
        };
        self.note(self.producer, invoked);
        let reason = self.run.recorder.text("timeout");
        let trouble = if self.weather.retried_sends {
            self.rng.below(20)
        } else {
            19
        };
        let end = match trouble {
            0 => Event::SendFailed {
                op,
                reason,
                attempts: 1,
            },
            1 => Event::SendUnknown {
                op,
                reason,
                attempts: 1,
            },
            2 => {
                self.append(target, value, 0);
                Event::SendUnknown {
                    op,
                    reason,
                    attempts: 1,
                }
            }
            3 => {
                self.append(target, value, 0);
                let offset = self.append(target, value, 0);
                Event::SendOk {
                    op,
                    queue,
                    offset,
                    durable: true,
                    attempts: 2,
                }
            }
            _ => {
                let offset = self.append(target, value, 0);
                Event::SendOk {
                    op,
                    queue,
                    offset,
                    durable: true,
                    attempts: 1,
                }
            }
        };
        self.note(self.producer, end);
    }

    fn some_queue(&mut self, group: usize) -> Option<usize> {
        let queues: Vec<_> = self.groups[group].owners.keys().copied().collect();
        (!queues.is_empty()).then(|| queues[self.rng.below(queues.len())])
    }

    fn pull(&mut self, g: usize) {
        let Some(q) = self.some_queue(g) else { return };
        let max = self.queue_len(q);
        let (group, queue) = (self.groups[g].id, self.queues[q]);
        let (member, owned) = &self.groups[g].owners[&q];
        let (node, from) = (self.groups[g].members[*member], owned.position);
        if owned.buffer.len() > 8 {
            return;
        }
        if from > max {
            self.note(
                node,
                Event::Corrected {
                    group,
                    queue,
                    from,
                    to: max,
                },
            );
            self.groups[g].owners.get_mut(&q).unwrap().1 = Owned {
                position: max,
                buffer: BTreeMap::new(),
            };
            return self.commit(g, q);
        }
        let entries = self
            .log
            .iter()
            .filter(|entry| entry.queue == q)
            .skip(from as usize);
        let batch: Vec<_> = entries.take(4).copied().collect();
        let (got, next) = (batch.len() as u32, from + batch.len() as i64);
        self.note(
            node,
            Event::Pulled {
                group,
                queue,
                got,
                from,
                next,
            },
        );
        let owned = &mut self.groups[g].owners.get_mut(&q).unwrap().1;
        owned.position = next;
        for (offset, entry) in (from..).zip(batch) {
            owned
                .buffer
                .insert(offset, (entry.value, entry.reconsume, Held::Waiting));
        }
    }

    fn hand_out(&mut self, g: usize) {
        let Some(q) = self.some_queue(g) else { return };
        let orderly = self.groups[g].orderly;
        let (group, queue) = (self.groups[g].id, self.queues[q]);
        let (member, owned) = self.groups[g].owners.get_mut(&q).unwrap();
        let waits = |held: &Held| *held == Held::Waiting;
        let blocked = owned
            .buffer
            .values()
            .any(|(_, _, held)| matches!(held, Held::Running(_)));
        let next = owned
            .buffer
            .iter_mut()
            .find(|(_, (_, _, held))| waits(held));
        let Some((&offset, (value, reconsume, held))) = next else {
            return;
        };
        if orderly && blocked {
            return;
        }
        let delivery = self.run.recorder.next_delivery();
        *held = Held::Running(delivery);
        let (value, reconsume, member) = (Value(*value), *reconsume, *member);
        let node = self.groups[g].members[member];
        let event = Event::Delivered {
            delivery,
            group,
            queue,
            offset,
            value,
            intact: true,
            reconsume,
        };
        self.note(node, event);
    }

    fn finish(&mut self, g: usize) {
        let Some(q) = self.some_queue(g) else { return };
        let (member, owned) = &self.groups[g].owners[&q];
        let node = self.groups[g].members[*member];
        let running: Vec<_> = owned
            .buffer
            .iter()
            .filter_map(|(&offset, &(value, reconsume, held))| match held {
                Held::Running(delivery) => Some((offset, value, reconsume, delivery)),
                _ => None,
            })
            .collect();
        if running.is_empty() {
            return;
        }
        let (offset, value, reconsume, delivery) = running[self.rng.below(running.len())];
        let fails = self.weather.failures && self.rng.one_in(4);
        let orderly = self.groups[g].orderly;
        let (outcome, state) = match (fails, orderly) {
            (true, true) => (Outcome::Suspended, (value, reconsume + 1, Held::Waiting)),
            (true, false) => (Outcome::Later, (value, reconsume, Held::Done)),
            (false, _) => (Outcome::Consumed, (value, reconsume, Held::Done)),
        };
        if outcome == Outcome::Consumed && !orderly {
            let applied = self.groups[g].ledger.insert(value, ()).is_none();
            let (group, amount) = (self.groups[g].id, i64::from(applied) * 5);
            self.note(
                node,
                Event::Effect {
                    group,
                    value: Value(value),
                    applied,
                    amount,
                },
            );
        }
        self.note(node, Event::Finished { delivery, outcome });
        self.groups[g]
            .owners
            .get_mut(&q)
            .unwrap()
            .1
            .buffer
            .insert(offset, state);
        if outcome == Outcome::Later {
            self.send_back(value, reconsume);
        }
    }

    fn send_back(&mut self, value: u64, reconsume: u32) {
        if reconsume >= MAX_RECONSUME {
            self.append(DLQ, value, reconsume + 1);
        } else {
            let at = self.log.len();
            self.append(SCHEDULE, value, reconsume + 1);
            self.schedule
                .push((self.now + DELAY_MS * 1000, at, value, reconsume + 1));
        }
    }

    fn commit_some(&mut self, g: usize) {
        if let Some(q) = self.some_queue(g) {
            self.commit(g, q);
        }
    }

    fn commit(&mut self, g: usize, q: usize) {
        let (member, owned) = self.groups[g].owners.get_mut(&q).unwrap();
        while owned
            .buffer
            .first_key_value()
            .is_some_and(|(_, held)| held.2 == Held::Done)
        {
            owned.buffer.pop_first();
        }
        let offset = owned
            .buffer
            .first_key_value()
            .map_or(owned.position, |(&offset, _)| offset);
        let member = *member;
        let node = self.groups[g].members[member];
        let (group, queue) = (self.groups[g].id, self.queues[q]);
        self.note(
            node,
            Event::Committed {
                group,
                queue,
                offset,
            },
        );
        if self.offsets.insert((g, q), offset) != Some(offset) {
            self.note(
                self.broker,
                Event::OffsetSet {
                    group,
                    queue,
                    offset,
                },
            );
        }
    }

    fn assign(&mut self, g: usize, q: usize, member: usize) {
        let (group, queue, node) = (
            self.groups[g].id,
            self.queues[q],
            self.groups[g].members[member],
        );
        let position = self.offsets.get(&(g, q)).copied().unwrap_or(0);
        self.note(
            node,
            Event::Assigned {
                group,
                queue,
                from: Some(position),
            },
        );
        let owned = Owned {
            position,
            buffer: BTreeMap::new(),
        };
        self.groups[g].owners.insert(q, (member, owned));
    }

    /// The old owner gives the queue up; what its listener is busy with is lost or finishes
    /// unheard.
    fn rebalance(&mut self, g: usize) {
        let Some(q) = self.some_queue(g) else { return };
        let busy = |held: &(u64, u32, Held)| matches!(held.2, Held::Running(_));
        if self.groups[g].orderly && self.groups[g].owners[&q].1.buffer.values().any(busy) {
            return;
        }
        self.commit(g, q);
        let (member, owned) = self.groups[g].owners.remove(&q).unwrap();
        let (group, queue, node) = (
            self.groups[g].id,
            self.queues[q],
            self.groups[g].members[member],
        );
        self.note(node, Event::Revoked { group, queue });
        let next = self.rng.below(MEMBERS);
        self.assign(g, q, next);
        for (_, _, held) in owned.buffer.into_values() {
            if let Held::Running(delivery) = held {
                self.note(
                    node,
                    Event::Finished {
                        delivery,
                        outcome: Outcome::Lost,
                    },
                );
            }
        }
    }

    fn member_dies(&mut self, g: usize) {
        let member = self.rng.below(MEMBERS);
        let node = self.groups[g].members[member];
        self.note(node, Event::NodeDown { how: How::Kill });
        let owners = std::mem::take(&mut self.groups[g].owners);
        let (gone, kept) = owners
            .into_iter()
            .partition(|(_, (owner, _))| *owner == member);
        self.groups[g].owners = kept;
        let gone: BTreeMap<usize, (usize, Owned)> = gone;
        for (q, (_, owned)) in gone {
            for (_, _, held) in owned.buffer.into_values() {
                if let Held::Running(delivery) = held {
                    self.note(
                        node,
                        Event::Finished {
                            delivery,
                            outcome: Outcome::Lost,
                        },
                    );
                }
            }
            self.now += 50_000;
            self.assign(g, q, (member + 1) % MEMBERS);
        }
        self.note(node, Event::NodeUp);
        self.join(g, member);
    }

    fn join(&mut self, g: usize, member: usize) {
        let (group, topic) = (self.groups[g].id, self.topic);
        let node = self.groups[g].members[member];
        self.note(node, Event::Subscribed { group, topic });
    }

    fn broker_dies(&mut self) {
        let power = self.weather.power && self.rng.one_in(2);
        let how = if power { How::PowerLoss } else { How::Kill };
        self.note(self.broker, Event::NodeDown { how });
        self.offsets = self.persisted.clone();
        let before = self.log.len();
        if power {
            self.log.truncate(self.flushed);
            let left = self.log.len();
            self.schedule.retain(|entry| entry.1 < left);
        }
        self.flushed = self.log.len();
        self.now += 3_000_000;
        self.note(self.broker, Event::NodeUp);
        let max_physical = self.log.len() as i64 * 300;
        let truncated_bytes = (before - self.log.len()) as i64 * 300;
        self.note(
            self.broker,
            Event::Recovered {
                max_physical,
                truncated_bytes,
            },
        );
    }

    fn is_drained(&self) -> bool {
        let done = |g: usize, q: usize| {
            let owned = &self.groups[g].owners[&q].1;
            owned.position == self.queue_len(q)
                && owned.buffer.values().all(|held| held.2 == Held::Done)
        };
        let queues = |g: usize| 0..QUEUES + usize::from(g == 0);
        self.schedule.is_empty() && (0..2).all(|g| queues(g).all(|q| done(g, q)))
    }
}
