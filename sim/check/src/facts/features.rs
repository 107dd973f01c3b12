//! What a history says of timers, transactions, filters, popped messages and clocks. Runs without
//! them pay nothing for it.

use rustc_hash::FxHashMap;

use crate::history::{
    CallOutcome, GroupId, NodeId, QueryBy, QueueRef, SimTime, TransactionState, Value,
};

use super::NONE;
use super::csr::Csr;

/// A message for an arbitrary time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timer {
    /// By the broker's wall clock.
    pub(crate) due_ms: i64,
    pub(crate) record: u32,
    pub(crate) recall: Option<Recall>,
}

/// The attempt to take a timed message back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Recall {
    pub(crate) record: u32,
    /// The end of time while it has not ended.
    pub(crate) ended: SimTime,
    pub(crate) end_record: u32,
    pub(crate) outcome: CallOutcome,
}

/// What a producer said of its transaction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answer {
    pub(crate) at: SimTime,
    pub(crate) message: u32,
    pub(crate) record: u32,
    pub(crate) state: TransactionState,
    /// The round of the check that it answers; `None` if nobody had asked.
    pub(crate) check: Option<u16>,
}

/// A change of the time for which a popped message is hidden; the first is the pop itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hiding {
    pub(crate) at: SimTime,
    pub(crate) handle: u16,
    pub(crate) visible_at_ms: i64,
    pub(crate) record: u32,
}

/// An acknowledgement of a popped message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ack {
    pub(crate) invoked: SimTime,
    /// The end of time while it has not ended.
    pub(crate) ended: SimTime,
    pub(crate) handle: u16,
    pub(crate) outcome: CallOutcome,
    pub(crate) record: u32,
    pub(crate) end_record: u32,
}

/// What became of the hiding of a popped message.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pop {
    /// When the broker gave the message away, by its clock.
    pub(crate) popped_at_ms: i64,
    pub(crate) hidings: Vec<Hiding>,
    /// The record of a change of the time that nobody has confirmed.
    pub(crate) open_change: Option<u32>,
    pub(crate) acks: Vec<Ack>,
}

impl Pop {
    /// What hides the message at a time.
    pub(crate) fn hiding_at(&self, at: SimTime) -> Option<&Hiding> {
        self.hidings.iter().rev().find(|hiding| hiding.at <= at)
    }
}

/// A unique id that was given to a message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Name {
    pub(crate) id: u64,
    pub(crate) op: u32,
    pub(crate) at: SimTime,
    pub(crate) record: u32,
}

/// A reply that arrived.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reply {
    /// The call that sent the request.
    pub(crate) op: u32,
    /// The number found in the reply.
    pub(crate) value: Value,
    pub(crate) at: SimTime,
    pub(crate) record: u32,
}

/// A look-up of a message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Query {
    pub(crate) by: QueryBy,
    pub(crate) message: u32,
    pub(crate) found: bool,
    pub(crate) strangers: u16,
    pub(crate) at: SimTime,
    pub(crate) record: u32,
}

/// Everything of this kind.
#[derive(Debug, Default)]
pub(crate) struct Features {
    /// By call.
    pub(crate) timers: FxHashMap<u32, Timer>,
    pub(crate) answers: Vec<Answer>,
    /// By message, in order of time.
    answers_of: Csr,
    /// When brokers noted that they are done with a half message: time and record.
    pub(crate) half_ends: FxHashMap<(QueueRef, i64), Vec<(SimTime, u32)>>,
    /// The records that say that a group's filter must not let a message through.
    pub(crate) unwanted: FxHashMap<(GroupId, u32), u32>,
    pub(crate) ids: Vec<Name>,
    pub(crate) replies: Vec<Reply>,
    pub(crate) queries: Vec<Query>,
    /// By delivery.
    pub(crate) pops: FxHashMap<u32, Pop>,
    /// By node: when its clock was set, and how far ahead it is since, in microseconds.
    clocks: FxHashMap<NodeId, Vec<(SimTime, i64)>>,
}

impl Features {
    pub(super) fn recall(&mut self, op: u32, record: u32) {
        if let Some(timer) = self.timers.get_mut(&op) {
            timer.recall = Some(Recall {
                record,
                ended: SimTime(u64::MAX),
                end_record: NONE,
                outcome: CallOutcome::Unknown,
            });
        }
    }

    pub(super) fn recalled(&mut self, op: u32, at: SimTime, record: u32, outcome: CallOutcome) {
        let timer = self.timers.get_mut(&op);
        if let Some(recall) = timer.and_then(|timer| timer.recall.as_mut()) {
            (recall.ended, recall.end_record, recall.outcome) = (at, record, outcome);
        }
    }

