//! INV-UNSEEN: in the end everything acknowledged was delivered.

use rustc_hash::FxHashMap;

use crate::facts::{Audience, Delivery, End, Facts, NONE, Op};
use crate::history::{GroupId, NodeId, Outcome, QueueRef, SendKind, SimTime, TransactionState};

use crate::report::Evidence;

use super::{Findings, Invariant};

pub(super) static INVARIANT: Invariant = Invariant {
    statement: "After the drain every subscribed group was handed every acknowledged message.",
    explanation: "\
This is the promise that something good happens in the end: once everything is healed and
consumers had time to catch up, nothing that was acknowledged is left behind, whether on a queue
that nobody owns or with a member that died.

Judged by: every acknowledged value that is still in a log, and every group that subscribes to
its topic (every member, for a broadcasting group): it must have been handed to a listener that
did not die with it. If the drain phase ended because its budget was used up and messages were
still arriving, the answer is unknown; if nothing had arrived for a while (`stuck_after_ms`), the
system is stuck: violated.

Promised by Apache RocketMQ: under process crashes, network faults and client crashes, and with
SYNC_FLUSH power loss, if members live long enough afterwards.

Legal: messages that a power loss took (see INV-LOSS), messages below the offset at which a group
first started or to which an administrator reset it, messages that a filter leaves out (or may
leave out, where nobody has judged what it must do), and for a broadcasting member messages of a
time at which it was not online. Messages that wait for their time, or for the end of their
transaction, need not come before they are in their topic. After a power loss the log may end
below a group's position: the group may then never look at what is stored there next, and when
the broker corrects its position the member drops what it has buffered (OFFSET_MOVED). Where a group
pops, it may also have taken what tells which messages are to come again.",
    check,
};

fn check(facts: &Facts<'_>, findings: &mut Findings) {
    let Some((done, drained)) = facts.done else {
        if facts.ops.iter().any(|op| op.end == End::Ok) {
            findings.unknown("the history has no end of a drain phase".to_owned());
        }
        return;
    };
    let audiences = Audiences::of(facts);
    let mut progress = facts.drain.unwrap_or_default();
    let mut unseen = Vec::new();
    for (message, _) in (0u32..).zip(&facts.messages) {
        let Some(op) = facts.ok_op(message) else { continue };
        if facts.fate(message).is_gone() {
            continue;
        }
        for audience in audiences.of_topic(op) {
            let list = facts.delivered_to(message, audience);
            if let Some(first) = facts.each(list).next() {
                progress = progress.max(first.at);
            }
            if facts.each(list).any(|delivery| !is_abandoned(facts, delivery)) {
                findings.exercise();
            } else if is_visible(facts, message, op) && audiences.must_see(facts, audience, op) {
                findings.exercise();
                unseen.push((message, audience));
            }
        }
    }
    let idle = done.since(progress);
    if !drained && idle <= facts.contract.stuck_after_ms * 1000 && !unseen.is_empty() {
        let left = unseen.len();
        findings.unknown(format!("the drain budget ended with {left} deliveries on their way"));
        return;
    }
    for (message, audience) in unseen {
        let group = facts.audiences.get(audience as usize).map(|audience| audience.group);
        let passed = group.zip(facts.ok_op(message));
        if passed.is_some_and(|(group, op)| facts.may_be_passed_over(group, op)) {
            let what = "passed over by a group that was ahead of a log which lost its end";
            findings.legal(what, || evidence(facts, message, audience, done));
            continue;
        }
        findings.violation(|| evidence(facts, message, audience, done));
    }
}

/// Whether a message is where consumers find it. One that waits for its time, or for the end of its
/// transaction, may not be there yet, or never get there: that is for other invariants to judge.
fn is_visible(facts: &Facts<'_>, message: u32, op: &Op) -> bool {
    if !op.waits() {
        return true;
    }
    if facts.log.is_known() {
        return facts.own_copies(message).any(|copy| !copy.is_lost());
    }
    if op.kind == SendKind::Transaction {
        let said = |state| facts.features.answers(message).any(|answer| answer.state == state);
        return said(TransactionState::Commit) && !said(TransactionState::Rollback);
    }
    let due = match facts.timer(op) {
        Some(timer) if timer.recall.is_some() => return false,
        Some(timer) => facts.when_shown(op.node, timer.due_ms),
        None => {
            let delay = facts.level_ms(op.delay_level).unsigned_abs().saturating_mul(1000);
            SimTime(op.ended.0.saturating_add(delay))
        }
    };
    due < facts.end()
}

