//! INV-PHANTOM: nothing is delivered that was not sent.

use crate::facts::{Delivery, End, Facts, NONE, TopicKind};
use crate::history::Event;

use super::{Findings, Invariant};

pub(super) static INVARIANT: Invariant = Invariant {
    statement: "Every delivered message was sent, to that topic, and arrives as it was sent.",
    explanation: "\
A consumer must never see a message that nobody sent, one that a producer was told is certainly
not stored, a body other than the one sent, or a message of another topic.

Judged by: every delivery (and every append, where brokers can be watched). The number in the
body must be one that a producer sent, before the delivery; the body must match the number's
checksum; the queue must belong to the topic it was sent to, or to the group's retry topic; and
at least one send of it must have ended other than as certainly failed.

Promised by Apache RocketMQ: under every fault. Bodies are covered by a CRC, properties are not.

Legal, and counted: a message whose send ended unknown may be delivered. It is called recovered,
and is neither a phantom nor a duplicate.",
    check,
};

fn check(facts: &Facts<'_>, findings: &mut Findings) {
    for delivery in &facts.deliveries {
        findings.exercise();
        if let Some(what) = wrong(facts, delivery) {
            findings.violation(|| {
                let group = facts.names().group_name(delivery.group);
                let mut records = vec![delivery.record];
                for op in facts.ops_of(delivery.value) {
                    records.extend([op.record, op.end_record]);
                }
                let name = name(facts, delivery);
                let summary = format!("{group} was handed {name}, {what}");
                facts.evidence(summary, delivery.value, delivery.at, &records)
            });
        }
    }
    appends(facts, findings);
    recovered(facts, findings);
}

fn name(facts: &Facts<'_>, delivery: &Delivery) -> String {
    match facts.record(delivery.record).map(|record| record.event) {
        Some(Event::Delivered { value, .. }) if delivery.value == NONE => {
            format!("message {}", value.0)
        }
        _ => facts.message_name(delivery.value),
    }
}

fn wrong(facts: &Facts<'_>, delivery: &Delivery) -> Option<&'static str> {
    if delivery.value == NONE {
        return Some("which nobody sent");
    }
    if !delivery.intact {
        return Some("but its body is not the one that was sent");
    }
    let mut ops = facts.ops_of(delivery.value).peekable();
    let topic = ops.peek()?.topic;
    let right_topic = match facts.topic_kind(delivery.queue) {
        TopicKind::Normal => facts.topic_of(delivery.queue) == Some(topic),
        TopicKind::Retry(group) => {
            let topics = &facts.group(delivery.group).topics;
            group == Some(delivery.group) && (topics.is_empty() || topics.contains(&topic))
        }
        // Nobody subscribes to these by accident.
        TopicKind::Dlq(_) => true,
        // Nobody may read where messages wait.
        TopicKind::Schedule | TopicKind::Timer | TopicKind::Half | TopicKind::Discarded => false,
    };
    if !right_topic {
        return Some("which was sent to another topic");
    }
    if ops.clone().all(|op| op.invoked > delivery.at) {
        return Some("which had not been sent yet");
    }
    ops.all(|op| op.end == End::Failed).then_some("but every send of it certainly failed")
}

fn appends(facts: &Facts<'_>, findings: &mut Findings) {
    for append in facts.log.appends.iter().filter(|append| append.value == NONE) {
        let Some(record) = facts.record(append.record) else { continue };
        let Event::Appended { value: Some(value), .. } = record.event else { continue };
        findings.violation(|| {
            let summary = format!("a broker appended message {}, which nobody sent", value.0);
            facts.evidence(summary, NONE, append.at, &[append.record])
        });
    }
}

fn recovered(facts: &Facts<'_>, findings: &mut Findings) {
    for (message, _) in (0u32..).zip(&facts.messages) {
        let unknown = facts.ops_of(message).find(|op| op.end == End::Unknown);
        let first = facts.each(facts.deliveries_of.of(message)).next();
        if let (Some(op), Some(first), None) = (unknown, first, facts.ok_op(message)) {
            findings.legal("recovered: delivered although the fate of its send was unknown", || {
                let summary = format!("{} was stored after all", facts.message_name(message));
                let records = [op.record, op.end_record, first.record];
                facts.evidence(summary, message, first.at, &records)
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::invariant::InvariantId::Phantom;
    use crate::report::Status;
    use crate::story::Story;

    #[test]
    fn what_was_sent_may_be_delivered() {
        let mut s = Story::new(Story::contract());
        s.at(1.0).send(7, "t#0", 0).consume("m1", "t#0", 0, 7);
        s.check(Phantom).holds(1);
    }

    #[test]
    fn a_message_that_nobody_sent_is_a_phantom() {
        let mut s = Story::new(Story::contract());
        s.at(1.0).send(7, "t#0", 0).consume("m1", "t#0", 0, 8);
        let report = s.check(Phantom).violated(1);
        insta::assert_snapshot!(report.evidence[0].summary, @"g was handed message 8, which nobody sent");
    }

    #[test]
    fn a_number_that_nobody_sent_in_the_log_is_a_phantom() {
        let mut s = Story::new(Story::contract());
        s.at(1.0).invoke(7, "t").append(8, "t#0", 0, 0).ok(7, "t#0", 0);
        s.check(Phantom).violated(1);
    }

    #[test]
    fn a_message_of_another_topic_is_a_phantom() {
        let mut s = Story::new(Story::contract());
        s.at(1.0).send(7, "other#0", 0).consume("m1", "t#0", 0, 7);
        s.check(Phantom).violated(1);
    }

    #[test]
    fn a_message_that_comes_back_through_the_retry_topic_is_no_phantom() {
        let mut s = Story::new(Story::contract());
        s.at(1.0).send(7, "t#0", 0).consume("m1", "%RETRY%g#0", 0, 7);
        s.check(Phantom).holds(1);
    }

    #[test]
    fn a_message_of_another_groups_retry_topic_is_a_phantom() {
        let mut s = Story::new(Story::contract());
        s.at(1.0).send(7, "t#0", 0).consume("m1", "%RETRY%h#0", 0, 7);
        s.check(Phantom).violated(1);
    }

    #[test]
    fn a_message_of_unknown_fate_that_is_delivered_is_recovered() {
        let mut s = Story::new(Story::contract());
        s.at(1.0).invoke(7, "t").unknown(7).consume("m1", "t#0", 0, 7);
        assert_eq!(s.check(Phantom).holds(1).legal[0].count, 1);
    }

    #[test]
    fn a_message_that_certainly_failed_must_not_be_delivered() {
        let mut s = Story::new(Story::contract());
        s.at(1.0).invoke(7, "t").failed(7).consume("m1", "t#0", 0, 7);
        s.check(Phantom).violated(1);
    }

    #[test]
    fn a_message_that_failed_once_and_was_sent_again_may_be_delivered() {
        let mut s = Story::new(Story::contract());
        s.at(1.0).invoke(7, "t").failed(7).send(7, "t#0", 0).consume("m1", "t#0", 0, 7);
        s.check(Phantom).holds(1);
    }

    #[test]
    fn without_deliveries_nothing_is_put_to_the_test() {
        let mut s = Story::new(Story::contract());
        s.at(1.0).send(7, "t#0", 0);
        s.check(Phantom).status(Status::NotExercised);
    }

    #[test]
    fn nobody_may_be_handed_what_still_waits() {
        use crate::story::features::HALF;
        let mut s = Story::new(Story::contract());
        s.at(1.0).send_half(7, 0).consume("m1", HALF, 0, 7);
        s.check(Phantom).violated(1);
    }
}
