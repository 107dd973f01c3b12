//! INV-IDUNIQ: no two messages have one id.

use rustc_hash::FxHashMap;

use crate::facts::{Facts, NONE, Name};

use super::{Findings, Invariant};

pub(super) static INVARIANT: Invariant = Invariant {
    statement: "Two different messages never have the same unique id.",
    explanation: "\
A producer gives every message an id of its own (UNIQ_KEY): consumers recognise copies by it,
people look messages up by it, a transaction and a recall are found by it.

Judged by: the ids of send results, where they are recorded. The same id must not stand for two
different values.

Promised by Apache RocketMQ: under every fault (MessageClientIDSetter makes the id of address,
process, class loader, time and a counter).

Legal: one message that is sent again may keep its id or get another.",
    check,
};

fn check(facts: &Facts<'_>, findings: &mut Findings) {
    let value = |name: &Name| facts.ops.get(name.op as usize).map_or(NONE, |op| op.value);
    let mut seen: FxHashMap<u64, &Name> = FxHashMap::default();
    seen.reserve(facts.features.ids.len());
    for name in &facts.features.ids {
        findings.exercise();
        let first = *seen.entry(name.id).or_insert(name);
        if value(first) == value(name) {
            continue;
        }
        findings.violation(|| {
            let (one, other) = (facts.message_name(value(first)), facts.message_name(value(name)));
            let records = [first, name].map(|name| {
                let sent = facts.ops.get(name.op as usize).map_or(NONE, |op| op.record);
                [sent, name.record]
            });
            let summary = format!("{one} and {other} have the same unique id");
            facts.evidence(summary, value(name), name.at, records.as_flattened())
        });
    }
}

#[cfg(test)]
mod tests {
    use crate::invariant::InvariantId::IdUniq;
    use crate::report::Status;
    use crate::story::Story;

    fn sent_two() -> Story {
        let mut s = Story::new(Story::contract());
        s.at(1.0).send(7, "t#0", 0).named(7, 70).send(8, "t#0", 1);
        s
    }

    #[test]
    fn two_ids_for_two_messages_are_right() {
        let mut s = sent_two();
        s.named(8, 80);
        s.check(IdUniq).holds(2);
    }

    #[test]
    fn one_id_for_two_messages_is_wrong() {
        let mut s = sent_two();
        s.named(8, 70);
        let report = s.check(IdUniq).violated(1);
        insta::assert_snapshot!(report.evidence[0].lines.join("\n"), @"
        1.000000s  p: sends message 7 to t
        1.003000s  p: message 7 has the unique id 0000000000000046
        1.004000s  p: sends message 8 to t
        1.007000s  p: message 8 has the unique id 0000000000000046
        ");
    }

    #[test]
    fn a_message_that_is_sent_again_may_keep_its_id() {
        let mut s = sent_two();
        s.send(7, "t#0", 2).named(7, 70);
        s.check(IdUniq).holds(2);
    }

    #[test]
    fn without_recorded_ids_nothing_is_put_to_the_test() {
        sent_two().check(IdUniq).holds(1);
        let mut s = Story::new(Story::contract());
        s.at(1.0).send(7, "t#0", 0);
        s.check(IdUniq).status(Status::NotExercised);
    }
}
