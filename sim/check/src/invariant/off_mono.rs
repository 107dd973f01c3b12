//! INV-OFFMONO: a group's offset at the broker does not go back.

use crate::facts::{Facts, NONE, OffsetLine, Session, Set};
use crate::history::{Event, FaultKind, GroupId, How, QueueRef, SimTime};

use super::{Findings, Invariant};

pub(super) static INVARIANT: Invariant = Invariant {
    statement: "The offset that a broker keeps for a group and a queue never goes back unasked.",
    explanation: "\
A group's progress on a queue only grows. An offset that goes back makes the next owner of the
queue consume again what was done with.

Judged by: successive changes of a broker's offset table. A lower value than before needs a
reason.

Promised by Apache RocketMQ: while one member owns the queue. The broker itself overwrites
blindly (ConsumerOffsetManager logs a lower offset and takes it).

Legal, and counted: an administrator's reset; a broker that was killed and forgot up to 5 s of
commits (10 s after a start), or lost power and forgot more; the correction of an illegal
position; and, while a queue changes hands, the commit of a former or a second owner, if it covers
what that member has consumed; a commit that a later one of the same member overtook on its way. A
commit below what its member has ever pulled is a violation at any time.",
    check,
};

/// How long after a queue changed hands commits of both owners may be under way, in microseconds.
const HANDOVER_US: u64 = 60_000_000;

/// How long a request may wait at the broker before it is refused (`waitTimeMillsInPullQueue`).
const OVERTAKE_US: u64 = 5_000_000;

/// How long after the network has healed connections may still wait: TCP's pauses between
/// retransmissions double, so that the last is about as long as the trouble was.
const BACKOFF_US: u64 = 60_000_000;

fn check(facts: &Facts<'_>, findings: &mut Findings) {
    let owners = Owners::of(facts);
    for line in &facts.offsets.lines {
        if facts.group(line.group).broadcasting {
            continue;
        }
        for pair in line.sets.windows(2) {
            let [before, after] = pair else { continue };
            findings.exercise();
            if after.offset >= before.offset || after.reset || before.reset {
                continue;
            }
            let evidence = || {
                let (group, queue) =
                    (facts.names().group_name(line.group), facts.queue_name(line.queue));
                let summary = format!(
                    "the offset of {group} on {queue} went back from {} to {}",
                    before.offset, after.offset
                );
                let commit = owners.commit(facts, line, after).map_or(NONE, |commit| commit.record);
                facts.evidence(summary, NONE, after.at, &[before.record, commit, after.record])
            };
            match reason(facts, &owners, line, before, after) {
                Some(reason) => findings.legal(reason, evidence),
                None => findings.violation(evidence),
            }
        }
    }
}

/// Sessions and commits by group and queue.
struct Owners {
    sessions: rustc_hash::FxHashMap<(GroupId, QueueRef), Vec<u32>>,
}

/// A commit that a member sent.
struct Commit {
    session: u32,
    record: u32,
    /// The highest offset that the member had committed before in the session.
    highest: i64,
    /// Whether the member sent a higher one after it.
    followed: bool,
}

impl Owners {
    fn of(facts: &Facts<'_>) -> Self {
        let mut sessions = rustc_hash::FxHashMap::default();
        for (id, session) in (0u32..).zip(&facts.sessions) {
            let list: &mut Vec<u32> = sessions.entry((session.group, session.queue)).or_default();
            list.push(id);
        }
        Self { sessions }
    }

    fn sessions<'a>(
        &'a self,
        facts: &'a Facts<'_>,
        line: &OffsetLine,
    ) -> impl Iterator<Item = (u32, &'a Session)> + 'a {
        let list = self.sessions.get(&(line.group, line.queue)).map_or(&[][..], Vec::as_slice);
        list.iter().filter_map(|&id| facts.sessions.get(id as usize).map(|session| (id, session)))
    }

    /// The last commit of this offset before the broker took it.
    fn commit(&self, facts: &Facts<'_>, line: &OffsetLine, set: &Set) -> Option<Commit> {
        let earliest = SimTime(set.at.0.saturating_sub(HANDOVER_US));
        let mut found: Option<Commit> = None;
        for (session, _) in self.sessions(facts, line) {
            let mut highest = i64::MIN;
            for &record in facts.session_records.of(session) {
                let Some(r) = facts.record(record).filter(|r| r.at <= set.at) else { break };
                let Event::Committed { offset, .. } = r.event else { continue };
                let newer = found.as_ref().is_none_or(|found| found.record < record);
                if offset == set.offset && r.at >= earliest && newer {
                    found = Some(Commit { session, record, highest, followed: false });
                }
                if offset > set.offset
                    && let Some(found) = found.as_mut()
                    && found.session == session
                {
                    found.followed = true;
                }
                highest = highest.max(offset);
            }
        }
        found
    }

    /// Whether the queue changed hands between two times.
    fn handover(&self, facts: &Facts<'_>, line: &OffsetLine, from: SimTime, to: SimTime) -> bool {
        let within = |at: SimTime| at >= from && at <= to;
        self.sessions(facts, line).any(|(_, s)| within(s.opened) || within(s.closed))
    }

    /// Whether another member took the queue before a time although this one has not let go of it:
    /// a member that stands still does not notice.
    fn contested(
        &self,
        facts: &Facts<'_>,
        line: &OffsetLine,
        session: &Session,
        at: SimTime,
    ) -> bool {
        let later = |s: &Session| {
            s.node != session.node && s.opened >= session.opened && s.opened <= at
        };
        session.closed >= at && self.sessions(facts, line).any(|(_, s)| later(s))
    }
}

