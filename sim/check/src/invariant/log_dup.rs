//! INV-LOGDUP: a message is stored no more often than it was sent.

use crate::facts::{Facts, Op, TopicKind};
use crate::history::{How, QueueRef, SendKind, SimTime};

use super::{Findings, Invariant};

pub(super) static INVARIANT: Invariant = Invariant {
    statement: "A message is stored in its topic no more often than attempts were made to send it.",
    explanation: "\
A producer that retries after a timeout may store a message twice, since the first attempt may
have been stored after all. But one attempt stores at most one copy.

Judged by: the copies of a value in its own topic (appends where brokers can be watched, else the
different places that send results and deliveries name), against the sum of the attempts of all
sends of it. Copies in retry topics are the business of INV-RETRY, copies of half messages that
of INV-TXATOM.

Promised by Apache RocketMQ: under every fault, for messages that do not wait for a time.

Legal, and counted: several copies after a retried or repeated send. Of a delayed or timed message
what each attempt stored may be stored once more for every crash of its broker, because the
schedule's progress is persisted every 10 s only, and the timer's every second.",
    check,
};

fn check(facts: &Facts<'_>, findings: &mut Findings) {
    let mut places: Vec<(QueueRef, i64, SimTime, u32)> = Vec::new();
    for (message, _) in (0u32..).zip(&facts.messages) {
        let half = |op: &Op| op.kind == SendKind::Transaction;
        copies(facts, message, &mut places);
        if places.is_empty() || facts.ops_of(message).any(half) {
            continue;
        }
        findings.exercise();
        if places.len() == 1 {
            continue;
        }
        let attempts: u64 = facts.ops_of(message).map(|op| facts.attempts(op)).sum();
        let delayed = facts.ops_of(message).any(Op::waits);
        let replays = if delayed { crashes(facts, &places) } else { 0 };
        let copies = places.len() as u64;
        let evidence = || {
            let name = facts.message_name(message);
            let mut records: Vec<_> = places.iter().map(|place| place.3).collect();
            records.extend(facts.ops_of(message).flat_map(|op| [op.record, op.end_record]));
            let at = places.iter().map(|place| place.2).max().unwrap_or_default();
            let summary = format!("{name} has {copies} copies after {attempts} attempt(s) to send it");
            facts.evidence(summary, message, at, &records)
        };
        if copies > attempts * (1 + replays) {
            findings.violation(evidence);
        } else {
            findings.legal("stored once per attempt of a retried send, or after a crash", evidence);
        }
    }
}

/// The copies of a message in its own topic.
fn copies(facts: &Facts<'_>, message: u32, places: &mut Vec<(QueueRef, i64, SimTime, u32)>) {
    places.clear();
    let Some(first) = facts.ops_of(message).next() else { return };
    let topic = Some(first.topic);
    let own = |queue| facts.topic_of(queue) == topic;
    if facts.log.is_known() {
        let appends = facts.log.of(message).filter(|append| own(append.queue));
        places.extend(appends.map(|a| (a.queue, a.offset, a.at, a.record)));
        return;
    }
    let kind = |queue| facts.topic_kind(queue) == TopicKind::Normal;
    let deliveries = facts.each(facts.deliveries_of.of(message));
    let deliveries = deliveries.filter(|d| kind(d.queue) && own(d.queue));
    places.extend(deliveries.map(|d| (d.queue, d.offset, d.at, d.record)));
    let ok = facts.ops_of(message).filter(|op| op.offset >= 0 && !op.waits());
    places.extend(ok.map(|op| (op.queue, op.offset, op.ended, op.end_record)));
    places.sort_unstable();
    places.dedup_by_key(|place| (place.0, place.1));
}

fn crashes(facts: &Facts<'_>, places: &[(QueueRef, i64, SimTime, u32)]) -> u64 {
    let crashed = |how| matches!(how, How::Kill | How::PowerLoss);
    let mut most = 0;
    for &(queue, _, at, _) in places {
        let outages = facts.broker_outages(queue).iter();
        most = most.max(outages.filter(|o| crashed(o.how) && o.down <= at).count() as u64);
    }
    most
}

#[cfg(test)]
mod tests {
    use crate::history::How;
    use crate::invariant::InvariantId::LogDup;
    use crate::report::Status;
    use crate::story::Story;
    use crate::story::features::LEVEL_1;