/// Whether a listener call died with its member.
fn is_abandoned(facts: &Facts<'_>, delivery: &Delivery) -> bool {
    match delivery.outcome {
        Some(outcome) => outcome == Outcome::Lost,
        None => {
            let mut outages = facts.trouble.outages.iter();
            outages.any(|o| o.node == delivery.node && o.down >= delivery.at)
        }
    }
}

/// Who must see the messages of each topic.
struct Audiences {
    by_topic: Vec<Vec<u32>>,
    /// The offset at which a group first started to read a queue.
    starts: FxHashMap<(GroupId, QueueRef), i64>,
    /// When a member of a broadcasting group went online for good.
    online: FxHashMap<NodeId, SimTime>,
}

impl Audiences {
    fn of(facts: &Facts<'_>) -> Self {
        let mut by_topic: Vec<Vec<u32>> = Vec::new();
        by_topic.resize_with(facts.topics.len(), Vec::new);
        for (id, audience) in (0u32..).zip(&facts.audiences) {
            let group = facts.group(audience.group);
            // A broadcasting group as a whole is no audience, its members are.
            if group.is_opaque() || group.broadcasting != audience.member.is_some() {
                continue;
            }
            for topic in &group.topics {
                if let Some(list) = by_topic.get_mut(topic.index()) {
                    list.push(id);
                }
            }
        }
        let mut starts = FxHashMap::default();
        let mut online = FxHashMap::default();
        for session in &facts.sessions {
            online.entry(session.node).or_insert(session.opened);
            if let Some(from) = session.first_from {
                let key = (session.group, session.queue);
                let start = starts.entry(key).or_insert(from);
                *start = from.min(*start);
            }
        }
        for outage in &facts.trouble.outages {
            online.insert(outage.node, outage.up);
        }
        Self { by_topic, starts, online }
    }

    fn of_topic(&self, op: &Op) -> impl Iterator<Item = u32> + '_ {
        self.by_topic.get(op.topic.index()).into_iter().flatten().copied()
    }

    /// Whether the audience was there for the message.
    fn must_see(&self, facts: &Facts<'_>, audience: u32, op: &Op) -> bool {
        let Some(&Audience { group, member }) = facts.audiences.get(audience as usize) else {
            return false;
        };
        if facts.features.unwanted.contains_key(&(group, op.value)) {
            return false;
        }
        if let Some(member) = member {
            let online = self.online.get(&member).copied().unwrap_or(SimTime(u64::MAX));
            return online <= op.invoked;
        }
        let start = |queue| self.starts.get(&(group, queue)).copied().unwrap_or(0);
        let places = facts.places(op);
        let reached = places.iter().any(|&(queue, offset)| offset >= start(queue));
        // Of a message that waited nobody knows the place, where brokers cannot be watched.
        places.is_empty() || (reached && !facts.was_skipped(group, op))
    }
}

fn evidence(facts: &Facts<'_>, message: u32, audience: u32, done: SimTime) -> Evidence {
    let mut records = Vec::new();
    if let Some(op) = facts.ok_op(message) {
        records.extend([op.record, op.end_record]);
    }
    let list = facts.delivered_to(message, audience);
    let last = facts.each(list).last();
    records.push(last.map_or(NONE, |delivery| delivery.record));
    records.push(last.map_or(NONE, |delivery| delivery.finish_record));
    let name = facts.message_name(message);
    let who = facts.audiences.get(audience as usize).map_or_else(String::new, |audience| {
        let group = facts.names().group_name(audience.group);
        match audience.member {
            Some(member) => format!("{} of {group}", facts.names().node_name(member)),
            None => group.to_owned(),
        }
    });
    let summary = match last {
        None => format!("{who} was never handed {name}"),
        Some(_) => format!("{who} was handed {name} only by members that died with it"),
    };
    facts.evidence(summary, message, done, &records)
}

#[cfg(test)]
mod tests {
    use crate::contract::{Contract, Flush, GroupContract};
    use crate::history::{How, Outcome, TransactionState};
    use crate::invariant::InvariantId::Unseen;
    use crate::report::Status;
    use crate::story::Story;

    fn sent_two() -> Story {
        let mut s = Story::new(Story::contract());
        s.at(1.0).send(7, "t#0", 0).send(8, "t#0", 1);
        s.assign("m1", "t#0").pull("m1", "t#0", 0, 2).consume("m1", "t#0", 0, 7);
        s
    }

    #[test]
    fn everything_was_seen() {
        let mut s = sent_two();
        s.consume("m1", "t#0", 1, 8).drain().at(9.0).done(true);
        s.check(Unseen).holds(2);
    }

