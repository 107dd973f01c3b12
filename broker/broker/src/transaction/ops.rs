//! Which half messages are decided, as the op messages say
//! (`TransactionalMessageServiceImpl.fillOpRemoveMap`, `calculateOpOffset`).

use std::collections::{BTreeMap, BTreeSet};

use hotfire_protocol::MessageExt;

use super::half::OP_TAG;

/// The op messages of one round over the half messages.
///
/// Invariant: an op message below [`Ops::finished`] names no half message that a later round looks
/// at.
#[derive(Debug)]
pub(super) struct Ops {
    /// The half messages that are decided, and which op message says so, by queue offset.
    decided: BTreeMap<i64, i64>,
    /// Op messages that are of no more use.
    done: BTreeSet<i64>,
    finished: i64,
    /// The next op message to read.
    pub next: i64,
}

impl Ops {
    /// None read yet; the first one to read.
    pub fn new(first: i64) -> Self {
        Self {
            decided: BTreeMap::new(),
            done: BTreeSet::new(),
            finished: first,
            next: first,
        }
    }

    /// Continues elsewhere: there are no op messages before `next`.
    pub fn skip_to(&mut self, next: i64) {
        self.finished = next;
        self.next = next;
    }

    /// Takes in an op message. One about a half message before `first_half` is of no more use, and
    /// so is one that makes no sense.
    pub fn note(&mut self, op: &MessageExt, first_half: i64) {
        let named = std::str::from_utf8(&op.message.body).ok();
        let half = named.and_then(|half| half.parse::<i64>().ok());
        let half = half.filter(|&half| half >= first_half && op.message.tag() == Some(OP_TAG));
        match half {
            Some(half) => drop(self.decided.insert(half, op.queue_offset)),
            None => drop(self.done.insert(op.queue_offset)),
        }
    }

    /// An op message cannot be read.
    pub fn pass_over(&mut self, op_offset: i64) {
        self.done.insert(op_offset);
    }

    /// Whether a half message is decided. Asking about it is the end of its op message's use.
    pub fn take(&mut self, half_offset: i64) -> bool {
        let op = self.decided.remove(&half_offset);
        self.done.extend(op);
        op.is_some()
    }

    /// The offset behind the op messages that are of no more use, without a gap.
    pub fn finished(&mut self) -> i64 {
        while self.done.remove(&self.finished) {
            self.finished += 1;
        }
        self.finished
    }
}

#[cfg(test)]
mod tests {
    use hotfire_protocol::Message;

    use super::*;
    use crate::tests_support::stored;

    fn op(queue_offset: i64, body: &str, tag: &str) -> MessageExt {
        let message = Message::new("RMQ_SYS_TRANS_OP_HALF_TOPIC", body.to_owned()).with_tag(tag);
        MessageExt {
            queue_offset,
            ..stored(message, 0)
        }
    }

    #[test]
    fn a_half_message_that_an_op_message_names_is_decided() {
        let mut ops = Ops::new(0);
        ops.note(&op(0, "5", "d"), 5);
        assert!(!ops.take(4));
        assert!(ops.take(5));
    }

    #[test]
    fn op_messages_are_finished_without_a_gap() {
        let mut ops = Ops::new(10);
        for (at, half) in [(10, "3"), (11, "1"), (12, "2")] {
            ops.note(&op(at, half, "d"), 1);
        }
        assert!(ops.take(1) && ops.take(2));
        assert_eq!(ops.finished(), 10, "the first one is still of use");
        assert!(ops.take(3));
        assert_eq!(ops.finished(), 13);
    }

    #[test]
    fn op_messages_of_earlier_rounds_are_finished() {
        let mut ops = Ops::new(0);
        ops.note(&op(0, "4", "d"), 5);
        assert!(!ops.take(4));
        assert_eq!(ops.finished(), 1);
    }

    #[test]
    fn op_messages_that_make_no_sense_are_finished() {
        let mut ops = Ops::new(0);
        for (at, body, tag) in [
            (0, "five", "d"),
            (1, "5", "x"),
            (2, "", "d"),
            (3, "-1", "d"),
        ] {
            ops.note(&op(at, body, tag), 0);
        }
        assert!(!ops.take(5));
        assert_eq!(ops.finished(), 4);
    }

    #[test]
    fn the_op_messages_of_two_decisions_about_one_half_message_are_finished_a_round_later() {
        let decisions = [op(0, "5", "d"), op(1, "5", "d")];
        let mut ops = Ops::new(0);
        decisions.iter().for_each(|op| ops.note(op, 5));
        assert!(ops.take(5));
        assert_eq!(ops.finished(), 0);
        let mut ops = Ops::new(0);
        decisions.iter().for_each(|op| ops.note(op, 6));
        assert_eq!(ops.finished(), 2);
    }
}
