//! INV-TXCHECK: the broker asks about a transaction by its schedule.

use crate::facts::{Answer, Append, Facts, NONE, Op, TopicKind};
use crate::history::{FaultKind, How, SendKind, SimTime};
use crate::report::Evidence;

use super::{Findings, Invariant};

pub(super) static INVARIANT: Invariant = Invariant {
    statement: "The broker asks about a half message by its schedule, and only until it has ended.",
    explanation: "\
A producer that died between its local transaction and telling about it must be asked, but a
transaction must be given its time, and nobody should be asked without end.

Judged by: what producers were asked. The first time, the half message must be older than the
timeout (6 s); between two times about the same half message at least the interval (30 s) must
lie, less a second; the number of the check must not exceed the maximum (15). Where brokers can
be watched: once the broker has noted that it is done with the half message it must not store it
again for a check (with 5 s of grace for a round that is under way, or half the interval if that
is less), nor may it ask 10 s later.

Promised by Apache RocketMQ: the timeout, the interval and the maximum at any time, by the clocks
that it looks at; that it does not ask in vain while the broker lives.

Legal, and counted: a message that was sent by several attempts has as many halves, which are
asked about each by itself. A check stores the half message again, as a copy that is decided by
itself: an answer to an older check does not end the newest. A broker that went down begins its
round of checks anew; it may have forgotten which half messages it had stored again, and then
asks about each copy. With jumping clocks times are not judged.",
    check,
};

/// How much closer two rounds may follow each other at a producer, in microseconds.
const JITTER_US: u64 = 1_000_000;

/// How long after the end of a half message a round that did not know of it may store it again, at
/// most, and may ask, in microseconds.
const ROUND_US: u64 = 5_000_000;
const ASK_US: u64 = 10_000_000;

/// What a broker may do that forgot which half messages it had stored again.
const SEVERAL: &str = "several copies of a half message asked about after the broker was down";

fn check(facts: &Facts<'_>, findings: &mut Findings) {
    if facts.features.answers.is_empty() {
        return;
    }
    for (message, _) in (0u32..).zip(&facts.messages) {
        let half = |op: &Op| op.kind == SendKind::Transaction;
        if !facts.ops_of(message).any(half) {
            continue;
        }
        let case = Case { facts, message };
        for _ in case.checks() {
            findings.exercise();
        }
        case.not_too_early(findings);
        case.not_too_often(findings);
        case.not_too_close(findings);
        case.not_in_vain(findings);
    }
}

/// One transactional message.
struct Case<'a> {
    facts: &'a Facts<'a>,
    message: u32,
}

