//! INV-MONO: a consumer's position does not go back.

use crate::facts::{Facts, NONE, Session};
use crate::history::{Event, SimTime};

use super::{Findings, Invariant};

pub(super) static INVARIANT: Invariant = Invariant {
    statement: "While a member owns a queue its pull position never goes back.",
    explanation: "\
A member that owns a queue pulls forward only. A position that goes back means that messages are
handed out again although nothing asked for it.

Judged by: every session (a member's ownership of a queue without a break). A pull must not start
before the place where the last answer said to go on, an answer must not send the member back,
and it must not bring more messages than its range has offsets.

Promised by Apache RocketMQ: under every fault, as long as no member resets its offset.

Legal: a broker that answers an illegal position (OFFSET_MOVED) starts a new session, as do
losing the queue, dropping its buffer, and dying. After a power loss of the broker the log itself
may have gone back.",
    check,
};

fn check(facts: &Facts<'_>, findings: &mut Findings) {
    for (id, session) in (0u32..).zip(&facts.sessions) {
        let mut expected: Option<(i64, u32)> = None;
        for &at in facts.session_records.of(id) {
            let Some(record) = facts.record(at) else { continue };
            let Event::Pulled { from, next, got, .. } = record.event else { continue };
            if let Some((position, before)) = expected {
                findings.exercise();
                if from < position {
                    let what =
                        format!("pulled from {from} after it was told to go on at {position}");
                    back(facts, findings, session, (record.at, &[before, at], what));
                }
            }
            if next < from {
                let what = format!("asked for {from} and was told to go on at {next}");
                back(facts, findings, session, (record.at, &[at], what));
            } else if next.saturating_sub(from) < i64::from(got) {
                let what = format!("got {got} messages out of the range from {from} to {next}");
                back(facts, findings, session, (record.at, &[at], what));
            }
            expected = Some((next, at));
        }
    }
}

fn back(
    facts: &Facts<'_>,
    findings: &mut Findings,
    session: &Session,
    (at, records, what): (SimTime, &[u32], String),
) {
    let evidence = || {
        let member = facts.names().node_name(session.node);
        let queue = facts.queue_name(session.queue);
        facts.evidence(format!("{member} went back on {queue}: {what}"), NONE, at, records)
    };
    if facts.broker_power_lost(session.queue, session.opened, at) {
        findings.legal("a position that went back after a power loss of the broker", evidence);
    } else {
        findings.violation(evidence);
    }
}

#[cfg(test)]
mod tests {
    use crate::history::How;
    use crate::invariant::InvariantId::Mono;
    use crate::report::Status;
    use crate::story::Story;

    fn pulled_once() -> Story {
        let mut s = Story::new(Story::contract());
        s.at(1.0).assign("m1", "t#0").pull("m1", "t#0", 0, 2);
        s
    }

    #[test]
    fn a_position_that_moves_on_or_stays_is_right() {
        let mut s = pulled_once();
        s.pull("m1", "t#0", 2, 0).pull("m1", "t#0", 2, 3);
        s.check(Mono).holds(2);
    }

    #[test]
    fn a_pull_that_starts_too_early_goes_back() {
        let mut s = pulled_once();
        s.pull("m1", "t#0", 1, 1);
        let report = s.check(Mono).violated(1);
        insta::assert_snapshot!(report.evidence[0].summary, @"m1 went back on t@b#0: pulled from 1 after it was told to go on at 2");
    }

    #[test]
    fn an_answer_that_sends_the_member_back_is_wrong() {
        let mut s = pulled_once();
        s.pull_to("m1", "t#0", 2, 1, 1);
        s.check(Mono).violated(1);
    }

    #[test]
    fn more_messages_than_offsets_means_that_one_came_twice() {
        let mut s = pulled_once();
        s.pull_to("m1", "t#0", 2, 3, 4);
        s.check(Mono).violated(1);
    }

    #[test]
    fn a_member_that_gets_the_queue_again_starts_where_the_group_is() {
        let mut s = pulled_once();
        s.revoke("m1", "t#0").assign("m1", "t#0").pull("m1", "t#0", 0, 2).pull("m1", "t#0", 2, 0);
        s.check(Mono).holds(1);
    }

    #[test]
    fn a_member_that_died_starts_where_the_group_is() {
        let mut s = pulled_once();
        s.down("m1", How::Kill).up("m1").pull("m1", "t#0", 0, 2).pull("m1", "t#0", 2, 0);
        s.check(Mono).holds(1);
    }

    #[test]
    fn a_corrected_position_may_be_lower() {
        let mut s = pulled_once();
        s.correct("m1", "t#0", 2, 1).pull("m1", "t#0", 1, 0).pull("m1", "t#0", 1, 0);
        s.check(Mono).holds(1);
    }

    #[test]
    fn after_a_power_loss_of_the_broker_going_back_is_legal() {
        let mut s = pulled_once();
        s.down("b-0", How::PowerLoss).at(5.0).up("b-0").pull("m1", "t#0", 1, 0);
        assert_eq!(s.check(Mono).holds(1).legal[0].count, 1);
    }

    #[test]
    fn one_pull_proves_nothing() {
        pulled_once().check(Mono).status(Status::NotExercised);
    }
}
