//! INV-EARLY: no delayed or timed message is visible before its time.

use crate::facts::{Append, Due, Facts, NONE};
use crate::history::{FaultKind, SimTime};

use super::{Findings, Invariant};

pub(super) static INVARIANT: Invariant = Invariant {
    statement: "No delayed or timed message is visible before its time.",
    explanation: "\
A message with a delay level waits for the delay of that level after it was stored; a message for
an arbitrary time waits until then. Whoever sent it relies on nobody seeing it earlier.

Judged by: every copy of such a message in its own topic. Seen from inside the brokers: when it is
stored there, the broker's wall clock must show the time asked for, or the time at which it stored
the delayed message plus the delay of its level (less 2 ms: store times are whole milliseconds).
Seen from outside: no delivery before that time after the call of send; not with jumping clocks.

Promised by Apache RocketMQ: under every fault. Timers are rounded, but never down
(TimerMessageStore).

Legal, and counted: a broker whose clock was set back takes a message whose time seems to be
further away than its delay, or lies before the time that its timer wheel has reached, for due.
Delays of redeliveries are the business of INV-RETRY.",
    check,
};

/// Store times are whole milliseconds, in microseconds.
const GRACE_US: i64 = 2_000;

fn check(facts: &Facts<'_>, findings: &mut Findings) {
    for (message, _) in (0u32..).zip(&facts.messages) {
        if !facts.is_timed(message) {
            continue;
        }
        if facts.log.is_known() {
            for copy in facts.own_copies(message) {
                in_log(facts, findings, message, copy);
            }
        } else {
            outside(facts, findings, message);
        }
    }
}

fn in_log(facts: &Facts<'_>, findings: &mut Findings, message: u32, copy: &Append) {
    let Some(node) = facts.node_of(copy.record) else { return };
    let waited = facts.dues(message).filter(|due| due.node == node && due.since <= copy.at);
    let mut dues: Vec<Due> = waited.collect();
    if dues.is_empty() {
        dues.extend(at_once(facts, message, copy));
    }
    let Some(due) = dues.iter().min_by_key(|due| due.wall_ms) else { return };
    findings.exercise();
    let early_us = due.wall_ms.saturating_mul(1000) - facts.wall_us(node, copy.at);
    if early_us <= GRACE_US {
        return;
    }
    let evidence = || {
        let what = format!("became visible {:.3}s before its time", early_us as f64 / 1e6);
        facts.evidence_of_timed(message, copy.at, &what, &[due.record, copy.record])
    };
    let timed = facts.timers(message).next().is_some();
    let since = |due: &Due| if timed { SimTime(0) } else { due.since };
    // Each attempt to send may have left a copy that waits, and any of them may be the one.
    if dues.iter().any(|due| facts.features.went_back(node, since(due), copy.at)) {
        findings.legal("taken for due by a clock that was set back", evidence);
    } else {
        findings.violation(evidence);
    }
}

/// A timed message that never waited: its time must have come when it was sent.
fn at_once(facts: &Facts<'_>, message: u32, copy: &Append) -> Option<Due> {
    let wall_ms = facts.timers(message).map(|timer| timer.due_ms).min()?;
    let node = facts.node_of(copy.record)?;
    Some(Due { node, wall_ms, held_ms: 0, since: copy.at, record: NONE })
}

fn outside(facts: &Facts<'_>, findings: &mut Findings, message: u32) {
    let clocks = |fault: &crate::facts::Fault| fault.kind == FaultKind::Clock;
    if facts.features.any_clock_set() || facts.trouble.faults.iter().any(clocks) {
        return;
    }
    let first = facts.each(facts.deliveries_of.of(message)).min_by_key(|d| d.record);
    let Some(first) = first else { return };
    let due = facts.ops_of(message).map(|op| match facts.timer(op) {
        Some(timer) => facts.when_shown(op.node, timer.due_ms),
        None => SimTime(op.invoked.0 + facts.level_ms(op.delay_level).unsigned_abs() * 1000),
    });
    let Some(due) = due.min() else { return };
    findings.exercise();
    let tolerance = facts.contract.clock_tolerance_ms.max(1) * 1000;
    if first.at.0 + tolerance < due.0 {
        findings.violation(|| {
            let what =
                format!("was handed out {:.3}s before its time", due.since(first.at) as f64 / 1e6);
            facts.evidence_of_timed(message, first.at, &what, &[first.record])
        });
    }
}