impl Case<'_> {
    fn checks(&self) -> impl Iterator<Item = &Answer> + Clone {
        self.facts.features.answers(self.message).filter(|answer| answer.check.is_some())
    }

    fn halves(&self) -> impl DoubleEndedIterator<Item = &Append> + Clone {
        self.facts.copies_in(self.message, TopicKind::Half)
    }

    fn not_too_early(&self, findings: &mut Findings) {
        let sent = self.facts.ops_of(self.message).map(|op| op.invoked).min();
        let (Some(first), Some(sent)) = (self.checks().next(), sent) else { return };
        let timeout = self.facts.contract.transactions.timeout_ms * 1000;
        let tolerance = self.facts.trouble.clock_tolerance_us(self.facts.contract);
        if first.at.since(sent).saturating_add(tolerance) < timeout {
            let age = first.at.since(sent) as f64 / 1e6;
            let what = format!("was asked about {age:.3}s after it was sent");
            self.violation(findings, first.at, &what, &[first.record]);
        }
    }

    fn not_too_often(&self, findings: &mut Findings) {
        let most = self.facts.contract.transactions.max_checks;
        let beyond = |answer: &&Answer| answer.check.is_some_and(|round| u32::from(round) > most);
        if let Some(answer) = self.checks().find(beyond) {
            let what = format!("was asked about for more than {most} times");
            self.violation(findings, answer.at, &what, &[answer.record]);
            return;
        }
        let most = u64::from(most) * self.attempts();
        let asked = self.checks().count() as u64;
        let Some(last) = self.checks().last().filter(|_| asked > most) else { return };
        let what = format!("was asked about {asked} times");
        if self.was_down(SimTime(0), last.at) {
            let why = "asked about more often after the broker was down";
            findings.legal(why, || self.evidence(last.at, &what, &[last.record]));
        } else {
            self.violation(findings, last.at, &what, &[last.record]);
        }
    }

    fn not_too_close(&self, findings: &mut Findings) {
        if self.attempts() > 1 || self.clocks_jump() {
            return;
        }
        let interval = self.facts.contract.transactions.interval_ms * 1000;
        let sent = self.facts.ops_of(self.message).map(|op| op.invoked).min();
        for (one, next) in self.checks().zip(self.checks().skip(1)) {
            let (from, to) = (one.at, next.at);
            let near = to.since(from) + JITTER_US < interval;
            if !near || self.facts.trouble.disturbed(from, to) || self.was_down(from, to) {
                continue;
            }
            let what = format!("was asked about again after {:.3}s", to.since(from) as f64 / 1e6);
            let records = [one.record, next.record];
            if self.was_down(sent.unwrap_or(from), to) {
                findings.legal(SEVERAL, || self.evidence(next.at, &what, &records));
            } else {
                self.violation(findings, next.at, &what, &records);
            }
        }
    }

    /// After the broker has noted the end it neither stores the half message again nor asks. The
    /// end of a copy says nothing of a newer one, which a check under way had stored already.
    fn not_in_vain(&self, findings: &mut Findings) {
        let facts = self.facts;
        if self.attempts() > 1 {
            return;
        }
        let interval = facts.contract.transactions.interval_ms * 1000;
        let grace = ROUND_US.min(interval / 2);
        let mut halves = self.halves().peekable();
        while let Some(half) = halves.next() {
            let Some((end, end_record)) = facts.end_of_half(half) else { continue };
            let late = |at: SimTime, grace| at.since(end) > grace && !self.was_down(end, at);
            let asked = self
                .checks()
                .find(|answer| late(answer.at, ASK_US) && !facts.trouble.disturbed(end, answer.at));
            let (in_vain, at, record) = match (halves.peek(), asked) {
                (Some(next), _) if late(next.at, grace) => (true, next.at, next.record),
                (None, Some(asked)) => (true, asked.at, asked.record),
                (Some(_), Some(asked)) => (false, asked.at, asked.record),
                _ => continue,
            };
            let records = [end_record, record];
            let since = self.halves().next().map_or(half.at, |first| first.at);
            if in_vain && self.was_down(since, at) {
                let what = "was asked about although the broker was done with a copy of it";
                findings.legal(SEVERAL, || self.evidence(at, what, &records));
                return;
            }
            if in_vain {
                let what = "was asked about although the broker was done with it";
                self.violation(findings, at, what, &records);
                return;
            }
            let what = "was asked about although an older copy of it was decided";
            let why = "an older copy of a half message was decided, and not the newest";
            findings.legal(why, || self.evidence(at, what, &records));
        }
    }

    fn attempts(&self) -> u64 {
        self.facts.ops_of(self.message).map(|op| self.facts.attempts(op)).sum()
    }

    fn clocks_jump(&self) -> bool {
        let faults = &self.facts.trouble.faults;
        self.facts.features.any_clock_set() || faults.iter().any(|f| f.kind == FaultKind::Clock)
    }

    /// Whether a broker that has the half message was down between two times.
    fn was_down(&self, from: SimTime, to: SimTime) -> bool {
        let hows = [How::Kill, How::PowerLoss, How::Stop];
        let queue = self.halves().next().map(|half| half.queue);
        let queue = queue.or_else(|| self.facts.ok_op(self.message).map(|op| op.queue));
        queue.is_some_and(|queue| self.facts.broker_down(queue, &hows, from, to))
    }

    fn violation(&self, findings: &mut Findings, at: SimTime, what: &str, records: &[u32]) {
        findings.violation(|| self.evidence(at, what, records));
    }

    fn evidence(&self, at: SimTime, what: &str, records: &[u32]) -> Evidence {
        let sent = self.facts.ops_of(self.message).next().map_or(NONE, |op| op.record);
        let mut records = records.to_vec();
        records.push(sent);
        let name = self.facts.message_name(self.message);
        self.facts.evidence(format!("{name} {what}"), self.message, at, &records)
    }
}

#[cfg(test)]
mod tests {
    use crate::history::TransactionState::{Commit, Unknown};
    use crate::history::{FaultKind, How};
    use crate::invariant::InvariantId::TxCheck;
    use crate::report::Status;
    use crate::story::Story;
    use crate::story::features::HALF;

    fn half() -> Story {
        let mut s = Story::new(Story::contract());
        s.at(1.0).send_half(7, 0).local(7, Unknown);
        s
    }

    #[test]
    fn a_check_after_the_timeout_and_the_next_after_the_interval_are_right() {
        let mut s = half();
        s.at(20.0).append(7, HALF, 1, 0).checked(7, 1, Unknown);
        s.at(50.0).append(7, HALF, 2, 0).checked(7, 2, Commit).half_end(2);
        s.check(TxCheck).holds(2);
    }

