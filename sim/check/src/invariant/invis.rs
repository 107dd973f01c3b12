//! INV-INVIS: a popped message is hidden for its time, and comes again after it.

use crate::facts::{Delivery, Facts, Pop};
use crate::history::CallOutcome;

use super::popped::{Case, Return, cases};
use super::{Findings, Invariant};

pub(super) static INVARIANT: Invariant = Invariant {
    statement: "A popped message is hidden from its group for its time, and comes again after it.",
    explanation: "\
Who pops a message has it alone for the invisible time that it asked for. Nobody else of the group
may get it before that time is over; and if it was not acknowledged by then it must come again, or
a consumer that died would have taken it along.

Judged by: every popped message with one copy in its topic. The next delivery to the group must
not come before the last invisible time that was granted is over, by the broker's clock; what was
popped earlier, and waited in the hands of a member behind others, is not the next. A message
without any acknowledgement must come again within `stuck-after-ms` after that, if the group has
members.

Promised by Apache RocketMQ: as long as the broker lives; what was popped when it crashes comes
again at the latest when the broker is back.

Legal, and counted: a broker that crashed has forgotten what it had hidden in memory only; one
whose clock was set back had hidden by the time before. A change of the time that reaches the broker
when the time is over hides a message once more that has come again already: from then on it comes
twice. So does a change with the receipt of a message that a power loss took, for the one that is at
its offset now. And a crash may bring a message back to its old place that the broker had popped
before, and revives as well. A message that was reconsumed as often as its group allows is given up
by its consumer.",
    check,
};

/// Invisible times are whole milliseconds, in microseconds.
const GRACE_US: i64 = 2_000;

fn check(facts: &Facts<'_>, findings: &mut Findings) {
    for case in cases(facts) {
        for (delivery, pop) in case.pops() {
            hidden(&case, findings, (delivery, pop));
            if pop.acks.iter().all(|ack| ack.outcome == CallOutcome::Refused) {
                back(&case, findings, (delivery, pop));
            }
        }
    }
}

fn hidden(case: &Case<'_>, findings: &mut Findings, (delivery, pop): (&Delivery, &Pop)) {
    let Some(next) = case.next_after((delivery, pop), delivery.at) else { return };
    let acked =
        |ack: &crate::facts::Ack| ack.outcome != CallOutcome::Refused && ack.invoked < next.at;
    let Some(hiding) = pop.hiding_at(next.at).filter(|_| !pop.acks.iter().any(acked)) else {
        return;
    };
    findings.exercise();
    let early = case.hidden_for_us(delivery, hiding, next.at);
    if early <= GRACE_US {
        return;
    }
    let evidence = || {
        let what =
            format!("came again {:.3}s before its invisible time was over", early as f64 / 1e6);
        case.evidence((delivery, pop), next.at, &what, &[next.record])
    };
    let popped = case.popped_at(delivery, pop);
    let back = case
        .broker(delivery)
        .is_some_and(|broker| case.facts.features.went_back(broker, popped, next.at));
    if case.crashed((delivery, pop), next.at) {
        findings.legal("came again early after a crash of the broker", evidence);
    } else if back {
        findings.legal("came again early by a clock that was set back", evidence);
    } else if let Some(why) = case.hidden_twice(delivery, next) {
        findings.legal(why, evidence);
    } else {
        findings.violation(evidence);
    }
}

