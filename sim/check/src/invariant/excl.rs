//! INV-EXCL: two members of an orderly group never process one queue at the same time.

use rustc_hash::FxHashMap;

use crate::facts::{Delivery, Facts};
use crate::history::{FaultKind, GroupId, How, NodeId, QueueRef, SimTime};

use super::{Findings, Invariant};

pub(super) static INVARIANT: Invariant = Invariant {
    statement: "Two members of an orderly group never process the same queue at the same time.",
    explanation: "\
An orderly group locks a queue at its broker before it consumes from it, so that order is kept
while queues change hands. A second member must not begin with a queue before the first is done.
Where a group pops in order there are no locks: what a queue gave hides the rest of it until it is
acknowledged, or its invisible time is over.

Judged by: the listener calls of a group with an orderly listener, or that pops in order. A call
for a queue must not begin while a call of another member for the same queue is running; of a
popped message, while it is hidden by the broker's clock, too. It is put to the test whenever a
queue is processed by another member than before.

Promised by Apache RocketMQ: under process crashes, network faults and client crashes. A member
renews its locks every 20 s and holds them for 30 s by its own clock, the broker keeps them for
60 s, and a member that loses a queue keeps the lock until its listener is done.

Legal, and counted: the lock of a member that stands still, or whose clock or broker's clock
jumps, runs out while it processes; a broker that went down has forgotten its locks; a member
that is stopped gives up its locks at once; and a listener call that runs for longer than 20 s
outlives the patience of a member that has to give its queue up.",
    check,
};

/// How long a broker remembers a queue lock (`RebalanceLockManager`), in microseconds.
const LOCK_US: u64 = 60_000_000;

/// How long a member waits for its listener before it gives a queue up, in microseconds.
const PATIENCE_US: u64 = 20_000_000;

/// How long a member may take from giving up its locks to being down, in microseconds.
const STOP_US: u64 = 30_000_000;

/// A member's last call for a queue.
struct Call<'a> {
    delivery: &'a Delivery,
    until: SimTime,
    /// If it was popped, when the broker's clock lets the message be seen again, in milliseconds.
    visible_at_ms: Option<i64>,
}

impl Call<'_> {
    /// Whether it keeps others from its queue at a time. The clock may be set back later, which hides
    /// the message once more.
    fn is_running(&self, facts: &Facts<'_>, at: SimTime) -> bool {
        let broker = facts.broker_of(self.delivery.queue);
        let hiding = self.visible_at_ms.zip(broker);
        let is_hidden = hiding.is_none_or(|(visible_at_ms, broker)| {
            facts.wall_us(broker, at) < visible_at_ms.saturating_mul(1000)
        });
        self.until > at && is_hidden
    }
}

fn check(facts: &Facts<'_>, findings: &mut Findings) {
    let orderly = |d: &&Delivery| {
        let group = facts.group(d.group);
        group.is_orderly() && !group.broadcasting
    };
    if !facts.groups.iter().any(|group| group.is_orderly()) {
        return;
    }
    let mut queues: FxHashMap<(GroupId, QueueRef), Vec<Call<'_>>> = FxHashMap::default();
    for (id, delivery) in (0u32..).zip(&facts.deliveries).filter(|(_, d)| orderly(d)) {
        let calls = queues.entry((delivery.group, delivery.queue)).or_default();
        let others = calls.iter().filter(|call| call.delivery.node != delivery.node);
        let last = others.max_by_key(|call| call.until);
        // The latest call is kept in front.
        if calls.first().is_some_and(|call| call.delivery.node != delivery.node) {
            findings.exercise();
        }
        if let Some(other) = last.filter(|call| call.is_running(facts, delivery.at)) {
            report(facts, findings, other.delivery, delivery);
        }
        let hiding = facts.features.pops.get(&id).and_then(|pop| pop.hidings.last());
        let visible_at_ms = hiding.map(|hiding| hiding.visible_at_ms);
        let until = end(facts, delivery).min(hidden_until(facts, delivery, visible_at_ms));
        note(calls, Call { delivery, until, visible_at_ms });
    }
}

/// Keeps one call of each member, the one that runs for longest, and the last member in front.
fn note<'a>(calls: &mut Vec<Call<'a>>, call: Call<'a>) {
    match calls.iter().position(|c| c.delivery.node == call.delivery.node) {
        Some(at) => {
            if let Some(before) = calls.get_mut(at)
                && before.until < call.until
            {
                *before = call;
            }
            calls.swap(0, at);
        }
        None => {
            calls.push(call);
            let last = calls.len() - 1;
            calls.swap(0, last);
        }
    }
}

