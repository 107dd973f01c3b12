//! INV-DLQ: messages that exhausted their retries end in the dead-letter queue, once.

use crate::facts::{Append, Delivery, Facts, TopicKind};
use crate::history::{GroupId, How, Outcome, SimTime};

use super::{Findings, Invariant};

pub(super) static INVARIANT: Invariant = Invariant {
    statement: "A message goes to the dead-letter queue once, when its retries are exhausted.",
    explanation: "\
A message that failed for the last time (16 reconsumptions by default with a concurrent listener)
is put into the topic %DLQ%group instead of being retried. It is not lost, and the group is done
with it.

Judged by, where brokers can be watched: appends to the group's dead-letter topic. A value whose
delivery at the maximum count failed must be appended there, once, within `stuck_after_ms`; no
value may be appended there before; and the group must not be handed it afterwards.

Promised by Apache RocketMQ: in the absence of faults exactly once, under faults at least once.

Legal, and counted: a message of which duplicates exhausted their retries each, or whose
send-back had to be repeated because of a fault, has several copies and may be delivered after
the first of them. A power loss may take the copy.",
    check,
};

fn check(facts: &Facts<'_>, findings: &mut Findings) {
    for (message, _) in (0u32..).zip(&facts.messages) {
        for list in facts.by_audience(message) {
            let Some(first) = facts.each(list).next() else { continue };
            let group = facts.group(first.group);
            // Popped messages come again without end: the client would have to send them there.
            if group.broadcasting || group.pop {
                continue;
            }
            let case = Case { facts, message, list, group: first.group };
            if case.exhausted().next().is_some() || case.copies().next().is_some() {
                findings.exercise();
                case.judge(findings);
            }
        }
    }
}

/// One message in one group.
struct Case<'a> {
    facts: &'a Facts<'a>,
    message: u32,
    list: &'a [u32],
    group: GroupId,
}

impl Case<'_> {
    fn deliveries(&self) -> impl Iterator<Item = &Delivery> + Clone {
        self.facts.each(self.list)
    }

    fn copies(&self) -> impl Iterator<Item = &Append> + Clone {
        let dead = TopicKind::Dlq(Some(self.group));
        self.facts.log.of(self.message).filter(move |a| self.facts.topic_kind(a.queue) == dead)
    }

    /// Deliveries at the maximum count that failed, or may have.
    fn exhausted(&self) -> impl Iterator<Item = &Delivery> + Clone {
        let max = self.facts.group(self.group).max_reconsume.unwrap_or(u32::MAX);
        self.deliveries()
            .filter(move |d| d.reconsume >= max && d.outcome != Some(Outcome::Consumed))
    }

    fn judge(&self, findings: &mut Findings) {
        match self.copies().next() {
            None => self.missing(findings),
            Some(copy) => {
                if !self.exhausted().any(|d| d.at <= copy.at) {
                    let what = "is in the dead-letter queue before its retries were exhausted";
                    findings.violation(|| self.evidence(copy.at, what));
                }
                self.too_many(findings);
                self.after(findings, copy);
            }
        }
    }

    fn missing(&self, findings: &mut Findings) {
        let facts = self.facts;
        let failed = |d: &&Delivery| matches!(d.outcome, Some(Outcome::Later | Outcome::Suspended));
        let Some(last) = self.exhausted().filter(failed).last() else { return };
        let came_again = self.deliveries().any(|d| d.record > last.finish_record);
        let due = last.finished.0 + facts.contract.stuck_after_ms * 1000;
        if came_again || !facts.log.is_known() || facts.end().0 < due {
            return;
        }
        let mut outages = facts.log.outages.iter().flatten();
        if outages.any(|o| o.how == How::PowerLoss && o.down >= last.at) {
            findings.legal("a dead letter that a power loss may have taken", || {
                self.evidence(facts.end(), "is not in the dead-letter queue after a power loss")
            });
        } else {
            let what = "exhausted its retries and is not in the dead-letter queue";
            findings.violation(|| self.evidence(facts.end(), what));
        }
    }

    fn too_many(&self, findings: &mut Findings) {
        let copies = self.copies().count();
        let (Some(first), Some(last)) = (self.exhausted().next(), self.copies().last()) else {
            return;
        };
        if copies <= 1 {
            return;
        }
        let explained = copies <= self.exhausted().count() || !self.is_calm(first.at, last.at);
        let what = "is in the dead-letter queue more than once";
        if explained {
            let why = "several dead letters of a message, after duplicates or faults";
            findings.legal(why, || self.evidence(last.at, what));
        } else {
            findings.violation(|| self.evidence(last.at, what));
        }
    }

    fn after(&self, findings: &mut Findings, copy: &Append) {
        let from_dlq =
            |d: &Delivery| matches!(self.facts.topic_kind(d.queue), TopicKind::Dlq(_));
        let Some(d) = self.deliveries().find(|d| d.at > copy.at && !from_dlq(d)) else { return };
        let first = self.deliveries().next().map_or(d.at, |first| first.at);
        let what = "was handed out after it went to the dead-letter queue";
        if self.has_copies_below(d.reconsume) || !self.is_calm(first, d.at) {
            let why = "delivered after its dead letter, by a duplicate";
            findings.legal(why, || self.evidence(d.at, what));
        } else {
            findings.violation(|| self.evidence(d.at, what));
        }
    }

    /// Whether several copies of the message are on their way, each with a chain of retries: it was
    /// sent more than once, stored more than once, or failed more than once at the same count.
    fn has_copies_below(&self, count: u32) -> bool {
        let failures = |k| {
            let failed = |d: &&Delivery| d.reconsume == k && d.outcome == Some(Outcome::Later);
            self.deliveries().filter(failed).count()
        };
        let stored = self.facts.own_copies(self.message).count();
        let sent_once = self.facts.sent_once(self.message).is_some();
        !sent_once || stored > 1 || (0..count).any(|k| failures(k) > 1)
    }

    fn is_calm(&self, from: SimTime, to: SimTime) -> bool {
        self.facts.trouble.calm(self.group, from, to)
    }

    fn evidence(&self, at: SimTime, what: &str) -> crate::report::Evidence {
        let group = self.facts.names().group_name(self.group);
        let name = self.facts.message_name(self.message);
        let mut records: Vec<_> = self.copies().map(|copy| copy.record).collect();
        // The whole chain of retries would hide what matters.
        let newest = self.list.len().saturating_sub(3);
        let newest = self.list.get(newest..).unwrap_or_default();
        records.extend(self.facts.each(newest).flat_map(|d| [d.record, d.finish_record]));
        self.facts.evidence(format!("{group}: {name} {what}"), self.message, at, &records)
    }
}

