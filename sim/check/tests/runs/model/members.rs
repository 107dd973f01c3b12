//! Members of groups that pull: they come, go, and hand queues over.

use hotfire_check::history::*;

use super::consume::{Held, Owned};
use super::*;

impl World {
    pub(super) fn join(&mut self, g: usize, member: usize) {
        let (group, topic) = (self.groups[g].id, self.topic);
        let node = self.groups[g].members[member];
        self.note(node, Event::Subscribed { group, topic });
    }

    pub(super) fn assign(&mut self, g: usize, q: usize, member: usize) {
        let (group, queue) = (self.groups[g].id, self.queues.of(q));
        let node = self.groups[g].members[member];
        let position = self.offsets.get(&(g, q)).copied().unwrap_or(0);
        let from = Some(position);
        self.note(node, Event::Assigned { group, queue, from });
        let owned = Owned {
            position,
            buffer: BTreeMap::new(),
        };
        self.groups[g].owners.insert(q, (member, owned));
    }

    /// The old owner gives the queue up; what its listener is busy with is lost or finishes
    /// unheard.
    pub(super) fn rebalance(&mut self, g: usize) {
        let Some(q) = self.some_queue(g) else { return };
        let busy = |held: &(u64, u32, Held)| matches!(held.2, Held::Running(_));
        if self.groups[g].orderly && self.groups[g].owners[&q].1.buffer.values().any(busy) {
            return;
        }
        self.commit(g, q);
        let (member, owned) = self.groups[g].owners.remove(&q).unwrap();
        let (group, queue) = (self.groups[g].id, self.queues.of(q));
        let node = self.groups[g].members[member];
        self.note(node, Event::Revoked { group, queue });
        let next = self.rng.below(MEMBERS);
        self.assign(g, q, next);
        self.lose(node, owned);
    }

    pub(super) fn member_dies(&mut self, g: usize) {
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
            self.lose(node, owned);
            self.now += 50_000;
            self.assign(g, q, (member + 1) % MEMBERS);
        }
        self.note(node, Event::NodeUp);
        self.join(g, member);
    }

    /// Nobody hears how the listener calls of a queue end.
    fn lose(&mut self, node: NodeId, owned: Owned) {
        let outcome = Outcome::Lost;
        for (_, _, held) in owned.buffer.into_values() {
            if let Held::Running(delivery) = held {
                self.note(node, Event::Finished { delivery, outcome });
            }
        }
    }
}
