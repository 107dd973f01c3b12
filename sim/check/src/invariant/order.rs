//! INV-ORDER: messages of one order id are consumed one after the other, in send order.

use rustc_hash::FxHashMap;

use crate::facts::{Audience, Delivery, Facts, Op};
use crate::history::{FaultKind, GroupId, How, Outcome, QueueRef, SimTime};

use super::{Findings, Invariant};

pub(super) static INVARIANT: Invariant = Invariant {
    statement: "An orderly group gets the messages of an order id in send order, one at a time.",
    explanation: "\
A producer that sends the steps of an order one after the other to one queue, and an orderly
listener: the listener gets the steps in that order, and gets a step only when the one before is
done with. A step that is suspended blocks those behind it. So does one that was popped in order,
until it is acknowledged: what lies behind it in the queue is given to nobody without it.

Judged by: for each group with an orderly listener, or that pops in order, and each order id, the
messages that one producer sent to one queue, each by one call with one attempt after the call
before had returned. When such a message is first handed out, the one before must have been
consumed. Steps that were retried or whose fate is unknown are left out; the others must still be
in order.

Promised by Apache RocketMQ: under process crashes, network faults and client crashes. The queue
lock lives in the broker's memory: members hold it for 30 s, the broker keeps it for 60 s.

Legal, and counted: after max reconsume times a message is given up and skipped; a member that
stands still for longer than its lock lasts, or a broker that forgets its locks in a crash, may
let two members have the queue at once.",
    check,
};

/// How long a broker remembers a queue lock (`RebalanceLockManager`), in microseconds.
const LOCK_US: u64 = 60_000_000;

fn check(facts: &Facts<'_>, findings: &mut Findings) {
    let mut steps: Vec<&Op> = facts
        .ops
        .iter()
        .filter(|op| op.order.is_some() && !op.waits())
        .filter(|op| facts.sent_once(op.value).is_some() && !facts.fate(op.value).is_gone())
        .collect();
    let line = |op: &&Op| (op.topic, op.order.map(|order| order.id), op.queue, op.node);
    steps.sort_unstable_by_key(|op| (line(op), op.order.map(|order| order.seq), op.record));
    let starts = starts(facts);
    for (id, audience) in (0u32..).zip(&facts.audiences) {
        let group = facts.group(audience.group);
        if !group.is_orderly() || group.broadcasting != audience.member.is_some() {
            continue;
        }
        let view = View { facts, id, audience, starts: &starts };
        for chain in steps.chunk_by(|a, b| line(a) == line(b)) {
            if chain.first().is_some_and(|op| group.topics.contains(&op.topic)) {
                view.chain(findings, chain);
            }
        }
    }
}

/// The offset at which each group first started to read each queue.
fn starts(facts: &Facts<'_>) -> FxHashMap<(GroupId, QueueRef), i64> {
    let mut starts = FxHashMap::default();
    for session in &facts.sessions {
        if let Some(from) = session.first_from {
            let start = starts.entry((session.group, session.queue)).or_insert(from);
            *start = from.min(*start);
        }
    }
    starts
}

/// What one audience saw.
struct View<'a> {
    facts: &'a Facts<'a>,
    id: u32,
    audience: &'a Audience,
    starts: &'a FxHashMap<(GroupId, QueueRef), i64>,
}

