//! INV-HANDLE: an acknowledgement counts if its handle is valid, and only then.

use crate::facts::{Ack, Delivery, Facts, Pop};
use crate::history::CallOutcome;

use super::popped::{Case, Return, cases};
use super::{Findings, Invariant};

pub(super) static INVARIANT: Invariant = Invariant {
    statement: "An acknowledgement with a valid handle is honoured, with a stale one it is not.",
    explanation: "\
Whoever pops a message gets a handle, and a new one whenever the invisible time is changed. With the
newest handle, and while the message is hidden, the message can be acknowledged: then it must not
come again. A handle that was replaced must not acknowledge anything.

Judged by: every acknowledgement of a popped message with one copy in its topic. If its handle was
the newest, and it was confirmed before the invisible time was over by the broker's clock, the
group must not get the message later; it must not have been refused either, with a second to
spare and no fault around. If all acknowledgements of a delivery used replaced handles, the message
must come again within `stuck-after-ms` after its invisible time.

Promised by Apache RocketMQ: as long as the broker lives.

Legal, and counted: after a crash of the broker an acknowledged message may come again. Where a
group pops in order, so may one behind a message of the same pop that nobody acknowledged: the queue
goes back to the first of those. And so may one that was hidden twice over, as INV-INVIS says, or
one whose time was over before the broker's clock was set back. Whether an acknowledgement counts
that comes when the time is just over is not judged: the broker looks at acknowledgements when it
revives what is due. It may also say yes to a stale handle, as long as that has no effect, and no
to an acknowledgement that repeats one without an answer.",
    check,
};

/// How long before its invisible time is over a message can certainly be acknowledged, in
/// microseconds.
const SPARE_US: i64 = 1_000_000;

/// What an acknowledgement should do.
#[derive(PartialEq, Eq)]
enum Class {
    Valid,
    Stale,
    /// It came too late, or nobody knows when it came.
    Open,
}

fn check(facts: &Facts<'_>, findings: &mut Findings) {
    for case in cases(facts) {
        for (delivery, pop) in case.pops() {
            for ack in &pop.acks {
                if class(&case, delivery, pop, ack) == Class::Valid {
                    valid(&case, findings, (delivery, pop), ack);
                }
            }
            let stale = |ack| class(&case, delivery, pop, ack) == Class::Stale;
            if !pop.acks.is_empty() && pop.acks.iter().all(stale) {
                findings.exercise();
                swallowed(&case, findings, (delivery, pop));
            }
        }
    }
}

fn class(case: &Case<'_>, delivery: &Delivery, pop: &Pop, ack: &Ack) -> Class {
    let Some(hiding) = pop.hiding_at(ack.invoked) else { return Class::Open };
    if ack.handle < hiding.handle {
        return Class::Stale;
    }
    let over = ack.outcome == CallOutcome::Unknown || ack.handle > hiding.handle;
    let in_time = !over && case.hidden_for_us(delivery, hiding, ack.ended) > 0;
    if in_time { Class::Valid } else { Class::Open }
}

fn valid(case: &Case<'_>, findings: &mut Findings, of: (&Delivery, &Pop), ack: &Ack) {
    let (delivery, pop) = of;
    findings.exercise();
    let facts = case.facts;
    if ack.outcome == CallOutcome::Refused {
        let hiding = pop.hiding_at(ack.invoked);
        let spare = hiding.map_or(0, |hiding| case.hidden_for_us(delivery, hiding, ack.ended));
        let popped = case.popped_at(delivery, pop);
        // One before it may have counted although nobody said so.
        let before =
            |other: &Ack| other.record < ack.record && other.outcome != CallOutcome::Refused;
        let again = pop.acks.iter().any(before);
        if spare > SPARE_US && !again && !facts.trouble.disturbed(popped, ack.ended) {
            findings.violation(|| {
                let records = [ack.record, ack.end_record];
                case.evidence(
                    of,
                    ack.ended,
                    "could not be acknowledged with a valid handle",
                    &records,
                )
            });
        }
        return;
    }
    let Some(next) = case.next_after(of, ack.ended) else { return };
    let evidence =
        || case.evidence(of, next.at, "came again after it was acknowledged", &[next.record]);
    let broker = case.broker(delivery);
    let features = &facts.features;
    if case.crashed(of, next.at) {
        findings.legal("came again after a crash of the broker", evidence);
    } else if broker.is_some_and(|broker| features.went_back(broker, delivery.at, ack.ended)) {
        findings.legal("its time had been over by a clock that was set back", evidence);
    } else if is_behind_another(case, of) {
        findings.legal("came again in order, behind one that was not acknowledged", evidence);
    } else if let Some(why) = case.hidden_twice(delivery, next) {
        findings.legal(why, evidence);
    } else {
        findings.violation(evidence);
    }
}

