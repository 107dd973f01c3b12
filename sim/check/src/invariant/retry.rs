//! INV-RETRY: failed messages come back, one count and one delay level at a time.

use crate::facts::{Delivery, Facts, TopicKind};
use crate::history::{How, Outcome, SimTime};

use super::{Findings, Invariant};

pub(super) static INVARIANT: Invariant = Invariant {
    statement: "A failed message comes back with its count one higher, after its delay.",
    explanation: "\
A concurrent listener that answers RECONSUME_LATER makes the client send the message back: the
broker stores a copy for the group's retry topic, with reconsume times one higher and delay level
3 plus the times it was consumed before. When the delay is over, the group gets it again.

Judged by: for each value and clustering group with a concurrent listener: a delivery with count
k follows a delivery with count k-1 that did not succeed; through the retry topic it comes no
earlier than the delay of its level after the first such failure; counts do not go beyond the
maximum; and after a failure the message comes again, or goes to the dead-letter queue.

Promised by Apache RocketMQ: counts and delays under every fault but jumping clocks.

Legal: when the send-back fails the client tries again by itself after 5 s, with the count one
higher and from the same place. The resend path of some versions allows one count more than the
maximum. A power loss may take the copy, which is stored without waiting for a flush. A member
that has lost the queue does not send back; the new owner hands the message out.",
    check,
};

/// For how long after a failure the queue must stay for the send-back to be sure, in microseconds.
const SEND_BACK_US: u64 = 10_000_000;

fn check(facts: &Facts<'_>, findings: &mut Findings) {
    for (message, _) in (0u32..).zip(&facts.messages) {
        for list in facts.by_audience(message) {
            let Some(first) = facts.each(list).next() else { continue };
            let group = facts.group(first.group);
            if group.broadcasting || group.is_orderly() || group.pop {
                continue;
            }
            let all_plain = facts
                .each(list)
                .all(|d| d.reconsume == 0 && d.outcome == Some(Outcome::Consumed));
            if all_plain {
                continue;
            }
            let case = Case { facts, message, list, max: group.max_reconsume.unwrap_or(u32::MAX) };
            for delivery in facts.each(list).filter(|d| d.reconsume > 0) {
                findings.exercise();
                case.came_rightly(findings, delivery);
            }
            case.came_back(findings);
        }
    }
}

/// One message in one group.
struct Case<'a> {
    facts: &'a Facts<'a>,
    message: u32,
    list: &'a [u32],
    max: u32,
}

impl Case<'_> {
    fn deliveries(&self) -> impl Iterator<Item = &Delivery> + Clone {
        self.facts.each(self.list)
    }

    fn came_rightly(&self, findings: &mut Findings, d: &Delivery) {
        let count = d.reconsume;
        if count > self.max.saturating_add(1) {
            let what = format!("with reconsume times {count} of at most {}", self.max);
            self.violation(findings, d.at, what);
            return;
        }
        if count == self.max.saturating_add(1) {
            findings.legal("one reconsumption more than the maximum", || {
                self.evidence(d.at, "once more than the maximum".to_owned())
            });
        }
        let mut before = self
            .deliveries()
            .filter(|p| p.record < d.record && p.reconsume + 1 == count)
            .filter(|p| !(p.outcome == Some(Outcome::Consumed) && p.finished <= d.at))
            .peekable();
        if before.peek().is_none() {
            let what = format!("with reconsume times {count} without a failure at {}", count - 1);
            self.violation(findings, d.at, what);
            return;
        }
        if !matches!(self.facts.topic_kind(d.queue), TopicKind::Retry(_)) {
            return;
        }
        let failed = |p: &Delivery| match p.outcome {
            Some(Outcome::Later) => p.finished,
            // It may have been sent back any time after it was handed out.
            _ => p.at,
        };
        let Some(failed) = before.map(failed).min() else { return };
        let delay = self.facts.contract.retry_delay_us(count);
        let tolerance = self.facts.trouble.clock_tolerance_us(self.facts.contract);
        let due = SimTime((failed.0 + delay).saturating_sub(tolerance));
        if d.at < due {
            let after = d.at.since(failed) as f64 / 1e6;
            let what = format!("{after:.3}s after it failed, not after {:.3}s", delay as f64 / 1e6);
            self.violation(findings, d.at, what);
        }
    }

    fn came_back(&self, findings: &mut Findings) {
        let later = self.deliveries().filter(|d| d.outcome == Some(Outcome::Later));
        let Some(last) = later.max_by_key(|d| (d.reconsume, d.finish_record)) else { return };
        if last.reconsume >= self.max {
            return;
        }
        let facts = self.facts;
        let delay = facts.contract.retry_delay_us(last.reconsume + 1);
        let due = last.finished.0 + delay + facts.contract.stuck_after_ms * 1000;
        if facts.end().0 < due {
            return;
        }
        findings.exercise();
        let owned = facts.sessions.get(last.session as usize);
        let kept = owned.is_none_or(|s| s.closed.0 > last.finished.0 + SEND_BACK_US);
        let again = |d: &Delivery| {
            d.record > last.finish_record || (!kept && d.session != last.session)
        };
        let dead = facts.log.of(self.message).any(|append| {
            append.record > last.record
                && facts.topic_kind(append.queue) == TopicKind::Dlq(Some(last.group))
        });
        if dead || self.deliveries().any(again) {
            return;
        }
        let end = facts.end();
        let outages = facts.log.outages.iter().flatten();
        // One before the failure counts, too: the group may be ahead of the retry queue since.
        let mut lost = outages.filter(|o| o.how == How::PowerLoss);
        if lost.next().is_some() {
            findings.legal("a retry copy that a power loss may have taken or hidden", || {
                self.evidence(end, "which never came back after a power loss".to_owned())
            });
        } else {
            let what = "which failed and never came back".to_owned();
            findings.violation(|| self.evidence(end, what));
        }
    }

    fn violation(&self, findings: &mut Findings, at: SimTime, what: String) {
        findings.violation(|| self.evidence(at, what));
    }

    fn evidence(&self, at: SimTime, what: String) -> crate::report::Evidence {
        let names = self.facts.names();
        let group = self.deliveries().next().map_or("?", |d| names.group_name(d.group));
        let records: Vec<_> =
            self.deliveries().flat_map(|d| [d.record, d.finish_record]).collect();
        let name = self.facts.message_name(self.message);
        self.facts.evidence(format!("{group} was handed {name} {what}"), self.message, at, &records)
    }
}