#[cfg(test)]
mod tests {
    use crate::contract::{Contract, GroupContract};
    use crate::history::{FaultKind, How, Outcome};
    use crate::invariant::InvariantId::Dlq;
    use crate::report::Status;
    use crate::story::Story;

    /// Message 7 failed at its maximum count, which is 1.
    fn exhausted() -> Story {
        let group = GroupContract { max_reconsume: 1, ..GroupContract::concurrent("g", &["t"]) };
        let mut s = Story::new(Contract { groups: vec![group], ..Contract::default() });
        s.at(1.0).assign("m1", "t#0").assign("m1", "%RETRY%g#0").at(50.0).send(7, "t#0", 0);
        s.deliver("m1", "t#0", 0, 7).finish("m1", 7, Outcome::Later);
        s.at(61.0).consume_again("m1", "%RETRY%g#0", 0, 7, (1, Outcome::Later));
        s
    }

    #[test]
    fn one_dead_letter_is_right() {
        let mut s = exhausted();
        s.append(7, "%DLQ%g#0", 0, 2).at(500.0).done(true);
        s.check(Dlq).holds(1);
    }

    #[test]
    fn no_dead_letter_is_wrong() {
        let mut s = exhausted();
        s.at(500.0).done(true);
        let report = s.check(Dlq).violated(1);
        insta::assert_snapshot!(report.evidence[0].summary, @"g: message 7 exhausted its retries and is not in the dead-letter queue");
    }

    #[test]
    fn a_dead_letter_may_be_on_its_way() {
        let mut s = exhausted();
        s.at(65.0).done(true);
        s.check(Dlq).holds(1);
    }

    #[test]
    fn two_dead_letters_of_one_failure_are_wrong() {
        let mut s = exhausted();
        s.append(7, "%DLQ%g#0", 0, 2).append(7, "%DLQ%g#0", 1, 2).at(500.0).done(true);
        s.check(Dlq).violated(1);
    }