fn reason(
    facts: &Facts<'_>,
    owners: &Owners,
    line: &OffsetLine,
    before: &Set,
    after: &Set,
) -> Option<&'static str> {
    if facts.broker_down(line.queue, &[How::PowerLoss], before.at, after.at) {
        return Some("the broker lost power and forgot commits");
    }
    if line.may_have_forgotten(before, after) {
        return Some("the broker went down and forgot the last seconds of commits");
    }
    let window = SimTime(before.at.0.saturating_sub(HANDOVER_US));
    let commit = owners.commit(facts, line, after);
    let network = [FaultKind::Flash, FaultKind::Partition, FaultKind::Latency, FaultKind::Loss];
    let handover = owners.handover(facts, line, window, after.at);
    let Some(commit) = commit else {
        // Nobody is known to have sent it: members' commits may be recorded in part only.
        return handover.then_some("a commit of a former owner of the queue");
    };
    let session = facts.sessions.get(commit.session as usize)?;
    if corrected(facts, commit.session, after.offset) {
        return Some("the correction of an illegal position");
    }
    let shared = handover || owners.contested(facts, line, session, after.at);
    if shared && covers(facts, line, &commit, session, after.offset) {
        return Some("a commit of a former or second owner of the queue");
    }
    // The member itself went forward, but the broker took its commits in another order: one travels
    // with a pull, the other alone, and each waits in a queue of its own.
    let sent = facts.record(commit.record).map_or(after.at, |record| record.at);
    let late = after.at.since(sent) > OVERTAKE_US;
    let doubtful = SimTime(sent.0.saturating_sub(BACKOFF_US));
    let overtaken = commit.followed
        && commit.highest <= after.offset
        && (!late || facts.trouble.any_fault(&network, doubtful, after.at));
    overtaken.then_some("a commit that a later one overtook")
}

/// Whether a lower commit may be honest: it covers what the member consumed from an honest start.
fn covers(
    facts: &Facts<'_>,
    line: &OffsetLine,
    commit: &Commit,
    session: &Session,
    offset: i64,
) -> bool {
    let started = || {
        // It has not pulled yet.
        facts.session_records.of(commit.session).iter().find_map(|&at| {
            match facts.record(at)?.event {
                Event::Assigned { from, .. } => from,
                _ => None,
            }
        })
    };
    let Some(start) = session.first_from.or_else(started) else { return false };
    let floor = line.floor(facts.asked(session), session.first_pull);
    let honest_start = floor.is_none_or(|floor| start >= floor);
    honest_start && offset >= start && offset >= commit.highest
}

fn corrected(facts: &Facts<'_>, session: u32, offset: i64) -> bool {
    facts.session_records.of(session).iter().any(|&at| {
        let event = facts.record(at).map(|record| record.event);
        matches!(event, Some(Event::Corrected { to, .. }) if to <= offset)
    })
}

#[cfg(test)]
mod tests {
    use crate::history::{FaultKind, How};
    use crate::invariant::InvariantId::OffMono;
    use crate::report::Status;
    use crate::story::Story;

    /// `m1` has owned the queue for long, consumed 100 messages and committed them.
    fn at_100() -> Story {
        let mut s = Story::new(Story::contract());
        s.at(1.0).assign("m1", "t#0").pull("m1", "t#0", 0, 100);
        s.at(50.0).commit("m1", "t#0", 50).at(100.0).commit("m1", "t#0", 100);
        s
    }

    #[test]
    fn an_offset_that_grows_is_right() {
        at_100().check(OffMono).holds(1);
    }

    #[test]
    fn an_offset_that_its_only_owner_sets_back_is_wrong() {
        let mut s = at_100();
        s.at(150.0).commit("m1", "t#0", 60);
        let report = s.check(OffMono).violated(1);
        insta::assert_snapshot!(report.evidence[0].summary, @"the offset of g on t@b#0 went back from 100 to 60");
    }

    #[test]
    fn a_new_owner_that_commits_zero_is_wrong() {
        let mut s = at_100();
        s.at(150.0).revoke("m1", "t#0").at(151.0).assign("m2", "t#0");
        s.commit("m2", "t#0", 0).pull("m2", "t#0", 100, 0);
        s.check(OffMono).violated(1);
    }