    pub(super) fn pop(&mut self, delivery: u32, popped_at_ms: i64, hiding: Hiding) {
        let pop = self.pops.entry(delivery).or_default();
        pop.popped_at_ms = popped_at_ms;
        pop.hidings.push(hiding);
    }

    pub(super) fn change(&mut self, delivery: u32, record: u32) {
        self.pops.entry(delivery).or_default().open_change = Some(record);
    }

    pub(super) fn hide(&mut self, delivery: u32, hiding: Hiding) {
        let pop = self.pops.entry(delivery).or_default();
        pop.open_change = None;
        pop.hidings.push(hiding);
    }

    pub(super) fn ack(&mut self, delivery: u32, at: SimTime, record: u32, handle: u16) {
        let ack = Ack {
            invoked: at,
            ended: SimTime(u64::MAX),
            handle,
            outcome: CallOutcome::Unknown,
            record,
            end_record: NONE,
        };
        self.pops.entry(delivery).or_default().acks.push(ack);
    }

    pub(super) fn acked(&mut self, delivery: u32, at: SimTime, record: u32, outcome: CallOutcome) {
        let pop = self.pops.get_mut(&delivery);
        if let Some(ack) = pop.and_then(|pop| pop.acks.last_mut()) {
            (ack.ended, ack.end_record, ack.outcome) = (at, record, outcome);
        }
    }

    pub(super) fn set_clock(&mut self, node: NodeId, at: SimTime, ahead_us: i64) {
        self.clocks.entry(node).or_default().push((at, ahead_us));
    }

    pub(super) fn finish(&mut self, messages: usize) {
        if !self.answers.is_empty() {
            let pairs = (0u32..).zip(&self.answers);
            self.answers_of = Csr::build(messages, pairs.map(|(at, answer)| (answer.message, at)));
        }
    }

    /// What the producer said of a message's transaction, in order of time.
    pub(crate) fn answers(&self, message: u32) -> impl Iterator<Item = &Answer> + Clone {
        let list = self.answers_of.of(message).iter();
        list.filter_map(|&at| self.answers.get(at as usize))
    }

    /// By how much a node's clock is ahead of true time, in microseconds.
    pub(crate) fn ahead_us(&self, node: NodeId, at: SimTime) -> i64 {
        let set = self.settings(node).iter().rev().find(|set| set.0 <= at);
        set.map_or(0, |set| set.1)
    }

    /// When a node's clock was set, and how far ahead of true time it has been since.
    pub(crate) fn settings(&self, node: NodeId) -> &[(SimTime, i64)] {
        self.clocks.get(&node).map_or(&[], Vec::as_slice)
    }

    /// Whether a node's clock was set back between two times.
    pub(crate) fn went_back(&self, node: NodeId, from: SimTime, to: SimTime) -> bool {
        let mut before = 0;
        self.settings(node).iter().any(|&(at, ahead)| {
            let back = ahead < before && from <= at && at <= to;
            before = ahead;
            back
        })
    }

    /// By how much a node's clock was further ahead of true time at some earlier time, in
    /// microseconds.
    pub(crate) fn set_back_us(&self, node: NodeId, at: SimTime) -> i64 {
        let before = self.settings(node).iter().filter(|set| set.0 <= at);
        let farthest = before.map(|set| set.1).max().unwrap_or(0).max(0);
        farthest - self.ahead_us(node, at)
    }

    /// Whether any clock was ever set.
    pub(crate) fn any_clock_set(&self) -> bool {
        !self.clocks.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_right_until_it_is_set() {
        let mut features = Features::default();
        let (node, other) = (NodeId(1), NodeId(2));
        features.set_clock(node, SimTime(10), 500);
        features.set_clock(node, SimTime(20), -300);
        let ahead = |at| features.ahead_us(node, SimTime(at));
        assert_eq!((ahead(9), ahead(10), ahead(25)), (0, 500, -300));
        assert_eq!(features.ahead_us(other, SimTime(25)), 0);
        let set_back = |at| features.set_back_us(node, SimTime(at));
        assert_eq!((set_back(9), set_back(10), set_back(25)), (0, 0, 800));
        assert!(features.went_back(node, SimTime(15), SimTime(20)));
        assert!(!features.went_back(node, SimTime(0), SimTime(19)));
    }

    #[test]
    fn a_message_is_hidden_by_the_last_change() {
        let mut features = Features::default();
        let hiding = |at, handle, visible_at_ms| Hiding {
            at: SimTime(at),
            handle,
            visible_at_ms,
            record: 0,
        };
        features.hide(7, hiding(1, 0, 100));
        features.hide(7, hiding(5, 1, 200));
        let visible = |at| {
            features.pops[&7]
                .hiding_at(SimTime(at))
                .unwrap()
                .visible_at_ms
        };
        assert_eq!((visible(4), visible(5)), (100, 200));
    }
}
