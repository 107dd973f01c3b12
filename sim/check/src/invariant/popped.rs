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
        let shown = |broker| self.facts.when_shown(broker, pop.popped_at_ms);
        let popped = self.broker(delivery).map(shown);
        popped.map_or(delivery.at, |popped| popped.min(delivery.at))
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
