//! INV-INDEX: what is stored can be looked up.

use crate::facts::{Facts, Fate, Op, Query};
use crate::history::{How, QueryBy, SimTime};
use crate::report::Evidence;

use super::{Findings, Invariant};

pub(super) static INVARIANT: Invariant = Invariant {
    statement: "A stored message is found by its key, its unique id and its offset id.",
    explanation: "\
People look into what became of an order by its key, or by the id that they find in a log. Who is
told that there is no such message draws wrong conclusions, as does who is shown another one.

Judged by: every look-up of a message that was acknowledged a second before, is in its topic by
then, and is not lost. It must be found with its own body, and among what is found must be
nothing without that key or id.

Promised by Apache RocketMQ: by its offset id under every fault that leaves it in the log; by key
and unique id as long as the broker lives.

Legal, and counted: after a crash the index may lack what was stored before, because index files
that the checkpoint does not cover are thrown away and only partly made anew (IndexService).",
    check,
};

/// How long after its send a message may be on its way into the index, in microseconds.
const GRACE_US: u64 = 1_000_000;

fn check(facts: &Facts<'_>, findings: &mut Findings) {
    for query in &facts.features.queries {
        let Some((op, stored)) = stored(facts, query) else { continue };
        findings.exercise();
        if query.strangers > 0 {
            findings
                .violation(|| evidence(facts, query, op, "was looked up and others were shown"));
        }
        if query.found {
            continue;
        }
        let crashes = [How::Kill, How::PowerLoss];
        let crashed = facts.broker_down(op.queue, &crashes, stored, query.at);
        let what = "was looked up and not found";
        if crashed && query.by != QueryBy::OffsetId {
            findings.legal("not in the index after a crash", || evidence(facts, query, op, what));
        } else {
            findings.violation(|| evidence(facts, query, op, what));
        }
    }
}

/// The call that stored the message, and when it was in its topic; `None` if it need not be found.
fn stored<'a>(facts: &'a Facts<'_>, query: &Query) -> Option<(&'a Op, SimTime)> {
    let op = facts.ok_op(query.message)?;
    if facts.fate(query.message) != Fate::Stored {
        return None;
    }
    let since = if op.waits() {
        facts.own_copies(query.message).find(|copy| !copy.is_lost())?.at
    } else {
        op.ended
    };
    (since.0 + GRACE_US <= query.at.0).then_some((op, since))
}

fn evidence(facts: &Facts<'_>, query: &Query, op: &Op, what: &str) -> Evidence {
    let outages = facts.broker_outages(op.queue).iter();
    let outage = outages.filter(|o| o.down <= query.at).map(|o| o.record).next_back();
    let mut records = vec![op.record, op.end_record, query.record];
    records.extend(outage);
    let summary = format!("{} {what}", facts.message_name(query.message));
    facts.evidence(summary, query.message, query.at, &records)
}

#[cfg(test)]
mod tests {
    use crate::history::How;
    use crate::history::QueryBy::{Key, OffsetId, UniqueKey};
    use crate::invariant::InvariantId::Index;
    use crate::report::Status;
    use crate::story::Story;

    fn sent() -> Story {
        let mut s = Story::new(Story::contract());
        s.at(1.0).send(7, "t#0", 0);
        s
    }

    #[test]
    fn a_message_that_is_found_is_right() {
        let mut s = sent();
        s.at(5.0).query(Key, 7, true).query(UniqueKey, 7, true).query(OffsetId, 7, true);
        s.check(Index).holds(3);
    }

    #[test]
    fn a_stored_message_that_is_not_found_is_wrong() {
        let mut s = sent();
        s.at(5.0).query(Key, 7, false);
        let report = s.check(Index).violated(1);
        insta::assert_snapshot!(report.evidence[0].lines.join("\n"), @"
        1.000000s  p: sends message 7 to t
        1.002000s  p: message 7 acknowledged at t@b#0 offset 0
        5.000000s  operator: looks for message 7 by its key: does not find it
        ");
    }

    #[test]
    fn a_message_that_nobody_asked_for_is_wrong() {
        let mut s = sent();
        s.at(5.0).query_among(Key, 7, true, 1);
        s.check(Index).violated(1);
    }

    #[test]
    fn after_a_crash_the_index_may_have_gaps_but_the_log_has_none() {
        let mut s = sent();
        s.at(2.0).down("b-0", How::Kill).at(3.0).up("b-0").at(5.0).query(UniqueKey, 7, false);
        assert_eq!(s.check(Index).holds(1).legal[0].count, 1);
        let mut s = sent();
        s.at(2.0).down("b-0", How::Kill).at(3.0).up("b-0").at(5.0).query(OffsetId, 7, false);
        s.check(Index).violated(1);
    }

    #[test]
    fn what_was_sent_just_now_or_lost_need_not_be_found() {
        let mut s = sent();
        s.query(Key, 7, false);
        s.check(Index).status(Status::NotExercised);
        let mut s = sent();
        s.at(2.0).down("b-0", How::PowerLoss).at(3.0).up("b-0").recovered(0);
        s.at(5.0).query(OffsetId, 7, false);
        s.check(Index).status(Status::NotExercised);
    }

    #[test]
    fn without_look_ups_nothing_is_put_to_the_test() {
        sent().check(Index).status(Status::NotExercised);
    }
}
