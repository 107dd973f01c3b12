//! INV-FILTER: a group gets what its filter lets through, and nothing else.

use rustc_hash::FxHashMap;

use crate::facts::{Facts, Fate, NONE};
use crate::history::{Event, GroupId, QueueRef, SimTime};
use crate::report::Evidence;

use super::{Findings, Invariant};

pub(super) static INVARIANT: Invariant = Invariant {
    statement: "A group gets the messages that its filter lets through, and no others.",
    explanation: "\
A group may subscribe to a part of a topic: by tags, of which the broker knows only hashes, by an
SQL expression over properties, by a hook of its own. What does not match must not reach the
listener, what matches must.

Judged by: groups whose filter the contract calls judged: somebody other than the system says of
every message whether the filter must stop it. No such message may be handed out; and after a
complete drain every other acknowledged message that a member's pull has passed over must have
been handed to the group.

Promised by Apache RocketMQ: under every fault, if all members of the group subscribe alike. The
client compares tags once more, since two tags may have one hash.

Legal: to get a message twice. In SQL a comparison with a property that is missing, or is no
number, is not true, and neither is the whole expression.",
    check,
};

fn check(facts: &Facts<'_>, findings: &mut Findings) {
    if !facts.groups.iter().any(|group| group.judged) {
        return;
    }
    for delivery in &facts.deliveries {
        if !facts.group(delivery.group).judged || delivery.value == NONE {
            continue;
        }
        findings.exercise();
        if let Some(&unwanted) = facts.features.unwanted.get(&(delivery.group, delivery.value)) {
            findings.violation(|| {
                let records = [unwanted, delivery.record];
                let what = ("was handed", "which its filter must not let through");
                evidence(facts, (delivery.group, delivery.value), delivery.at, what, &records)
            });
        }
    }
    if facts.done.is_some_and(|(_, drained)| drained) {
        missing(facts, findings);
    }
}

/// What was passed over although the filter lets it through.
fn missing(facts: &Facts<'_>, findings: &mut Findings) {
    let passed = Passed::of(facts);
    for (message, _) in (0u32..).zip(&facts.messages) {
        let Some(op) = facts.ok_op(message) else { continue };
        if facts.fate(message) != Fate::Stored {
            continue;
        }
        let place = match facts.own_copies(message).find(|copy| !copy.is_lost()) {
            Some(copy) => (copy.queue, copy.offset),
            None if op.waits() || facts.log.is_known() => continue,
            None => (op.queue, op.offset),
        };
        for (id, audience) in (0u32..).zip(&facts.audiences) {
            let group = facts.group(audience.group);
            let whole = group.broadcasting == audience.member.is_some();
            let key = (audience.group, message);
            let wanted = group.judged && whole && !facts.features.unwanted.contains_key(&key);
            if !wanted || !facts.delivered_to(message, id).is_empty() {
                continue;
            }
            let Some(pull) = passed.over((id, place.0), place.1) else { continue };
            let excused = facts.may_be_passed_over(audience.group, op)
                || facts.was_skipped(audience.group, op);
            if !excused {
                let at = facts.record(pull).map_or(facts.end(), |record| record.at);
                let what = ("was not handed", "although its filter lets it through");
                findings.violation(|| evidence(facts, key, at, what, &[pull]));
            }
        }
    }
}

/// A range of offsets that a pull covered, and the pull.
type Range = (i64, i64, u32);

/// What the pulls of each audience covered, in order of offsets.
struct Passed(FxHashMap<(u32, QueueRef), Vec<Range>>);

impl Passed {
    fn of(facts: &Facts<'_>) -> Self {
        let mut ranges: FxHashMap<(u32, QueueRef), Vec<Range>> = FxHashMap::default();
        for (id, session) in (0u32..).zip(&facts.sessions) {
            let group = facts.group(session.group);
            if !group.judged {
                continue;
            }
            let member = group.broadcasting.then_some(session.node);
            let of = |a: &crate::facts::Audience| (a.group, a.member) == (session.group, member);
            let Some(audience) = facts.audiences.iter().position(of) else { continue };
            let audience = u32::try_from(audience).unwrap_or(NONE);
            let list = ranges.entry((audience, session.queue)).or_default();
            for &at in facts.session_records.of(id) {
                let event = facts.record(at).map(|record| record.event);
                if let Some(Event::Pulled { from, next, .. }) = event
                    && from < next
                {
                    list.push((from, next, at));
                }
            }
        }
        for list in ranges.values_mut() {
            list.sort_unstable();
            // Whatever begins later reaches at least as far, so the last to begin decides.
            let mut farthest: Option<Range> = None;
            for range in list {
                match farthest {
                    Some(before) if before.1 > range.1 => (range.1, range.2) = (before.1, before.2),
                    _ => farthest = Some(*range),
                }
            }
        }
        Self(ranges)
    }

