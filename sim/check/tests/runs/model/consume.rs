//! Groups that pull: pulls, listener calls, failures and commits.

use hotfire_check::history::*;

use super::sends::{is_wanted, passes_broker};
use super::*;

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Held {
    Waiting,
    Running(DeliveryId),
    Done,
}

/// A member's view of a queue it owns.
pub(super) struct Owned {
    pub(super) position: i64,
    /// By offset: value, reconsume times, state.
    pub(super) buffer: BTreeMap<i64, (u64, u32, Held)>,
}

pub(super) struct Group {
    pub(super) id: GroupId,
    pub(super) orderly: bool,
    pub(super) members: Vec<NodeId>,
    /// By queue: the owner and what it holds.
    pub(super) owners: BTreeMap<usize, (usize, Owned)>,
    ledger: BTreeMap<u64, ()>,
}

impl Group {
    pub(super) fn new(r: &mut Recorder, name: &str, orderly: bool) -> Self {
        Self {
            id: r.group(name),
            orderly,
            members: (0..MEMBERS)
                .map(|m| r.node(&format!("{name}-{m}")))
                .collect(),
            owners: BTreeMap::new(),
            ledger: BTreeMap::new(),
        }
    }
}

impl World {
    /// The queues that a group shares. Only the concurrent one lets messages fail for later.
    pub(super) fn queues_of(&self, g: usize) -> std::ops::Range<usize> {
        0..QUEUES + usize::from(g == CONCURRENT)
    }

    pub(super) fn has_consumed(&self, g: usize, q: usize) -> bool {
        let owned = &self.groups[g].owners[&q].1;
        owned.position == self.queues.len(q)
            && owned.buffer.values().all(|held| held.2 == Held::Done)
    }

    pub(super) fn some_queue(&mut self, group: usize) -> Option<usize> {
        let queues: Vec<_> = self.groups[group].owners.keys().copied().collect();
        (!queues.is_empty()).then(|| queues[self.rng.below(queues.len())])
    }

    pub(super) fn pull(&mut self, g: usize) {
        let Some(q) = self.some_queue(g) else { return };
        let max = self.queues.len(q);
        let (group, queue) = (self.groups[g].id, self.queues.of(q));
        let (member, owned) = &self.groups[g].owners[&q];
        let (node, from) = (self.groups[g].members[*member], owned.position);
        if owned.buffer.len() > 8 {
            return;
        }
        if from > max {
            let corrected = Event::Corrected {
                group,
                queue,
                from,
                to: max,
            };
            self.note(node, corrected);
            self.groups[g].owners.get_mut(&q).unwrap().1 = Owned {
                position: max,
                buffer: BTreeMap::new(),
            };
            return self.commit(g, q);
        }
        let places = self.queues.from(q, from).iter().take(4);
        let batch: Vec<_> = places.map(|&at| self.log[at]).collect();
        let next = from + batch.len() as i64;
        let filters = g == FILTERING;
        let comes = |entry: &&Entry| !filters || passes_broker(entry.value);
        let got = batch.iter().filter(comes).count() as u32;
        let pulled = Event::Pulled {
            group,
            queue,
            got,
            from,
            next,
        };
        self.note(node, pulled);
        let owned = &mut self.groups[g].owners.get_mut(&q).unwrap().1;
        owned.position = next;
        for (offset, entry) in (from..).zip(batch) {
            if !filters || is_wanted(entry.value) {
                let held = (entry.value, entry.reconsume, Held::Waiting);
                owned.buffer.insert(offset, held);
            }
        }
    }

    pub(super) fn hand_out(&mut self, g: usize) {
        let Some(q) = self.some_queue(g) else { return };
        let orderly = self.groups[g].orderly;
        let (group, queue) = (self.groups[g].id, self.queues.of(q));
        let (member, owned) = self.groups[g].owners.get_mut(&q).unwrap();
        let mut all = owned.buffer.values();
        let blocked = all.any(|(_, _, held)| matches!(held, Held::Running(_)));
        let mut all = owned.buffer.iter_mut();
        let next = all.find(|(_, (_, _, held))| *held == Held::Waiting);
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

    pub(super) fn finish(&mut self, g: usize) {
        let Some(q) = self.some_queue(g) else { return };
        let (member, owned) = &self.groups[g].owners[&q];
        let node = self.groups[g].members[*member];
        let all = owned.buffer.iter();
        let running = all.filter_map(|(&offset, &(value, reconsume, held))| match held {
            Held::Running(delivery) => Some((offset, value, reconsume, delivery)),
            _ => None,
        });
        let running: Vec<_> = running.collect();
        if running.is_empty() {
            return;
        }
        let (offset, value, reconsume, delivery) = running[self.rng.below(running.len())];
        let fails = self.weather.failures && g != FILTERING && self.rng.one_in(4);
        let (outcome, state) = match (fails, self.groups[g].orderly) {
            (true, true) => (Outcome::Suspended, (value, reconsume + 1, Held::Waiting)),
            (true, false) => (Outcome::Later, (value, reconsume, Held::Done)),
            (false, _) => (Outcome::Consumed, (value, reconsume, Held::Done)),
        };
        if outcome == Outcome::Consumed && g == CONCURRENT {
            self.take_effect(g, node, value);
            self.reply(value);
        }
        self.note(node, Event::Finished { delivery, outcome });
        let owned = &mut self.groups[g].owners.get_mut(&q).unwrap().1;
        owned.buffer.insert(offset, state);
        if outcome == Outcome::Later {
            self.send_back(value, reconsume);
        }
    }

    fn take_effect(&mut self, g: usize, node: NodeId, value: u64) {
        let applied = self.groups[g].ledger.insert(value, ()).is_none();
        let (group, amount) = (self.groups[g].id, i64::from(applied) * 5);
        let value = Value(value);
        let effect = Event::Effect {
            group,
            value,
            applied,
            amount,
        };
        self.note(node, effect);
    }

    fn send_back(&mut self, value: u64, reconsume: u32) {
        if reconsume >= MAX_RECONSUME {
            self.append(DLQ, value, reconsume + 1);
        } else {
            self.delay(SCHEDULE, (RETRY, value, reconsume + 1));
        }
    }

    pub(super) fn commit_some(&mut self, g: usize) {
        if let Some(q) = self.some_queue(g) {
            self.commit(g, q);
        }
    }

    pub(super) fn commit(&mut self, g: usize, q: usize) {
        let (member, owned) = self.groups[g].owners.get_mut(&q).unwrap();
        let done = |owned: &Owned| {
            let first = owned.buffer.first_key_value();
            first.is_some_and(|(_, held)| held.2 == Held::Done)
        };
        while done(owned) {
            owned.buffer.pop_first();
        }
        let first = owned.buffer.first_key_value();
        let offset = first.map_or(owned.position, |(&offset, _)| offset);
        let member = *member;
        let node = self.groups[g].members[member];
        let (group, queue) = (self.groups[g].id, self.queues.of(q));
        let committed = Event::Committed {
            group,
            queue,
            offset,
        };
        self.note(node, committed);
        self.set_offset(g, group, q, offset);
    }
}
