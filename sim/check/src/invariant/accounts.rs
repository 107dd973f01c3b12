//! INV-LEDGER, the paying side: what local transactions debit, idempotent groups credit.

use std::collections::BTreeMap;

use crate::facts::{Delivery, Facts, NONE, Op, TopicKind};
use crate::history::{Event, GroupId, Outcome, SendKind, SimTime};
use crate::report::Evidence;

use super::Findings;

/// A row of a ledger.
struct Entry {
    at: SimTime,
    amount: i64,
    record: u32,
}

/// The rows of all ledgers.
#[derive(Default)]
struct Books {
    /// What local transactions debited, by message.
    debits: BTreeMap<u32, Entry>,
    /// What idempotent groups credited of transactional messages.
    credits: BTreeMap<(u32, u32), Entry>,
}

pub(super) fn check(facts: &Facts<'_>, findings: &mut Findings) {
    let debtors = &facts.contract.transactions.debtors;
    if debtors.is_empty() {
        return;
    }
    let debtors = debtors
        .iter()
        .filter_map(|name| facts.names().find_group(name));
    let debtors: Vec<_> = debtors.collect();
    let books = books(facts, findings, &debtors);
    for (&message, debit) in &books.debits {
        findings.exercise();
        for group in creditors(facts, message) {
            balance(facts, findings, &books, (message, group), debit);
        }
    }
    for (&(message, _), credit) in &books.credits {
        if !books.debits.contains_key(&message) {
            findings
                .violation(|| evidence(facts, message, "was credited without a debit", &[credit]));
        }
    }
}

fn books(facts: &Facts<'_>, findings: &mut Findings, debtors: &[GroupId]) -> Books {
    let mut books = Books::default();
    for (at, record) in (0u32..).zip(facts.history.records()) {
        let Event::Effect {
            group,
            value,
            applied: true,
            amount,
        } = record.event
        else {
            continue;
        };
        let message = facts.message(value);
        if message == NONE {
            continue;
        }
        let entry = Entry {
            at: record.at,
            amount,
            record: at,
        };
        if debtors.contains(&group) {
            if let Some(first) = books.debits.get(&message) {
                findings
                    .violation(|| evidence(facts, message, "was debited twice", &[first, &entry]));
            } else {
                books.debits.insert(message, entry);
            }
        } else if facts.group(group).idempotent && is_transaction(facts, message) {
            books.credits.entry((message, group.0)).or_insert(entry);
        }
    }
    books
}

fn is_transaction(facts: &Facts<'_>, message: u32) -> bool {
    facts
        .ops_of(message)
        .any(|op: &Op| op.kind == SendKind::Transaction)
}

/// The idempotent groups that get every message of a message's topic.
fn creditors(facts: &Facts<'_>, message: u32) -> Vec<u32> {
    let Some(topic) = facts.ops_of(message).map(|op| op.topic).next() else {
        return Vec::new();
    };
    let groups = (0u32..).zip(&facts.groups);
    groups
        .filter(|(_, group)| group.idempotent && !group.filtered && group.topics.contains(&topic))
        .map(|(number, _)| number)
        .collect()
}

/// One debit must have its credit, of the same amount.
fn balance(
    facts: &Facts<'_>,
    findings: &mut Findings,
    books: &Books,
    (message, group): (u32, u32),
    debit: &Entry,
) {
    if let Some(credit) = books.credits.get(&(message, group)) {
        if credit.amount != -debit.amount {
            findings.violation(|| {
                evidence(
                    facts,
                    message,
                    "was not credited as it was debited",
                    &[debit, credit],
                )
            });
        }
        return;
    }
    let dead = TopicKind::Dlq(Some(GroupId(group)));
    let mut ended = facts
        .copies_in(message, TopicKind::Discarded)
        .chain(facts.copies_in(message, dead));
    let passed = |op: &Op| facts.may_be_passed_over(GroupId(group), op);
    let excuse = if ended.next().is_some() || facts.fate(message).is_gone() {
        Some("a debit whose message was given up, dead-lettered or legally lost")
    } else if facts
        .ok_op(message)
        .is_some_and(|op| is_retry_lost(facts, op, GroupId(group)))
    {
        Some("a debit whose message failed, and whose retry a power loss may have taken")
    } else if facts.ok_op(message).is_some_and(passed) {
        Some("a debit passed over by a group that was ahead of a log which lost its end")
    } else {
        None
    };
    let drained = facts.done.is_some_and(|(_, drained)| drained);
    match excuse {
        Some(excuse) => findings.legal(excuse, || {
            evidence(facts, message, "was debited and not credited", &[debit])
        }),
        None if drained => findings
            .violation(|| evidence(facts, message, "was debited and never credited", &[debit])),
        None => {}
    }
}

