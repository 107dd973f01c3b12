//! Hand-written histories for tests: one producer, one broker `b-0` of broker group `b`, members of
//! the group `g` which consumes the topic `t`. Queues are written `topic#number`.

use crate::check;
use crate::contract::{Contract, GroupContract};
use crate::history::*;
use crate::invariant::InvariantId;
use crate::report::{InvariantReport, Report, Status};

pub(crate) mod features;

/// A history in the making.
pub(crate) struct Story {
    recorder: Recorder,
    contract: Contract,
    now: u64,
    physical: i64,
    ops: std::collections::BTreeMap<u64, OpId>,
    last: std::collections::BTreeMap<(String, u64), DeliveryId>,
    faults: u32,
}

/// What a check said.
#[must_use]
pub(crate) struct Checked {
    pub(crate) report: InvariantReport,
}

impl Checked {
    pub(crate) fn status(self, status: Status) -> InvariantReport {
        assert_eq!(self.report.status, status, "{:#?}", self.report);
        self.report
    }

    pub(crate) fn holds(self, exercised: u64) -> InvariantReport {
        let report = self.status(Status::Holds);
        assert_eq!(report.exercised, exercised, "{report:#?}");
        report
    }

    pub(crate) fn violated(self, times: u64) -> InvariantReport {
        let report = self.status(Status::Violated);
        assert_eq!(report.violations, times, "{report:#?}");
        report
    }
}

impl Story {
    /// The default contract, with a concurrent group `g` that consumes `t`.
    pub(crate) fn contract() -> Contract {
        Contract {
            groups: vec![GroupContract::concurrent("g", &["t"])],
            ..Contract::default()
        }
    }

    /// The default contract, with an orderly group `g` that consumes `t`.
    pub(crate) fn orderly() -> Contract {
        Contract {
            groups: vec![GroupContract::orderly("g", &["t"])],
            ..Contract::default()
        }
    }

    pub(crate) fn new(contract: Contract) -> Self {
        let mut recorder = Recorder::new();
        recorder.broker_node("b-0", "b");
        Self {
            recorder,
            contract,
            now: 0,
            physical: 0,
            ops: Default::default(),
            last: Default::default(),
            faults: 0,
        }
    }

    /// Sets the time; every event takes a millisecond.
    pub(crate) fn at(&mut self, secs: f64) -> &mut Self {
        let now = (secs * 1e6) as u64;
        assert!(now >= self.now, "a story goes forward");
        self.now = now;
        self
    }

    fn note(&mut self, node: &str, event: Event) -> &mut Self {
        let node = self.recorder.node(node);
        self.recorder.record(SimTime(self.now), node, event);
        self.now += 1000;
        self
    }

    /// Several events of a node, at the time of the event after them.
    pub(crate) fn note_all(&mut self, node: &str, events: &[Event]) -> &mut Self {
        for &event in events {
            self.note(node, event);
            self.now -= 1000;
        }
        self
    }

    pub(crate) fn queue(&mut self, name: &str) -> QueueRef {
        let (topic, number) = name.split_once('#').unwrap();
        self.recorder.queue(topic, "b", number.parse().unwrap())
    }

    pub(crate) fn invoke(&mut self, value: u64, topic: &str) -> &mut Self {
        self.invoke_as(value, topic, None, 0)
    }

    pub(crate) fn invoke_as(
        &mut self,
        value: u64,
        topic: &str,
        order: Option<(u32, u32)>,
        delay_level: u8,
    ) -> &mut Self {
        let (op, topic) = (self.recorder.next_op(), self.recorder.topic(topic));
        self.ops.insert(value, op);
        let order = order.map(|(id, seq)| Order { id, seq });
        let value = Value(value);
        self.note(
            "p",
            Event::SendInvoked {
                op,
                value,
                topic,
                order,
                kind: SendKind::Normal,
                delay_level,
                bytes: 100,
            },
        )
    }

    pub(crate) fn ok(&mut self, value: u64, queue: &str, offset: i64) -> &mut Self {
        self.ok_after(value, queue, offset, 1)
    }

    pub(crate) fn ok_after(&mut self, value: u64, q: &str, offset: i64, attempts: u8) -> &mut Self {
        let (op, queue) = (self.ops[&value], self.queue(q));
        self.note(
            "p",
            Event::SendOk {
                op,
                queue,
                offset,
                durable: true,
                attempts,
            },
        )
    }