impl View<'_> {
    fn chain(&self, findings: &mut Findings, chain: &[&Op]) {
        let mut before: Option<&Op> = None;
        for &op in chain {
            let first = self.deliveries(op).next();
            if let (Some(before), Some(first)) = (before, first)
                && before.ended <= op.invoked
                && self.was_there(before)
            {
                findings.exercise();
                self.judge(findings, before, op, first);
            }
            before = Some(op);
        }
    }

    fn deliveries(&self, op: &Op) -> impl Iterator<Item = &Delivery> + Clone {
        self.facts.each(self.facts.delivered_to(op.value, self.id))
    }

    /// Whether the message lies where the group started to read, or behind.
    fn was_there(&self, op: &Op) -> bool {
        let start = self.starts.get(&(self.audience.group, op.queue)).copied().unwrap_or(0);
        let seen = self.deliveries(op).next().is_some();
        let group = self.audience.group;
        let skips = self.facts.group(group).filtered || self.facts.was_skipped(group, op);
        seen || (op.offset >= start && !skips)
    }

    fn judge(&self, findings: &mut Findings, before: &Op, op: &Op, first: &Delivery) {
        if self.deliveries(before).any(|d| self.is_done(d, first)) {
            return;
        }
        let evidence = || {
            let facts = self.facts;
            let group = facts.names().group_name(self.audience.group);
            let (one, other) = (facts.message_name(before.value), facts.message_name(op.value));
            let summary = format!("{group} was handed {other} before {one} was done with");
            let mut records = vec![before.end_record, op.end_record, first.record];
            records.extend(self.deliveries(before).flat_map(|d| [d.record, d.finish_record]));
            facts.evidence(summary, op.value, first.at, &records)
        };
        match self.excuse(before, first) {
            Some(excuse) => findings.legal(excuse, evidence),
            None => findings.violation(evidence),
        }
    }

    /// Whether a delivery of the message before lets the next one go.
    fn is_done(&self, d: &Delivery, next: &Delivery) -> bool {
        let same_call = d.at == next.at && d.session == next.session && d.record < next.record;
        let consumed = d.outcome == Some(Outcome::Consumed) && d.finished <= next.at;
        let max = self.facts.group(self.audience.group).max_reconsume;
        let given_up = d.outcome != Some(Outcome::Consumed)
            && max.is_some_and(|max| d.reconsume >= max)
            && d.finished <= next.at;
        same_call || consumed || given_up
    }

    fn excuse(&self, before: &Op, first: &Delivery) -> Option<&'static str> {
        if self.facts.may_be_passed_over(self.audience.group, before) {
            return Some("passed over by a group that was ahead of a log which lost its end");
        }
        let last = self.deliveries(before).filter(|d| d.record < first.record).last()?;
        if last.node == first.node {
            return None;
        }
        let trouble = &self.facts.trouble;
        if trouble.any_fault(&[FaultKind::Freeze, FaultKind::Clock], last.at, first.at) {
            return Some("two members had the queue after one stood still for too long");
        }
        let since = SimTime(last.at.0.saturating_sub(LOCK_US));
        let hows = [How::Kill, How::PowerLoss, How::Stop];
        let forgot = self.facts.broker_down(before.queue, &hows, since, first.at);
        forgot.then_some("two members had the queue after the broker forgot its locks")
    }
}

#[cfg(test)]
mod tests {
    use crate::contract::{Contract, GroupContract};
    use crate::history::{FaultKind, How, Outcome};
    use crate::invariant::InvariantId::Order;
    use crate::report::Status;
    use crate::story::Story;

    /// Messages 7, 8 and 9 are the steps of order 1.
    fn three_steps() -> Story {
        let mut s = Story::new(Story::orderly());
        s.at(1.0).send_in_order(7, (1, 0), "t#0", 0).send_in_order(8, (1, 1), "t#0", 1);
        s.send_in_order(9, (1, 2), "t#0", 2).assign("m1", "t#0").pull("m1", "t#0", 0, 3);
        s
    }

    #[test]
    fn one_after_the_other_is_right() {
        let mut s = three_steps();
        s.consume("m1", "t#0", 0, 7).consume("m1", "t#0", 1, 8).consume("m1", "t#0", 2, 9);
        s.check(Order).holds(2);
    }

    #[test]
    fn a_step_that_overtakes_another_is_wrong() {
        let mut s = three_steps();
        s.consume("m1", "t#0", 0, 7).consume("m1", "t#0", 2, 9).consume("m1", "t#0", 1, 8);
        let report = s.check(Order).violated(1);
        insta::assert_snapshot!(report.evidence[0].summary, @"g was handed message 9 (number 2 of order 1) before message 8 (number 1 of order 1) was done with");
    }

    #[test]
    fn a_step_behind_a_suspended_one_is_wrong() {
        let mut s = three_steps();
        s.deliver("m1", "t#0", 0, 7).finish("m1", 7, Outcome::Suspended);
        s.consume("m1", "t#0", 1, 8);
        s.check(Order).violated(1);
    }

    #[test]
    fn a_suspended_step_that_comes_again_first_is_right() {
        let mut s = three_steps();
        s.deliver("m1", "t#0", 0, 7).finish("m1", 7, Outcome::Suspended);
        s.consume_again("m1", "t#0", 0, 7, (1, Outcome::Consumed)).consume("m1", "t#0", 1, 8);
        s.check(Order).holds(1);
    }

    #[test]
    fn two_steps_side_by_side_are_wrong() {
        let mut s = three_steps();
        s.deliver("m1", "t#0", 0, 7).deliver("m1", "t#0", 1, 8);
        s.check(Order).violated(1);
    }

    #[test]
    fn a_step_that_is_never_handed_out_is_skipped() {
        let mut s = three_steps();
        s.consume("m1", "t#0", 1, 8);
        s.check(Order).violated(1);
    }