/// Whether a power loss may have taken the copy of a message that was to come again.
fn is_retry_lost(facts: &Facts<'_>, op: &Op, group: GroupId) -> bool {
    let failed = |d: &Delivery| d.group == group && d.outcome == Some(Outcome::Later);
    let failed = facts.each(facts.deliveries_of.of(op.value)).any(failed);
    failed && facts.broker_power_lost(op.queue, op.invoked, facts.end())
}

fn evidence(facts: &Facts<'_>, message: u32, what: &str, entries: &[&Entry]) -> Evidence {
    let records: Vec<_> = entries.iter().map(|entry| entry.record).collect();
    let at = entries.last().map_or(facts.end(), |entry| entry.at);
    let name = facts.message_name(message);
    facts.evidence(format!("{name} {what}"), message, at, &records)
}

#[cfg(test)]
mod tests {
    use crate::contract::{Contract, TransactionContract};
    use crate::history::How;
    use crate::history::TransactionState::{Commit, Rollback};
    use crate::invariant::InvariantId::Ledger;
    use crate::story::Story;
    use crate::story::features::GIVEN_UP;

    /// A half message of a group that keeps accounts.
    fn half() -> Story {
        let mut contract = Story::contract();
        for group in &mut contract.groups {
            group.idempotent = true;
        }
        let transactions = TransactionContract {
            debtors: vec!["payers".to_owned()],
            ..TransactionContract::default()
        };
        let mut s = Story::new(Contract {
            transactions,
            ..contract
        });
        s.subscribe("m1").at(1.0).send_half(7, 0);
        s
    }

    fn credit(s: &mut Story, amount: i64) {
        s.append(7, "t#0", 0, 0)
            .consume("m1", "t#0", 0, 7)
            .effect("m1", 7, amount);
    }

    #[test]
    fn a_debit_that_is_credited_balances() {
        let mut s = half();
        s.debit(7, -50);
        s.local(7, Commit);
        credit(&mut s, 50);
        s.at(600.0).done(true);
        s.check(Ledger).holds(2);
    }

    #[test]
    fn a_debit_that_is_never_credited_is_wrong() {
        let mut s = half();
        s.debit(7, -50);
        s.local(7, Commit).at(600.0).done(true);
        let report = s.check(Ledger).violated(1);
        insta::assert_snapshot!(report.evidence[0].summary, @"message 7 was debited and never credited");
    }

    #[test]
    fn a_credit_without_a_debit_is_wrong() {
        let mut s = half();
        s.local(7, Rollback);
        credit(&mut s, 50);
        s.at(600.0).done(true);
        s.check(Ledger).violated(1);
    }

    #[test]
    fn a_credit_of_another_amount_is_wrong() {
        let mut s = half();
        s.debit(7, -50);
        s.local(7, Commit);
        credit(&mut s, 40);
        s.at(600.0).done(true);
        s.check(Ledger).violated(1);
    }

    #[test]
    fn a_second_debit_is_wrong() {
        let mut s = half();
        s.debit(7, -50);
        s.debit(7, -50);
        s.local(7, Commit);
        credit(&mut s, 50);
        s.at(600.0).done(true);
        s.check(Ledger).violated(1);
    }

    #[test]
    fn a_debit_that_a_group_ahead_of_a_shortened_log_passes_over_is_counted() {
        let mut s = half();
        s.send(8, "t#0", 0)
            .consume("m1", "t#0", 0, 8)
            .effect("m1", 8, 1);
        s.down("b-0", How::PowerLoss)
            .at(5.0)
            .up("b-0")
            .recovered(100);
        s.debit(7, -50).local(7, Commit).append(7, "t#0", 0, 0);
        s.at(600.0).done(true);
        assert_eq!(s.check(Ledger).holds(2).legal[0].count, 1);
    }

    #[test]
    fn a_debit_whose_message_was_given_up_is_counted() {
        let mut s = half();
        s.debit(7, -50);
        s.at(300.0).append(7, GIVEN_UP, 0, 0).at(600.0).done(true);
        assert_eq!(s.check(Ledger).holds(1).legal[0].count, 1);
    }

    #[test]
    fn a_debit_whose_message_failed_and_may_be_lost_is_counted() {
        use crate::history::Outcome;
        let failed = |how: How| {
            let mut s = half();
            s.debit(7, -50)
                .local(7, Commit)
                .append(7, "t#0", 0, 0)
                .half_end(0);
            s.deliver("m1", "t#0", 0, 7).finish("m1", 7, Outcome::Later);
            s.down("b-0", how).at(5.0).up("b-0").at(600.0).done(true);
            s
        };
        assert_eq!(
            failed(How::PowerLoss).check(Ledger).holds(1).legal[0].count,
            1
        );
        failed(How::Kill).check(Ledger).violated(1);
    }
}
