//! INV-ALLOC: every queue has one owner once the members agree.

use rustc_hash::FxHashMap;

use crate::facts::{Facts, Group, NONE, Session};
use crate::history::{GroupId, QueueRef, SimTime};
use crate::report::Evidence;

use super::{Findings, Invariant};

pub(super) static INVARIANT: Invariant = Invariant {
    statement: "Once the members of a group agree, each queue belongs to exactly one of them.",
    explanation: "\
Each member works out by itself which queues are its own, from what a broker tells it of the other
members. While members come and go they may disagree for a while. After that no queue may be left
to nobody, since its messages would wait for ever, and none to two, since they would be consumed
twice.

Judged by: the queues of the declared topics that a group subscribes to, in times when nothing has
happened for long: no fault, no member that came or went, no correction or reset of an offset, for
55 s (120 s with an orderly listener, whose members have to wait for locks). Then each queue must
be owned by one live member without a break; in a broadcasting group by every member. A second of
change is forgiven.

Promised by Apache RocketMQ: in the absence of faults, after the next heartbeat (30 s) and the next
rebalancing (20 s).

Legal: more members than queues. Strategies that leave queues to nobody by design (of machine
rooms, or by configuration) are not for runs in which this is expected to hold.",
    check,
};

/// How long members may disagree after anything happened, in microseconds: the next heartbeat, the
/// next rebalancing, and a little.
const AGREED_US: u64 = 55_000_000;

/// The same with an orderly listener: a lock that its owner left behind lasts for 60 s.
const LOCKED_US: u64 = 120_000_000;

/// How long a queue may be without an owner, or have two, in microseconds.
const GRACE_US: u64 = 1_000_000;

fn check(facts: &Facts<'_>, findings: &mut Findings) {
    if facts.contract.topics.is_empty() {
        return;
    }
    let mut sessions: FxHashMap<(GroupId, QueueRef), Vec<&Session>> = FxHashMap::default();
    for session in &facts.sessions {
        sessions.entry((session.group, session.queue)).or_default().push(session);
    }
    let by_place = by_place(facts);
    for (id, group) in (0u32..).zip(&facts.groups) {
        if group.pop || group.topics.is_empty() {
            continue;
        }
        let id = GroupId(id);
        let queues = queues(facts, group, &by_place);
        for (from, to) in quiet(facts, id, group) {
            let members = facts.members(id, from);
            let owners = if group.broadcasting { members.len() } else { 1 };
            if members.is_empty() {
                continue;
            }
            for (name, queue) in &queues {
                findings.exercise();
                let key = (id, queue.unwrap_or(QueueRef(NONE)));
                let list = sessions.get(&key).map_or(&[][..], Vec::as_slice);
                let case = Case { facts, group: id, queue: name, owners, sessions: list };
                case.judge(findings, (from, to));
            }
        }
    }
}

/// Queues by topic, broker and number.
fn by_place(facts: &Facts<'_>) -> FxHashMap<(u32, u32, i32), QueueRef> {
    let names = facts.names();
    let count = u32::try_from(names.queue_count()).unwrap_or(NONE);
    let queues = (0..count).map(QueueRef).filter_map(|queue| {
        let place = names.queue_of(queue)?;
        Some(((place.topic.0, place.broker.0, place.queue_id), queue))
    });
    queues.collect()
}

/// The queues that a group has to share, by name; of some nobody may ever have heard.
fn queues(
    facts: &Facts<'_>,
    group: &Group,
    by_place: &FxHashMap<(u32, u32, i32), QueueRef>,
) -> Vec<(String, Option<QueueRef>)> {
    let names = facts.names();
    let brokers = u32::try_from(names.broker_count()).unwrap_or(NONE);
    let mut queues = Vec::new();
    for topic in &facts.contract.topics {
        let Some(id) = names.find_topic(&topic.topic).filter(|id| group.topics.contains(id)) else {
            continue;
        };
        for broker in &topic.brokers {
            let of = |&at: &u32| names.broker_name(crate::history::BrokerId(at)) == broker;
            let at = (0..brokers).find(of);
            for number in 0..i32::try_from(topic.queues).unwrap_or(i32::MAX) {
                let queue = at.and_then(|at| by_place.get(&(id.0, at, number)).copied());
                queues.push((format!("{}@{broker}#{number}", topic.topic), queue));
            }
        }
    }
    queues
}