    pub(crate) fn unknown(&mut self, value: u64) -> &mut Self {
        let (op, reason) = (self.ops[&value], self.recorder.text("timeout"));
        self.note(
            "p",
            Event::SendUnknown {
                op,
                reason,
                attempts: 1,
            },
        )
    }

    pub(crate) fn failed(&mut self, value: u64) -> &mut Self {
        let (op, reason) = (self.ops[&value], self.recorder.text("refused"));
        self.note(
            "p",
            Event::SendFailed {
                op,
                reason,
                attempts: 1,
            },
        )
    }

    /// The broker appends 100 bytes.
    pub(crate) fn append(&mut self, value: u64, q: &str, offset: i64, reconsume: u16) -> &mut Self {
        let (queue, physical) = (self.queue(q), self.physical);
        self.physical += 100;
        let value = Some(Value(value));
        self.note(
            "b-0",
            Event::Appended {
                queue,
                reconsume,
                offset,
                physical,
                value,
            },
        )
    }

    /// The broker appends 100 bytes that are no message of the workload.
    pub(crate) fn append_other(&mut self, q: &str, offset: i64) -> &mut Self {
        let (queue, physical) = (self.queue(q), self.physical);
        self.physical += 100;
        self.note(
            "b-0",
            Event::Appended {
                queue,
                reconsume: 0,
                offset,
                physical,
                value: None,
            },
        )
    }

    /// A send that goes well.
    pub(crate) fn send(&mut self, value: u64, q: &str, offset: i64) -> &mut Self {
        let topic = q.split_once('#').unwrap().0;
        self.invoke(value, topic)
            .append(value, q, offset, 0)
            .ok(value, q, offset)
    }

    /// A send with an order id that goes well.
    pub(crate) fn send_in_order(
        &mut self,
        value: u64,
        order: (u32, u32),
        q: &str,
        offset: i64,
    ) -> &mut Self {
        let topic = q.split_once('#').unwrap().0;
        self.invoke_as(value, topic, Some(order), 0)
            .append(value, q, offset, 0);
        self.ok(value, q, offset)
    }

    fn group(&mut self) -> GroupId {
        self.recorder.group("g")
    }

    pub(crate) fn assign(&mut self, member: &str, q: &str) -> &mut Self {
        self.assign_from(member, q, None)
    }

    /// A member takes a queue and was told where to start.
    pub(crate) fn start(&mut self, member: &str, q: &str, from: i64) -> &mut Self {
        self.assign_from(member, q, Some(from))
    }

    fn assign_from(&mut self, member: &str, q: &str, from: Option<i64>) -> &mut Self {
        let (group, queue) = (self.group(), self.queue(q));
        self.note(member, Event::Assigned { group, queue, from })
    }

    pub(crate) fn revoke(&mut self, member: &str, q: &str) -> &mut Self {
        let (group, queue) = (self.group(), self.queue(q));
        self.note(member, Event::Revoked { group, queue })
    }

    /// A member of another group that never gets a message.
    pub(crate) fn join(&mut self, group: &str, topic: &str) -> &mut Self {
        let (group, topic) = (self.recorder.group(group), self.recorder.topic(topic));
        self.note("other", Event::Subscribed { group, topic })
    }

    /// A pull that gets everything from an offset on.
    pub(crate) fn pull(&mut self, member: &str, q: &str, from: i64, got: u32) -> &mut Self {
        self.pull_to(member, q, from, got, from + i64::from(got))
    }

    pub(crate) fn pull_to(
        &mut self,
        member: &str,
        q: &str,
        from: i64,
        got: u32,
        next: i64,
    ) -> &mut Self {
        let (group, queue) = (self.group(), self.queue(q));
        self.note(
            member,
            Event::Pulled {
                group,
                queue,
                got,
                from,
                next,
            },
        )
    }

    pub(crate) fn correct(&mut self, member: &str, q: &str, from: i64, to: i64) -> &mut Self {
        let (group, queue) = (self.group(), self.queue(q));
        self.note(
            member,
            Event::Corrected {
                group,
                queue,
                from,
                to,
            },
        )
    }

    pub(crate) fn deliver(&mut self, member: &str, q: &str, offset: i64, value: u64) -> &mut Self {
        self.deliver_again(member, q, offset, value, 0)
    }

