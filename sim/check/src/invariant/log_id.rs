//! INV-LOGID: a queue offset stands for one message.

use rustc_hash::FxHashMap;

use crate::facts::{End, Facts};
use crate::history::{How, QueueRef, SimTime};

use super::{Findings, Invariant};

pub(super) static INVARIANT: Invariant = Invariant {
    statement: "Two different messages are never seen at the same offset of the same queue.",
    explanation: "\
A queue offset is given out once. Whoever looks at it, the producer in its send result, the
broker in its log, any consumer in a delivery, must see the same message there.

Judged by: all (queue, offset, value) triples from send results, appends and deliveries. Send
results of delayed, timed and half messages are left out: they carry the offset in the topic
where these wait.

Promised by Apache RocketMQ: under process crashes, network faults and client crashes, and with
SYNC_FLUSH for whatever was acknowledged also under power loss.

Legal, and counted: after a power loss the offsets of what was cut off are given out again. A
consumer may have seen the first message before the power loss, since messages are delivered
before they are flushed; the second message is another one.",
    check,
};

/// Who was seen at a place, first and last.
#[derive(Clone, Copy)]
struct Seen {
    value: u32,
    record: u32,
    at: SimTime,
    /// Whether a second observer confirmed it.
    confirmed: bool,
}

fn check(facts: &Facts<'_>, findings: &mut Findings) {
    let mut seen: FxHashMap<(QueueRef, i64), Seen> = FxHashMap::default();
    let expected = facts.log.appends.len().max(facts.ops.len());
    seen.reserve(expected);
    let mut sights: Vec<Sight> = sights(facts).collect();
    // In order of time, so that an offset that is given out again is one change, not many.
    sights.sort_by_key(|sight| sight.seen.record);
    for sight in sights {
        match seen.entry((sight.queue, sight.offset)) {
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(sight.seen);
            }
            std::collections::hash_map::Entry::Occupied(mut entry) => {
                let first = *entry.get();
                if first.value != sight.seen.value {
                    conflict(facts, findings, &sight, &first);
                    if first.at <= sight.seen.at {
                        entry.insert(sight.seen);
                    }
                } else if !first.confirmed {
                    findings.exercise();
                    entry.get_mut().confirmed = true;
                }
            }
        }
    }
}

/// A message seen at a place.
struct Sight {
    queue: QueueRef,
    offset: i64,
    seen: Seen,
}

fn sights<'a>(facts: &'a Facts<'_>) -> impl Iterator<Item = Sight> + 'a {
    let sight = |queue, offset, value, record, at| {
        let seen = Seen { value, record, at, confirmed: false };
        Sight { queue, offset, seen }
    };
    let appends = facts.log.appends.iter();
    let appends = appends.map(move |a| sight(a.queue, a.offset, a.value, a.record, a.at));
    let ops = facts.ops.iter().filter(|op| op.end == End::Ok && !op.waits());
    let ops = ops.map(move |op| sight(op.queue, op.offset, op.value, op.end_record, op.ended));
    let deliveries = facts.deliveries.iter();
    let deliveries = deliveries.map(move |d| sight(d.queue, d.offset, d.value, d.record, d.at));
    appends.chain(ops).chain(deliveries)
}

fn conflict(facts: &Facts<'_>, findings: &mut Findings, sight: &Sight, first: &Seen) {
    let (a, b) = match first.at <= sight.seen.at {
        true => (*first, sight.seen),
        false => (sight.seen, *first),
    };
    let evidence = || {
        let place = format!("{} offset {}", facts.queue_name(sight.queue), sight.offset);
        let (one, other) = (facts.message_name(a.value), facts.message_name(b.value));
        let mut records = vec![a.record, b.record];
        let outages = facts.broker_outages(sight.queue).iter();
        records.extend(outages.filter(|o| o.down <= b.at).map(|o| o.record).next_back());
        facts.evidence(format!("{place} is {one} and also {other}"), b.value, b.at, &records)
    };
    // A consumer may hand out from its buffer what the power loss took, long after the offset was
    // given out again, so either of the two may have been in the log first.
    let ops = facts.ops_of(a.value).chain(facts.ops_of(b.value));
    let sent = ops.map(|op| op.invoked).min();
    // What is not a message of the workload (the wish to recall one) was in the log when it was
    // seen, at the latest.
    let since = sent.map_or(a.at, |sent| sent.min(a.at));
    if facts.broker_down(sight.queue, &[How::PowerLoss], since, b.at) {
        findings.legal("offset given out again after a power loss", evidence);
    } else {
        findings.violation(evidence);
    }
}

