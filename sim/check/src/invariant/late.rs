//! INV-LATE: no delayed or timed message is late.

use crate::facts::{Due, Facts, Fate};
use crate::history::{CallOutcome, SimTime};

use super::{Findings, Invariant};

pub(super) static INVARIANT: Invariant = Invariant {
    statement: "A delayed or timed message becomes visible soon after its time.",
    explanation: "\
A message that waits for its time must not be forgotten, nor come long after it.

Judged by, where brokers can be watched: every acknowledged message that waits and is not lost.
It must be stored in its own topic within the timer's precision (1 s) and `late-ms` (2 s) after
the broker's wall clock shows its time for good. A fault gives it until `stuck-after-ms` after
the fault. From outside it cannot be told who is late, the broker or the consumer.

Promised by Apache RocketMQ: with delay levels within the scan of a level (100 ms), with timers
within the precision, as long as the broker lives; after a crash as soon as it is back.

Legal, and counted: messages that are late after a fault. A delay level is first in first out:
after the broker's clock was set back, messages wait behind those that were stored before, for
no longer than it was set back. A message that was recalled, or may have been, need not come.",
    check,
};

fn check(facts: &Facts<'_>, findings: &mut Findings) {
    if !facts.log.is_known() {
        return;
    }
    for (message, _) in (0u32..).zip(&facts.messages) {
        let kept = facts.is_timed(message) && facts.fate(message) == Fate::Stored;
        if !kept || may_be_recalled(facts, message) {
            continue;
        }
        let due = facts.dues(message).map(|due| (facts.when_shown(due.node, due.wall_ms), due));
        if let Some((at, due)) = due.min_by_key(|(at, _)| *at) {
            judge(facts, findings, message, (at, &due));
        }
    }
}

fn may_be_recalled(facts: &Facts<'_>, message: u32) -> bool {
    let mut recalls = facts.timers(message).filter_map(|timer| timer.recall);
    recalls.any(|recall| recall.outcome != CallOutcome::Refused)
}

fn judge(facts: &Facts<'_>, findings: &mut Findings, message: u32, (due, wait): (SimTime, &Due)) {
    let contract = facts.contract;
    let soon = (contract.timer_precision_ms + contract.late_ms) * 1000;
    let bound = SimTime(due.0.max(wait.since.0).saturating_add(soon));
    let anew = contract.stuck_after_ms.saturating_mul(1000);
    let put_off = |bound| facts.trouble.put_off(due, bound, anew);
    let behind = facts.when_shown(wait.node, wait.wall_ms.saturating_add(wait.held_ms));
    let deadline = put_off(bound.max(SimTime(behind.0.saturating_add(soon))));
    let copy = facts.own_copies(message).next();
    let came = copy.map_or(facts.end(), |copy| copy.at);
    if copy.is_none() && came <= deadline {
        return;
    }
    findings.exercise();
    let late = came.since(due) as f64 / 1e6;
    let evidence = || {
        let what = match copy {
            Some(_) => format!("became visible {late:.3}s after its time"),
            None => format!("is not visible {late:.3}s after its time"),
        };
        let records = [wait.record, copy.map_or(crate::facts::NONE, |copy| copy.record)];
        facts.evidence_of_timed(message, came, &what, &records)
    };
    if came > deadline {
        findings.violation(evidence);
    } else if came > put_off(bound) {
        let why = "late behind messages stored before the clock was set back";
        findings.legal(why, evidence);
    } else if came > bound {
        findings.legal("late after a fault", evidence);
    }
}

#[cfg(test)]
mod tests {
    use crate::history::{CallOutcome, How};
    use crate::invariant::InvariantId::Late;
    use crate::report::Status;
    use crate::story::Story;

    fn timed() -> Story {
        let mut s = Story::new(Story::contract());
        s.at(1.0).send_timed(7, 10.0, 0);
        s
    }

    #[test]
    fn a_message_that_comes_soon_after_its_time_is_right() {
        let mut s = timed();
        s.at(11.5).append(7, "t#0", 0, 0).at(600.0).done(true);
        s.check(Late).holds(1);
    }

    #[test]
    fn a_message_that_comes_long_after_its_time_is_wrong() {
        let mut s = timed();
        s.at(20.0).append(7, "t#0", 0, 0).at(600.0).done(true);
        let report = s.check(Late).violated(1);
        insta::assert_snapshot!(report.evidence[0].lines.join("\n"), @"
         1.000000s  p: sends message 7 to t
         1.001000s  p: message 7 is to be delivered at 10000 ms
         1.002000s  b-0: appends message 7 to rmq_sys_wheel_timer@b#0 offset 0, physical 0
         1.003000s  p: message 7 acknowledged at rmq_sys_wheel_timer@b#0 offset 0
        20.000000s  b-0: appends message 7 to t@b#0 offset 0, physical 100
        ");
    }

    #[test]
    fn a_message_that_never_comes_is_wrong() {
        let mut s = timed();
        s.at(600.0).done(true);
        s.check(Late).violated(1);
        let mut s = Story::new(Story::contract());
        s.at(1.0).send_delayed(7, 0).at(600.0).done(true);
        s.check(Late).violated(1);
    }

    #[test]
    fn a_message_that_is_not_due_at_the_end_is_on_its_way() {
        let mut s = timed();
        s.at(11.0).done(true);
        s.check(Late).status(Status::NotExercised);
    }

    #[test]
    fn a_message_may_be_late_after_a_fault_but_not_for_ever() {
        let after = |at: f64| {
            let mut s = timed();
            s.at(9.0).down("b-0", How::Kill).at(30.0).up("b-0").at(at).append(7, "t#0", 0, 0);
            s.at(600.0).done(true);
            s
        };
        assert_eq!(after(40.0).check(Late).holds(1).legal[0].count, 1);
        after(200.0).check(Late).violated(1);
    }

    #[test]
    fn a_clock_that_is_set_back_makes_messages_wait_longer() {
        let mut s = timed();
        s.at(9.0).clock("b-0", -20.0).at(30.5).append(7, "t#0", 0, 0).at(600.0).done(true);
        s.check(Late).holds(1);
    }

    #[test]
    fn a_delayed_message_waits_behind_those_stored_before_the_clock_was_set_back() {
        let after = |at: f64| {
            let mut s = Story::new(Story::contract());
            s.at(1.0).clock("b-0", -40.0).at(200.0).send_delayed(7, 0);
            s.at(at).append(7, "t#0", 0, 0).at(600.0).done(true);
            s
        };
        assert_eq!(after(241.0).check(Late).holds(1).legal[0].count, 1);
        after(245.0).check(Late).violated(1);
    }

    #[test]
    fn a_timer_does_not_wait_behind_others() {
        let mut s = Story::new(Story::contract());
        s.at(1.0).clock("b-0", -40.0).at(200.0).send_timed(7, 170.0, 0);
        s.at(241.0).append(7, "t#0", 0, 0).at(600.0).done(true);
        s.check(Late).violated(1);
    }

    #[test]
    fn a_recalled_message_need_not_come() {
        let mut s = timed();
        s.recall(7, CallOutcome::Unknown).at(600.0).done(true);
        s.check(Late).status(Status::NotExercised);
        let mut s = timed();
        s.recall(7, CallOutcome::Refused).at(600.0).done(true);
        s.check(Late).violated(1);
    }

    #[test]
    fn without_delays_nothing_is_put_to_the_test() {
        let mut s = Story::new(Story::contract());
        s.at(1.0).send(7, "t#0", 0).at(600.0).done(true);
        s.check(Late).status(Status::NotExercised);
    }
}
