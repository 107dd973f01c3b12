//! INV-ONCE: a message for a time comes once, and not at all if it was recalled.

use crate::facts::{Append, Facts, Timer, TopicKind};
use crate::history::{CallOutcome, How, SimTime};

use super::{Findings, Invariant};

pub(super) static INVARIANT: Invariant = Invariant {
    statement: "A delayed or timed message becomes visible once, or not at all if it was recalled.",
    explanation: "\
A message that waits for its time is stored twice: where it waits, and, when it is due, in its own
topic. The second must happen once for each time that the first did. A timed message that was
taken back before its time must not become visible.

Judged by, where brokers can be watched: the copies of each delayed or timed message in its own
topic, against the copies that waited for a delay level, or the attempts to send a timed one. A
recall that the broker has confirmed 2 s and one precision of the timer (1 s) before the time,
by its own clock, must keep the message back.

Promised by Apache RocketMQ: as long as the broker lives.

Legal, and counted: the progress of delay levels is persisted every 10 s, that of the timer every
second, so a crash of the broker may bring each copy that waited once more. A recall that comes
too late, or that a power loss took, has no effect, and neither has it on copies of other attempts
to send.",
    check,
};

/// How long before its time a message must have been recalled, on top of the timer's precision, in
/// microseconds.
const RECALL_US: i64 = 2_000_000;

fn check(facts: &Facts<'_>, findings: &mut Findings) {
    if !facts.log.is_known() {
        return;
    }
    for (message, _) in (0u32..).zip(&facts.messages) {
        if facts.is_timed(message) {
            count(facts, findings, message);
            recalled(facts, findings, message);
        }
    }
}

fn count(facts: &Facts<'_>, findings: &mut Findings, message: u32) {
    let copies = facts.own_copies(message).count() as u64;
    let Some(last) = facts.own_copies(message).next_back().filter(|_| copies > 0) else { return };
    findings.exercise();
    let delayed = facts.copies_in(message, TopicKind::Schedule).filter(|a| a.reconsume == 0);
    let attempts: u64 = facts.ops_of(message).map(|op| facts.attempts(op)).sum();
    // A timer that is far away is stored again and again, so its copies do not count.
    let waited = match facts.timers(message).next() {
        Some(_) => attempts,
        None => delayed.count() as u64,
    };
    if copies <= waited {
        return;
    }
    let what = format!("became visible {copies} times");
    let evidence = || {
        let records: Vec<_> = facts.own_copies(message).map(|copy| copy.record).collect();
        facts.evidence_of_timed(message, last.at, &what, &records)
    };
    if copies <= waited * (1 + crashes(facts, last)) {
        findings.legal("once more after a crash of the broker", evidence);
    } else {
        findings.violation(evidence);
    }
}

fn crashes(facts: &Facts<'_>, last: &Append) -> u64 {
    let crash = |how| matches!(how, How::Kill | How::PowerLoss);
    let outages = facts.broker_outages(last.queue).iter();
    outages.filter(|o| crash(o.how) && o.down <= last.at).count() as u64
}

fn recalled(facts: &Facts<'_>, findings: &mut Findings, message: u32) {
    let Some(op) = facts.sent_once(message) else { return };
    let Some(timer) = facts.timer(op) else { return };
    let Some(recall) = timer.recall.filter(|recall| recall.outcome == CallOutcome::Ok) else {
        return;
    };
    let Some(node) = facts.dues(message).next().map(|due| due.node) else { return };
    findings.exercise();
    let after = facts.own_copies(message).find(|copy| copy.at > recall.ended);
    let Some(copy) = after else { return };
    let records = [recall.record, recall.end_record, copy.record];
    let evidence = || {
        let what = "became visible although it was recalled";
        facts.evidence_of_timed(message, copy.at, what, &records)
    };
    let lost = facts.broker_power_lost(copy.queue, op.invoked, copy.at);
    let visible = facts.own_copies(message).any(|copy| copy.at <= recall.ended);
    if lost || visible || !in_time(facts, node, timer, recall.ended) {
        findings.legal("recalled too late, or a power loss took the recall", evidence);
    } else {
        findings.violation(evidence);
    }
}

fn in_time(facts: &Facts<'_>, node: crate::history::NodeId, timer: &Timer, ended: SimTime) -> bool {
    let precision = i64::try_from(facts.contract.timer_precision_ms).unwrap_or(i64::MAX / 1000);
    let due_us = timer.due_ms.saturating_mul(1000);
    facts.wall_us(node, ended) + precision * 1000 + RECALL_US < due_us
}

#[cfg(test)]
mod tests {
    use crate::history::{CallOutcome, How};
    use crate::invariant::InvariantId::Once;
    use crate::report::Status;
    use crate::story::Story;
    use crate::story::features::{LEVEL_1, TIMER};