/// The times in which nothing has happened to a group for long.
fn quiet(facts: &Facts<'_>, id: GroupId, group: &Group) -> Vec<(SimTime, SimTime)> {
    let mut unrest: Vec<(SimTime, SimTime)> = facts.trouble.disturbances().to_vec();
    let joined = facts.joined.iter().filter(|joined| joined.group == id);
    unrest.extend(joined.map(|joined| (joined.at, joined.at)));
    let corrected = facts.corrections.iter().filter(|correction| correction.group == id);
    unrest.extend(corrected.map(|correction| (correction.at, correction.at)));
    let lines = facts.offsets.lines.iter().filter(|line| line.group == id);
    let resets = lines.flat_map(|line| line.sets.iter().filter(|set| set.reset));
    unrest.extend(resets.map(|set| (set.at, set.at)));
    unrest.sort_unstable();
    let patience = if group.is_orderly() { LOCKED_US } else { AGREED_US };
    let mut quiet = Vec::new();
    // Before the first member came there is nobody to agree.
    let mut since: Option<SimTime> = None;
    for (from, to) in unrest {
        if let Some(since) = since
            && from.since(since) > GRACE_US
        {
            quiet.push((since, from));
        }
        let calm = SimTime(to.0.saturating_add(patience));
        since = Some(since.map_or(calm, |since| since.max(calm)));
    }
    if let Some(since) = since
        && facts.end().since(since) > GRACE_US
    {
        quiet.push((since, facts.end()));
    }
    quiet
}

/// One queue in a quiet time.
struct Case<'a> {
    facts: &'a Facts<'a>,
    group: GroupId,
    queue: &'a str,
    /// How many members should own it.
    owners: usize,
    sessions: &'a [&'a Session],
}

impl Case<'_> {
    fn judge(&self, findings: &mut Findings, (from, to): (SimTime, SimTime)) {
        // Times at which the number of owners changes, and by how much.
        let mut steps = vec![(from, 0), (to, 0)];
        for session in self.sessions {
            let (opened, closed) = (session.opened.max(from), session.closed.min(to));
            if opened < closed {
                steps.extend([(opened, 1), (closed, -1)]);
            }
        }
        steps.sort_unstable();
        let (mut owners, mut before) = (0i64, from);
        // Since when the number has been wrong, and what it was first.
        let mut wrong: Option<(SimTime, usize)> = None;
        for (at, change) in steps {
            let count = usize::try_from(owners).unwrap_or(0);
            if at > before {
                wrong = (count != self.owners).then(|| wrong.unwrap_or((before, count)));
            }
            if let Some((since, count)) = wrong
                && at.since(since) > GRACE_US
            {
                findings.violation(|| self.evidence(since, count));
                return;
            }
            owners += change;
            before = at;
        }
    }

    fn evidence(&self, at: SimTime, count: usize) -> Evidence {
        let facts = self.facts;
        let group = facts.names().group_name(self.group);
        let (queue, owners) = (self.queue, self.owners);
        let summary = match count {
            0 => format!("nobody in {group} owns {queue}, long after its members had settled"),
            _ => format!("{count} members of {group} own {queue}, which should have {owners}"),
        };
        let is_there = |session: &&&Session| session.opened <= at && session.closed > at;
        let there = self.sessions.iter().filter(is_there);
        // With no owner, the last one tells how it came.
        let last = self.sessions.iter().filter(|s| s.closed <= at).max_by_key(|s| s.closed);
        let records: Vec<_> =
            there.chain(last.filter(|_| count == 0)).map(|s| self.first(s)).collect();
        facts.evidence(summary, NONE, at, &records)
    }

    /// The record with which a session began.
    fn first(&self, session: &Session) -> u32 {
        let same = |s: &Session| std::ptr::eq(s, session);
        let id = self.facts.sessions.iter().position(same);
        let id = id.and_then(|id| u32::try_from(id).ok()).unwrap_or(NONE);
        self.facts.session_records.of(id).first().copied().unwrap_or(NONE)
    }
}

#[cfg(test)]
mod tests {
    use crate::contract::{Contract, TopicContract};
    use crate::history::{Event, FaultKind, How};
    use crate::invariant::InvariantId::Alloc;
    use crate::report::Status;
    use crate::story::Story;