    #[test]
    fn something_was_left_behind() {
        let mut s = sent_two();
        s.drain().at(99.0).done(true);
        let report = s.check(Unseen).violated(1);
        insta::assert_snapshot!(report.evidence[0].summary, @"g was never handed message 8");
    }

    #[test]
    fn a_budget_that_ends_while_messages_arrive_leaves_it_open() {
        let mut s = sent_two();
        s.at(50.0).drain().at(90.0).done(false);
        let report = s.check(Unseen).status(Status::Unknown);
        assert!(report.unknown.unwrap().contains("1 deliveries"));
    }

    #[test]
    fn a_budget_that_ends_with_everything_seen_is_fine() {
        let mut s = sent_two();
        s.consume("m1", "t#0", 1, 8).drain().at(9.0).done(false);
        s.check(Unseen).holds(2);
    }

    #[test]
    fn a_system_in_which_nothing_arrives_any_more_is_stuck() {
        let mut s = sent_two();
        s.at(10.0).drain().at(120.0).done(false);
        s.check(Unseen).violated(1);
    }

    #[test]
    fn what_died_with_its_member_must_be_handed_out_again() {
        let mut s = sent_two();
        s.deliver("m1", "t#0", 1, 8).down("m1", How::Kill).finish("m1", 8, Outcome::Lost);
        s.drain().at(99.0).done(true);
        s.check(Unseen).violated(1);
    }

    #[test]
    fn what_a_power_loss_took_legally_need_not_be_seen() {
        let mut s = sent_two();
        s.down("b-0", How::PowerLoss).at(5.0).up("b-0").recovered(100).at(99.0).done(true);
        s.check(Unseen).holds(1);
    }

    #[test]
    fn what_is_stored_at_a_freed_offset_behind_the_group_may_be_passed_over() {
        let mut s = sent_two();
        s.consume("m1", "t#0", 1, 8).down("b-0", How::PowerLoss).at(5.0).up("b-0").recovered(100);
        s.send(9, "t#0", 1).at(99.0).done(true);
        assert_eq!(s.check(Unseen).holds(2).legal[0].count, 1);
    }

    #[test]
    fn a_buffer_that_a_correction_drops_after_a_power_loss_may_be_passed_over() {
        let mut s = sent_two();
        s.at(20.0).send(9, "t#0", 2).pull("m1", "t#0", 2, 1);
        s.down("b-0", How::PowerLoss).at(25.0).up("b-0").recovered(200);
        s.correct("m1", "t#0", 3, 2).at(99.0).done(true);
        assert_eq!(s.check(Unseen).holds(2).legal[0].count, 1);
    }

    #[test]
    fn what_was_committed_to_a_freed_offset_behind_the_group_may_be_passed_over() {
        let mut s = sent_two();
        s.consume("m1", "t#0", 1, 8).down("b-0", How::PowerLoss).at(5.0).up("b-0").recovered(100);
        s.send_half(9, 0).local(9, TransactionState::Commit).append(9, "t#0", 1, 0).half_end(0);
        s.at(99.0).done(true);
        assert_eq!(s.check(Unseen).holds(2).legal[0].count, 1);
    }

    #[test]
    fn what_waited_at_a_freed_offset_must_be_seen_where_it_came_to_lie() {
        let mut s = sent_two();
        s.at(2.0).send_half(10, 0).down("b-0", How::PowerLoss).at(5.0).up("b-0").recovered(200);
        s.send_half(9, 0).local(9, TransactionState::Commit).append(9, "t#0", 2, 0).half_end(0);
        s.consume("m1", "t#0", 1, 8).drain().at(99.0).done(true);
        s.check(Unseen).violated(1);
    }

    #[test]
    fn a_copy_that_is_not_behind_the_group_must_be_seen() {
        let mut s = sent_two();
        s.consume("m1", "t#0", 1, 8).down("b-0", How::PowerLoss).at(5.0).up("b-0").recovered(100);
        s.invoke(9, "t").append(9, "t#0", 1, 0).append(9, "t#0", 2, 0);
        s.ok_after(9, "t#0", 1, 2).drain().at(99.0).done(true);
        s.check(Unseen).violated(1);
    }

    #[test]
    fn a_group_that_starts_at_the_end_need_not_see_what_was_before() {
        let mut s = Story::new(Story::contract());
        s.at(1.0).send(7, "t#0", 0).send(8, "t#0", 1);
        s.assign("m1", "t#0").pull("m1", "t#0", 1, 1).consume("m1", "t#0", 1, 8);
        s.at(99.0).done(true);
        s.check(Unseen).holds(1);
    }