    #[test]
    fn a_new_owner_that_starts_from_zero_and_commits_that_is_wrong() {
        let mut s = at_100();
        s.at(150.0).revoke("m1", "t#0").at(151.0).assign("m2", "t#0");
        s.pull("m2", "t#0", 0, 10).commit("m2", "t#0", 0);
        s.check(OffMono).violated(1);
    }

    #[test]
    fn a_new_owner_that_asked_before_the_last_commit_of_the_former_is_legal() {
        let mut s = at_100();
        s.at(150.0).assign("m2", "t#0").pull("m2", "t#0", 100, 20);
        s.commit("m1", "t#0", 120).revoke("m1", "t#0").at(152.0).commit("m2", "t#0", 110);
        assert_eq!(s.check(OffMono).holds(3).legal[0].count, 1);
    }

    #[test]
    fn a_late_commit_of_the_former_owner_is_legal() {
        let mut s = at_100();
        s.at(150.0).revoke("m1", "t#0").assign("m2", "t#0").pull("m2", "t#0", 100, 20);
        s.commit("m2", "t#0", 110).commit("m1", "t#0", 100);
        s.check(OffMono).holds(3);
    }

    #[test]
    fn a_member_that_stood_still_while_another_took_the_queue_may_commit_what_it_had() {
        let mut s = at_100();
        s.at(150.0).assign("m2", "t#0").pull("m2", "t#0", 100, 50).commit("m2", "t#0", 150);
        // Long after the queue changed hands.
        s.at(400.0).commit("m2", "t#0", 150).commit("m1", "t#0", 100);
        assert_eq!(s.check(OffMono).holds(4).legal[0].count, 1);
    }

    #[test]
    fn a_new_owner_that_has_not_pulled_yet_commits_where_the_broker_let_it_start() {
        let mut s = at_100();
        s.at(110.0).down("b-0", How::PowerLoss).at(115.0).up("b-0").start("m2", "t#0", 60);
        s.commit("m2", "t#0", 60).at(117.0).commit("m1", "t#0", 100).revoke("m1", "t#0");
        s.at(119.0).commit("m2", "t#0", 60);
        assert_eq!(s.check(OffMono).holds(4).legal.len(), 2);
    }

    #[test]
    fn a_killed_broker_may_forget_the_last_seconds() {
        let mut s = at_100();
        s.at(102.0).down("b-0", How::Kill).at(105.0).up("b-0").commit("m1", "t#0", 60);
        s.check(OffMono).holds(2);
    }

    #[test]
    fn a_killed_broker_may_not_forget_more() {
        let mut s = at_100();
        s.at(150.0).down("b-0", How::Kill).at(155.0).up("b-0").commit("m1", "t#0", 60);
        s.check(OffMono).violated(1);
    }

    #[test]
    fn a_reset_sets_the_offset_anywhere() {
        let mut s = at_100();
        s.at(150.0).reset("t#0", 10).at(170.0).commit("m1", "t#0", 12);
        s.check(OffMono).holds(3);
    }

    #[test]
    fn the_correction_of_an_illegal_position_is_legal() {
        let mut s = at_100();
        s.at(150.0).correct("m1", "t#0", 100, 90).commit("m1", "t#0", 90);
        s.check(OffMono).holds(2);
    }

    #[test]
    fn a_commit_that_a_later_one_overtook_is_legal() {
        let mut s = at_100();
        s.at(150.0).commit_only("m1", "t#0", 110).commit("m1", "t#0", 120).offset_set("t#0", 110);
        assert_eq!(s.check(OffMono).holds(3).legal[0].count, 1);
    }

    #[test]
    fn a_commit_that_waited_for_longer_than_brokers_keep_requests_is_wrong() {
        let mut s = at_100();
        s.at(150.0).commit_only("m1", "t#0", 110).at(155.0).commit("m1", "t#0", 120);
        s.at(156.0).offset_set("t#0", 110);
        s.check(OffMono).violated(1);
    }

    #[test]
    fn a_commit_that_waited_for_a_network_that_was_down_before_is_legal() {
        let mut s = at_100();
        s.at(140.0).fault(FaultKind::Flash, 149.0);
        s.at(150.0).commit_only("m1", "t#0", 110).at(155.0).commit("m1", "t#0", 120);
        s.at(156.0).offset_set("t#0", 110);
        assert_eq!(s.check(OffMono).holds(3).legal[0].count, 1);
    }

    #[test]
    fn a_commit_of_long_ago_has_no_business_with_the_broker_any_more() {
        let mut s = at_100();
        s.at(150.0).commit("m1", "t#0", 110).at(190.0).offset_set("t#0", 100);
        s.check(OffMono).violated(1);
    }

    #[test]
    fn one_commit_proves_nothing() {
        let mut s = Story::new(Story::contract());
        s.at(1.0).commit("m1", "t#0", 5);
        s.check(OffMono).status(Status::NotExercised);
    }
}
