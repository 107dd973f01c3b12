//! INV-OFFSAFE: a committed offset covers finished messages only.

use std::collections::BTreeSet;

use crate::facts::{Delivery, Facts, NONE, Session, TopicKind};
use crate::history::{Event, Outcome, SimTime};

use super::{Findings, Invariant};

pub(super) static INVARIANT: Invariant = Invariant {
    statement: "A member commits no offset beyond the smallest one it has not finished.",
    explanation: "\
Whatever lies below a committed offset is never handed out again when the member dies. So a
member may commit only up to the smallest offset that it has pulled and not finished.

Judged by: every commit that a member sends, against the session (its ownership of that queue):
each offset that it pulled below the committed one must have been consumed, or failed and sent
back, before. A commit must not lie beyond what the member has pulled either. Messages lost with
a listener call are not finished, nor are suspended ones before their last retry.

Promised by Apache RocketMQ: under client crashes and network faults (ProcessQueue.removeMessage
gives the offset to commit).

Legal: the correction of an illegal position and an administrator's reset set the offset
anywhere; before a corrected member pulls again it rests for 10 s, and may commit what it had. A
message that has been with its listener for more than 15 minutes is sent back and counts as
finished.",
    check,
};

/// How long a listener may hold on to a message (`consumeTimeout`), in microseconds.
const CONSUME_TIMEOUT_US: u64 = 15 * 60 * 1_000_000;

fn check(facts: &Facts<'_>, findings: &mut Findings) {
    for (id, session) in (0u32..).zip(&facts.sessions) {
        let mut queue = ProcessQueue { whole: is_whole(facts, session), ..Default::default() };
        for &at in facts.session_records.of(id) {
            let Some(record) = facts.record(at) else { continue };
            match record.event {
                Event::Pulled { from, next, got, .. } => queue.pulled(from, next, got),
                Event::Corrected { from, to, .. } => queue.corrected(from, to),
                Event::Delivered { offset, .. } => queue.delivered(offset),
                Event::Finished { delivery, outcome } => {
                    let delivery = facts.delivery(delivery);
                    if let Some(d) = delivery.filter(|d| is_over(facts, d, outcome)) {
                        queue.open.remove(&d.offset);
                    }
                }
                Event::Committed { offset, .. } => {
                    judge(facts, findings, (id, session), &queue, (offset, record.at, at));
                }
                _ => {}
            }
        }
    }
}

/// Whether the member is done with a message: it consumed it, sent it back, or suspended it for the
/// last time, after which an orderly consumer sends it to the dead letters.
fn is_over(facts: &Facts<'_>, delivery: &Delivery, outcome: Outcome) -> bool {
    let max = facts.group(delivery.group).max_reconsume;
    match outcome {
        Outcome::Consumed | Outcome::Later => true,
        Outcome::Suspended => max.is_some_and(|max| delivery.reconsume >= max),
        Outcome::Lost => false,
    }
}

/// Whether a pull brings every message of its range.
fn is_whole(facts: &Facts<'_>, session: &Session) -> bool {
    let retry = matches!(facts.topic_kind(session.queue), TopicKind::Retry(_));
    retry || !facts.group(session.group).filtered
}

/// What a member holds of one queue.
#[derive(Default)]
struct ProcessQueue {
    /// Pulled, not finished.
    open: BTreeSet<i64>,
    /// Where the next pull starts.
    position: Option<i64>,
    /// Where it would have started before it was corrected, until it does.
    before: Option<i64>,
    /// Whether pulls bring every message of their range.
    whole: bool,
    /// If not: which messages came.
    came: BTreeSet<i64>,
}

impl ProcessQueue {
    fn corrected(&mut self, from: i64, to: i64) {
        self.before = Some(from);
        self.position = Some(to);
    }

    fn pulled(&mut self, from: i64, next: i64, got: u32) {
        self.before = None;
        // A range with gaps does not say which offsets came.
        if self.whole && next.saturating_sub(from) == i64::from(got) {
            self.open.extend(from..next);
        }
        self.position = Some(self.position.map_or(next, |position| position.max(next)));
    }