/// Whether the pop of a queue in order gave another message before this one that was not
/// acknowledged with a valid handle.
fn is_behind_another(case: &Case<'_>, (delivery, pop): (&Delivery, &Pop)) -> bool {
    let facts = case.facts;
    let group = facts.group(case.group);
    let Some(hidden) = pop.hidings.first().filter(|_| group.is_orderly()) else { return false };
    // The messages of one pop are hidden until one time at first, and handed out one by one.
    let before = (0u32..).zip(&facts.deliveries).filter(|(_, other)| {
        let of_queue = (other.group, other.queue) == (delivery.group, delivery.queue);
        of_queue && other.offset < delivery.offset && other.at <= delivery.at
    });
    let mut before = before.filter_map(|(id, other)| Some((other, facts.features.pops.get(&id)?)));
    before.any(|(other, before)| {
        let first = before.hidings.first();
        let same_pop = first.is_some_and(|first| first.visible_at_ms == hidden.visible_at_ms);
        let taken = |ack: &Ack| {
            ack.outcome == CallOutcome::Ok && class(case, other, before, ack) == Class::Valid
        };
        same_pop && !before.acks.iter().any(taken)
    })
}

/// All acknowledgements were stale, so the message has to come again.
fn swallowed(case: &Case<'_>, findings: &mut Findings, of: (&Delivery, &Pop)) {
    let end = case.facts.end();
    let what = "was acknowledged with a stale handle and never came again";
    match case.comes_again(of.0, of.1) {
        Return::NotYet | Return::Came => {}
        Return::Lost => {
            let why = "a power loss may have taken it";
            findings.legal(why, || case.evidence(of, end, what, &[]));
        }
        Return::Missing => findings.violation(|| case.evidence(of, end, what, &[])),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::invis::tests::popped;
    use crate::contract::{Contract, GroupContract};
    use crate::history::{CallOutcome, How};
    use crate::invariant::InvariantId::Handle;
    use crate::report::Status;
    use crate::story::Story;

    /// `m1` of a group that pops in order popped message 7 at 2 s, hidden until 12 s; message 8 is
    /// behind it.
    pub(in super::super) fn popped_in_order() -> Story {
        let group = GroupContract { pop: true, ..GroupContract::orderly("g", &["t"]) };
        let mut s = Story::new(Contract { groups: vec![group], ..Contract::default() });
        s.subscribe("m1").subscribe("m2").at(1.0).send(7, "t#0", 0).send(8, "t#0", 1);
        s.at(2.0).pop("m1", "t#0", (0, 7), 12.0);
        s
    }

    #[test]
    fn in_order_an_acknowledged_message_comes_again_behind_one_that_was_not() {
        let mut s = popped_in_order();
        s.pop("m1", "t#0", (1, 8), 12.0).at(5.0).ack("m1", 8, 0, CallOutcome::Ok);
        s.at(13.0).pop("m2", "t#0", (0, 7), 23.0).pop("m2", "t#0", (1, 8), 23.0);
        assert_eq!(s.check(Handle).holds(1).legal[0].count, 1);
    }

    #[test]
    fn in_order_an_acknowledged_message_does_not_come_again_behind_acknowledged_ones() {
        let mut s = popped_in_order();
        s.pop("m1", "t#0", (1, 8), 12.0).at(5.0).ack("m1", 7, 0, CallOutcome::Ok);
        s.ack("m1", 8, 0, CallOutcome::Ok).at(13.0).pop("m2", "t#0", (1, 8), 23.0);
        s.check(Handle).violated(1);
    }

    #[test]
    fn without_order_an_acknowledged_message_does_not_come_again_behind_another() {
        let mut s = popped();
        s.send(8, "t#0", 1).pop("m1", "t#0", (1, 8), 12.0).at(5.0);
        s.ack("m1", 8, 0, CallOutcome::Ok).at(13.0).pop("m2", "t#0", (1, 8), 23.0);
        s.check(Handle).violated(1);
    }

    #[test]
    fn a_valid_handle_is_honoured() {
        let mut s = popped();
        s.at(5.0).ack("m1", 7, 0, CallOutcome::Ok).at(600.0).done(true);
        s.check(Handle).holds(1);
    }

    #[test]
    fn an_acknowledged_message_that_comes_again_is_wrong() {
        let mut s = popped();
        s.at(5.0).ack("m1", 7, 0, CallOutcome::Ok);
        s.at(13.0).pop("m2", "%RETRY%g_t#0", (0, 7), 23.0);
        let report = s.check(Handle).violated(1);
        insta::assert_snapshot!(report.evidence[0].lines.join("\n"), @"
         2.000000s  m1: g is handed message 7 from t@b#0 offset 0, reconsume times 0
         2.001000s  m1: message 7 is hidden until 12000 ms
         5.000000s  m1: acknowledges message 7 with handle 0
         5.001000s  m1: acknowledgement of message 7: done
        13.000000s  m2: g is handed message 7 from %RETRY%g_t@b#0 offset 0, reconsume times 0
        ");
    }

    #[test]
    fn a_valid_handle_that_is_refused_is_wrong() {
        let mut s = popped();
        s.at(5.0).ack("m1", 7, 0, CallOutcome::Refused);
        s.check(Handle).violated(1);
    }

    #[test]
    fn a_replaced_handle_must_not_swallow_the_message() {
        let mut s = popped();
        s.at(5.0).hide("m1", 7, 1, 20.0).ack("m1", 7, 0, CallOutcome::Ok).at(600.0).done(true);
        s.check(Handle).violated(1);
        let mut s = popped();
        s.at(5.0).hide("m1", 7, 1, 20.0).ack("m1", 7, 0, CallOutcome::Ok);
        s.at(21.0).pop("m2", "%RETRY%g_t#0", (0, 7), 31.0).at(600.0).done(true);
        s.check(Handle).holds(1);
    }

    #[test]
    fn the_newest_handle_is_honoured() {
        let mut s = popped();
        s.at(5.0).hide("m1", 7, 1, 20.0).ack("m1", 7, 1, CallOutcome::Ok);
        s.at(21.0).pop("m2", "%RETRY%g_t#0", (0, 7), 31.0);
        s.check(Handle).violated(1);
    }

    #[test]
    fn a_handle_that_is_just_over_may_count_or_not() {
        let mut s = popped();
        s.at(12.5).ack("m1", 7, 0, CallOutcome::Ok).at(13.0);
        s.pop("m2", "%RETRY%g_t#0", (0, 7), 23.0);
        s.check(Handle).status(Status::NotExercised);
    }

    #[test]
    fn after_a_crash_an_acknowledged_message_may_come_again() {
        let mut s = popped();
        s.at(5.0).ack("m1", 7, 0, CallOutcome::Ok).down("b-0", How::Kill).at(7.0).up("b-0");
        s.at(8.0).pop("m2", "t#0", (0, 7), 18.0);
        assert_eq!(s.check(Handle).holds(1).legal[0].count, 1);
    }

    #[test]
    fn what_was_hidden_twice_over_comes_again_after_the_acknowledgement_of_one() {
        let popped_again = || {
            let mut s = popped();
            s.at(11.0).ask_to_hide("m1", 7);
            s
        };
        let mut s = popped_again();
        s.at(13.5).pop("m2", "%RETRY%g_t#0", (0, 7), 23.5).ack("m2", 7, 0, CallOutcome::Ok);
        s.at(22.5).pop("m1", "%RETRY%g_t#0", (1, 7), 32.5);
        assert_eq!(s.check(Handle).holds(1).legal[0].count, 1);
        let mut s = popped_again();
        s.hide("m1", 7, 1, 21.0).ack("m1", 7, 1, CallOutcome::Ok);
        s.at(22.5).pop("m1", "%RETRY%g_t#0", (0, 7), 32.5);
        s.check(Handle).violated(1);
    }

    #[test]
    fn what_a_crash_gave_to_two_members_comes_again_after_the_acknowledgement_of_one() {
        let mut s = popped();
        s.down("b-0", How::PowerLoss).at(4.0).up("b-0").at(6.0).pop("m2", "t#0", (0, 7), 16.0);
        s.at(9.0).hide("m1", 7, 1, 19.0).ack("m2", 7, 0, CallOutcome::Ok);
        s.at(20.5).pop("m2", "%RETRY%g_t#0", (0, 7), 30.5);
        assert_eq!(s.check(Handle).holds(1).legal[0].count, 1);
    }

    #[test]
    fn what_was_popped_before_may_be_handed_out_after_the_acknowledgement() {
        let popped_twice = || {
            let mut s = popped_in_order();
            s.down("b-0", How::Kill).at(4.0).up("b-0").at(6.0).pop("m2", "t#0", (1, 8), 16.0);
            s.ack("m2", 8, 0, CallOutcome::Ok).pop_late("m1", "t#0", (1, 8), (2.0, 12.0));
            s
        };
        assert!(popped_twice().check(Handle).holds(1).legal.is_empty());
        let mut s = popped_twice();
        s.ack("m1", 8, 0, CallOutcome::Ok).at(8.0).pop("m2", "t#0", (1, 8), 18.0);
        assert_eq!(s.check(Handle).violated(1).legal[0].count, 1);
    }

    #[test]
    fn without_acknowledgements_nothing_is_put_to_the_test() {
        let mut s = popped();
        s.at(5.0).ack("m1", 7, 0, CallOutcome::Unknown);
        s.check(Handle).status(Status::NotExercised);
    }

    #[test]
    fn what_repeats_an_acknowledgement_without_an_answer_may_be_refused() {
        let mut s = popped();
        s.at(3.0).ack("m1", 7, 0, CallOutcome::Unknown).ack("m1", 7, 0, CallOutcome::Refused);
        s.check(Handle).holds(1);
    }

    #[test]
    fn a_message_whose_time_was_over_before_the_clock_was_set_back_may_come_again() {
        let mut s = popped();
        s.at(13.0).clock("b-0", -5.0).ack("m1", 7, 0, CallOutcome::Ok);
        s.at(14.0).pop("m2", "%RETRY%g_t#0", (0, 7), 24.0);
        assert_eq!(s.check(Handle).holds(1).legal[0].count, 1);
    }
}