/// Until when a delivery keeps its queue from other members: without end unless it was popped.
fn hidden_until(facts: &Facts<'_>, delivery: &Delivery, visible_at_ms: Option<i64>) -> SimTime {
    let hiding = visible_at_ms.zip(facts.broker_of(delivery.queue));
    hiding.map_or(SimTime(u64::MAX), |(visible_at_ms, broker)| {
        facts.when_shown(broker, visible_at_ms)
    })
}

/// When a call ended; one that nobody saw end ended when its member went down, if it did.
fn end(facts: &Facts<'_>, delivery: &Delivery) -> SimTime {
    if delivery.outcome.is_some() {
        return delivery.finished;
    }
    let mut outages = facts.trouble.outages.iter();
    let down = outages.find(|o| o.node == delivery.node && o.down >= delivery.at);
    down.map_or(delivery.at, |outage| outage.down)
}

fn report(facts: &Facts<'_>, findings: &mut Findings, one: &Delivery, other: &Delivery) {
    let evidence = || {
        let (first, second) =
            (facts.names().node_name(one.node), facts.names().node_name(other.node));
        let queue = facts.queue_name(other.queue);
        let summary = format!("{second} began to process {queue} while {first} was at it");
        let records = [one.record, one.finish_record, other.record, other.finish_record];
        facts.evidence(summary, other.value, other.at, &records)
    };
    match excuse(facts, one, other) {
        Some(excuse) => findings.legal(excuse, evidence),
        None => findings.violation(evidence),
    }
}

