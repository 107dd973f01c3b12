//! Producers: plain sends, retried and repeated ones, and those of one who may not send.

use hotfire_check::history::*;

use super::*;

/// What came of a send.
pub(super) struct Sent {
    pub(super) op: OpId,
    /// Offset and place in the log of each copy that was stored.
    pub(super) copies: Vec<(i64, usize)>,
    pub(super) is_ok: bool,
}

impl World {
    pub(super) fn new_value(&mut self) -> u64 {
        self.next_value += 1;
        self.next_value - 1
    }

    pub(super) fn send(&mut self) {
        let value = self.new_value();
        let id = self.rng.below(8) as u32;
        let seq = self.next_seq.entry(id).or_insert(0);
        let order = Some(Order { id, seq: *seq });
        *seq += 1;
        let target = id as usize % QUEUES;
        for _ in 0..2 {
            let op = self.invoke(self.producer, value, (SendKind::Normal, 0), order);
            let sent = self.attempt(op, target, value);
            // Whoever does not know sends the message again, or leaves it.
            if sent.is_ok || !self.weather.retried_sends || self.rng.one_in(2) {
                return;
            }
        }
    }

    /// One who may not send is refused, if the network does not fail before.
    pub(super) fn send_uninvited(&mut self) {
        let value = self.new_value();
        let op = self.invoke(self.outsider, value, (SendKind::Normal, 0), None);
        let reason = self.run.recorder.text("no permission");
        let (attempts, unknown) = (1, self.loses(3));
        let end = match unknown {
            true => Event::SendUnknown {
                op,
                reason,
                attempts,
            },
            false => Event::SendFailed {
                op,
                reason,
                attempts,
            },
        };
        self.note(self.outsider, end);
    }

    /// A call of send begins.
    pub(super) fn invoke(
        &mut self,
        node: NodeId,
        value: u64,
        (kind, delay_level): (SendKind, u8),
        order: Option<Order>,
    ) -> OpId {
        let op = self.run.recorder.next_op();
        let (number, value, topic) = (value, Value(value), self.topic);
        let event = Event::SendInvoked {
            op,
            value,
            topic,
            order,
            kind,
            delay_level,
            bytes: 64,
        };
        self.note(node, event);
        if !is_wanted(number) {
            let group = self.groups[FILTERING].id;
            self.note(node, Event::Unwanted { group, value });
        }
        op
    }

    /// A call goes its way: its attempts store the message in a queue, or do not, and it ends.
    pub(super) fn attempt(&mut self, op: OpId, target: usize, value: u64) -> Sent {
        let trouble = match self.weather.retried_sends {
            true => self.rng.below(20),
            false => 19,
        };
        let stored = match trouble {
            0 | 1 => 0,
            3 => 2,
            _ => 1,
        };
        let copies: Vec<_> = (0..stored).map(|_| self.append(target, value, 0)).collect();
        let is_ok = trouble > 2;
        let reason = self.run.recorder.text("timeout");
        let attempts = stored.max(1) as u8;
        let last = copies.last().filter(|_| is_ok);
        let end = match last {
            Some(&(offset, _)) => Event::SendOk {
                op,
                queue: self.queues.of(target),
                offset,
                durable: true,
                attempts,
            },
            None if trouble == 0 => Event::SendFailed {
                op,
                reason,
                attempts,
            },
            None => Event::SendUnknown {
                op,
                reason,
                attempts,
            },
        };
        self.note(self.producer, end);
        if is_ok {
            let id = value.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            self.note(self.producer, Event::Named { op, id });
            self.asking.was_sent(value);
        }
        Sent { op, copies, is_ok }
    }
}

/// Whether the filtering group's expression lets a message through.
pub(super) fn is_wanted(value: u64) -> bool {
    !value.is_multiple_of(3)
}

/// Whether the broker's filter does: it knows only hashes, and two tags may have one.
pub(super) fn passes_broker(value: u64) -> bool {
    is_wanted(value) || value.is_multiple_of(9)
}
