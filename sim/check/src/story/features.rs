//! Words for stories about transactions, timers, filters, popped messages and look-ups.

use super::Story;
use crate::history::*;

/// Where half messages, timed messages and delayed messages of level 1 wait, and where halves go
/// that are given up.
pub(crate) const HALF: &str = "RMQ_SYS_TRANS_HALF_TOPIC#0";
pub(crate) const TIMER: &str = "rmq_sys_wheel_timer#0";
pub(crate) const LEVEL_1: &str = "SCHEDULE_TOPIC_XXXX#0";
pub(crate) const GIVEN_UP: &str = "TRANS_CHECK_MAX_TIME_TOPIC#0";

impl Story {
    pub(crate) fn invoke_kind(&mut self, value: u64, topic: &str, kind: SendKind) -> &mut Self {
        let (op, topic) = (self.recorder.next_op(), self.recorder.topic(topic));
        self.ops.insert(value, op);
        let event = Event::SendInvoked {
            op,
            value: Value(value),
            topic,
            order: None,
            kind,
            delay_level: 0,
            bytes: 100,
        };
        self.note("p", event)
    }

    /// A half message is sent to `t` and stored.
    pub(crate) fn send_half(&mut self, value: u64, offset: i64) -> &mut Self {
        self.invoke_kind(value, "t", SendKind::Transaction);
        self.append(value, HALF, offset, 0).ok(value, HALF, offset)
    }

    /// The local transaction of a message changes an account of the producer group `payers`.
    pub(crate) fn debit(&mut self, value: u64, amount: i64) -> &mut Self {
        let (group, value) = (self.recorder.group("payers"), Value(value));
        self.note(
            "p",
            Event::Effect {
                group,
                value,
                applied: true,
                amount,
            },
        )
    }

    pub(crate) fn local(&mut self, value: u64, state: TransactionState) -> &mut Self {
        let (op, value) = (self.ops[&value], Value(value));
        self.note("p", Event::LocalTransaction { op, value, state })
    }

    pub(crate) fn checked(&mut self, value: u64, round: u16, state: TransactionState) -> &mut Self {
        let value = Value(value);
        let event = Event::TransactionChecked {
            value,
            round,
            state,
        };
        self.note("p", event)
    }

    /// The broker is done with a half message.
    pub(crate) fn half_end(&mut self, offset: i64) -> &mut Self {
        let queue = self.queue(HALF);
        self.note("b-0", Event::HalfEnded { queue, offset })
    }

    /// A message to `t` for a time, in seconds since the start of the story, is sent and stored.
    pub(crate) fn send_timed(&mut self, value: u64, due: f64, offset: i64) -> &mut Self {
        self.invoke_kind(value, "t", SendKind::Timed)
            .timed(value, due);
        self.append(value, TIMER, offset, 0)
            .ok(value, TIMER, offset)
    }

    pub(crate) fn timed(&mut self, value: u64, due: f64) -> &mut Self {
        let (op, due_ms) = (self.ops[&value], (due * 1e3) as i64);
        self.note("p", Event::Timed { op, due_ms })
    }

    /// A message to `t` with delay level 1 is sent and stored.
    pub(crate) fn send_delayed(&mut self, value: u64, offset: i64) -> &mut Self {
        self.invoke_as(value, "t", None, 1);
        self.append(value, LEVEL_1, offset, 0)
            .ok(value, LEVEL_1, offset)
    }

    pub(crate) fn recall(&mut self, value: u64, outcome: CallOutcome) -> &mut Self {
        let op = self.ops[&value];
        self.note("p", Event::RecallInvoked { op });
        self.note("p", Event::RecallEnded { op, outcome })
    }

    /// A node's clock is set this many seconds ahead of true time.
    pub(crate) fn clock(&mut self, node: &str, ahead: f64) -> &mut Self {
        let ahead_us = (ahead * 1e6) as i64;
        self.note(node, Event::ClockSet { ahead_us })
    }

    pub(crate) fn unwanted(&mut self, value: u64) -> &mut Self {
        let (group, value) = (self.group(), Value(value));
        self.note("p", Event::Unwanted { group, value })
    }

    /// A popped message is handed out, hidden until a time in seconds since the start of the story.
    pub(crate) fn pop(&mut self, member: &str, q: &str, at: (i64, u64), until: f64) -> &mut Self {
        let popped_at = self.now as f64 / 1e6;
        self.pop_late(member, q, at, (popped_at, until))
    }

    /// A message is handed out that was popped a while ago, hidden until a time.
    pub(crate) fn pop_late(
        &mut self,
        member: &str,
        q: &str,
        (offset, value): (i64, u64),
        (popped_at, until): (f64, f64),
    ) -> &mut Self {
        self.deliver(member, q, offset, value);
        let delivery = self.last[&(member.to_owned(), value)];
        let event = Event::Popped {
            delivery,
            popped_at_ms: (popped_at * 1e3) as i64,
            visible_at_ms: (until * 1e3) as i64,
        };
        self.note(member, event)
    }

    /// A member asks to hide a message for longer, and nobody answers.
    pub(crate) fn ask_to_hide(&mut self, member: &str, value: u64) -> &mut Self {
        let delivery = self.last[&(member.to_owned(), value)];
        self.note(member, Event::HideInvoked { delivery })
    }

    pub(crate) fn hide(&mut self, member: &str, value: u64, handle: u16, until: f64) -> &mut Self {
        let delivery = self.last[&(member.to_owned(), value)];
        let visible_at_ms = (until * 1e3) as i64;
        let event = Event::Hidden {
            delivery,
            handle,
            visible_at_ms,
        };
        self.note(member, event)
    }

    pub(crate) fn ack(
        &mut self,
        member: &str,
        value: u64,
        handle: u16,
        outcome: CallOutcome,
    ) -> &mut Self {
        let delivery = self.last[&(member.to_owned(), value)];
        self.note(member, Event::AckInvoked { delivery, handle });
        self.note(member, Event::AckEnded { delivery, outcome })
    }

    pub(crate) fn query(&mut self, by: QueryBy, value: u64, found: bool) -> &mut Self {
        self.query_among(by, value, found, 0)
    }

    pub(crate) fn query_among(
        &mut self,
        by: QueryBy,
        value: u64,
        found: bool,
        strangers: u16,
    ) -> &mut Self {
        let value = Value(value);
        let event = Event::Queried {
            by,
            value,
            found,
            strangers,
        };
        self.note("operator", event)
    }

    pub(crate) fn named(&mut self, value: u64, id: u64) -> &mut Self {
        let op = self.ops[&value];
        self.note("p", Event::Named { op, id })
    }

    pub(crate) fn replied(&mut self, value: u64, with: u64) -> &mut Self {
        let op = self.ops[&value];
        self.note(
            "p",
            Event::Replied {
                op,
                value: Value(with),
            },
        )
    }

    pub(crate) fn subscribe(&mut self, member: &str) -> &mut Self {
        let (group, topic) = (self.group(), self.recorder.topic("t"));
        self.note(member, Event::Subscribed { group, topic })
    }
}
