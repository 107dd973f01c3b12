//! INV-WAKE: a message that arrives wakes the pull that waits for it.

use crate::facts::{Append, Csr, Facts, NONE, Session, TopicKind};
use crate::history::{Event, Outcome, SimTime};

use super::{Findings, Invariant};

pub(super) static INVARIANT: Invariant = Invariant {
    statement: "A message reaches a member whose pull waits for it as soon as it arrives.",
    explanation: "\
A pull that finds nothing waits at the broker for up to 15 s. A message that arrives meanwhile must
answer it at once, or consumers would see everything late by seconds, though nothing is lost.

Judged by, where brokers can be watched: every message that is appended at the offset at which an
owner of the queue was last told to go on, after it was told so. Its next pull must bring the
message within `wake-ms` (1 s and the way to the broker and back). It is judged only where nothing
else can hold the pull up: no fault for 50 s, no filter, and almost nothing that the member has
not finished yet.

Promised by Apache RocketMQ: in the absence of faults. A message that arrives between the look into
the queue and the parking of the pull wakes nobody there, and is found 5 s later
(PullRequestHoldService); an implementation without that gap is held to the bound.

Legal: a pull that is put off because its member has too much to do, or that a fault cut off.",
    check,
};

/// How many messages a member may hold unfinished so that it certainly goes on pulling, whatever
/// their size (`pullThresholdSizeForQueue` is 100 MiB, a message has 4 MiB at most).
const HELD_MAX: i64 = 24;

/// How far the positions of those may lie apart (`consumeConcurrentlyMaxSpan` is 2000).
const SPAN_MAX: i64 = 1900;

fn check(facts: &Facts<'_>, findings: &mut Findings) {
    if facts.contract.wake_ms == 0 || !facts.log.is_known() {
        return;
    }
    let queues = facts.names().queue_count();
    let appends = (0u32..).zip(&facts.log.appends);
    let arrivals = Csr::build(queues, appends.map(|(at, append)| (append.queue.0, at)));
    for (id, session) in (0u32..).zip(&facts.sessions) {
        let group = facts.group(session.group);
        let ordinary =
            matches!(facts.topic_kind(session.queue), TopicKind::Normal | TopicKind::Retry(_));
        if group.filtered || group.pop || !ordinary {
            continue;
        }
        let arrivals = Arrivals { facts, list: arrivals.of(session.queue.0), next: 0 };
        Walk { facts, session, held: 0, base: 0, told: None, arrivals }.walk(findings, id);
    }
}

/// What was appended to a queue, walked through along with its pulls.
struct Arrivals<'a> {
    facts: &'a Facts<'a>,
    list: &'a [u32],
    next: usize,
}

impl<'a> Arrivals<'a> {
    /// What was appended at an offset, if it is still there.
    fn at(&mut self, offset: i64) -> Option<&'a Append> {
        let facts = self.facts;
        let append = |at: usize| facts.log.appends.get(*self.list.get(at)? as usize);
        while append(self.next).is_some_and(|append| append.offset < offset) {
            self.next += 1;
        }
        append(self.next).filter(|append| append.offset == offset && !append.is_lost())
    }
}

/// The walk through one session.
struct Walk<'a> {
    facts: &'a Facts<'a>,
    session: &'a Session,
    /// How many messages were pulled and are not finished.
    held: i64,
    /// Below this all is finished.
    base: i64,
    /// Where the last pull was told to go on, when, and its record.
    told: Option<(i64, SimTime, u32)>,
    arrivals: Arrivals<'a>,
}

