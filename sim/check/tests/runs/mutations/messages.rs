//! What is stored wrongly, or reaches listeners wrongly.

use hotfire_check::InvariantId;
use hotfire_check::history::*;

use crate::model::Run;

pub(super) fn garble(run: &mut Run, choice: usize) -> Option<InvariantId> {
    let at = run.place(choice, |event| matches!(event, Event::Delivered { .. }))?;
    if let Event::Delivered { intact, .. } = &mut run.events[at].2 {
        *intact = false;
    }
    Some(InvariantId::Phantom)
}

/// Forgets that a message was appended and delivered, but not that it was acknowledged.
pub(super) fn never_stored(run: &mut Run, choice: usize) -> Option<InvariantId> {
    let plain = |event: &Event| matches!(event, Event::SendInvoked { order: Some(_), .. });
    let at = run.place(choice, plain)?;
    let Event::SendInvoked { value: lost, .. } = run.events[at].2 else {
        return None;
    };
    run.events.retain(|(_, _, event)| match event {
        Event::Appended { value, .. } => *value != Some(lost),
        Event::Delivered { value, .. } => *value != lost,
        _ => true,
    });
    Some(InvariantId::Loss)
}

pub(super) fn stored_twice(run: &mut Run, choice: usize) -> Option<InvariantId> {
    let plain = run.plain();
    let at = run.place(choice, |event| match event {
        Event::Appended {
            reconsume: 0,
            value: Some(value),
            ..
        } => plain.contains(value),
        _ => false,
    })?;
    let mut copy = run.events[at];
    if let Event::Appended {
        offset, physical, ..
    } = &mut copy.2
    {
        (*offset, *physical) = (*offset + 100_000, *physical + 10);
    }
    run.events.insert(at + 1, copy);
    Some(InvariantId::LogDup)
}

pub(super) fn wrong_offset(run: &mut Run, choice: usize) -> Option<InvariantId> {
    let sends = run.events.iter().filter_map(|event| match event.2 {
        Event::SendInvoked {
            op, order: Some(_), ..
        } => Some(op),
        _ => None,
    });
    let plain: Vec<OpId> = sends.collect();
    let at = run.place(choice, |event| match event {
        Event::SendOk {
            op, offset: 1.., ..
        } => plain.contains(op),
        _ => false,
    })?;
    if let Event::SendOk { offset, .. } = &mut run.events[at].2 {
        *offset -= 1;
    }
    Some(InvariantId::LogId)
}

pub(super) fn dead_letter_dropped(run: &mut Run, choice: usize) -> Option<InvariantId> {
    let dlq = run.recorder.queue("%DLQ%c", "b", 0);
    let plain = run.plain();
    let dead = |event: &Event| match event {
        Event::Appended {
            queue,
            value: Some(value),
            ..
        } => *queue == dlq && plain.contains(value),
        _ => false,
    };
    let at = run.place(choice, dead)?;
    run.events.remove(at);
    Some(InvariantId::Dlq)
}

pub(super) fn applied_twice(run: &mut Run, choice: usize) -> Option<InvariantId> {
    let at = run.place(choice, |event| {
        matches!(event, Event::Effect { applied: true, .. })
    })?;
    run.events.insert(at + 1, run.events[at]);
    Some(InvariantId::Ledger)
}

pub(super) fn never_handed_out(run: &mut Run, choice: usize) -> Option<InvariantId> {
    withhold(run, choice, "o")?;
    Some(InvariantId::Unseen)
}

/// Lets a group never see one of the plain messages that it was handed.
pub(super) fn withhold(run: &mut Run, choice: usize, group: &str) -> Option<()> {
    let (group, plain) = (run.group(group), run.plain());
    let mine = |event: &Event| match event {
        Event::Delivered {
            group: g, value, ..
        } => *g == group && plain.contains(value),
        _ => false,
    };
    let at = run.place(choice, mine)?;
    let Event::Delivered { value: lost, .. } = run.events[at].2 else {
        return None;
    };
    run.events.retain(|(_, _, event)| match event {
        Event::Delivered {
            group: g, value, ..
        } => *g != group || *value != lost,
        _ => true,
    });
    Some(())
}

/// A redelivery is moved to just after the failure that caused it. Of a message that was stored
/// twice the other copy may have failed before.
pub(super) fn retry_at_once(run: &mut Run, choice: usize) -> Option<InvariantId> {
    let (group, plain) = (run.group("c"), run.plain());
    let again = |event: &Event| match event {
        Event::Delivered {
            group: g,
            value,
            reconsume: 1..,
            ..
        } => *g == group && plain.contains(value),
        _ => false,
    };
    let at = run.place(choice, again)?;
    let Event::Delivered {
        value, reconsume, ..
    } = run.events[at].2
    else {
        return None;
    };
    let before = run.events.iter().find_map(|(_, _, event)| match *event {
        Event::Delivered {
            group: g,
            delivery,
            value: v,
            reconsume: r,
            ..
        } if (g, v, r + 1) == (group, value, reconsume) => Some(delivery),
        _ => None,
    })?;
    let failed = |event: &Event| {
        *event
            == Event::Finished {
                delivery: before,
                outcome: Outcome::Later,
            }
    };
    let failure = run.places(failed).first().copied()?;
    run.events[at].0 = SimTime(run.events[failure].0.0 + 1000);
    Some(InvariantId::Retry)
}

/// An orderly listener that goes on after a suspended message, as if it had not been suspended.
pub(super) fn overtakes(run: &mut Run, choice: usize) -> Option<InvariantId> {
    let group = run.group("o");
    let is_suspended = |event: &Event| {
        matches!(
            event,
            Event::Finished {
                outcome: Outcome::Suspended,
                ..
            }
        )
    };
    let order_of = |run: &Run, value: u64| {
        run.events.iter().find_map(|(_, _, event)| match event {
            Event::SendInvoked {
                value: v, order, ..
            } if v.0 == value => *order,
            _ => None,
        })
    };
    for at in run
        .places(is_suspended)
        .into_iter()
        .cycle()
        .skip(choice % 50)
        .take(50)
    {
        let (time, node, Event::Finished { delivery, .. }) = run.events[at] else {
            continue;
        };
        let (value, queue, offset) = run.delivery_of(delivery);
        let Some(order) = order_of(run, value) else {
            continue;
        };
        // The next step of the same order is handed out right then, for the first time.
        let next = run.events.iter().find_map(|(_, _, event)| match event {
            Event::Delivered {
                group: g,
                queue: q,
                value,
                offset,
                ..
            } if *g == group
                && *q == queue
                && order_of(run, value.0)
                    == Some(Order {
                        id: order.id,
                        seq: order.seq + 1,
                    }) =>
            {
                Some((*value, *offset))
            }
            _ => None,
        });
        let Some((value, next_offset)) = next.filter(|next| next.1 > offset) else {
            continue;
        };
        let delivery = run.recorder.next_delivery();
        let early = Event::Delivered {
            delivery,
            group,
            queue,
            offset: next_offset,
            value,
            intact: true,
            reconsume: 0,
        };
        // Not before it was sent.
        let sent = run.events[..at].iter().any(
            |(_, _, event)| matches!(event, Event::SendInvoked { value: v, .. } if *v == value),
        );
        if sent {
            run.events
                .insert(at + 1, (SimTime(time.0 + 1), node, early));
            return Some(InvariantId::Order);
        }
    }
    None
}