    fn delivered(&mut self, offset: i64) {
        if !self.whole && self.came.insert(offset) {
            self.open.insert(offset);
        }
    }
}

fn judge(
    facts: &Facts<'_>,
    findings: &mut Findings,
    (id, session): (u32, &Session),
    queue: &ProcessQueue,
    (offset, at, record): (i64, SimTime, u32),
) {
    let Some(position) = queue.position else { return };
    findings.exercise();
    let timed_out = |&&offset: &&i64| {
        facts.handed_out(id, offset).is_some_and(|d| at.since(d.at) > CONSUME_TIMEOUT_US)
    };
    let open = queue.open.iter().take_while(|&&open| open < offset).find(|open| !timed_out(open));
    let smallest = open.copied();
    let reached = offset <= queue.before.map_or(position, |before| before.max(position));
    if smallest.is_none() && reached || was_reset(facts, session, at) {
        return;
    }
    findings.violation(|| {
        let member = facts.names().node_name(session.node);
        let name = facts.queue_name(session.queue);
        let Some(smallest) = smallest else {
            let summary = format!("{member} committed {name} up to {offset} but pulled to {position}");
            return facts.evidence(summary, NONE, at, &[record]);
        };
        let delivery = facts.handed_out(id, smallest);
        let value = delivery.map_or(NONE, |delivery| delivery.value);
        let seen = delivery.map_or(NONE, |delivery| delivery.record);
        let finish = delivery.map_or(NONE, |delivery| delivery.finish_record);
        let summary =
            format!("{member} committed {name} up to {offset} while {smallest} was not finished");
        facts.evidence(summary, value, at, &[seen, record, finish])
    });
}

fn was_reset(facts: &Facts<'_>, session: &Session, at: SimTime) -> bool {
    facts.offsets.line(session.group, session.queue).is_some_and(|line| {
        line.sets.iter().any(|set| set.reset && set.at >= session.opened && set.at <= at)
    })
}

#[cfg(test)]
mod tests {
    use crate::contract::{Contract, GroupContract};
    use crate::history::{How, Outcome};
    use crate::invariant::InvariantId::OffSafe;
    use crate::report::Status;
    use crate::story::Story;

    fn three_pulled() -> Story {
        let mut s = Story::new(Story::contract());
        s.at(1.0).send(7, "t#0", 0).send(8, "t#0", 1).send(9, "t#0", 2);
        s.assign("m1", "t#0").pull("m1", "t#0", 0, 3);
        s
    }

    #[test]
    fn the_smallest_unfinished_offset_may_be_committed() {
        let mut s = three_pulled();
        s.deliver("m1", "t#0", 0, 7).consume("m1", "t#0", 1, 8).commit("m1", "t#0", 0);
        s.finish("m1", 7, Outcome::Consumed).commit("m1", "t#0", 2);
        s.consume("m1", "t#0", 2, 9).commit("m1", "t#0", 3);
        s.check(OffSafe).holds(3);
    }

