//! What INV-INVIS and INV-HANDLE share: one message popped by one group.

use crate::facts::{Delivery, Facts, Hiding, Pop};
use crate::history::{CallOutcome, GroupId, How, NodeId, SimTime};
use crate::report::Evidence;

/// One message in one group that pops.
pub(super) struct Case<'a> {
    pub(super) facts: &'a Facts<'a>,
    pub(super) message: u32,
    pub(super) group: GroupId,
    list: &'a [u32],
}

/// When a message that was not acknowledged has to be there again.
pub(super) enum Return {
    /// Not within this run, or nobody would notice.
    NotYet,
    /// It came.
    Came,
    /// It should have come, but a power loss may have taken it.
    Lost,
    /// It should have come.
    Missing,
}

/// Every message of which one copy was popped, for every group that pops.
pub(super) fn cases<'a>(facts: &'a Facts<'a>) -> impl Iterator<Item = Case<'a>> {
    let messages = match facts.features.pops.is_empty() {
        true => 0,
        false => u32::try_from(facts.messages.len()).unwrap_or(0),
    };
    // Of several copies, each is popped and hidden by itself.
    (0..messages)
        .filter(|&message| is_single(facts, message))
        .flat_map(move |message| {
            facts.by_audience(message).filter_map(move |list| {
                let group = facts.each(list).next()?.group;
                facts.group(group).pop.then_some(Case {
                    facts,
                    message,
                    group,
                    list,
                })
            })
        })
}

fn is_single(facts: &Facts<'_>, message: u32) -> bool {
    match facts.log.is_known() {
        true => facts.own_copies(message).count() == 1,
        false => facts.sent_once(message).is_some(),
    }
}

impl<'a> Case<'a> {
    /// The deliveries that were popped, each with what hid it.
    pub(super) fn pops(&self) -> impl Iterator<Item = (&'a Delivery, &'a Pop)> + Clone {
        let facts = self.facts;
        let pop = |&at: &u32| {
            Some((
                facts.deliveries.get(at as usize)?,
                facts.features.pops.get(&at)?,
            ))
        };
        self.list.iter().filter_map(pop)
    }

    /// When the broker gave a message away. It may be handed out long after that, behind others.
    pub(super) fn popped_at(&self, delivery: &Delivery, pop: &Pop) -> SimTime {
        let shown = |broker| self.facts.last_shown(broker, pop.popped_at_ms, delivery.at);
        self.broker(delivery).map_or(delivery.at, shown)
    }