    pub(crate) fn deliver_again(
        &mut self,
        member: &str,
        q: &str,
        offset: i64,
        value: u64,
        reconsume: u32,
    ) -> &mut Self {
        let (group, queue, delivery) = (self.group(), self.queue(q), self.recorder.next_delivery());
        self.last.insert((member.to_owned(), value), delivery);
        let (value, intact) = (Value(value), true);
        let event = Event::Delivered {
            delivery,
            group,
            queue,
            offset,
            value,
            intact,
            reconsume,
        };
        self.note(member, event)
    }

    pub(crate) fn finish(&mut self, member: &str, value: u64, outcome: Outcome) -> &mut Self {
        let delivery = self.last[&(member.to_owned(), value)];
        self.note(member, Event::Finished { delivery, outcome })
    }

    /// A delivery that is consumed.
    pub(crate) fn consume(&mut self, member: &str, q: &str, offset: i64, value: u64) -> &mut Self {
        self.deliver(member, q, offset, value)
            .finish(member, value, Outcome::Consumed)
    }

    pub(crate) fn consume_again(
        &mut self,
        member: &str,
        q: &str,
        offset: i64,
        value: u64,
        (reconsume, outcome): (u32, Outcome),
    ) -> &mut Self {
        self.deliver_again(member, q, offset, value, reconsume)
            .finish(member, value, outcome)
    }

    /// A commit that reaches the broker.
    pub(crate) fn commit(&mut self, member: &str, q: &str, offset: i64) -> &mut Self {
        self.commit_only(member, q, offset).offset_set(q, offset)
    }

    pub(crate) fn commit_only(&mut self, member: &str, q: &str, offset: i64) -> &mut Self {
        let (group, queue) = (self.group(), self.queue(q));
        self.note(
            member,
            Event::Committed {
                group,
                queue,
                offset,
            },
        )
    }

    pub(crate) fn offset_set(&mut self, q: &str, offset: i64) -> &mut Self {
        let (group, queue) = (self.group(), self.queue(q));
        self.note(
            "b-0",
            Event::OffsetSet {
                group,
                queue,
                offset,
            },
        )
    }

    pub(crate) fn reset(&mut self, q: &str, offset: i64) -> &mut Self {
        let (group, queue) = (self.group(), self.queue(q));
        self.note(
            "operator",
            Event::OffsetReset {
                group,
                queue,
                offset,
            },
        )
    }

    pub(crate) fn effect(&mut self, member: &str, value: u64, amount: i64) -> &mut Self {
        let (group, value) = (self.group(), Value(value));
        self.note(
            member,
            Event::Effect {
                group,
                value,
                applied: amount != 0,
                amount,
            },
        )
    }

    pub(crate) fn down(&mut self, node: &str, how: How) -> &mut Self {
        self.note(node, Event::NodeDown { how })
    }

    pub(crate) fn up(&mut self, node: &str) -> &mut Self {
        self.note(node, Event::NodeUp)
    }

    pub(crate) fn recovered(&mut self, max_physical: i64) -> &mut Self {
        let truncated_bytes = self.physical - max_physical;
        self.physical = max_physical;
        self.note(
            "b-0",
            Event::Recovered {
                max_physical,
                truncated_bytes,
            },
        )
    }

    pub(crate) fn fault(&mut self, kind: FaultKind, until: f64) -> &mut Self {
        let (nodes, text) = (self.recorder.nodes(&[]), self.recorder.text("a fault"));
        let fault = self.faults;
        self.faults += 1;
        self.note(
            "operator",
            Event::FaultBegan {
                fault,
                kind,
                text,
                nodes,
            },
        );
        self.at(until).note("operator", Event::FaultEnded { fault })
    }

    pub(crate) fn drain(&mut self) -> &mut Self {
        self.note("operator", Event::Phase(Phase::Drain))
    }

    pub(crate) fn done(&mut self, drained: bool) -> &mut Self {
        self.note("operator", Event::Phase(Phase::Done { drained }))
    }

    /// Ends the story and checks everything.
    pub(crate) fn report(self) -> Report {
        check(&self.recorder.finish(Meta::default()), &self.contract)
    }

    /// Ends the story and checks one invariant.
    pub(crate) fn check(self, id: InvariantId) -> Checked {
        Checked {
            report: self.report().invariant(id).unwrap().clone(),
        }
    }
}