    #[test]
    fn an_offset_beyond_a_running_listener_call_is_not_safe() {
        let mut s = three_pulled();
        s.deliver("m1", "t#0", 0, 7).consume("m1", "t#0", 1, 8).commit("m1", "t#0", 2);
        let report = s.check(OffSafe).violated(1);
        insta::assert_snapshot!(report.evidence[0].lines.join("\n"), @r#"
        1.011000s  m1: g is handed message 7 from t@b#0 offset 0, reconsume times 0
        1.014000s  m1: commits t@b#0 up to 2 for g
        "#);
    }

    #[test]
    fn an_offset_beyond_a_message_that_waits_for_the_listener_is_not_safe() {
        let mut s = three_pulled();
        s.consume("m1", "t#0", 0, 7).commit("m1", "t#0", 3);
        s.check(OffSafe).violated(1);
    }

    #[test]
    fn an_offset_beyond_what_was_pulled_is_not_safe() {
        let mut s = three_pulled();
        s.consume("m1", "t#0", 0, 7).consume("m1", "t#0", 1, 8).consume("m1", "t#0", 2, 9);
        s.commit("m1", "t#0", 4);
        s.check(OffSafe).violated(1);
    }

    #[test]
    fn a_message_that_was_sent_back_is_finished() {
        let mut s = three_pulled();
        s.deliver("m1", "t#0", 0, 7).finish("m1", 7, Outcome::Later).commit("m1", "t#0", 1);
        s.check(OffSafe).holds(1);
    }

    #[test]
    fn a_suspended_message_is_not_finished() {
        let mut s = three_pulled();
        s.deliver("m1", "t#0", 0, 7).finish("m1", 7, Outcome::Suspended).commit("m1", "t#0", 1);
        s.check(OffSafe).violated(1);
    }

    #[test]
    fn a_message_suspended_for_the_last_time_is_a_dead_letter() {
        let group = GroupContract { max_reconsume: 1, ..GroupContract::orderly("g", &["t"]) };
        let story = |last| {
            let mut s = Story::new(Contract { groups: vec![group.clone()], ..Story::contract() });
            s.assign("m1", "t#0").send(7, "t#0", 0).pull("m1", "t#0", 0, 1);
            for reconsume in 0..=last {
                s.deliver_again("m1", "t#0", 0, 7, reconsume).finish("m1", 7, Outcome::Suspended);
            }
            s.commit("m1", "t#0", 1);
            s
        };
        story(0).check(OffSafe).violated(1);
        story(1).check(OffSafe).holds(1);
    }

    #[test]
    fn a_message_with_the_listener_for_a_quarter_of_an_hour_is_sent_back() {
        let mut s = three_pulled();
        s.deliver("m1", "t#0", 0, 7).at(1000.0).commit("m1", "t#0", 1);
        s.check(OffSafe).holds(1);
    }

    #[test]
    fn until_a_corrected_member_pulls_it_may_commit_what_it_had() {
        let mut s = three_pulled();
        s.correct("m1", "t#0", 3, 1).commit("m1", "t#0", 3);
        s.check(OffSafe).holds(1);
    }

    #[test]
    fn when_a_corrected_member_has_pulled_it_may_not() {
        let mut s = three_pulled();
        s.correct("m1", "t#0", 3, 1).pull("m1", "t#0", 1, 0).commit("m1", "t#0", 3);
        s.check(OffSafe).violated(1);
    }

    #[test]
    fn a_corrected_position_may_be_committed() {
        let mut s = three_pulled();
        s.correct("m1", "t#0", 3, 9).commit("m1", "t#0", 9);
        s.check(OffSafe).holds(1);
    }

    #[test]
    fn after_a_reset_any_offset_may_be_committed() {
        let mut s = three_pulled();
        s.reset("t#0", 50).commit("m1", "t#0", 50);
        s.check(OffSafe).holds(1);
    }

    #[test]
    fn the_commit_on_losing_the_queue_is_judged_too() {
        let mut s = three_pulled();
        s.deliver("m1", "t#0", 0, 7).revoke("m1", "t#0").commit("m1", "t#0", 1);
        s.check(OffSafe).violated(1);
    }

    #[test]
    fn what_a_former_life_of_the_member_did_not_finish_does_not_count() {
        let mut s = three_pulled();
        s.deliver("m1", "t#0", 0, 7).down("m1", How::Kill).at(5.0).up("m1").assign("m1", "t#0");
        s.pull("m1", "t#0", 0, 3).consume("m1", "t#0", 0, 7).commit("m1", "t#0", 1);
        s.check(OffSafe).holds(1);
    }

    #[test]
    fn without_commits_nothing_is_put_to_the_test() {
        three_pulled().check(OffSafe).status(Status::NotExercised);
    }
}