    /// A pull that covered an offset.
    fn over(&self, key: (u32, QueueRef), offset: i64) -> Option<u32> {
        let list = self.0.get(&key)?;
        let next = list.partition_point(|range| range.0 <= offset);
        let range = next.checked_sub(1).and_then(|last| list.get(last))?;
        (offset < range.1).then_some(range.2)
    }
}

fn evidence(
    facts: &Facts<'_>,
    (group, message): (GroupId, u32),
    at: SimTime,
    (verb, why): (&str, &str),
    records: &[u32],
) -> Evidence {
    let mut records = records.to_vec();
    records.extend(facts.ops_of(message).flat_map(|op| [op.record, op.end_record]));
    let group = facts.names().group_name(group);
    let summary = format!("{group} {verb} {} {why}", facts.message_name(message));
    facts.evidence(summary, message, at, &records)
}

#[cfg(test)]
mod tests {
    use crate::contract::{Contract, GroupContract};
    use crate::invariant::InvariantId::{Filter, Unseen};
    use crate::report::Status;
    use crate::story::Story;

    fn filtering() -> Story {
        let group = GroupContract {
            filtered: true,
            judged: true,
            ..GroupContract::concurrent("g", &["t"])
        };
        let mut s = Story::new(Contract { groups: vec![group], ..Contract::default() });
        s.at(1.0).send(7, "t#0", 0).send(8, "t#0", 1).unwanted(8).send(9, "t#0", 2);
        s.assign("m1", "t#0");
        s
    }

    #[test]
    fn what_the_filter_lets_through_is_handed_out_and_nothing_else() {
        let mut s = filtering();
        s.pull_to("m1", "t#0", 0, 2, 3).consume("m1", "t#0", 0, 7).consume("m1", "t#0", 2, 9);
        s.at(60.0).done(true);
        s.check(Filter).holds(2);
    }

    #[test]
    fn what_the_filter_stops_must_not_be_handed_out() {
        let mut s = filtering();
        s.pull("m1", "t#0", 0, 3).consume("m1", "t#0", 1, 8);
        let report = s.check(Filter).violated(1);
        insta::assert_snapshot!(report.evidence[0].summary, @"g was handed message 8 which its filter must not let through");
    }

    #[test]
    fn what_the_filter_lets_through_must_not_be_left_out() {
        let mut s = filtering();
        s.pull_to("m1", "t#0", 0, 1, 3).consume("m1", "t#0", 0, 7).at(60.0).done(true);
        let report = s.check(Filter).violated(1);
        insta::assert_snapshot!(report.evidence[0].lines.join("\n"), @"
        1.007000s  p: sends message 9 to t
        1.009000s  p: message 9 acknowledged at t@b#0 offset 2
        1.011000s  m1: pulls t@b#0 from 0: 1 messages, go on at 3
        ");
    }

    #[test]
    fn what_nobody_pulled_is_not_the_business_of_the_filter() {
        let run = || {
            let mut s = filtering();
            s.pull_to("m1", "t#0", 0, 1, 2).consume("m1", "t#0", 0, 7).at(60.0).done(true);
            s
        };
        run().check(Filter).holds(1);
        run().check(Unseen).violated(1);
    }

    #[test]
    fn a_filter_that_nobody_judges_is_not_judged() {
        let group = GroupContract { filtered: true, ..GroupContract::concurrent("g", &["t"]) };
        let mut s = Story::new(Contract { groups: vec![group], ..Contract::default() });
        s.at(1.0).send(7, "t#0", 0).pull_to("m1", "t#0", 0, 0, 1).at(60.0).done(true);
        s.check(Filter).status(Status::NotExercised);
    }
}