    #[test]
    fn a_step_given_up_after_max_reconsume_times_lets_the_next_one_go() {
        let group = GroupContract { max_reconsume: 1, ..GroupContract::orderly("g", &["t"]) };
        let mut s = Story::new(Contract { groups: vec![group], ..Contract::default() });
        s.at(1.0).send_in_order(7, (1, 0), "t#0", 0).send_in_order(8, (1, 1), "t#0", 1);
        s.deliver("m1", "t#0", 0, 7).finish("m1", 7, Outcome::Suspended);
        s.consume_again("m1", "t#0", 0, 7, (1, Outcome::Suspended)).consume("m1", "t#0", 1, 8);
        s.check(Order).holds(1);
    }

    #[test]
    fn redeliveries_after_a_rebalance_are_no_disorder() {
        let mut s = three_steps();
        s.consume("m1", "t#0", 0, 7).consume("m1", "t#0", 1, 8).down("m1", How::Kill).at(70.0);
        s.assign("m2", "t#0").pull("m2", "t#0", 0, 3);
        s.consume("m2", "t#0", 0, 7).consume("m2", "t#0", 1, 8).consume("m2", "t#0", 2, 9);
        s.check(Order).holds(2);
    }

    #[test]
    fn a_retried_step_is_left_out() {
        let mut s = Story::new(Story::orderly());
        s.at(1.0).send_in_order(7, (1, 0), "t#0", 0);
        s.invoke_as(8, "t", Some((1, 1)), 0).append(8, "t#0", 1, 0).append(8, "t#0", 3, 0);
        s.ok_after(8, "t#0", 3, 2).send_in_order(9, (1, 2), "t#0", 2);
        s.consume("m1", "t#0", 0, 7).consume("m1", "t#0", 2, 9).consume("m1", "t#0", 3, 8);
        s.check(Order).holds(1);
    }

    #[test]
    fn steps_sent_side_by_side_have_no_order() {
        let mut s = Story::new(Story::orderly());
        s.at(1.0).invoke_as(7, "t", Some((1, 0)), 0).invoke_as(8, "t", Some((1, 1)), 0);
        s.append(8, "t#0", 0, 0).append(7, "t#0", 1, 0).ok(8, "t#0", 0).ok(7, "t#0", 1);
        s.consume("m1", "t#0", 0, 8).consume("m1", "t#0", 1, 7);
        s.check(Order).status(Status::NotExercised);
    }

    #[test]
    fn a_member_that_stood_still_may_be_overtaken() {
        let mut s = three_steps();
        s.deliver("m1", "t#0", 0, 7).fault(FaultKind::Freeze, 90.0);
        s.assign("m2", "t#0").pull("m2", "t#0", 1, 2).consume("m2", "t#0", 1, 8);
        assert_eq!(s.check(Order).holds(1).legal[0].count, 1);
    }

    /// Messages 7 and 8 are steps of order 1; `m1` has popped 7 and hides it until 12 s.
    fn popped_step() -> Story {
        let group = GroupContract { pop: true, ..GroupContract::orderly("g", &["t"]) };
        let mut s = Story::new(Contract { groups: vec![group], ..Contract::default() });
        s.subscribe("m1").subscribe("m2").at(1.0);
        s.send_in_order(7, (1, 0), "t#0", 0).send_in_order(8, (1, 1), "t#0", 1);
        s.at(2.0).pop("m1", "t#0", (0, 7), 12.0);
        s
    }

    #[test]
    fn a_step_that_was_popped_and_failed_comes_again_before_the_next_one() {
        let mut s = popped_step();
        s.finish("m1", 7, Outcome::Later).at(12.1).pop("m2", "t#0", (0, 7), 22.0);
        s.finish("m2", 7, Outcome::Consumed).pop("m2", "t#0", (1, 8), 22.0);
        s.check(Order).holds(1);
    }

    #[test]
    fn a_step_that_is_popped_without_the_one_that_failed_before_it_is_wrong() {
        let mut s = popped_step();
        s.finish("m1", 7, Outcome::Later).at(12.1).pop("m2", "t#0", (1, 8), 22.0);
        s.check(Order).violated(1);
    }

    #[test]
    fn a_concurrent_group_has_no_order() {
        let mut s = Story::new(Story::contract());
        s.at(1.0).send_in_order(7, (1, 0), "t#0", 0).send_in_order(8, (1, 1), "t#0", 1);
        s.consume("m1", "t#0", 1, 8).consume("m1", "t#0", 0, 7);
        s.check(Order).status(Status::NotExercised);
    }
}