fn back(case: &Case<'_>, findings: &mut Findings, (delivery, pop): (&Delivery, &Pop)) {
    let end = case.facts.end();
    let what = "was not acknowledged and never came again";
    match case.comes_again(delivery, pop) {
        Return::NotYet | Return::Came => {}
        Return::Lost => findings.legal("a power loss may have taken it", || {
            case.evidence((delivery, pop), end, what, &[])
        }),
        Return::Missing => {
            findings.exercise();
            findings.violation(|| case.evidence((delivery, pop), end, what, &[]));
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use crate::contract::{Contract, GroupContract};
    use crate::history::{CallOutcome, How};
    use crate::invariant::InvariantId::Invis;
    use crate::report::Status;
    use crate::story::Story;

    /// `m1` popped message 7 at 2 s, hidden until 12 s.
    pub(in super::super) fn popped() -> Story {
        let group = GroupContract { pop: true, ..GroupContract::concurrent("g", &["t"]) };
        let mut s = Story::new(Contract { groups: vec![group], ..Contract::default() });
        s.subscribe("m1").subscribe("m2").at(1.0).send(7, "t#0", 0);
        s.at(2.0).pop("m1", "t#0", (0, 7), 12.0);
        s
    }

    #[test]
    fn a_message_that_comes_again_after_its_time_is_right() {
        let mut s = popped();
        s.at(12.5).pop("m2", "%RETRY%g_t#0", (0, 7), 22.0).ack("m2", 7, 0, CallOutcome::Ok);
        s.at(600.0).done(true);
        s.check(Invis).holds(1);
    }

    #[test]
    fn a_message_that_comes_again_before_its_time_is_wrong() {
        let mut s = popped();
        s.at(9.0).pop("m2", "t#0", (0, 7), 19.0);
        let report = s.check(Invis).violated(1);
        insta::assert_snapshot!(report.evidence[0].lines.join("\n"), @"
        2.000000s  m1: g is handed message 7 from t@b#0 offset 0, reconsume times 0
        2.001000s  m1: message 7 is hidden until 12000 ms
        9.000000s  m2: g is handed message 7 from t@b#0 offset 0, reconsume times 0
        ");
    }

    #[test]
    fn a_longer_time_counts_once_it_is_granted() {
        let mut s = popped();
        s.at(10.0).hide("m1", 7, 1, 30.0).at(15.0).pop("m2", "%RETRY%g_t#0", (0, 7), 25.0);
        s.check(Invis).violated(1);
    }

    #[test]
    fn a_message_that_is_not_acknowledged_must_come_again() {
        let mut s = popped();
        s.at(600.0).done(true);
        let report = s.check(Invis).violated(1);
        insta::assert_snapshot!(report.evidence[0].summary, @"g: message 7 was not acknowledged and never came again");
    }

    #[test]
    fn an_acknowledged_message_need_not_come_again() {
        let mut s = popped();
        s.ack("m1", 7, 0, CallOutcome::Ok).at(600.0).done(true);
        s.check(Invis).status(Status::NotExercised);
    }

    #[test]
    fn a_crash_of_the_broker_may_bring_it_early() {
        let mut s = popped();
        s.down("b-0", How::Kill).at(4.0).up("b-0").at(5.0).pop("m2", "t#0", (0, 7), 15.0);
        assert_eq!(s.check(Invis).holds(1).legal[0].count, 1);
    }

    /// Message 8 was popped along with message 7, and the broker crashed and forgot it.
    fn forgotten() -> Story {
        let mut s = popped();
        s.send(8, "t#0", 1).down("b-0", How::Kill).at(4.0).up("b-0").at(6.0);
        s
    }

    #[test]
    fn what_waited_in_the_hands_of_a_member_does_not_come_again_when_it_is_handed_out() {
        let mut s = forgotten();
        s.pop("m2", "t#0", (1, 8), 16.0).at(7.0).pop_late("m1", "t#0", (1, 8), (2.0, 12.0));
        s.check(Invis).status(Status::NotExercised);
        let mut s = forgotten();
        s.pop("m2", "t#0", (1, 8), 16.0).at(7.0).pop_late("m1", "t#0", (1, 8), (6.5, 16.5));
        s.check(Invis).violated(1);
    }

    #[test]
    fn a_crash_since_the_pop_counts_even_if_the_message_was_handed_out_after_it() {
        let mut s = forgotten();
        s.pop_late("m1", "t#0", (1, 8), (2.0, 12.0)).at(7.0).pop("m2", "t#0", (1, 8), 17.0);
        assert_eq!(s.check(Invis).holds(1).legal[0].count, 1);
        let mut s = forgotten();
        s.pop_late("m1", "t#0", (1, 8), (2.0, 12.0)).at(7.0).pop("m2", "t#0", (1, 8), 17.0);
        s.clock("b-0", -40.0);
        assert_eq!(s.check(Invis).holds(1).legal[0].count, 1, "whatever the clock shows later");
        let mut s = forgotten();
        s.pop("m1", "t#0", (1, 8), 16.0).at(7.0).pop("m2", "t#0", (1, 8), 17.0);
        s.check(Invis).violated(1);
    }

    #[test]
    fn what_was_popped_anew_need_not_come_again_for_who_had_it_before() {
        let mut s = forgotten();
        s.pop("m2", "t#0", (1, 8), 16.0).at(7.0).pop_late("m1", "t#0", (1, 8), (2.0, 12.0));
        s.ack("m2", 8, 0, CallOutcome::Ok).ack("m1", 7, 0, CallOutcome::Ok).at(600.0).done(true);
        s.check(Invis).status(Status::NotExercised);
    }

    #[test]
    fn a_crash_may_bring_back_what_is_revived_as_well() {
        let mut s = popped();
        s.down("b-0", How::Kill).at(4.0).up("b-0").at(12.5);
        s.append(7, "%RETRY%g_t#0", 0, 1).pop("m2", "%RETRY%g_t#0", (0, 7), 22.5);
        s.at(14.0).pop("m1", "t#0", (0, 7), 24.0);
        assert_eq!(s.check(Invis).holds(2).legal[0].count, 1);
        let mut s = popped();
        s.at(12.5).append(7, "%RETRY%g_t#0", 0, 1).pop("m2", "%RETRY%g_t#0", (0, 7), 22.5);
        s.at(14.0).pop("m1", "t#0", (0, 7), 24.0);
        s.check(Invis).violated(1);
    }

    #[test]
    fn the_clock_of_the_broker_decides() {
        let mut s = popped();
        s.clock("b-0", 10.0).at(3.0).pop("m2", "%RETRY%g_t#0", (0, 7), 23.0);
        s.check(Invis).holds(1);
    }

    #[test]
    fn without_members_nobody_gets_it_again() {
        let mut s = popped();
        s.down("m1", How::Stop).down("m2", How::Stop).at(600.0).done(true);
        s.check(Invis).status(Status::NotExercised);
    }

    #[test]
    fn a_change_of_the_time_that_comes_late_lets_a_message_come_twice() {
        let mut s = popped();
        s.at(11.0).ask_to_hide("m1", 7).at(13.5).pop("m2", "%RETRY%g_t#0", (0, 7), 23.5);
        s.at(22.5).pop("m1", "%RETRY%g_t#0", (1, 7), 32.5);
        assert_eq!(s.check(Invis).holds(2).legal[0].count, 1);
        let mut s = popped();
        s.at(11.0).ask_to_hide("m1", 7).hide("m1", 7, 1, 21.0);
        s.at(20.0).pop("m2", "%RETRY%g_t#0", (0, 7), 30.0);
        s.check(Invis).violated(1);
    }

    #[test]
    fn a_change_that_was_granted_after_its_time_lets_a_message_come_twice() {
        let mut s = popped();
        s.at(11.9).ask_to_hide("m1", 7).at(13.4).hide("m1", 7, 1, 23.0).at(13.5);
        s.pop("m2", "%RETRY%g_t#0", (0, 7), 23.5);
        assert_eq!(s.check(Invis).holds(1).legal[0].count, 1);
    }

    #[test]
    fn a_receipt_of_a_message_that_was_cut_off_hides_the_one_in_its_place() {
        let mut s = popped();
        s.append(8, "t#0", 1, 0).pop("m1", "t#0", (1, 8), 12.0).down("b-0", How::PowerLoss);
        s.at(4.0).up("b-0").recovered(1).send(9, "t#0", 1).at(6.0).pop("m2", "t#0", (1, 9), 16.0);
        s.at(15.0).pop("m1", "%RETRY%g_t#0", (0, 9), 25.0);
        assert_eq!(s.check(Invis).holds(1).legal[0].count, 1);
    }

    #[test]
    fn two_copies_are_popped_each_by_itself() {
        let mut s = popped();
        s.send(7, "t#0", 1).at(3.0).pop("m2", "t#0", (1, 7), 13.0);
        s.check(Invis).status(Status::NotExercised);
    }
}