    /// The first delivery after a time, but none that was popped before this one.
    pub(super) fn next_after(
        &self,
        (delivery, pop): (&Delivery, &Pop),
        at: SimTime,
    ) -> Option<&'a Delivery> {
        let popped = self.popped_at(delivery, pop);
        let next = self.pops().filter(|(next, _)| next.at > at);
        let mut next = next.filter(|(next, pop)| self.popped_at(next, pop) >= popped);
        next.next().map(|(next, _)| next)
    }

    /// Whether a message was popped once more after this time.
    fn is_popped_after(&self, (delivery, pop): (&Delivery, &Pop)) -> bool {
        let popped = self.popped_at(delivery, pop);
        self.next_after((delivery, pop), delivery.at).is_some()
            || self
                .pops()
                .any(|(other, pop)| self.popped_at(other, pop) > popped)
    }

    /// The broker that hides the message.
    pub(super) fn broker(&self, delivery: &Delivery) -> Option<NodeId> {
        self.facts.broker_of(delivery.queue)
    }

    /// Whether a hiding still hides by the clock of the broker, by how many microseconds.
    pub(super) fn hidden_for_us(&self, delivery: &Delivery, hiding: &Hiding, at: SimTime) -> i64 {
        let Some(broker) = self.broker(delivery) else {
            return 0;
        };
        hiding.visible_at_ms.saturating_mul(1000) - self.facts.wall_us(broker, at)
    }

    /// Whether the broker crashed between a pop and a time: what it had not stored about pops is
    /// gone.
    pub(super) fn crashed(&self, (delivery, pop): (&Delivery, &Pop), to: SimTime) -> bool {
        let (hows, from) = (&[How::Kill, How::PowerLoss], self.popped_at(delivery, pop));
        self.facts.broker_down(delivery.queue, hows, from, to)
    }

    /// Why a message may have been hidden twice over, so that it comes again although the hiding of
    /// this delivery lasts, or was ended. A broker obeys changes of the time of whatever stands at
    /// the offset that the receipt names, even if it has revived that message since. Only what was
    /// revived comes again by that, and that is another copy.
    pub(super) fn hidden_twice(
        &self,
        delivery: &Delivery,
        next: &Delivery,
    ) -> Option<&'static str> {
        if (delivery.queue, delivery.offset) == (next.queue, next.offset) {
            return None;
        }
        let to = next.at;
        let mut before = self.pops().take_while(|(delivery, _)| delivery.at < to);
        let receipt = before.find_map(|(delivery, pop)| {
            if self.is_late_change(delivery, pop) {
                Some("a change of its time came late, and hid it once more")
            } else if self.had_predecessor(delivery, to) {
                Some("a receipt of a message that a power loss took named its offset")
            } else {
                None
            }
        });
        let crash = "a crash of the broker forgot a pop, and both receipts count";
        receipt.or_else(|| self.may_be_forgotten(to).then_some(crash))
    }

    /// Whether another message was popped from the same place before a time: it was cut off.
    fn had_predecessor(&self, delivery: &Delivery, to: SimTime) -> bool {
        let copy = (self.group, delivery.queue, delivery.offset);
        let mut before = self.facts.deliveries.iter().filter(|other| other.at < to);
        before.any(|other| {
            (other.group, other.queue, other.offset) == copy && other.value != self.message
        })
    }

    /// Whether the broker crashed while it had the message: it may have popped a copy before and
    /// popped it anew afterwards, and revived both. The answers may have reached nobody.
    fn may_be_forgotten(&self, to: SimTime) -> bool {
        let hows = &[How::Kill, How::PowerLoss];
        let copy = self.facts.own_copies(self.message).next();
        let place = copy.map(|copy| (copy.queue, copy.at));
        let sent = || {
            self.facts
                .ops_of(self.message)
                .next()
                .map(|op| (op.queue, op.invoked))
        };
        let place = place.or_else(sent);
        place.is_some_and(|(queue, from)| self.facts.broker_down(queue, hows, from, to))
    }

    /// Whether a change of the time may have been made when the time before it was over.
    fn is_late_change(&self, delivery: &Delivery, pop: &Pop) -> bool {
        let over = |pair: &[Hiding]| match pair {
            [before, after] => self.hidden_for_us(delivery, before, after.at) <= 0,
            _ => false,
        };
        pop.open_change.is_some() || pop.hidings.windows(2).any(over)
    }

    /// Whether a popped message that was not acknowledged came again.
    pub(super) fn comes_again(&self, delivery: &Delivery, pop: &Pop) -> Return {
        let facts = self.facts;
        if self.is_popped_after((delivery, pop)) {
            return Return::Came;
        }
        let max = facts.group(self.group).max_reconsume;
        let given_up = max.is_some_and(|max| delivery.reconsume >= max);
        let Some((hiding, broker)) = pop.hidings.last().zip(self.broker(delivery)) else {
            return Return::NotYet;
        };
        let visible = facts.when_shown(broker, hiding.visible_at_ms);
        let patience = facts.contract.stuck_after_ms.saturating_mul(1000);
        let deadline = SimTime(visible.0.saturating_add(patience));
        let deadline = facts.trouble.put_off(delivery.at, deadline, patience);
        if given_up || facts.end() <= deadline || facts.members(self.group, facts.end()).is_empty()
        {
            return Return::NotYet;
        }
        match facts.broker_power_lost(delivery.queue, SimTime(0), facts.end()) {
            true => Return::Lost,
            false => Return::Missing,
        }
    }

    pub(super) fn evidence(
        &self,
        (delivery, pop): (&Delivery, &Pop),
        at: SimTime,
        what: &str,
        more: &[u32],
    ) -> Evidence {
        let mut records = more.to_vec();
        records.push(delivery.record);
        records.extend(pop.hidings.iter().map(|hiding| hiding.record));
        let taken = pop
            .acks
            .iter()
            .filter(|ack| ack.outcome != CallOutcome::Refused);
        records.extend(taken.flat_map(|ack| [ack.record, ack.end_record]));
        let group = self.facts.names().group_name(self.group);
        let summary = format!("{group}: {} {what}", self.facts.message_name(self.message));
        self.facts.evidence(summary, self.message, at, &records)
    }
}
