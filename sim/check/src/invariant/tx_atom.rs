//! INV-TXATOM: a transactional message is visible if and only if it was committed.

use crate::facts::{Answer, End, Facts, Op, TopicKind};
use crate::history::{SendKind, SimTime, TransactionState};
use crate::report::Evidence;

use super::{Findings, Invariant};

pub(super) static INVARIANT: Invariant = Invariant {
    statement: "A transactional message is visible if and only if its transaction was committed.",
    explanation: "\
The half of a transaction is stored where no consumer looks. When the producer says that its local
transaction was committed, the message is stored in its topic, and only then; when it says that it
was rolled back, or cannot say, nobody may ever see it.

Judged by: every half message, against what its producer said of it, after the local transaction
or when the broker asked. Seen from inside the brokers: each copy in the message's topic needs an
earlier commit of its own; and a half message that was committed, never rolled back, and is done
with must have a copy. Seen from outside: nobody is handed the message before a commit.

Promised by Apache RocketMQ: under every fault. The copy comes before the note that the half
message is done with (EndTransactionProcessor).

Legal, and counted: the broker keeps no final state of a transaction. A second commit stores and
delivers the message a second time, a commit after a rollback delivers it all the same. A half
message that was committed may be given up all the same, if the broker never heard of it in all
its checks.",
    check,
};

fn check(facts: &Facts<'_>, findings: &mut Findings) {
    for (message, _) in (0u32..).zip(&facts.messages) {
        let half = |op: &Op| op.kind == SendKind::Transaction;
        if !facts.ops_of(message).any(half) {
            continue;
        }
        let case = Case { facts, message };
        if case.answers().next().is_some() || !case.sights().is_empty() {
            findings.exercise();
        }
        case.visible(findings);
        case.hidden(findings);
    }
}

/// One transactional message.
struct Case<'a> {
    facts: &'a Facts<'a>,
    message: u32,
}

impl Case<'_> {
    fn answers(&self) -> impl Iterator<Item = &Answer> + Clone {
        self.facts.features.answers(self.message)
    }

    fn said(&self, state: TransactionState) -> impl Iterator<Item = &Answer> + Clone {
        self.answers().filter(move |answer| answer.state == state)
    }

    /// When it was seen in its topic, and the record; from outside only the first time is known.
    fn sights(&self) -> Vec<(SimTime, u32)> {
        if self.facts.log.is_known() {
            let copies = self.facts.own_copies(self.message);
            return copies.map(|copy| (copy.at, copy.record)).collect();
        }
        let deliveries = self.facts.each(self.facts.deliveries_of.of(self.message));
        deliveries.map(|d| (d.at, d.record)).min().into_iter().collect()
    }

    /// Each copy needs a commit of its own.
    fn visible(&self, findings: &mut Findings) {
        for (number, (at, record)) in self.sights().into_iter().enumerate() {
            let commits = self.said(TransactionState::Commit).filter(|answer| answer.at <= at);
            let before = commits.clone().count();
            let rolled_back = self
                .said(TransactionState::Rollback)
                .any(|rollback| commits.clone().all(|commit| rollback.at <= commit.at));
            if before <= number {
                let what = match (before, rolled_back) {
                    (0, true) => "became visible although it was rolled back",
                    (0, false) => "became visible before it was committed",
                    _ => "became visible more often than it was committed",
                };
                findings.violation(|| self.evidence(what, at, record));
            } else if rolled_back {
                let why = "a commit after a rollback, which delivers";
                findings
                    .legal(why, || self.evidence("was rolled back, then committed", at, record));
            } else if number > 0 {
                let why = "a transaction committed several times, which delivers as often";
                findings.legal(why, || self.evidence("was committed again", at, record));
            }
        }
    }

    /// What was committed and is done with must have become visible.
    fn hidden(&self, findings: &mut Findings) {
        let facts = self.facts;
        let committed = self.said(TransactionState::Commit).next().is_some();
        let rolled_back = self.said(TransactionState::Rollback).next().is_some();
        if !facts.log.is_known() || !committed || rolled_back || !self.sights().is_empty() {
            return;
        }
        let mut halves = facts.copies_in(self.message, TopicKind::Half);
        if let Some((at, record)) = halves.find_map(|half| facts.end_of_half(half)) {
            let what = "was committed and is done with, but never became visible";
            findings.violation(|| self.evidence(what, at, record));
        } else if let Some(copy) = facts.copies_in(self.message, TopicKind::Discarded).next() {
            let why = "given up although it was committed: the broker never heard of it";
            let what = "was committed and given up";
            findings.legal(why, || self.evidence(what, copy.at, copy.record));
        }
    }

    fn evidence(&self, what: &str, at: SimTime, record: u32) -> Evidence {
        let sent = self.facts.ops_of(self.message).find(|op| op.end == End::Ok);
        let mut records: Vec<_> = sent.iter().map(|op| op.record).collect();
        records.extend(self.answers().filter(|answer| answer.at <= at).map(|answer| answer.record));
        records.push(record);
        let name = self.facts.message_name(self.message);
        self.facts.evidence(format!("{name} {what}"), self.message, at, &records)
    }
}

