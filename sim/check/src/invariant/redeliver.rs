//! INV-REDELIVER: what was committed is not delivered again.

use rustc_hash::FxHashMap;

use crate::facts::{Delivery, Facts, OffsetLine, QUERY_US, Session};
use crate::history::{Event, SimTime};

use super::{Findings, Invariant};

pub(super) static INVARIANT: Invariant = Invariant {
    statement: "A message whose commit took effect at the broker is not delivered again.",
    explanation: "\
A commit is effective once the broker's offset table has it. A member that asks for its start
offset after that must be told at least as much, so it never pulls what lies below.

Judged by: every session (a member's ownership of a queue). Its first pull must not start below
the least offset that a correct broker can have answered from 5 s before it gained the queue (the
time limit of the request) to its first pull; messages below that were seen by the group before
are violations. Within one session, no offset may be handed out a second time after it was
committed.

Promised by Apache RocketMQ: while the broker lives, and across a clean restart.

Legal: a broker that is killed forgets what it has not persisted (every 5 s), one that loses
power forgets more; commits of a former owner may set the table back; an administrator may reset
it. A group that pops has no commits: what it acknowledges is the business of INV-HANDLE.",
    check,
};

fn check(facts: &Facts<'_>, findings: &mut Findings) {
    for (id, session) in (0u32..).zip(&facts.sessions) {
        let group = facts.group(session.group);
        if group.broadcasting || group.pop {
            continue;
        }
        let Some(line) = facts.offsets.line(session.group, session.queue) else { continue };
        let floor = start_floor(facts, session, line);
        if floor.is_some() {
            findings.exercise();
        }
        let starts_below = floor.zip(session.first_from).is_some_and(|(floor, from)| from < floor);
        let commits = line.sets.first().is_some_and(|set| set.at < session.closed);
        if starts_below || commits {
            walk(facts, findings, id, session, (line, floor));
        }
    }
}

/// The least offset that the member may have been told to start from.
fn start_floor(facts: &Facts<'_>, session: &Session, line: &OffsetLine) -> Option<i64> {
    session.first_from?;
    line.floor(facts.asked(session), session.first_pull)
}

fn walk(
    facts: &Facts<'_>,
    findings: &mut Findings,
    id: u32,
    session: &Session,
    (line, floor): (&OffsetLine, Option<i64>),
) {
    let mut seen: FxHashMap<i64, u32> = FxHashMap::default();
    let mut corrected = false;
    for &at in facts.session_records.of(id) {
        let Some(record) = facts.record(at) else { continue };
        corrected |= matches!(record.event, Event::Corrected { .. });
        let Event::Delivered { delivery, offset, .. } = record.event else { continue };
        let Some(delivery) = facts.delivery(delivery) else { continue };
        let again = seen.insert(offset, at);
        if let Some(first) = again {
            let effective = line.last_at(record.at).is_some_and(|set| set.offset > offset);
            if effective && is_sole_owner(facts, session, line, record.at) {
                report(facts, findings, delivery, line, first);
            }
        } else if !corrected
            && floor.is_some_and(|floor| offset < floor)
            && let Some(first) = seen_before(facts, delivery)
        {
            report(facts, findings, delivery, line, first);
        }
    }
}

/// Whether nobody else can have committed on the queue since the session began.
fn is_sole_owner(facts: &Facts<'_>, session: &Session, line: &OffsetLine, at: SimTime) -> bool {
    let other = |s: &&Session| {
        (s.group, s.queue) == (line.group, line.queue)
            && s.opened <= at
            && s.closed.0.saturating_add(QUERY_US) >= session.opened.0
    };
    let reset = line.sets.iter().any(|set| set.reset && set.at >= session.opened && set.at <= at);
    facts.sessions.iter().filter(other).count() <= 1 && !reset
}

/// An earlier delivery of the same message to the group from the same place.
fn seen_before(facts: &Facts<'_>, delivery: &Delivery) -> Option<u32> {
    let list = facts.delivered_to(delivery.value, delivery.audience);
    facts
        .each(list)
        .find(|d| {
            (d.queue, d.offset) == (delivery.queue, delivery.offset) && d.record < delivery.record
        })
        .map(|d| d.record)
}

fn report(
    facts: &Facts<'_>,
    findings: &mut Findings,
    delivery: &Delivery,
    line: &OffsetLine,
    first: u32,
) {
    findings.violation(|| {
        let (name, group) =
            (facts.message_name(delivery.value), facts.names().group_name(delivery.group));
        let set = line.sets.iter().find(|set| set.offset > delivery.offset);
        let mut records = vec![first, delivery.record];
        records.extend(set.map(|set| set.record));
        let outages = facts.broker_outages(delivery.queue).iter();
        records.extend(outages.filter(|o| o.down <= delivery.at).map(|o| o.record).next_back());
        let summary = format!("{group} was handed {name} again after its commit was effective");
        facts.evidence(summary, delivery.value, delivery.at, &records)
    });
}

#[cfg(test)]
mod tests {
    use crate::history::How;
    use crate::invariant::InvariantId::Redeliver;
    use crate::report::Status;
    use crate::story::Story;

    /// `m1` consumed messages 7 and 8 and committed them long ago.
    fn committed() -> Story {
        let mut s = Story::new(Story::contract());
        s.at(1.0).send(7, "t#0", 0).send(8, "t#0", 1).assign("m1", "t#0").pull("m1", "t#0", 0, 2);
        s.consume("m1", "t#0", 0, 7).consume("m1", "t#0", 1, 8).commit("m1", "t#0", 2);
        s
    }

    #[test]
    fn a_new_owner_that_starts_at_the_commit_is_right() {
        let mut s = committed();
        s.at(50.0).revoke("m1", "t#0").assign("m2", "t#0").pull("m2", "t#0", 2, 0);
        s.check(Redeliver).holds(1);
    }

    #[test]
    fn a_new_owner_that_starts_below_it_is_wrong() {
        let mut s = committed();
        s.at(50.0).revoke("m1", "t#0").assign("m2", "t#0").pull("m2", "t#0", 0, 2);
        s.consume("m2", "t#0", 0, 7).consume("m2", "t#0", 1, 8);
        let report = s.check(Redeliver).violated(2);
        insta::assert_snapshot!(report.evidence[0].lines.join("\n"), @r#"
         1.008000s  m1: g is handed message 7 from t@b#0 offset 0, reconsume times 0
         1.013000s  b-0: sets the offset of g on t@b#0 to 2
        50.003000s  m2: g is handed message 7 from t@b#0 offset 0, reconsume times 0
        "#);
    }

    #[test]
    fn a_broker_that_forgets_an_old_commit_when_it_restarts_is_wrong() {
        let mut s = committed();
        s.at(50.0).down("b-0", How::Kill).at(53.0).up("b-0").at(60.0).revoke("m1", "t#0");
        s.assign("m2", "t#0").pull("m2", "t#0", 0, 2).consume("m2", "t#0", 0, 7);
        s.check(Redeliver).violated(1);
    }

    #[test]
    fn a_broker_that_forgets_a_commit_of_the_last_seconds_is_legal() {
        let mut s = committed();
        s.at(3.0).down("b-0", How::Kill).at(6.0).up("b-0").at(20.0).revoke("m1", "t#0");
        s.assign("m2", "t#0").pull("m2", "t#0", 0, 2).consume("m2", "t#0", 0, 7);
        s.check(Redeliver).status(Status::NotExercised);
    }

    #[test]
    fn a_broker_that_stops_cleanly_forgets_nothing() {
        let mut s = committed();
        s.at(3.0).down("b-0", How::Stop).at(6.0).up("b-0").at(20.0).revoke("m1", "t#0");
        s.assign("m2", "t#0").pull("m2", "t#0", 0, 2).consume("m2", "t#0", 0, 7);
        s.check(Redeliver).violated(1);
    }

    #[test]
    fn an_owner_that_asked_before_the_commit_is_legal() {
        let mut s = Story::new(Story::contract());
        s.at(1.0).send(7, "t#0", 0).assign("m1", "t#0").pull("m1", "t#0", 0, 1);
        s.consume("m1", "t#0", 0, 7).at(50.0).commit("m1", "t#0", 1);
        s.at(52.0).assign("m2", "t#0").pull("m2", "t#0", 0, 1).consume("m2", "t#0", 0, 7);
        s.check(Redeliver).status(Status::NotExercised);
    }

    #[test]
    fn a_message_handed_out_twice_in_one_session_after_its_commit_is_wrong() {
        let mut s = committed();
        s.at(50.0).consume("m1", "t#0", 0, 7);
        s.check(Redeliver).violated(1);
    }

    #[test]
    fn a_message_handed_out_twice_before_its_commit_is_another_matter() {
        let mut s = Story::new(Story::contract());
        s.at(1.0).send(7, "t#0", 0).assign("m1", "t#0").pull("m1", "t#0", 0, 1);
        s.consume("m1", "t#0", 0, 7).consume("m1", "t#0", 0, 7).commit("m1", "t#0", 1);
        s.check(Redeliver).status(Status::NotExercised);
    }

    #[test]
    fn after_a_reset_everything_may_come_again() {
        let mut s = committed();
        s.at(50.0).revoke("m1", "t#0").reset("t#0", 0).assign("m2", "t#0");
        s.pull("m2", "t#0", 0, 2).consume("m2", "t#0", 0, 7);
        s.check(Redeliver).holds(1);
    }

    #[test]
    fn a_queue_that_never_changes_hands_proves_nothing() {
        committed().check(Redeliver).status(Status::NotExercised);
    }

    #[test]
    fn a_group_that_pops_has_no_commits() {
        use crate::contract::{Contract, GroupContract};
        let group = GroupContract { pop: true, ..GroupContract::concurrent("g", &["t"]) };
        let mut s = Story::new(Contract { groups: vec![group], ..Contract::default() });
        s.at(1.0).send(7, "t#0", 0).offset_set("t#0", 1).pop("m1", "t#0", (0, 7), 11.0);
        s.at(2.0).down("b-0", How::Kill).at(4.0).up("b-0").pop("m1", "t#0", (0, 7), 15.0);
        s.check(Redeliver).status(Status::NotExercised);
    }
}
