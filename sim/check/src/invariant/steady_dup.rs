//! INV-STEADYDUP: no duplicates while nothing happens that explains them.

use crate::facts::{Delivery, Facts, Op};
use crate::history::{How, Outcome, SendKind};

use super::{Findings, Invariant};

pub(super) static INVARIANT: Invariant = Invariant {
    statement: "Without faults, rebalances, failures or retries nothing is delivered twice.",
    explanation: "\
At-least-once allows duplicates, but each has a cause: a fault, a queue that changes hands, a
consumption that failed, a send that was retried. Where no cause is near, a duplicate is a bug.

Judged by: two successive deliveries of a value to the same group (or broadcasting member). If
the first did not fail, no fault was active and no member or queue came or went from 5 s before
the first to the second, and the message was sent once, with one attempt, then the second is a
violation. Two members may both own a queue for up to 55 s after a fault: until the next
heartbeat of one and the next rebalancing of the other.

Promised by Apache RocketMQ: in the absence of every fault.

Legal: all other duplicates. They are counted in the statistics. A transaction that was committed
twice is the business of INV-TXATOM, a popped message that comes again that of INV-INVIS and
INV-HANDLE.",
    check,
};

fn check(facts: &Facts<'_>, findings: &mut Findings) {
    for (message, _) in (0u32..).zip(&facts.messages) {
        for list in facts.by_audience(message) {
            let mut deliveries = facts.each(list);
            let Some(mut before) = deliveries.next() else { continue };
            if facts.group(before.group).pop {
                continue;
            }
            if facts.trouble.calm(before.group, before.at, before.at) {
                findings.exercise();
            }
            let mut failed = false;
            for delivery in deliveries {
                failed |= !matches!(before.outcome, None | Some(Outcome::Consumed));
                if !failed && is_unexplained(facts, message, before, delivery) {
                    report(facts, findings, message, before, delivery);
                }
                before = delivery;
            }
        }
    }
}

fn is_unexplained(facts: &Facts<'_>, message: u32, a: &Delivery, b: &Delivery) -> bool {
    // A listener call that outlives the consume timeout is sent back while it is running.
    let timed_out = a.finished > b.at && b.reconsume > a.reconsume;
    if timed_out || !facts.trouble.calm(a.group, a.at, b.at) {
        return false;
    }
    if a.node != b.node && !facts.trouble.converged(a.at) {
        return false;
    }
    if (a.queue, a.offset) == (b.queue, b.offset) {
        return true;
    }
    // Two copies: only if one send with one attempt made both.
    facts.sent_once(message).is_some_and(|op| !is_replayed(facts, op, b))
}

/// Whether a broker may have stored a message twice by itself: a half message for every end of its
/// transaction that it was told, one that waits for its time after a crash.
fn is_replayed(facts: &Facts<'_>, op: &Op, b: &Delivery) -> bool {
    if op.kind == SendKind::Transaction {
        return true;
    }
    let crashes = [How::Kill, How::PowerLoss];
    op.waits() && facts.broker_down(b.queue, &crashes, op.invoked, b.at)
}

fn report(facts: &Facts<'_>, findings: &mut Findings, message: u32, a: &Delivery, b: &Delivery) {
    findings.violation(|| {
        let (name, group) = (facts.message_name(message), facts.names().group_name(b.group));
        let summary = format!("{group} was handed {name} twice, with no cause in sight");
        let records = [a.record, a.finish_record, b.record, b.finish_record];
        facts.evidence(summary, message, b.at, &records)
    });
}

#[cfg(test)]
mod tests {
    use crate::history::{FaultKind, How, Outcome};
    use crate::invariant::InvariantId::SteadyDup;
    use crate::report::Status;
    use crate::story::Story;

    /// `m1` has owned the queue for long and consumed message 7.
    fn consumed() -> Story {
        let mut s = Story::new(Story::contract());
        s.at(1.0).assign("m1", "t#0").at(50.0).send(7, "t#0", 0);
        s.pull("m1", "t#0", 0, 1).consume("m1", "t#0", 0, 7);
        s
    }

    #[test]
    fn one_delivery_is_right() {
        consumed().check(SteadyDup).holds(1);
    }