    fn timed() -> Story {
        let mut s = Story::new(Story::contract());
        s.at(1.0).send_timed(7, 10.0, 0);
        s
    }

    #[test]
    fn a_message_that_becomes_visible_once_is_right() {
        let mut s = timed();
        s.at(10.5).append(7, "t#0", 0, 0);
        s.check(Once).holds(1);
    }

    #[test]
    fn a_message_that_becomes_visible_twice_is_wrong() {
        let mut s = timed();
        s.at(10.5).append(7, "t#0", 0, 0).append(7, "t#0", 1, 0);
        let report = s.check(Once).violated(1);
        insta::assert_snapshot!(report.evidence[0].summary, @"message 7 became visible 2 times");
        let mut s = Story::new(Story::contract());
        s.at(1.0).send_delayed(7, 0).at(3.0).append(7, "t#0", 0, 0).append(7, "t#0", 1, 0);
        s.check(Once).violated(1);
    }

    #[test]
    fn a_timer_that_is_stored_again_while_it_waits_comes_once_all_the_same() {
        let mut s = timed();
        s.at(5.0).append(7, TIMER, 1, 0).at(10.5).append(7, "t#0", 0, 0).append(7, "t#0", 1, 0);
        s.check(Once).violated(1);
    }

    #[test]
    fn a_crash_of_the_broker_may_bring_it_once_more() {
        let mut s = timed();
        s.at(10.5).append(7, "t#0", 0, 0).down("b-0", How::Kill).at(12.0).up("b-0");
        s.at(13.0).append(7, "t#0", 1, 0);
        assert_eq!(s.check(Once).holds(1).legal[0].count, 1);
    }

    #[test]
    fn a_crash_may_bring_each_copy_that_waited_once_more() {
        let repeated = |copies: i64| {
            let mut s = Story::new(Story::contract());
            s.at(1.0).invoke_as(7, "t", None, 1).append(7, LEVEL_1, 0, 0).append(7, LEVEL_1, 1, 0);
            s.ok_after(7, LEVEL_1, 1, 2).at(3.0).append(7, "t#0", 0, 0).append(7, "t#0", 1, 0);
            s.down("b-0", How::Kill).at(5.0).up("b-0");
            for offset in 2..2 + copies {
                s.append(7, "t#0", offset, 0);
            }
            s
        };
        assert_eq!(repeated(2).check(Once).holds(1).legal[0].count, 1);
        repeated(3).check(Once).violated(1);
    }

    #[test]
    fn two_attempts_to_send_may_come_twice() {
        let mut s = Story::new(Story::contract());
        s.at(1.0).invoke_as(7, "t", None, 1).append(7, LEVEL_1, 0, 0).append(7, LEVEL_1, 1, 0);
        s.ok_after(7, LEVEL_1, 1, 2).at(3.0).append(7, "t#0", 0, 0).append(7, "t#0", 1, 0);
        s.check(Once).holds(1);
    }

    #[test]
    fn a_recalled_message_that_does_not_come_is_right() {
        let mut s = timed();
        s.recall(7, CallOutcome::Ok).at(600.0).done(true);
        s.check(Once).holds(1);
    }

    #[test]
    fn a_recalled_message_that_comes_is_wrong() {
        let mut s = timed();
        s.recall(7, CallOutcome::Ok).at(10.5).append(7, "t#0", 0, 0);
        let report = s.check(Once).violated(1);
        insta::assert_snapshot!(report.evidence[0].summary, @"message 7 became visible although it was recalled");
    }

    #[test]
    fn a_recall_that_comes_too_late_or_is_unknown_has_no_effect() {
        let mut s = timed();
        s.at(9.0).recall(7, CallOutcome::Ok).at(10.5).append(7, "t#0", 0, 0);
        assert_eq!(s.check(Once).holds(2).legal[0].count, 1);
        let mut s = timed();
        s.recall(7, CallOutcome::Unknown).at(10.5).append(7, "t#0", 0, 0);
        s.check(Once).holds(1);
    }

    #[test]
    fn without_delays_nothing_is_put_to_the_test() {
        let mut s = Story::new(Story::contract());
        s.at(1.0).send(7, "t#0", 0);
        s.check(Once).status(Status::NotExercised);
    }

    #[test]
    fn what_was_visible_before_it_was_recalled_may_come_again_after_a_crash() {
        let mut s = timed();
        s.clock("b-0", 20.0).append(7, "t#0", 0, 0).clock("b-0", 0.0);
        s.recall(7, CallOutcome::Ok).down("b-0", How::Kill).at(4.0).up("b-0");
        s.append(7, "t#0", 1, 0);
        assert_eq!(s.check(Once).holds(2).legal.len(), 2);
    }
}
