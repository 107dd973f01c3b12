//! INV-ACCESS: what access control forbids has no effect.

use rustc_hash::{FxHashMap, FxHashSet};

use crate::facts::{End, Facts, Op};
use crate::history::NodeId;

use super::{Findings, Invariant};

pub(super) static INVARIANT: Invariant = Invariant {
    statement: "Whoever access control must refuse gets nothing acknowledged, stored or delivered.",
    explanation: "\
A client with a wrong signature, an unknown access key or no permission for a topic must be refused,
and the refusal must come before anything is done: no acknowledgement, no record in a log, no
message handed to it.

Judged by: every send of a node that the scenario says must be refused. It must not end as
acknowledged, and where brokers can be watched, none of them may append the message. Nothing may be
delivered to such a node.

Promised by Apache RocketMQ: under every fault, while aclEnable is set. Name servers check nothing,
so a refused client still learns routes.

Legal: a send that ends unknown, because the network failed before the broker could refuse.",
    check,
};

fn check(facts: &Facts<'_>, findings: &mut Findings) {
    let refused = &facts.contract.refused;
    if refused.is_empty() {
        return;
    }
    let must_be_refused = |node: NodeId| {
        let name = facts.names().node_name(node);
        refused.iter().any(|refused| refused == name)
    };
    let nodes: FxHashSet<NodeId> = facts
        .ops
        .iter()
        .map(|op| op.node)
        .chain(facts.deliveries.iter().map(|delivery| delivery.node))
        .filter(|&node| must_be_refused(node))
        .collect();
    sends(facts, &nodes, findings);
    let delivered = facts.deliveries.iter().filter(|delivery| nodes.contains(&delivery.node));
    for delivery in delivered {
        findings.exercise();
        findings.violation(|| {
            let node = facts.names().node_name(delivery.node);
            let name = facts.message_name(delivery.value);
            let summary = format!("{node} was handed {name}, and may not read anything");
            facts.evidence(summary, delivery.value, delivery.at, &[delivery.record])
        });
    }
}

fn sends(facts: &Facts<'_>, nodes: &FxHashSet<NodeId>, findings: &mut Findings) {
    let ops = facts.ops.iter().filter(|op| nodes.contains(&op.node));
    let violation = |op: &Op, what: &str, record: u32| {
        let node = facts.names().node_name(op.node);
        let name = facts.message_name(op.value);
        let summary = format!("{name} of {node} was {what}, and {node} may not send anything");
        facts.evidence(summary, op.value, op.invoked, &[op.record, record])
    };
    // By message: its record in a log.
    let stored: FxHashMap<u32, u32> = {
        let appends = facts.log.appends.iter();
        appends.map(|append| (append.value, append.record)).collect()
    };
    for op in ops {
        findings.exercise();
        if op.end == End::Ok {
            findings.violation(|| violation(op, "acknowledged", op.end_record));
        } else if let Some(&record) = stored.get(&op.value) {
            findings.violation(|| violation(op, "stored", record));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::contract::Contract;
    use crate::invariant::InvariantId::Access;
    use crate::report::Status;
    use crate::story::Story;

    /// The producer of every story must be refused.
    fn contract() -> Contract {
        Contract {
            refused: vec!["p".to_owned()],
            ..Story::contract()
        }
    }

    #[test]
    fn a_refused_send_without_effect_is_as_it_should_be() {
        let mut s = Story::new(contract());
        s.at(1.0).invoke(7, "t").failed(7).invoke(8, "t").unknown(8);
        s.check(Access).holds(2);
    }

    #[test]
    fn an_acknowledged_send_of_one_who_must_be_refused_is_a_violation() {
        let mut s = Story::new(contract());
        s.at(1.0).invoke(7, "t").ok(7, "t#0", 0);
        let report = s.check(Access).violated(1);
        insta::assert_snapshot!(
            report.evidence[0].summary,
            @"message 7 of p was acknowledged, and p may not send anything"
        );
    }

    #[test]
    fn a_refused_send_that_is_stored_all_the_same_is_a_violation() {
        let mut s = Story::new(contract());
        s.at(1.0).invoke(7, "t").append(7, "t#0", 0, 0).failed(7);
        let report = s.check(Access).violated(1);
        insta::assert_snapshot!(
            report.evidence[0].summary,
            @"message 7 of p was stored, and p may not send anything"
        );
    }

    #[test]
    fn a_delivery_to_one_who_must_be_refused_is_a_violation() {
        let mut s = Story::new(Contract {
            refused: vec!["m1".to_owned()],
            ..Story::contract()
        });
        s.at(1.0).send(7, "t#0", 0).consume("m1", "t#0", 0, 7);
        s.check(Access).violated(1);
    }

    #[test]
    fn those_who_need_not_be_refused_may_send() {
        let mut s = Story::new(Story::contract());
        s.at(1.0).send(7, "t#0", 0).consume("m1", "t#0", 0, 7);
        s.check(Access).status(Status::NotExercised);
    }
}