    #[test]
    fn a_fault_explains_two_dead_letters() {
        let mut s = exhausted();
        s.append(7, "%DLQ%g#0", 0, 2).fault(FaultKind::LostResponse, 64.0);
        s.at(67.0).append(7, "%DLQ%g#0", 1, 2).at(500.0).done(true);
        assert_eq!(s.check(Dlq).holds(1).legal[0].count, 1);
    }

    #[test]
    fn a_dead_letter_before_the_retries_are_exhausted_is_wrong() {
        let mut s = Story::new(Story::contract());
        s.at(50.0).send(7, "t#0", 0).deliver("m1", "t#0", 0, 7).finish("m1", 7, Outcome::Later);
        s.append(7, "%DLQ%g#0", 0, 1).at(500.0).done(true);
        s.check(Dlq).violated(1);
    }

    #[test]
    fn a_delivery_after_the_dead_letter_is_wrong() {
        let mut s = exhausted();
        s.append(7, "%DLQ%g#0", 0, 2);
        s.at(80.0).consume_again("m1", "%RETRY%g#0", 1, 7, (1, Outcome::Consumed));
        s.check(Dlq).violated(1);
    }

    #[test]
    fn a_duplicate_may_be_delivered_after_the_dead_letter() {
        let mut s = exhausted();
        s.append(7, "%DLQ%g#0", 0, 2).assign("m2", "t#0").pull("m2", "t#0", 0, 1);
        s.consume("m2", "t#0", 0, 7);
        s.check(Dlq).holds(1);
    }

    #[test]
    fn the_other_copy_of_a_retried_send_may_be_delivered_after_the_dead_letter() {
        let group = GroupContract { max_reconsume: 0, ..GroupContract::concurrent("g", &["t"]) };
        let mut s = Story::new(Contract { groups: vec![group], ..Contract::default() });
        s.at(1.0).assign("m1", "t#0").at(50.0).invoke(7, "t").append(7, "t#0", 0, 0);
        s.append(7, "t#0", 1, 0).ok_after(7, "t#0", 1, 2);
        s.deliver("m1", "t#0", 0, 7).finish("m1", 7, Outcome::Later).append(7, "%DLQ%g#0", 0, 1);
        s.consume("m1", "t#0", 1, 7);
        assert_eq!(s.check(Dlq).holds(1).legal[0].count, 1);
    }

    #[test]
    fn a_power_loss_may_take_the_dead_letter() {
        let mut s = exhausted();
        s.down("b-0", How::PowerLoss).at(70.0).up("b-0").at(500.0).done(true);
        s.check(Dlq).holds(1);
    }

    #[test]
    fn an_orderly_group_gives_up_too_if_it_has_a_maximum() {
        let group = GroupContract { max_reconsume: 1, ..GroupContract::orderly("g", &["t"]) };
        let mut s = Story::new(Contract { groups: vec![group], ..Contract::default() });
        s.at(1.0).send(7, "t#0", 0).consume_again("m1", "t#0", 0, 7, (0, Outcome::Suspended));
        s.consume_again("m1", "t#0", 0, 7, (1, Outcome::Suspended)).append(7, "%DLQ%g#0", 0, 2);
        s.at(500.0).done(true);
        s.check(Dlq).holds(1);
    }

    #[test]
    fn as_long_as_retries_are_left_nothing_is_put_to_the_test() {
        let mut s = Story::new(Story::contract());
        s.at(50.0).send(7, "t#0", 0).deliver("m1", "t#0", 0, 7).finish("m1", 7, Outcome::Later);
        s.check(Dlq).status(Status::NotExercised);
    }

    #[test]
    fn a_message_that_was_committed_twice_may_come_after_the_dead_letter_of_a_copy() {
        use crate::history::TransactionState::Commit;
        let group = GroupContract { max_reconsume: 0, ..GroupContract::concurrent("g", &["t"]) };
        let mut s = Story::new(Contract { groups: vec![group], ..Contract::default() });
        s.at(1.0).assign("m1", "t#0").at(50.0).send_half(7, 0).local(7, Commit).local(7, Commit);
        s.append(7, "t#0", 0, 0).append(7, "t#0", 1, 0).deliver("m1", "t#0", 0, 7);
        s.finish("m1", 7, Outcome::Later).append(7, "%DLQ%g#0", 0, 1);
        s.at(52.0).consume("m1", "t#0", 1, 7).at(500.0).done(true);
        assert_eq!(s.check(Dlq).holds(1).legal[0].count, 1);
    }
}
