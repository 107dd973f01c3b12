//! INV-TXTERM: every half message reaches an end.

use crate::facts::{Append, Facts, Op, TopicKind};
use crate::history::{SendKind, SimTime, TransactionState};
use crate::report::Evidence;

use super::{Findings, Invariant};

pub(super) static INVARIANT: Invariant = Invariant {
    statement: "Every half message comes to an end: delivered, rolled back or given up.",
    explanation: "\
The producer tells the broker how its local transaction ended, once and without an answer. If that
is lost, or says nothing, the broker asks: after 6 s, every 30 s, up to 15 times; then it gives
the half message up. So no half message waits for ever.

Judged by, where brokers can be watched: every half message that is stored and not lost. It has
ended when it was stored in its topic, or given up, or when the broker noted that it is done with
it. If not: something must have happened to it (it was stored again for a check, a producer was
asked) within the time of two rounds of checks and 20 s before the end of the run, not counting
the time of faults. Seen from outside a half message has ended when it was rolled back or
delivered; others are not judged.

Promised by Apache RocketMQ: under every fault, as long as the broker comes back.

Legal, and counted: half messages that are still being checked when the run ends, and those that
were given up after the last check.",
    check,
};

/// How long a round of checks may take, in microseconds.
const ROUND_US: u64 = 20_000_000;

fn check(facts: &Facts<'_>, findings: &mut Findings) {
    for (message, _) in (0u32..).zip(&facts.messages) {
        let half = |op: &Op| op.kind == SendKind::Transaction;
        if !facts.ops_of(message).any(half) {
            continue;
        }
        if facts.log.is_known() {
            in_log(facts, findings, message);
        } else {
            let mut answers = facts.features.answers(message);
            let over = answers.any(|answer| answer.state == TransactionState::Rollback);
            if over || !facts.deliveries_of.of(message).is_empty() {
                findings.exercise();
            }
        }
    }
}

fn in_log(facts: &Facts<'_>, findings: &mut Findings, message: u32) {
    let stored = facts.copies_in(message, TopicKind::Half).filter(|half| !half.is_lost());
    let Some(last) = stored.clone().next_back() else { return };
    findings.exercise();
    if let Some(copy) = facts.copies_in(message, TopicKind::Discarded).next() {
        findings.legal("given up after the last check", || {
            evidence(facts, message, last, copy.at, "was given up")
        });
        return;
    }
    let ended = |half: &Append| facts.end_of_half(half).is_some();
    if stored.clone().any(ended) || facts.own_copies(message).any(|copy| !copy.is_lost()) {
        return;
    }
    let answers = facts.features.answers(message);
    let asked = answers.filter(|answer| answer.check.is_some()).map(|answer| answer.at);
    let progress = asked.chain([last.at]).max().unwrap_or(last.at);
    let calm = facts.trouble.last_before(facts.end()).max(progress);
    let rules = &facts.contract.transactions;
    let patience = (rules.timeout_ms + 2 * rules.interval_ms) * 1000 + ROUND_US;
    if facts.end().since(calm) > patience {
        let what = "has come to no end, and nobody asks any more";
        findings.violation(|| evidence(facts, message, last, facts.end(), what));
    } else {
        findings.legal("still being checked when the run ended", || {
            evidence(facts, message, last, facts.end(), "is still being checked")
        });
    }
}

fn evidence(facts: &Facts<'_>, message: u32, half: &Append, at: SimTime, what: &str) -> Evidence {
    let mut records: Vec<_> = facts.ops_of(message).map(|op| op.record).collect();
    records.push(half.record);
    records.extend(facts.copies_in(message, TopicKind::Discarded).map(|copy| copy.record));
    // A long chain of checks would hide what matters.
    let answers: Vec<_> = facts.features.answers(message).map(|answer| answer.record).collect();
    records.extend(answers.first().into_iter().chain(answers.last()));
    let name = facts.message_name(message);
    facts.evidence(format!("{name} {what}"), message, at, &records)
}

#[cfg(test)]
mod tests {
    use crate::contract::{Contract, TransactionContract};
    use crate::history::How;
    use crate::history::TransactionState::{Commit, Rollback, Unknown};
    use crate::invariant::InvariantId::TxTerm;
    use crate::report::Status;
    use crate::story::Story;
    use crate::story::features::{GIVEN_UP, HALF};

    fn half() -> Story {
        let transactions = TransactionContract { interval_ms: 10_000, ..Default::default() };
        let mut s = Story::new(Contract { transactions, ..Story::contract() });
        s.at(1.0).send_half(7, 0);
        s
    }

    #[test]
    fn a_commit_and_a_rollback_are_ends() {
        let mut s = half();
        s.local(7, Commit).append(7, "t#0", 0, 0).at(600.0).done(true);
        assert!(s.check(TxTerm).holds(1).legal.is_empty());
        let mut s = half();
        s.local(7, Rollback).half_end(0).at(600.0).done(true);
        assert!(s.check(TxTerm).holds(1).legal.is_empty());
    }

    #[test]
    fn to_be_given_up_is_an_end_and_is_counted() {
        let mut s = half();
        s.at(200.0).append(7, GIVEN_UP, 0, 0).at(600.0).done(true);
        assert_eq!(s.check(TxTerm).holds(1).legal[0].count, 1);
    }

    #[test]
    fn the_end_of_a_lost_half_is_not_that_of_the_next_at_its_offset() {
        let mut s = half();
        s.local(7, Commit).half_end(0).down("b-0", How::PowerLoss).at(5.0).up("b-0").recovered(0);
        s.send_half(8, 0).at(600.0).done(true);
        s.check(TxTerm).violated(1);
    }

    #[test]
    fn a_half_message_that_nobody_asks_about_is_wrong() {
        let mut s = half();
        s.at(600.0).done(true);
        let report = s.check(TxTerm).violated(1);
        insta::assert_snapshot!(report.evidence[0].summary, @"message 7 has come to no end, and nobody asks any more");
    }

    #[test]
    fn an_answer_that_never_takes_effect_is_wrong() {
        let mut s = half();
        s.local(7, Unknown).at(11.0).append(7, HALF, 1, 0).checked(7, 1, Commit);
        s.at(600.0).done(true);
        s.check(TxTerm).violated(1);
    }

    #[test]
    fn a_half_message_that_is_asked_about_is_on_its_way() {
        let mut s = half();
        for round in 1..=10u16 {
            s.at(f64::from(round) * 10.0).append(7, HALF, i64::from(round), 0);
            s.checked(7, round, Unknown);
        }
        s.at(110.0).done(true);
        assert_eq!(s.check(TxTerm).holds(1).legal[0].count, 1);
    }

    #[test]
    fn while_the_broker_is_down_nobody_can_ask() {
        let mut s = half();
        s.at(2.0).down("b-0", How::Kill).at(590.0).up("b-0").at(600.0).done(true);
        s.check(TxTerm).holds(1);
    }

    #[test]
    fn a_half_message_that_a_power_loss_took_is_gone() {
        let mut s = half();
        s.at(2.0).down("b-0", How::PowerLoss).at(5.0).up("b-0").recovered(0);
        s.at(600.0).done(true);
        s.check(TxTerm).status(Status::NotExercised);
    }

    #[test]
    fn without_transactions_nothing_is_put_to_the_test() {
        let mut s = Story::new(Story::contract());
        s.at(1.0).send(7, "t#0", 0).at(600.0).done(true);
        s.check(TxTerm).status(Status::NotExercised);
    }
}
