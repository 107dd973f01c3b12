//! Requests and their replies, and looking up what was sent.

use hotfire_check::history::*;

use super::*;

/// How long a message may be on its way into the index, in microseconds.
const INDEX_US: u64 = 1_000_000;

#[derive(Default)]
pub(super) struct Asking {
    /// Requests without a reply, by value.
    open: BTreeMap<u64, OpId>,
    /// What was acknowledged.
    sent: Vec<u64>,
    /// Of what the log holds below, the index may lack anything.
    index_from: usize,
}

impl Asking {
    pub(super) fn was_sent(&mut self, value: u64) {
        self.sent.push(value);
    }

    /// A crash threw index files away.
    pub(super) fn index_lost(&mut self, left: usize) {
        self.index_from = left;
    }
}

impl World {
    /// A request is a message; its call goes on until there is a reply, if ever.
    pub(super) fn request(&mut self) {
        let (value, target) = (self.new_value(), self.rng.below(QUEUES));
        let op = self.invoke(self.producer, value, (SendKind::Request, 0), None);
        if self.loses(6) {
            return;
        }
        self.asking.open.insert(value, op);
        for _ in 0..1 + usize::from(self.weather.retried_sends && self.rng.one_in(8)) {
            self.append(target, value, 0);
        }
    }

    /// A consumer of a request replies, as often as it is handed the request; the one who asked
    /// listens once.
    pub(super) fn reply(&mut self, value: u64) {
        if !self.asking.open.contains_key(&value) || self.loses(4) {
            return;
        }
        if let Some(op) = self.asking.open.remove(&value) {
            let reason = self
                .run
                .recorder
                .text("a reply does not say where its request is");
            let attempts = 0;
            let end = Event::SendUnknown {
                op,
                reason,
                attempts,
            };
            self.note(self.producer, end);
            let value = Value(value);
            self.note(self.producer, Event::Replied { op, value });
        }
    }

    pub(super) fn look_up(&mut self) {
        if self.asking.sent.is_empty() {
            return;
        }
        let value = self.asking.sent[self.rng.below(self.asking.sent.len())];
        let by = [QueryBy::Key, QueryBy::UniqueKey, QueryBy::OffsetId][self.rng.below(3)];
        let own = |entry: &Entry| entry.queue < QUEUES && entry.value == value;
        let is_indexed = |at: usize, rng: &mut Rng| {
            by == QueryBy::OffsetId || at >= self.asking.index_from || rng.one_in(2)
        };
        let found = match self.log.iter().position(own) {
            None => false,
            Some(at) if self.log[at].stored + INDEX_US > self.now => self.rng.one_in(2),
            Some(at) => is_indexed(at, &mut self.rng),
        };
        let looked = Event::Queried {
            by,
            value: Value(value),
            found,
            strangers: 0,
        };
        self.note(self.operator, looked);
    }
}