    #[test]
    fn a_second_delivery_without_a_cause_is_wrong() {
        let mut s = consumed();
        s.consume("m1", "t#0", 0, 7);
        let report = s.check(SteadyDup).violated(1);
        insta::assert_snapshot!(report.evidence[0].lines.join("\n"), @r#"
        50.004000s  m1: g is handed message 7 from t@b#0 offset 0, reconsume times 0
        50.005000s  m1: message 7 is consumed
        50.006000s  m1: g is handed message 7 from t@b#0 offset 0, reconsume times 0
        50.007000s  m1: message 7 is consumed
        "#);
    }

    #[test]
    fn two_listener_calls_side_by_side_are_wrong() {
        let mut s = Story::new(Story::contract());
        s.at(1.0).assign("m1", "t#0").at(50.0).send(7, "t#0", 0).pull("m1", "t#0", 0, 1);
        s.deliver("m1", "t#0", 0, 7).deliver("m1", "t#0", 0, 7);
        s.check(SteadyDup).violated(1);
    }

    #[test]
    fn a_copy_that_one_attempt_should_not_have_made_is_wrong() {
        let mut s = consumed();
        s.append(7, "t#0", 1, 0).pull("m1", "t#0", 1, 1).consume("m1", "t#0", 1, 7);
        s.check(SteadyDup).violated(1);
    }

    #[test]
    fn a_failed_consumption_explains_a_duplicate() {
        let mut s = Story::new(Story::contract());
        s.at(1.0).assign("m1", "t#0").at(50.0).send(7, "t#0", 0);
        s.deliver("m1", "t#0", 0, 7).finish("m1", 7, Outcome::Later);
        s.at(61.0).consume_again("m1", "%RETRY%g#0", 0, 7, (1, Outcome::Consumed));
        s.check(SteadyDup).holds(1);
    }

    #[test]
    fn a_queue_that_changes_hands_explains_a_duplicate() {
        let mut s = consumed();
        s.assign("m2", "t#0").pull("m2", "t#0", 0, 1).consume("m2", "t#0", 0, 7);
        s.check(SteadyDup).holds(1);
    }

    #[test]
    fn two_members_may_share_a_queue_until_they_agree_again() {
        let shared = |at: f64| {
            let mut s = Story::new(Story::contract());
            s.at(1.0).assign("m1", "t#0").assign("m2", "t#0");
            s.at(10.0).fault(FaultKind::Flash, 11.0).at(at).send(7, "t#0", 0);
            s.pull("m1", "t#0", 0, 1).consume("m1", "t#0", 0, 7);
            s.pull("m2", "t#0", 0, 1).consume("m2", "t#0", 0, 7);
            s
        };
        shared(40.0).check(SteadyDup).holds(1);
        shared(70.0).check(SteadyDup).violated(1);
    }

    #[test]
    fn a_fault_explains_a_duplicate() {
        let mut s = consumed();
        s.fault(FaultKind::Flash, 52.0).consume("m1", "t#0", 0, 7);
        s.check(SteadyDup).holds(1);
    }

    #[test]
    fn a_fault_long_ago_does_not() {
        let mut s = Story::new(Story::contract());
        s.at(1.0).assign("m1", "t#0").fault(FaultKind::Flash, 2.0).at(50.0).send(7, "t#0", 0);
        s.consume("m1", "t#0", 0, 7).consume("m1", "t#0", 0, 7);
        s.check(SteadyDup).violated(1);
    }

    #[test]
    fn a_retried_send_explains_two_copies() {
        let mut s = Story::new(Story::contract());
        s.at(1.0).assign("m1", "t#0").at(50.0).invoke(7, "t").append(7, "t#0", 0, 0);
        s.append(7, "t#0", 1, 0).ok_after(7, "t#0", 1, 2);
        s.consume("m1", "t#0", 0, 7).consume("m1", "t#0", 1, 7);
        s.check(SteadyDup).holds(1);
    }

    #[test]
    fn a_crash_of_the_broker_may_repeat_a_delayed_message() {
        let mut s = Story::new(Story::contract());
        s.at(1.0).assign("m1", "t#0").at(50.0).invoke_as(7, "t", None, 1).ok(7, "t#0", 0);
        s.down("b-0", How::Kill).at(51.0).up("b-0").at(70.0);
        s.consume("m1", "t#0", 0, 7).consume("m1", "t#0", 1, 7);
        s.check(SteadyDup).holds(1);
    }

    #[test]
    fn in_a_run_that_is_never_calm_nothing_is_put_to_the_test() {
        let mut s = Story::new(Story::contract());
        s.at(1.0).assign("m1", "t#0").send(7, "t#0", 0).consume("m1", "t#0", 0, 7);
        s.check(SteadyDup).status(Status::NotExercised);
    }

    #[test]
    fn a_transaction_that_was_committed_twice_explains_two_copies() {
        use crate::history::TransactionState::Commit;
        let mut s = Story::new(Story::contract());
        s.at(1.0).assign("m1", "t#0").at(50.0).send_half(7, 0).local(7, Commit);
        s.append(7, "t#0", 0, 0).checked(7, 1, Commit).append(7, "t#0", 1, 0);
        s.consume("m1", "t#0", 0, 7).consume("m1", "t#0", 1, 7);
        s.check(SteadyDup).holds(1);
    }

    #[test]
    fn a_popped_message_that_comes_again_is_not_its_business() {
        use crate::contract::{Contract, GroupContract};
        let group = GroupContract { pop: true, ..GroupContract::concurrent("g", &["t"]) };
        let mut s = Story::new(Contract { groups: vec![group], ..Contract::default() });
        s.at(50.0).send(7, "t#0", 0).pop("m1", "t#0", (0, 7), 60.0).at(61.0);
        s.pop("m1", "%RETRY%g_t#0", (0, 7), 71.0);
        s.check(SteadyDup).status(Status::NotExercised);
    }
}