    #[test]
    fn a_check_before_the_timeout_is_wrong() {
        let mut s = half();
        s.at(4.0).checked(7, 1, Unknown);
        let report = s.check(TxCheck).violated(1);
        insta::assert_snapshot!(report.evidence[0].summary, @"message 7 was asked about 3.000s after it was sent");
    }

    #[test]
    fn checks_that_follow_too_close_are_wrong() {
        let mut s = half();
        s.at(20.0).checked(7, 1, Unknown).at(25.0).checked(7, 2, Unknown);
        s.check(TxCheck).violated(1);
    }

    #[test]
    fn a_broker_that_was_down_begins_its_round_anew() {
        let mut s = half();
        s.at(20.0).checked(7, 1, Unknown).down("b-0", How::Kill).at(22.0).up("b-0");
        s.at(32.0).checked(7, 2, Unknown);
        s.check(TxCheck).holds(2);
    }

    #[test]
    fn after_a_crash_each_copy_may_be_asked_about_by_itself() {
        let mut s = half();
        s.at(2.0).down("b-0", How::Kill).at(3.0).up("b-0");
        s.at(40.0).checked(7, 1, Unknown).at(40.1).checked(7, 2, Unknown);
        assert_eq!(s.check(TxCheck).holds(2).legal.len(), 1);
    }

    #[test]
    fn after_a_crash_the_end_of_one_copy_does_not_end_the_others() {
        let decided = |crash: bool| {
            let mut s = half();
            s.at(20.0).append(7, HALF, 1, 0).checked(7, 1, Unknown);
            if crash {
                s.down("b-0", How::Kill).at(22.0).up("b-0");
            }
            s.at(50.0).append(7, HALF, 2, 0).append(7, HALF, 3, 0).checked(7, 2, Commit);
            s.half_end(3).at(80.0).append(7, HALF, 4, 0).checked(7, 2, Commit).half_end(4);
            s
        };
        assert_eq!(decided(true).check(TxCheck).holds(3).legal.len(), 1);
        decided(false).check(TxCheck).violated(1);
    }

    #[test]
    fn a_check_beyond_the_maximum_is_wrong() {
        let mut s = half();
        for round in 1..=16u16 {
            s.at(f64::from(round) * 40.0).checked(7, round, Unknown);
        }
        s.check(TxCheck).violated(1);
    }

    #[test]
    fn a_check_after_the_end_is_wrong() {
        let ended = |checked: f64| {
            let mut s = half();
            s.at(20.0).checked(7, 1, Commit).append(7, "t#0", 0, 0).half_end(0);
            s.at(checked).append(7, HALF, 1, 0);
            s
        };
        ended(50.0).check(TxCheck).violated(1);
        // A round that was under way.
        ended(21.0).check(TxCheck).holds(1);
    }

    #[test]
    fn the_end_of_an_older_copy_does_not_end_the_newest() {
        let checked_twice = |ended: &[i64]| {
            let mut s = half();
            s.at(20.0).append(7, HALF, 1, 0).checked(7, 1, Commit);
            s.at(50.0).append(7, HALF, 2, 0).checked(7, 2, Commit);
            for &offset in ended {
                s.half_end(offset);
            }
            s.at(80.0).append(7, HALF, 3, 0).checked(7, 3, Commit).half_end(3);
            s
        };
        assert_eq!(checked_twice(&[1]).check(TxCheck).holds(3).legal[0].count, 1);
        checked_twice(&[1, 2]).check(TxCheck).violated(1);
    }

    #[test]
    fn a_half_message_that_is_done_with_is_not_asked_about() {
        let mut s = half();
        s.at(20.0).checked(7, 1, Commit).half_end(0).at(50.0).checked(7, 2, Commit);
        s.check(TxCheck).violated(1);
    }

    #[test]
    fn each_attempt_of_a_send_has_a_half_of_its_own() {
        use crate::history::SendKind::Transaction;
        let mut s = Story::new(Story::contract());
        s.at(1.0).invoke_kind(7, "t", Transaction).append(7, HALF, 0, 0).append(7, HALF, 1, 0);
        s.ok_after(7, HALF, 1, 2).local(7, Commit).half_end(1);
        s.at(20.0).checked(7, 1, Unknown).checked(7, 1, Unknown);
        s.check(TxCheck).holds(2);
    }

    #[test]
    fn with_jumping_clocks_times_are_not_judged() {
        let mut s = half();
        s.fault(FaultKind::Clock, 1.5).at(2.0).checked(7, 1, Unknown);
        s.check(TxCheck).holds(1);
    }

    #[test]
    fn without_checks_nothing_is_put_to_the_test() {
        let mut s = half();
        s.local(7, Commit).half_end(0);
        s.check(TxCheck).status(Status::NotExercised);
    }
}