#[cfg(test)]
mod tests {
    use crate::history::How;
    use crate::history::TransactionState::{Commit, Rollback, Unknown};
    use crate::invariant::InvariantId::TxAtom;
    use crate::report::Status;
    use crate::story::Story;
    use crate::story::features::GIVEN_UP;

    fn half() -> Story {
        let mut s = Story::new(Story::contract());
        s.at(1.0).send_half(7, 0);
        s
    }

    #[test]
    fn a_committed_message_that_becomes_visible_is_right() {
        let mut s = half();
        s.local(7, Commit).append(7, "t#0", 0, 0).half_end(0).consume("m1", "t#0", 0, 7);
        let report = s.check(TxAtom).holds(1);
        assert!(report.legal.is_empty());
    }

    #[test]
    fn the_end_of_another_half_at_the_offset_of_a_lost_one_says_nothing() {
        let mut s = half();
        s.local(7, Commit).down("b-0", How::PowerLoss).at(5.0).up("b-0").recovered(0);
        s.send_half(8, 0).local(8, Commit).append(8, "t#0", 0, 0).half_end(0);
        s.check(TxAtom).holds(2);
    }

    #[test]
    fn a_message_that_was_rolled_back_and_stays_hidden_is_right() {
        let mut s = half();
        s.local(7, Rollback).half_end(0);
        s.check(TxAtom).holds(1);
    }

    #[test]
    fn a_message_that_becomes_visible_before_it_is_committed_is_wrong() {
        let mut s = half();
        s.append(7, "t#0", 0, 0).local(7, Commit);
        let report = s.check(TxAtom).violated(1);
        insta::assert_snapshot!(report.evidence[0].summary, @"message 7 became visible before it was committed");
    }

    #[test]
    fn a_message_that_becomes_visible_after_a_rollback_is_wrong() {
        let mut s = half();
        s.local(7, Rollback).append(7, "t#0", 0, 0);
        let report = s.check(TxAtom).violated(1);
        insta::assert_snapshot!(report.evidence[0].lines.join("\n"), @"
        1.000000s  p: sends message 7 to t, as the half of a transaction
        1.003000s  p: the local transaction of message 7 ends: roll back
        1.004000s  b-0: appends message 7 to t@b#0 offset 0, physical 100
        ");
    }

    #[test]
    fn an_answer_that_knows_nothing_lets_nothing_be_seen() {
        let mut s = half();
        s.local(7, Unknown).checked(7, 1, Unknown).append(7, "t#0", 0, 0);
        s.check(TxAtom).violated(1);
    }

    #[test]
    fn a_committed_message_that_is_done_with_and_never_seen_is_wrong() {
        let mut s = half();
        s.local(7, Commit).half_end(0);
        s.check(TxAtom).violated(1);
    }

    #[test]
    fn a_commit_that_the_broker_may_not_know_yet_is_on_its_way() {
        let mut s = half();
        s.local(7, Commit);
        s.check(TxAtom).holds(1);
    }

    #[test]
    fn two_commits_may_deliver_twice_but_not_three_times() {
        let mut s = half();
        s.local(7, Commit).append(7, "t#0", 0, 0).checked(7, 1, Commit).append(7, "t#0", 1, 0);
        assert_eq!(s.check(TxAtom).holds(1).legal.len(), 1);
        let mut s = half();
        s.local(7, Commit).checked(7, 1, Commit);
        s.append(7, "t#0", 0, 0).append(7, "t#0", 1, 0).append(7, "t#0", 2, 0);
        s.check(TxAtom).violated(1);
    }

    #[test]
    fn a_commit_after_a_rollback_delivers_and_is_counted() {
        let mut s = half();
        s.local(7, Rollback).half_end(0).checked(7, 1, Commit).append(7, "t#0", 0, 0);
        assert_eq!(s.check(TxAtom).holds(1).legal[0].count, 1);
    }

    #[test]
    fn a_message_may_be_given_up_if_its_commit_never_arrived() {
        let mut s = half();
        s.local(7, Commit).at(600.0).append(7, GIVEN_UP, 0, 0);
        assert_eq!(s.check(TxAtom).holds(1).legal[0].count, 1);
    }

    #[test]
    fn seen_from_outside_a_delivery_needs_a_commit() {
        use crate::history::SendKind::Transaction;
        let outside = |committed: bool| {
            let mut s = Story::new(Story::contract());
            s.at(1.0).invoke_kind(7, "t", Transaction).ok(7, "t#0", 0);
            s.local(7, if committed { Commit } else { Unknown });
            s.consume("m1", "t#0", 0, 7).consume("m1", "t#0", 0, 7);
            s
        };
        outside(true).check(TxAtom).holds(1);
        outside(false).check(TxAtom).violated(1);
    }

    #[test]
    fn without_transactions_nothing_is_put_to_the_test() {
        let mut s = Story::new(Story::contract());
        s.at(1.0).send(7, "t#0", 0).consume("m1", "t#0", 0, 7);
        s.check(TxAtom).status(Status::NotExercised);
    }
}
