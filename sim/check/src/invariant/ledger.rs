//! INV-LEDGER: the de-duplicating ledger of an idempotent group balances.

use crate::facts::{Csr, Facts, NONE};
use crate::history::{Event, GroupId, Outcome, SimTime};

use super::{Findings, Invariant, accounts};

pub(super) static INVARIANT: Invariant = Invariant {
    statement: "An idempotent group applies every message's effect exactly once, and no other.",
    explanation: "\
Duplicates are harmless to a consumer that stores the number of each message together with its
effect, and looks it up before it applies the effect again. If that works, the ledger balances:
every message that was consumed has had its effect once, however often it was delivered.

Judged by: for groups that the contract calls idempotent, the recorded effects. A value's effect
is applied at most once; only after a delivery of it; exactly once if a delivery of it was
consumed; and a recognised duplicate changes nothing. Where messages are sent by local
transactions that debit an account, the books of both sides agree after the drain: every debit has
its credit of the same amount, and no credit is without a debit.

Promised by: the consumer, not by Apache RocketMQ, which promises at-least-once only. The
invariant shows that at-least-once is enough.

Legal, and counted: duplicates that the ledger recognised; debits whose message was given up,
dead-lettered, lost as the contract allows, or passed over by a group that was ahead of a log
which lost its end.",
    check,
};

/// One effect.
struct Effect {
    at: SimTime,
    amount: i64,
    group: GroupId,
    message: u32,
    record: u32,
    applied: bool,
}

fn check(facts: &Facts<'_>, findings: &mut Findings) {
    if !facts.groups.iter().any(|group| group.idempotent) {
        return;
    }
    accounts::check(facts, findings);
    let effects = effects(facts);
    for effect in effects.iter().filter(|effect| effect.message == NONE) {
        findings.violation(|| {
            let summary = "an effect was applied of a message that nobody sent".to_owned();
            facts.evidence(summary, NONE, effect.at, &[effect.record])
        });
    }
    let pairs = (0u32..).zip(&effects).map(|(at, effect)| (effect.message, at));
    let by_message = Csr::build(facts.messages.len(), pairs);
    for (message, _) in (0u32..).zip(&facts.messages) {
        let of = by_message.of(message);
        for (group, _) in (0u32..).zip(&facts.groups).filter(|(_, group)| group.idempotent) {
            let of = of.iter().filter_map(|&at| effects.get(at as usize));
            let of: Vec<_> = of.filter(|effect| effect.group.0 == group).collect();
            judge(facts, findings, (message, GroupId(group)), &of);
        }
    }
}

fn effects(facts: &Facts<'_>) -> Vec<Effect> {
    let mut effects = Vec::new();
    for (at, record) in (0u32..).zip(facts.history.records()) {
        if let Event::Effect { group, value, applied, amount } = record.event
            && facts.group(group).idempotent
        {
            let message = facts.message(value);
            effects.push(Effect { at: record.at, amount, group, message, record: at, applied });
        }
    }
    effects
}