#[cfg(test)]
mod tests {
    use crate::history::How;
    use crate::invariant::InvariantId::LogId;
    use crate::report::Status;
    use crate::story::Story;
    use crate::story::features::TIMER;

    #[test]
    fn producer_broker_and_consumer_agree() {
        let mut s = Story::new(Story::contract());
        s.at(1.0).send(7, "t#0", 0).consume("m1", "t#0", 0, 7).send(8, "t#0", 1);
        s.check(LogId).holds(2);
    }

    #[test]
    fn a_send_result_with_a_neighbours_offset_is_a_conflict() {
        let mut s = Story::new(Story::contract());
        s.at(1.0).send(7, "t#0", 0).invoke(8, "t").append(8, "t#0", 1, 0).ok(8, "t#0", 0);
        let report = s.check(LogId).violated(1);
        insta::assert_snapshot!(report.evidence[0].summary, @"t@b#0 offset 0 is message 7 and also message 8");
    }

    #[test]
    fn two_consumers_that_see_different_messages_are_a_conflict() {
        let mut s = Story::new(Story::contract());
        s.at(1.0).invoke(7, "t").unknown(7).invoke(8, "t").unknown(8);
        s.consume("m1", "t#0", 0, 7).consume("m2", "t#0", 0, 8);
        s.check(LogId).violated(1);
    }

    #[test]
    fn after_a_power_loss_an_offset_may_be_given_out_again() {
        let mut s = Story::new(Story::contract());
        s.at(1.0).send(7, "t#0", 0).consume("m1", "t#0", 0, 7);
        s.down("b-0", How::PowerLoss).at(3.0).up("b-0").recovered(0);
        s.send(8, "t#0", 0).consume("m1", "t#0", 0, 8);
        assert_eq!(s.check(LogId).holds(2).legal[0].count, 1);
    }

    #[test]
    fn a_consumer_may_hand_out_from_its_buffer_what_a_power_loss_took() {
        let mut s = Story::new(Story::contract());
        s.at(1.0).send(7, "t#0", 0).down("b-0", How::PowerLoss).at(3.0).up("b-0").recovered(0);
        s.send(8, "t#0", 0).consume("m1", "t#0", 0, 7);
        assert_eq!(s.check(LogId).status(Status::Holds).violations, 0);
    }

    #[test]
    fn the_offset_of_what_nobody_sent_may_be_given_out_again_after_a_power_loss() {
        let recalled = |how| {
            let mut s = Story::new(Story::contract());
            s.at(1.0).append_other(TIMER, 0).down("b-0", how).at(3.0).up("b-0").recovered(0);
            s.send_timed(7, 9.0, 0).at(10.0).send(8, "t#0", 0).consume("m1", "t#0", 0, 8);
            s
        };
        assert_eq!(recalled(How::PowerLoss).check(LogId).holds(1).legal[0].count, 1);
        recalled(How::Kill).check(LogId).violated(1);
    }

    #[test]
    fn after_a_kill_it_may_not() {
        let mut s = Story::new(Story::contract());
        s.at(1.0).send(7, "t#0", 0).down("b-0", How::Kill).at(3.0).up("b-0").send(8, "t#0", 0);
        assert!(s.check(LogId).status(Status::Violated).violations >= 1);
    }

    #[test]
    fn a_send_result_of_a_delayed_message_has_the_offset_of_another_topic() {
        let mut s = Story::new(Story::contract());
        s.at(1.0).send(7, "t#0", 0).invoke_as(8, "t", None, 1);
        s.append(8, "SCHEDULE_TOPIC_XXXX#0", 0, 0).ok(8, "t#0", 0);
        s.check(LogId).holds(1);
    }

    #[test]
    fn one_look_alone_proves_nothing() {
        let mut s = Story::new(Story::contract());
        s.at(1.0).invoke(7, "t").ok(7, "t#0", 0);
        s.check(LogId).status(Status::NotExercised);
    }
}