impl Walk<'_> {
    fn walk(mut self, findings: &mut Findings, id: u32) {
        for &at in self.facts.session_records.of(id) {
            let Some(record) = self.facts.record(at) else { continue };
            match record.event {
                Event::Pulled { from, next, got, .. } => {
                    self.pulled(findings, (record.at, at), (from, got));
                    self.held += i64::from(got);
                    self.told = Some((next, record.at, at));
                }
                Event::Finished { outcome, .. } => {
                    self.held -= i64::from(outcome != Outcome::Suspended);
                }
                _ => {}
            }
            if let Some((next, ..)) = self.told.filter(|_| self.held <= 0) {
                self.base = next;
            }
        }
        let until = self.session.closed.min(self.facts.end());
        self.waited(findings, until, NONE);
    }

    fn pulled(&mut self, findings: &mut Findings, (now, at): (SimTime, u32), pull: (i64, u32)) {
        let (from, got) = pull;
        if got > 0 && self.told.is_some_and(|(next, ..)| next == from) {
            self.waited(findings, now, at);
        }
    }

    /// The pull that followed the last answer ended now, or never did.
    fn waited(&mut self, findings: &mut Findings, now: SimTime, answer: u32) {
        let Some((next, told, record)) = self.told else { return };
        if self.held > HELD_MAX || next - self.base > SPAN_MAX {
            return;
        }
        let Some(arrival) = self.arrivals.at(next).filter(|arrival| arrival.at > told) else {
            return;
        };
        let trouble = &self.facts.trouble;
        let bound = self.facts.contract.wake_ms * 1000;
        let in_time = now.since(arrival.at) <= bound;
        if answer == NONE && in_time || !trouble.converged(told) || trouble.disturbed(told, now) {
            return;
        }
        findings.exercise();
        if in_time {
            return;
        }
        findings.violation(|| {
            let late = now.since(arrival.at) as f64 / 1e6;
            let member = self.facts.names().node_name(self.session.node);
            let queue = self.facts.queue_name(self.session.queue);
            let name = self.facts.message_name(arrival.value);
            let what = if answer == NONE { "has not woken" } else { "woke" };
            let summary = format!("{name} {what} {member}, which waits for {queue}, in {late:.3}s");
            let records = [record, arrival.record, answer];
            self.facts.evidence(summary, arrival.value, now, &records)
        });
    }
}

#[cfg(test)]
mod tests {
    use crate::history::FaultKind;
    use crate::invariant::InvariantId::Wake;
    use crate::report::Status;
    use crate::story::Story;

    /// `m1` waits for the queue when message 7 is appended.
    fn waiting() -> Story {
        let mut s = Story::new(Story::contract());
        s.at(100.0).assign("m1", "t#0").pull("m1", "t#0", 0, 0).at(101.0).send(7, "t#0", 0);
        s
    }

    #[test]
    fn a_message_that_wakes_the_pull_at_once_is_right() {
        let mut s = waiting();
        s.pull("m1", "t#0", 0, 1);
        s.check(Wake).holds(1);
    }

    #[test]
    fn a_message_that_is_found_seconds_later_is_wrong() {
        let mut s = waiting();
        s.at(106.0).pull("m1", "t#0", 0, 1);
        let report = s.check(Wake).violated(1);
        insta::assert_snapshot!(report.evidence[0].lines.join("\n"), @"
        100.001000s  m1: pulls t@b#0 from 0: 0 messages, go on at 0
        101.001000s  b-0: appends message 7 to t@b#0 offset 0, physical 0
        106.000000s  m1: pulls t@b#0 from 0: 1 messages, go on at 1
        ");
    }

    #[test]
    fn a_message_that_is_never_found_is_wrong() {
        let mut s = waiting();
        s.at(160.0).done(true);
        s.check(Wake).violated(1);
        let mut s = waiting();
        s.at(101.5).done(true);
        s.check(Wake).status(Status::NotExercised);
    }

    #[test]
    fn what_was_there_when_the_member_was_told_to_go_on_is_not_judged() {
        let mut s = Story::new(Story::contract());
        s.at(100.0).send(7, "t#0", 0).send(8, "t#0", 1).assign("m1", "t#0");
        s.pull("m1", "t#0", 0, 1).at(110.0).pull("m1", "t#0", 1, 1);
        s.check(Wake).status(Status::NotExercised);
    }

    #[test]
    fn near_a_fault_a_pull_may_be_late() {
        let mut s = Story::new(Story::contract());
        s.at(90.0).fault(FaultKind::Flash, 91.0);
        s.at(100.0).assign("m1", "t#0").pull("m1", "t#0", 0, 0).at(101.0).send(7, "t#0", 0);
        s.at(106.0).pull("m1", "t#0", 0, 1);
        s.check(Wake).status(Status::NotExercised);
    }

    #[test]
    fn a_member_that_has_much_to_do_may_put_its_pull_off() {
        let mut s = Story::new(Story::contract());
        s.at(100.0).assign("m1", "t#0");
        for offset in 0..30 {
            s.send(100 + offset as u64, "t#0", offset);
        }
        s.pull("m1", "t#0", 0, 30).at(101.0).send(7, "t#0", 30).at(106.0).pull("m1", "t#0", 30, 1);
        s.check(Wake).status(Status::NotExercised);
    }
}