    fn contract(base: Contract) -> Contract {
        let topic =
            TopicContract { topic: "t".to_owned(), queues: 2, brokers: vec!["b".to_owned()] };
        Contract { topics: vec![topic], ..base }
    }

    /// Two members that joined at 1 s and share two queues.
    fn shared() -> Story {
        let mut s = Story::new(contract(Story::contract()));
        s.at(1.0).subscribe("m1").subscribe("m2").assign("m1", "t#0").assign("m2", "t#1");
        s
    }

    #[test]
    fn each_queue_with_one_owner_is_right() {
        let mut s = shared();
        s.at(100.0).done(true);
        s.check(Alloc).holds(2);
    }

    #[test]
    fn a_queue_that_nobody_owns_is_wrong() {
        let mut s = shared();
        s.at(20.0).revoke("m2", "t#1").at(100.0).done(true);
        let report = s.check(Alloc).violated(1);
        insta::assert_snapshot!(report.evidence[0].summary, @"nobody in g owns t@b#1, long after its members had settled");
    }

    #[test]
    fn a_queue_that_nobody_ever_heard_of_is_owned_by_nobody() {
        let mut s = Story::new(contract(Story::contract()));
        s.at(1.0).subscribe("m1").assign("m1", "t#0").at(100.0).done(true);
        s.check(Alloc).violated(1);
    }

    #[test]
    fn a_queue_that_two_members_own_is_wrong() {
        let mut s = shared();
        s.at(20.0).assign("m1", "t#1").at(100.0).done(true);
        let report = s.check(Alloc).violated(1);
        insta::assert_snapshot!(report.evidence[0].summary, @"2 members of g own t@b#1, which should have 1");
    }

    #[test]
    fn a_queue_may_be_lost_and_found_while_members_settle() {
        let mut s = shared();
        s.at(20.0).revoke("m2", "t#1").at(40.0).assign("m1", "t#1").at(100.0).done(true);
        s.check(Alloc).holds(2);
    }

    #[test]
    fn after_a_fault_members_may_disagree_for_a_while() {
        let run = |until: f64| {
            let mut s = shared();
            s.at(60.0).fault(FaultKind::Partition, 70.0).at(75.0).assign("m1", "t#1");
            s.at(until).revoke("m2", "t#1").at(300.0).done(true);
            s
        };
        run(100.0).check(Alloc).holds(4);
        run(200.0).check(Alloc).violated(1);
    }

    #[test]
    fn a_member_that_died_owns_nothing() {
        let mut s = shared();
        s.at(60.0).down("m2", How::Kill).at(62.0).up("m2").at(300.0).done(true);
        s.check(Alloc).violated(1);
        let mut s = shared();
        s.at(60.0).down("m2", How::Kill).at(62.0).up("m2").at(70.0).assign("m1", "t#1");
        s.at(300.0).done(true);
        s.check(Alloc).holds(4);
    }

    #[test]
    fn a_member_that_goes_down_and_comes_back_at_one_time_lives() {
        let mut s = shared();
        s.at(60.0).note_all("m2", &[Event::NodeDown { how: How::Stop }, Event::NodeUp]);
        s.subscribe("m2").assign("m2", "t#1").at(300.0).done(true);
        s.check(Alloc).holds(4);
    }

    #[test]
    fn in_a_broadcasting_group_everybody_owns_everything() {
        use crate::contract::GroupContract;
        let broadcasting = || {
            let group =
                GroupContract { broadcasting: true, ..GroupContract::concurrent("g", &["t"]) };
            let mut s =
                Story::new(contract(Contract { groups: vec![group], ..Contract::default() }));
            s.at(1.0).subscribe("m1").subscribe("m2").assign("m1", "t#0").assign("m1", "t#1");
            s.assign("m2", "t#0");
            s
        };
        let mut s = broadcasting();
        s.assign("m2", "t#1").at(100.0).done(true);
        s.check(Alloc).holds(2);
        let mut s = broadcasting();
        s.at(100.0).done(true);
        s.check(Alloc).violated(1);
    }

    #[test]
    fn a_run_that_is_too_short_puts_nothing_to_the_test() {
        let mut s = shared();
        s.at(50.0).done(true);
        s.check(Alloc).status(Status::NotExercised);
    }
}