fn excuse(facts: &Facts<'_>, one: &Delivery, other: &Delivery) -> Option<&'static str> {
    let since = SimTime(one.at.0.saturating_sub(LOCK_US));
    let trouble = &facts.trouble;
    if trouble.struck_us(one.node, &[FaultKind::Freeze], (since, other.at)) > 0 {
        return Some("the first member stood still while its lock ran out");
    }
    if trouble.any_fault(&[FaultKind::Clock], SimTime(0), other.at) {
        return Some("a clock jumped, and with it the end of a lock");
    }
    let since = SimTime(other.at.0.saturating_sub(LOCK_US));
    let hows = [How::Kill, How::PowerLoss, How::Stop];
    if facts.broker_down(other.queue, &hows, since, other.at) {
        return Some("the broker went down and forgot its locks");
    }
    if is_stopping(facts, one.node, one.at, other.at) {
        return Some("the first member was being stopped and gave up its locks");
    }
    (other.at.since(one.at) > PATIENCE_US)
        .then_some("the first member's listener ran for longer than its lock is waited for")
}

/// Whether a member went down in good order during its call, or soon after the other one began.
fn is_stopping(facts: &Facts<'_>, node: NodeId, from: SimTime, to: SimTime) -> bool {
    let until = SimTime(to.0.saturating_add(STOP_US));
    let mut outages = facts.trouble.outages.iter();
    outages.any(|o| o.node == node && o.how == How::Stop && o.down >= from && o.down <= until)
}

#[cfg(test)]
mod tests {
    use crate::history::{CallOutcome, FaultKind, How, Outcome};
    use crate::invariant::InvariantId::Excl;
    use crate::invariant::handle::tests::popped_in_order;
    use crate::report::Status;
    use crate::story::Story;

    fn begun() -> Story {
        let mut s = Story::new(Story::orderly());
        s.at(100.0).send(7, "t#0", 0).send(8, "t#0", 1).assign("m1", "t#0");
        s.pull("m1", "t#0", 0, 2).deliver("m1", "t#0", 0, 7);
        s
    }

    #[test]
    fn one_after_the_other_is_right() {
        let mut s = begun();
        s.finish("m1", 7, Outcome::Consumed).revoke("m1", "t#0").assign("m2", "t#0");
        s.pull("m2", "t#0", 1, 1).consume("m2", "t#0", 1, 8);
        s.check(Excl).holds(1);
    }

    #[test]
    fn both_at_once_is_wrong() {
        let mut s = begun();
        s.deliver("m2", "t#0", 1, 8).finish("m1", 7, Outcome::Consumed);
        let report = s.check(Excl).violated(1);
        insta::assert_snapshot!(report.evidence[0].lines.join("\n"), @"
        100.008000s  m1: g is handed message 7 from t@b#0 offset 0, reconsume times 0
        100.009000s  m2: g is handed message 8 from t@b#0 offset 1, reconsume times 0
        100.010000s  m1: message 7 is consumed
        ");
    }

    #[test]
    fn a_member_that_died_is_done() {
        let mut s = begun();
        s.down("m1", How::Kill).deliver("m2", "t#0", 0, 7);
        s.check(Excl).holds(1);
    }

    #[test]
    fn a_lock_runs_out_while_its_owner_stands_still() {
        let mut s = begun();
        s.at(101.0).fault(FaultKind::Freeze, 170.0).deliver("m2", "t#0", 0, 7);
        s.finish("m1", 7, Outcome::Consumed);
        assert_eq!(s.check(Excl).holds(1).legal[0].count, 1);
    }

    #[test]
    fn a_broker_that_went_down_has_forgotten_its_locks() {
        let mut s = begun();
        s.down("b-0", How::Kill).at(102.0).up("b-0").deliver("m2", "t#0", 0, 7);
        s.finish("m1", 7, Outcome::Consumed);
        assert_eq!(s.check(Excl).holds(1).legal[0].count, 1);
    }

    #[test]
    fn a_network_fault_is_no_excuse() {
        let mut s = begun();
        s.fault(FaultKind::Partition, 105.0).deliver("m2", "t#0", 0, 7);
        s.finish("m1", 7, Outcome::Consumed);
        s.check(Excl).violated(1);
    }

    #[test]
    fn a_listener_that_takes_very_long_is_not_waited_for() {
        let mut s = begun();
        s.at(125.0).deliver("m2", "t#0", 0, 7).finish("m1", 7, Outcome::Consumed);
        assert_eq!(s.check(Excl).holds(1).legal[0].count, 1);
    }

    #[test]
    fn a_member_that_is_stopped_gives_up_its_locks() {
        let mut s = begun();
        s.deliver("m2", "t#0", 0, 7).finish("m1", 7, Outcome::Lost).down("m1", How::Stop);
        assert_eq!(s.check(Excl).holds(1).legal[0].count, 1);
    }

    #[test]
    fn a_queue_that_is_popped_in_order_is_for_another_when_all_is_acknowledged() {
        let mut s = popped_in_order();
        s.finish("m1", 7, Outcome::Consumed).ack("m1", 7, 0, CallOutcome::Ok);
        s.at(3.0).pop("m2", "t#0", (1, 8), 13.0);
        s.check(Excl).holds(1);
    }

    #[test]
    fn a_queue_that_is_popped_in_order_is_for_nobody_else_while_its_message_is_hidden() {
        let mut s = popped_in_order();
        s.at(3.0).pop("m2", "t#0", (1, 8), 13.0).finish("m1", 7, Outcome::Consumed);
        s.check(Excl).violated(1);
    }

    #[test]
    fn a_member_that_is_slower_than_its_invisible_time_may_be_joined_by_another() {
        let mut s = popped_in_order();
        s.at(12.5).pop("m2", "t#0", (0, 7), 22.0).finish("m1", 7, Outcome::Consumed);
        assert!(s.check(Excl).holds(1).legal.is_empty());
    }

    #[test]
    fn a_clock_that_is_set_back_later_does_not_hide_what_another_has_begun_with() {
        let mut s = popped_in_order();
        s.at(12.5).pop("m2", "t#0", (0, 7), 22.0).at(13.0).clock("b-0", -30.0);
        s.at(14.0).finish("m1", 7, Outcome::Consumed);
        assert!(s.check(Excl).holds(1).legal.is_empty());
    }

    #[test]
    fn a_member_that_hid_its_message_for_longer_may_not_be_joined() {
        let mut s = popped_in_order();
        s.at(10.0).hide("m1", 7, 1, 30.0);
        s.at(12.5).pop("m2", "t#0", (0, 7), 22.0).finish("m1", 7, Outcome::Consumed);
        s.check(Excl).violated(1);
    }

    #[test]
    fn while_queues_keep_their_owners_nothing_is_put_to_the_test() {
        let mut s = begun();
        s.finish("m1", 7, Outcome::Consumed).consume("m1", "t#0", 1, 8);
        s.check(Excl).status(Status::NotExercised);
        let mut s = Story::new(Story::contract());
        s.at(1.0).send(7, "t#0", 0).deliver("m1", "t#0", 0, 7).deliver("m2", "t#0", 0, 7);
        s.check(Excl).status(Status::NotExercised);
    }
}