#[cfg(test)]
mod tests {
    use crate::history::SendKind;
    use crate::invariant::InvariantId::Early;
    use crate::report::Status;
    use crate::story::Story;
    use crate::story::features::LEVEL_1;

    fn delayed() -> Story {
        let mut s = Story::new(Story::contract());
        s.at(1.0).send_delayed(7, 0);
        s
    }

    fn timed() -> Story {
        let mut s = Story::new(Story::contract());
        s.at(1.0).send_timed(7, 10.0, 0);
        s
    }

    #[test]
    fn any_copy_that_waits_may_be_the_one_that_a_clock_set_back_brings() {
        let stored_before = |before: bool| {
            let mut s = Story::new(Story::contract());
            s.at(1.0).invoke_as(7, "t", None, 1);
            if before {
                s.append(7, LEVEL_1, 0, 0);
            }
            s.clock("b-0", -20.0).append(7, LEVEL_1, 1, 0).ok_after(7, LEVEL_1, 1, 2);
            s.append(7, "t#0", 0, 0);
            s
        };
        assert_eq!(stored_before(true).check(Early).holds(1).legal[0].count, 1);
        stored_before(false).check(Early).violated(1);
    }

    #[test]
    fn a_message_that_is_visible_at_its_time_is_right() {
        let mut s = delayed();
        s.at(2.001).append(7, "t#0", 0, 0);
        s.check(Early).holds(1);
        let mut s = timed();
        s.at(10.0).append(7, "t#0", 0, 0);
        s.check(Early).holds(1);
    }

    #[test]
    fn a_delayed_message_before_its_delay_is_over_is_wrong() {
        let mut s = delayed();
        s.at(1.5).append(7, "t#0", 0, 0);
        let report = s.check(Early).violated(1);
        insta::assert_snapshot!(report.evidence[0].lines.join("\n"), @"
        1.000000s  p: sends message 7 to t, delay level 1
        1.001000s  b-0: appends message 7 to SCHEDULE_TOPIC_XXXX@b#0 offset 0, physical 0
        1.002000s  p: message 7 acknowledged at SCHEDULE_TOPIC_XXXX@b#0 offset 0
        1.500000s  b-0: appends message 7 to t@b#0 offset 0, physical 100
        ");
    }

    #[test]
    fn a_timed_message_before_its_time_is_wrong() {
        let mut s = timed();
        s.at(9.5).append(7, "t#0", 0, 0);
        let report = s.check(Early).violated(1);
        insta::assert_snapshot!(report.evidence[0].summary, @"message 7 became visible 0.500s before its time");
    }

    #[test]
    fn a_timed_message_that_is_not_made_to_wait_is_wrong() {
        let mut s = Story::new(Story::contract());
        s.at(1.0).invoke_kind(7, "t", SendKind::Timed).timed(7, 10.0).append(7, "t#0", 0, 0);
        s.check(Early).violated(1);
    }

    #[test]
    fn the_clock_of_the_broker_decides() {
        let mut s = timed();
        s.clock("b-0", 5.0).at(5.1).append(7, "t#0", 0, 0);
        s.check(Early).holds(1);
        let mut s = timed();
        s.clock("m1", 5.0).at(5.1).append(7, "t#0", 0, 0);
        s.check(Early).violated(1);
    }

    #[test]
    fn a_clock_that_was_set_back_makes_messages_due() {
        let mut s = delayed();
        s.clock("b-0", -100.0).at(1.2).append(7, "t#0", 0, 0);
        assert_eq!(s.check(Early).holds(1).legal[0].count, 1);
    }

    #[test]
    fn seen_from_outside_a_delivery_before_its_time_is_wrong() {
        let handed_out = |at: f64| {
            let mut s = Story::new(Story::contract());
            s.at(1.0).invoke_as(7, "t", None, 1).ok(7, "t#0", 0).at(at).consume("m1", "t#0", 0, 7);
            s
        };
        handed_out(1.5).check(Early).violated(1);
        handed_out(2.1).check(Early).holds(1);
    }

    #[test]
    fn without_delays_nothing_is_put_to_the_test() {
        let mut s = Story::new(Story::contract());
        s.at(1.0).send(7, "t#0", 0);
        s.check(Early).status(Status::NotExercised);
    }
}