    #[test]
    fn a_broadcasting_member_need_not_see_what_was_sent_before_it_came() {
        let group = GroupContract { broadcasting: true, ..GroupContract::concurrent("g", &["t"]) };
        let contract = Contract { groups: vec![group], flush: Flush::Sync, ..Contract::default() };
        let mut s = Story::new(contract);
        s.at(1.0).assign("m1", "t#0").pull("m1", "t#0", 0, 0).at(2.0).send(7, "t#0", 0);
        s.at(3.0).assign("m2", "t#0").pull("m2", "t#0", 1, 0).send(8, "t#0", 1);
        s.consume("m1", "t#0", 0, 7).consume("m1", "t#0", 1, 8).consume("m2", "t#0", 1, 8);
        s.at(99.0).done(true);
        s.check(Unseen).holds(3);
    }

    #[test]
    fn every_group_must_see_it() {
        let groups =
            vec![GroupContract::concurrent("g", &["t"]), GroupContract::concurrent("h", &["t"])];
        let mut s = Story::new(Contract { groups, ..Contract::default() });
        s.at(1.0).send(7, "t#0", 0).consume("m1", "t#0", 0, 7).at(99.0);
        s.join("h", "t").done(true);
        s.check(Unseen).violated(1);
    }

    #[test]
    fn without_an_end_of_the_drain_it_is_open() {
        sent_two().check(Unseen).status(Status::Unknown);
    }

    #[test]
    fn what_waits_for_its_transaction_or_its_time_need_not_come() {
        let mut s = Story::new(Story::contract());
        s.subscribe("m1").at(1.0).send_half(7, 0);
        s.local(7, TransactionState::Rollback).half_end(0);
        s.send_timed(8, 500.0, 0).drain().at(99.0).done(true);
        s.check(Unseen).status(Status::NotExercised);
    }

    #[test]
    fn what_was_committed_or_is_due_must_come() {
        let mut s = Story::new(Story::contract());
        s.subscribe("m1").at(1.0).send_half(7, 0).local(7, TransactionState::Commit);
        s.append(7, "t#0", 0, 0)
            .send_timed(8, 5.0, 0)
            .at(5.5)
            .append(8, "t#0", 1, 0)
            .drain()
            .at(99.0)
            .done(true);
        s.check(Unseen).violated(2);
    }

    #[test]
    fn what_a_filter_must_stop_need_not_come_and_the_rest_must() {
        let group = GroupContract {
            filtered: true,
            judged: true,
            ..GroupContract::concurrent("g", &["t"])
        };
        let mut s = Story::new(Contract { groups: vec![group], ..Contract::default() });
        s.at(1.0).send(7, "t#0", 0).unwanted(7).send(8, "t#0", 1).drain().at(99.0).done(true);
        s.check(Unseen).violated(1);
    }

    #[test]
    fn an_administrator_skips_what_waited_where_it_came_to_lie() {
        let committed = |to: i64| {
            let mut s = sent_two();
            s.consume("m1", "t#0", 1, 8).send_half(9, 0).local(9, TransactionState::Commit);
            s.append(9, "t#0", 2, 0).half_end(0).reset("t#0", to).drain().at(99.0).done(true);
            s
        };
        committed(3).check(Unseen).holds(2);
        committed(2).check(Unseen).violated(1);
    }

    #[test]
    fn what_an_administrator_skipped_need_not_come() {
        let mut s = sent_two();
        s.reset("t#0", 2).drain().at(99.0).done(true);
        s.check(Unseen).holds(1);
    }

    #[test]
    fn a_power_loss_may_take_what_tells_that_a_popped_message_is_to_come_again() {
        let died = |how: How| {
            let group = GroupContract { pop: true, ..GroupContract::concurrent("g", &["t"]) };
            let mut s = Story::new(Contract { groups: vec![group], ..Contract::default() });
            s.subscribe("m2").at(1.0).send(7, "t#0", 0).pop("m1", "t#0", (0, 7), 9.0);
            s.down("m1", How::Kill).finish("m1", 7, Outcome::Lost).at(3.0).down("b-0", how);
            s.at(5.0).up("b-0").recovered(100).at(99.0).done(true);
            s
        };
        assert_eq!(died(How::PowerLoss).check(Unseen).holds(1).legal[0].count, 1);
        died(How::Kill).check(Unseen).violated(1);
    }
}