fn judge(
    facts: &Facts<'_>,
    findings: &mut Findings,
    (message, group): (u32, GroupId),
    effects: &[&Effect],
) {
    let deliveries = facts.each(facts.deliveries_of.of(message)).filter(|d| d.group == group);
    let consumed = deliveries.clone().any(|d| d.outcome == Some(Outcome::Consumed));
    if effects.is_empty() && !consumed {
        return;
    }
    findings.exercise();
    let evidence = |what: &str| {
        let name = facts.message_name(message);
        let at = effects.last().map_or(facts.end(), |effect| effect.at);
        let mut records: Vec<_> = effects.iter().map(|effect| effect.record).collect();
        records.extend(deliveries.clone().flat_map(|d| [d.record, d.finish_record]));
        let summary = format!("{}: {what} of {name}", facts.names().group_name(group));
        facts.evidence(summary, message, at, &records)
    };
    let mut applied = effects.iter().filter(|effect| effect.applied);
    match (applied.next(), applied.next()) {
        (None, _) if consumed => findings.violation(|| evidence("no effect was ever applied")),
        (None, _) => {}
        (Some(_), Some(_)) => findings.violation(|| evidence("the effect was applied twice")),
        (Some(first), None) => {
            if !deliveries.clone().any(|d| d.at <= first.at) {
                findings.violation(|| evidence("an effect was applied without a delivery"));
            }
        }
    }
    for effect in effects.iter().filter(|effect| !effect.applied) {
        if effect.amount != 0 {
            findings.violation(|| evidence("a recognised duplicate changed the balance"));
        } else {
            let why = "a duplicate that the ledger recognised";
            findings.legal(why, || evidence("a recognised duplicate"));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::contract::{Contract, GroupContract};
    use crate::history::Outcome;
    use crate::invariant::InvariantId::Ledger;
    use crate::report::Status;
    use crate::story::Story;

    fn contract() -> Contract {
        let group = GroupContract { idempotent: true, ..GroupContract::concurrent("g", &["t"]) };
        Contract { groups: vec![group], ..Contract::default() }
    }

    fn delivered() -> Story {
        let mut s = Story::new(contract());
        s.at(1.0).send(7, "t#0", 0).deliver("m1", "t#0", 0, 7);
        s
    }

    #[test]
    fn every_consumed_message_has_its_effect_once() {
        let mut s = delivered();
        s.effect("m1", 7, 40).finish("m1", 7, Outcome::Consumed);
        s.check(Ledger).holds(1);
    }

    #[test]
    fn a_recognised_duplicate_is_harmless() {
        let mut s = delivered();
        s.effect("m1", 7, 40).finish("m1", 7, Outcome::Consumed);
        s.deliver("m2", "t#0", 0, 7).effect("m2", 7, 0).finish("m2", 7, Outcome::Consumed);
        assert_eq!(s.check(Ledger).holds(1).legal[0].count, 1);
    }

    #[test]
    fn an_effect_applied_twice_is_wrong() {
        let mut s = delivered();
        s.effect("m1", 7, 40).finish("m1", 7, Outcome::Consumed);
        s.deliver("m2", "t#0", 0, 7).effect("m2", 7, 40);
        let report = s.check(Ledger).violated(1);
        insta::assert_snapshot!(report.evidence[0].summary, @"g: the effect was applied twice of message 7");
    }

    #[test]
    fn a_consumed_message_without_an_effect_is_wrong() {
        let mut s = delivered();
        s.finish("m1", 7, Outcome::Consumed);
        s.check(Ledger).violated(1);
    }

    #[test]
    fn an_effect_without_a_delivery_is_wrong() {
        let mut s = Story::new(contract());
        s.at(1.0).send(7, "t#0", 0).effect("m1", 7, 40);
        s.check(Ledger).violated(1);
    }

    #[test]
    fn an_effect_of_a_message_that_nobody_sent_is_wrong() {
        let mut s = delivered();
        s.effect("m1", 7, 40).finish("m1", 7, Outcome::Consumed).effect("m1", 99, 1);
        s.check(Ledger).violated(1);
    }

    #[test]
    fn a_failed_consumption_needs_no_effect() {
        let mut s = delivered();
        s.finish("m1", 7, Outcome::Later);
        s.check(Ledger).status(Status::NotExercised);
    }

    #[test]
    fn an_effect_applied_before_the_member_died_counts_once() {
        let mut s = delivered();
        s.effect("m1", 7, 40).finish("m1", 7, Outcome::Lost);
        s.deliver("m2", "t#0", 0, 7).effect("m2", 7, 0).finish("m2", 7, Outcome::Consumed);
        s.check(Ledger).holds(1);
    }

    #[test]
    fn a_group_that_is_not_idempotent_has_no_ledger() {
        let mut s = Story::new(Story::contract());
        s.at(1.0).send(7, "t#0", 0).deliver("m1", "t#0", 0, 7);
        s.effect("m1", 7, 40).effect("m1", 7, 40).finish("m1", 7, Outcome::Consumed);
        s.check(Ledger).status(Status::NotExercised);
    }
}
