//! INV-SKIP: a consumer does not jump over messages.

use crate::facts::{Facts, Session, TopicKind};
use crate::history::{Event, SimTime};

use super::{Findings, Invariant};

pub(super) static INVARIANT: Invariant = Invariant {
    statement: "A member that owns a queue neither jumps over offsets nor drops what it pulled.",
    explanation: "\
A member that owns a queue reads it from its start offset on without a gap: the next pull starts
where the broker said to go on, a pull returns every message of the range that it covers, and
what was pulled is handed to the listener.

Judged by: every session (a member's ownership of a queue without a break). The ranges of
successive pulls must join; for a group that subscribes to everything a pull from A to B brings
B-A messages; and once an offset was handed to the listener, every earlier pulled offset of the
session has been, too (with a second of grace at the end of the session, for a pool of listener
threads).

Promised by Apache RocketMQ: under every fault, as long as no member resets its offset.

Legal: a broker that answers an illegal position (OFFSET_MOVED) starts a new session, as do
losing the queue, dropping its buffer, and dying. After a power loss of the broker ranges need
not join. Groups that filter get fewer messages than the range has offsets.",
    check,
};

/// How long a message may wait for a listener thread after a later one got one, in microseconds.
const GRACE_US: u64 = 1_000_000;

/// A jump beyond which a session's deliveries are not followed any more, in offsets.
const MAX_GAP: usize = 1 << 20;

fn check(facts: &Facts<'_>, findings: &mut Findings) {
    let mut walk = Walk::default();
    for (id, session) in (0u32..).zip(&facts.sessions) {
        walk.start(facts, session);
        for &at in facts.session_records.of(id) {
            walk.step(facts, findings, at);
        }
        walk.end(facts, findings);
    }
}

/// The walk through one session.
#[derive(Default)]
struct Walk {
    session: Option<Session>,
    filtered: bool,
    /// Where the next pull should start, and the pull that says so.
    expected: Option<(i64, u32)>,
    base: i64,
    /// By offset from `base`: how far it got.
    offsets: Vec<State>,
    /// The highest offset that was handed out long enough before the end of the session.
    highest: Option<(i64, u32)>,
    settled: SimTime,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Unknown,
    Pulled,
    Delivered,
}

impl Walk {
    fn start(&mut self, facts: &Facts<'_>, session: &Session) {
        let retry = matches!(facts.topic_kind(session.queue), TopicKind::Retry(_));
        self.filtered = facts.group(session.group).filtered && !retry;
        self.session = Some(*session);
        self.expected = None;
        self.base = session.first_from.unwrap_or(0);
        self.offsets.clear();
        self.highest = None;
        let end = session.closed.min(facts.end());
        self.settled = SimTime(end.0.saturating_sub(GRACE_US));
    }

    fn step(&mut self, facts: &Facts<'_>, findings: &mut Findings, at: u32) {
        let Some(record) = facts.record(at) else { return };
        match record.event {
            Event::Pulled { from, next, got, .. } => {
                self.join(facts, findings, (from, at, record.at));
                self.complete(facts, findings, (from, next, got), (at, record.at));
                self.expected = Some((next, at));
            }
            Event::Delivered { offset, .. } => {
                self.mark(offset, State::Delivered);
                let highest = self.highest.map_or(i64::MIN, |(offset, _)| offset);
                if record.at <= self.settled && offset > highest {
                    self.highest = Some((offset, at));
                }
            }
            _ => {}
        }
    }

    fn join(&mut self, facts: &Facts<'_>, findings: &mut Findings, pull: (i64, u32, SimTime)) {
        let (from, at, now) = pull;
        let Some(((expected, before), session)) = self.expected.zip(self.session) else { return };
        findings.exercise();
        if from <= expected {
            return;
        }
        let evidence = || {
            let queue = facts.queue_name(session.queue);
            let member = facts.names().node_name(session.node);
            let summary = format!("{member} jumped on {queue} from {expected} to {from}");
            facts.evidence(summary, crate::facts::NONE, now, &[before, at])
        };
        if facts.broker_power_lost(session.queue, session.opened, now) {
            findings.legal("a jump after a power loss of the broker", evidence);
        } else {
            findings.violation(evidence);
        }
    }

    fn complete(
        &mut self,
        facts: &Facts<'_>,
        findings: &mut Findings,
        (from, next, got): (i64, i64, u32),
        (at, now): (u32, SimTime),
    ) {
        if self.filtered {
            return;
        }
        let Some(session) = self.session else { return };
        let range = next.saturating_sub(from);
        if range <= i64::from(got) {
            for offset in from..next {
                self.mark(offset, State::Pulled);
            }
            return;
        }
        let evidence = || {
            let queue = facts.queue_name(session.queue);
            let summary = format!(
                "a pull of {queue} went from {from} to {next} but brought {got} messages of {range}"
            );
            facts.evidence(summary, crate::facts::NONE, now, &[at])
        };
        if facts.broker_power_lost(session.queue, session.opened, now) {
            findings.legal("a jump after a power loss of the broker", evidence);
        } else {
            findings.violation(evidence);
        }
    }

    fn mark(&mut self, offset: i64, state: State) {
        let index = offset.checked_sub(self.base);
        let Some(index) = index.and_then(|at| usize::try_from(at).ok()) else { return };
        // Pulls bring ranges as long as their messages are many, so this stays in proportion,
        // unless positions jump far; that is a violation already.
        let near = index < self.offsets.len() + MAX_GAP;
        if state == State::Pulled && near && index >= self.offsets.len() {
            self.offsets.resize(index + 1, State::Unknown);
        }
        if let Some(slot) = self.offsets.get_mut(index)
            && *slot != State::Delivered
        {
            *slot = state;
        }
    }

    fn end(&mut self, facts: &Facts<'_>, findings: &mut Findings) {
        let (Some((highest, later)), Some(session)) = (self.highest, self.session) else { return };
        let below = usize::try_from(highest.saturating_sub(self.base)).unwrap_or(0);
        let below = self.offsets.iter().take(below);
        let dropped = (self.base..).zip(below).filter(|(_, state)| **state == State::Pulled);
        for (offset, _) in dropped {
            findings.violation(|| {
                let queue = facts.queue_name(session.queue);
                let member = facts.names().node_name(session.node);
                let summary = format!(
                    "{member} pulled {queue} offset {offset} and never handed it to its listener"
                );
                let pull = covering_pull(facts, &session, offset);
                let at = facts.record(later).map_or(session.opened, |record| record.at);
                facts.evidence(summary, crate::facts::NONE, at, &[pull, later])
            });
        }
    }
}

/// The pull of a session that brought an offset.
fn covering_pull(facts: &Facts<'_>, session: &Session, offset: i64) -> u32 {
    let same = |s: &Session| {
        (s.node, s.group, s.queue, s.opened)
            == (session.node, session.group, session.queue, session.opened)
    };
    let id = facts.sessions.iter().position(same).and_then(|at| u32::try_from(at).ok());
    let covers = |&&at: &&u32| match facts.record(at).map(|record| record.event) {
        Some(Event::Pulled { from, next, .. }) => from <= offset && offset < next,
        _ => false,
    };
    let records = id.map_or(&[][..], |id| facts.session_records.of(id));
    records.iter().find(covers).copied().unwrap_or(crate::facts::NONE)
}

#[cfg(test)]
mod tests {
    use crate::contract::{Contract, GroupContract};
    use crate::history::How;
    use crate::invariant::InvariantId::Skip;
    use crate::report::Status;
    use crate::story::Story;

    fn two_pulls() -> Story {
        let mut s = Story::new(Story::contract());
        s.at(1.0).send(7, "t#0", 0).send(8, "t#0", 1).send(9, "t#0", 2);
        s.assign("m1", "t#0").pull("m1", "t#0", 0, 2);
        s
    }

    #[test]
    fn pulls_that_join_and_deliveries_without_a_gap_are_right() {
        let mut s = two_pulls();
        s.consume("m1", "t#0", 1, 8).consume("m1", "t#0", 0, 7).pull("m1", "t#0", 2, 1);
        s.consume("m1", "t#0", 2, 9).at(9.0).done(true);
        s.check(Skip).holds(1);
    }

    #[test]
    fn a_pull_that_starts_too_far_is_a_jump() {
        let mut s = two_pulls();
        s.pull("m1", "t#0", 3, 1);
        let report = s.check(Skip).violated(1);
        insta::assert_snapshot!(report.evidence[0].summary, @"m1 jumped on t@b#0 from 2 to 3");
    }

    #[test]
    fn a_next_offset_that_is_one_too_far_is_a_jump() {
        let mut s = two_pulls();
        s.pull_to("m1", "t#0", 2, 1, 4);
        s.check(Skip).violated(1);
    }

    #[test]
    fn a_group_that_filters_gets_fewer_messages_than_offsets() {
        let group = GroupContract { filtered: true, ..GroupContract::concurrent("g", &["t"]) };
        let mut s = Story::new(Contract { groups: vec![group], ..Contract::default() });
        s.at(1.0).assign("m1", "t#0").pull_to("m1", "t#0", 0, 1, 9).pull_to("m1", "t#0", 9, 0, 9);
        s.check(Skip).holds(1);
    }

    #[test]
    fn a_pulled_message_that_is_never_handed_out_is_skipped() {
        let mut s = two_pulls();
        s.consume("m1", "t#0", 1, 8).pull("m1", "t#0", 2, 0).at(9.0).done(true);
        s.check(Skip).violated(1);
    }

    #[test]
    fn what_is_still_in_the_buffer_is_not_skipped() {
        let mut s = two_pulls();
        s.consume("m1", "t#0", 0, 7).pull("m1", "t#0", 2, 0).at(9.0).done(true);
        s.check(Skip).holds(1);
    }

    #[test]
    fn a_buffer_that_is_dropped_with_the_queue_is_not_skipped() {
        let mut s = two_pulls();
        s.pull("m1", "t#0", 2, 1).revoke("m1", "t#0").at(5.0);
        s.assign("m1", "t#0").pull("m1", "t#0", 2, 1).pull("m1", "t#0", 3, 0);
        s.check(Skip).holds(2);
    }

    #[test]
    fn a_corrected_position_is_not_a_jump() {
        let mut s = two_pulls();
        s.correct("m1", "t#0", 2, 9).pull("m1", "t#0", 9, 1).pull("m1", "t#0", 10, 0);
        s.check(Skip).holds(1);
    }

    #[test]
    fn after_a_power_loss_of_the_broker_a_jump_is_legal() {
        let mut s = two_pulls();
        s.down("b-0", How::PowerLoss).at(5.0).up("b-0").pull("m1", "t#0", 4, 0);
        assert_eq!(s.check(Skip).holds(1).legal[0].count, 1);
    }

    #[test]
    fn one_pull_proves_nothing() {
        two_pulls().check(Skip).status(Status::NotExercised);
    }
}