#[cfg(test)]
mod tests {
    use crate::contract::{Contract, GroupContract};
    use crate::history::{FaultKind, How, Outcome};
    use crate::invariant::InvariantId::Retry;
    use crate::report::Status;
    use crate::story::Story;

    /// Message 7 failed just after 1 s.
    fn failed() -> Story {
        let mut s = Story::new(Story::contract());
        s.at(1.0).send(7, "t#0", 0).assign("m1", "t#0").pull("m1", "t#0", 0, 1);
        s.deliver("m1", "t#0", 0, 7).finish("m1", 7, Outcome::Later);
        s
    }

    #[test]
    fn each_time_one_count_and_one_level_more_is_right() {
        let mut s = failed();
        s.at(11.1).consume_again("m1", "%RETRY%g#0", 0, 7, (1, Outcome::Later));
        s.at(41.2).consume_again("m1", "%RETRY%g#0", 1, 7, (2, Outcome::Consumed));
        s.at(500.0).done(true);
        s.check(Retry).holds(3);
    }

    #[test]
    fn a_message_that_comes_back_at_once_is_wrong() {
        let mut s = failed();
        s.at(2.0).consume_again("m1", "%RETRY%g#0", 0, 7, (1, Outcome::Consumed));
        let report = s.check(Retry).violated(1);
        insta::assert_snapshot!(report.evidence[0].summary, @"g was handed message 7 0.994s after it failed, not after 10.000s");
    }

    #[test]
    fn a_count_that_jumps_is_wrong() {
        let mut s = failed();
        s.at(200.0).consume_again("m1", "%RETRY%g#0", 0, 7, (2, Outcome::Consumed));
        s.check(Retry).violated(1);
    }

    #[test]
    fn a_message_that_succeeded_must_not_come_back() {
        let mut s = Story::new(Story::contract());
        s.at(1.0).send(7, "t#0", 0).consume("m1", "t#0", 0, 7);
        s.at(20.0).consume_again("m1", "%RETRY%g#0", 0, 7, (1, Outcome::Consumed));
        s.check(Retry).violated(1);
    }

    #[test]
    fn a_count_beyond_the_maximum_is_wrong() {
        let group = GroupContract { max_reconsume: 0, ..GroupContract::concurrent("g", &["t"]) };
        let mut s = Story::new(Contract { groups: vec![group], ..Contract::default() });
        s.at(1.0).send(7, "t#0", 0).deliver("m1", "t#0", 0, 7).finish("m1", 7, Outcome::Later);
        s.at(12.0).consume_again("m1", "%RETRY%g#0", 0, 7, (1, Outcome::Later));
        s.at(50.0).consume_again("m1", "%RETRY%g#0", 0, 7, (2, Outcome::Consumed));
        let report = s.check(Retry).violated(1);
        assert_eq!(report.legal.len(), 1, "one more than the maximum is legal");
    }

    #[test]
    fn a_message_that_never_comes_back_is_wrong() {
        let mut s = failed();
        s.at(500.0).done(true);
        s.check(Retry).violated(1);
    }

    #[test]
    fn a_message_that_is_not_due_yet_is_on_its_way() {
        let mut s = failed();
        s.at(5.0).done(true);
        s.check(Retry).status(Status::NotExercised);
    }

    #[test]
    fn a_client_that_cannot_send_back_tries_again_by_itself() {
        let mut s = failed();
        s.at(6.1).consume_again("m1", "t#0", 0, 7, (1, Outcome::Consumed)).at(500.0).done(true);
        s.check(Retry).holds(2);
    }

    #[test]
    fn a_member_that_lost_the_queue_does_not_send_back() {
        let mut s = Story::new(Story::contract());
        s.at(1.0).send(7, "t#0", 0).assign("m1", "t#0").pull("m1", "t#0", 0, 1);
        s.deliver("m1", "t#0", 0, 7).revoke("m1", "t#0").assign("m2", "t#0");
        s.pull("m2", "t#0", 0, 1).consume("m2", "t#0", 0, 7).finish("m1", 7, Outcome::Later);
        s.at(500.0).done(true);
        s.check(Retry).holds(1);
    }

    #[test]
    fn a_power_loss_may_take_the_copy() {
        let mut s = failed();
        s.at(1.5).down("b-0", How::PowerLoss).at(5.0).up("b-0").at(500.0).done(true);
        assert_eq!(s.check(Retry).holds(1).legal[0].count, 1);
    }

    #[test]
    fn with_jumping_clocks_delays_are_not_judged() {
        let mut s = failed();
        s.fault(FaultKind::Clock, 1.5);
        s.at(2.0).consume_again("m1", "%RETRY%g#0", 0, 7, (1, Outcome::Consumed));
        s.check(Retry).holds(1);
    }

    #[test]
    fn without_failures_nothing_is_put_to_the_test() {
        let mut s = Story::new(Story::contract());
        s.at(1.0).send(7, "t#0", 0).consume("m1", "t#0", 0, 7).at(500.0).done(true);
        s.check(Retry).status(Status::NotExercised);
    }
}
