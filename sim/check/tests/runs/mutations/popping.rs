//! Popped messages that are not hidden, not given back, or not taken.

use hotfire_check::InvariantId;
use hotfire_check::history::*;

use crate::model::Run;

/// A message that was popped, and what became of it.
struct Popped {
    /// The place where it was handed out.
    at: usize,
    delivery: DeliveryId,
    value: Value,
    /// The place of the last that hid it, and until when it did.
    hidden: (usize, i64),
    /// The number of the newest handle.
    newest: u16,
    /// Of each acknowledgement: the handle, and the place of its end.
    acks: Vec<(u16, usize)>,
}

/// What the group that pops was handed of messages that are stored once.
fn popped(run: &mut Run) -> Vec<Popped> {
    let (group, plain) = (run.group("p"), run.plain());
    let mut all: Vec<Popped> = Vec::new();
    for (place, (_, _, event)) in run.events.iter().enumerate() {
        let of = |id: DeliveryId| move |popped: &&mut Popped| popped.delivery == id;
        match *event {
            Event::Delivered {
                delivery,
                group: g,
                value,
                ..
            } if g == group && plain.contains(&value) => all.push(Popped {
                at: place,
                delivery,
                value,
                hidden: (place, 0),
                newest: 0,
                acks: Vec::new(),
            }),
            Event::Popped {
                delivery,
                visible_at_ms,
                ..
            } => {
                if let Some(popped) = all.iter_mut().find(of(delivery)) {
                    popped.hidden = (place, visible_at_ms);
                }
            }
            Event::Hidden {
                delivery,
                handle,
                visible_at_ms,
            } => {
                if let Some(popped) = all.iter_mut().find(of(delivery)) {
                    (popped.hidden, popped.newest) = ((place, visible_at_ms), handle);
                }
            }
            Event::AckInvoked { delivery, handle } => {
                if let Some(popped) = all.iter_mut().find(of(delivery)) {
                    popped.acks.push((handle, place + 1));
                }
            }
            _ => {}
        }
    }
    all
}

/// One of those that satisfy a condition.
fn pick(run: &mut Run, choice: usize, wanted: impl Fn(&Run, &Popped) -> bool) -> Option<Popped> {
    let mut all = popped(run);
    all.retain(|popped| wanted(run, popped));
    (!all.is_empty()).then(|| all.swap_remove(choice % all.len()))
}

/// Whether it was acknowledged with the newest handle, with this many milliseconds to spare.
fn is_valid(run: &Run, popped: &Popped, spare_ms: i64) -> bool {
    popped.acks.last().is_some_and(|&(handle, end)| {
        let (at, _, event) = run.events[end];
        let in_time = at.0 as i64 / 1000 + spare_ms < popped.hidden.1;
        let ok = matches!(
            event,
            Event::AckEnded {
                outcome: CallOutcome::Ok,
                ..
            }
        );
        handle == popped.newest && in_time && ok
    })
}

/// The message is handed to somebody else right after a place.
fn comes_again(run: &mut Run, popped: &Popped, after: usize) {
    let (time, _, mut again) = run.events[popped.at];
    if let Event::Delivered { delivery, .. } = &mut again {
        *delivery = run.recorder.next_delivery();
    }
    let at = SimTime(run.events[after].0.0.max(time.0) + 1);
    let node = run.recorder.node("p-3");
    run.events.insert(after + 1, (at, node, again));
    if let Event::Delivered { delivery, .. } = again {
        let popped_at_ms = at.0 as i64 / 1000;
        let popped = Event::Popped {
            delivery,
            popped_at_ms,
            visible_at_ms: popped_at_ms + 2500,
        };
        run.events.insert(after + 2, (at, node, popped));
    }
}

/// The group is never handed the message again.
fn never_again(run: &mut Run, popped: &Popped) {
    let group = run.group("p");
    let mut place = 0;
    run.events.retain(|(_, _, event)| {
        place += 1;
        match *event {
            Event::Delivered {
                group: g, value, ..
            } => place - 1 <= popped.at || (g, value) != (group, popped.value),
            _ => true,
        }
    });
}

pub(super) fn not_hidden(run: &mut Run, choice: usize) -> Option<InvariantId> {
    let popped = pick(run, choice, |_, _| true)?;
    comes_again(run, &popped, popped.at + 1);
    Some(InvariantId::Invis)
}

pub(super) fn taken_along(run: &mut Run, choice: usize) -> Option<InvariantId> {
    let popped = pick(run, choice, |_, popped| popped.acks.is_empty())?;
    never_again(run, &popped);
    Some(InvariantId::Invis)
}

pub(super) fn not_taken(run: &mut Run, choice: usize) -> Option<InvariantId> {
    let popped = pick(run, choice, |run, popped| is_valid(run, popped, 0))?;
    let end = popped.acks.last()?.1;
    comes_again(run, &popped, end);
    Some(InvariantId::Handle)
}

pub(super) fn stale_counts(run: &mut Run, choice: usize) -> Option<InvariantId> {
    let stale = |popped: &Popped| popped.acks.iter().all(|ack| ack.0 < popped.newest);
    let popped = pick(run, choice, |_, popped| {
        !popped.acks.is_empty() && stale(popped)
    })?;
    never_again(run, &popped);
    Some(InvariantId::Handle)
}

pub(super) fn refused(run: &mut Run, choice: usize) -> Option<InvariantId> {
    let popped = pick(run, choice, |run, popped| is_valid(run, popped, 1100))?;
    let end = popped.acks.last()?.1;
    if let Event::AckEnded { outcome, .. } = &mut run.events[end].2 {
        *outcome = CallOutcome::Refused;
    }
    Some(InvariantId::Handle)
}