    #[test]
    fn one_copy_per_send_is_right() {
        let mut s = Story::new(Story::contract());
        s.at(1.0).send(7, "t#0", 0).send(8, "t#0", 1);
        s.check(LogDup).holds(2);
    }

    #[test]
    fn two_copies_of_one_attempt_are_one_too_many() {
        let mut s = Story::new(Story::contract());
        s.at(1.0).invoke(7, "t").append(7, "t#0", 0, 0).append(7, "t#0", 1, 0).ok(7, "t#0", 0);
        let report = s.check(LogDup).violated(1);
        insta::assert_snapshot!(report.evidence[0].summary, @"message 7 has 2 copies after 1 attempt(s) to send it");
    }

    #[test]
    fn a_retry_after_a_timeout_may_store_a_second_copy() {
        let mut s = Story::new(Story::contract());
        s.at(1.0).invoke(7, "t").append(7, "t#0", 0, 0).append(7, "t#1", 0, 0);
        s.ok_after(7, "t#1", 0, 2);
        assert_eq!(s.check(LogDup).holds(1).legal[0].count, 1);
    }

    #[test]
    fn the_copies_of_two_sends_are_right() {
        let mut s = Story::new(Story::contract());
        s.at(1.0).invoke(7, "t").append(7, "t#0", 0, 0).unknown(7).send(7, "t#0", 1);
        s.check(LogDup).holds(1);
    }

    #[test]
    fn copies_in_retry_topics_do_not_count() {
        let mut s = Story::new(Story::contract());
        s.at(1.0).send(7, "t#0", 0).append(7, "%RETRY%g#0", 0, 1);
        s.check(LogDup).holds(1);
    }

    #[test]
    fn a_crash_may_repeat_a_delayed_message() {
        let mut s = Story::new(Story::contract());
        s.at(1.0).invoke_as(7, "t", None, 1).append(7, "SCHEDULE_TOPIC_XXXX#0", 0, 0);
        s.ok(7, "t#0", 0).at(2.5).append(7, "t#0", 0, 0);
        s.down("b-0", How::Kill).at(5.0).up("b-0").append(7, "t#0", 1, 0);
        s.check(LogDup).holds(1);
    }

    #[test]
    fn a_crash_may_repeat_what_each_attempt_of_a_delayed_send_stored() {
        let repeated = |copies: i64| {
            let mut s = Story::new(Story::contract());
            s.at(1.0).invoke_as(7, "t", None, 1).append(7, LEVEL_1, 0, 0).append(7, LEVEL_1, 1, 0);
            s.ok_after(7, LEVEL_1, 1, 2).at(2.5).append(7, "t#0", 0, 0).append(7, "t#0", 1, 0);
            s.down("b-0", How::Kill).at(5.0).up("b-0");
            for offset in 2..2 + copies {
                s.append(7, "t#0", offset, 0);
            }
            s
        };
        assert_eq!(repeated(2).check(LogDup).holds(1).legal[0].count, 1);
        repeated(3).check(LogDup).violated(1);
    }

    #[test]
    fn without_a_crash_a_delayed_message_is_stored_once() {
        let mut s = Story::new(Story::contract());
        s.at(1.0).invoke_as(7, "t", None, 1).append(7, "SCHEDULE_TOPIC_XXXX#0", 0, 0);
        s.ok(7, "t#0", 0).append(7, "t#0", 0, 0).append(7, "t#0", 1, 0);
        s.check(LogDup).violated(1);
    }

    #[test]
    fn without_a_view_into_the_brokers_the_places_that_clients_saw_count() {
        let mut s = Story::new(Story::contract());
        s.at(1.0).invoke(7, "t").ok(7, "t#0", 0);
        s.consume("m1", "t#0", 0, 7).consume("m1", "t#0", 1, 7);
        s.check(LogDup).violated(1);
    }

    #[test]
    fn a_message_that_nobody_saw_stored_proves_nothing() {
        let mut s = Story::new(Story::contract());
        s.at(1.0).invoke(7, "t").unknown(7);
        s.check(LogDup).status(Status::NotExercised);
    }

    #[test]
    fn copies_of_a_transactional_message_are_not_its_business() {
        use crate::history::TransactionState::Commit;
        let mut s = Story::new(Story::contract());
        s.at(1.0).send_half(7, 0).local(7, Commit).append(7, "t#0", 0, 0);
        s.checked(7, 1, Commit).append(7, "t#0", 1, 0);
        s.check(LogDup).status(Status::NotExercised);
    }
}
