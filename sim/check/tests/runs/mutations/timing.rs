//! Messages that do not keep to their time.

use hotfire_check::InvariantId;
use hotfire_check::history::*;

use crate::model::Run;

/// The place where a message that waited for a time is stored in its topic.
fn due(run: &mut Run, choice: usize) -> Option<usize> {
    let timed = run.timed();
    let all = run.own_copies(|value| timed.contains(&value));
    // One whose time had come when it was sent never waited: it has no other copy.
    let waited = |at: &usize| {
        let mut others = run.events.iter().enumerate();
        others.any(|(other, (_, _, event))| {
            !all.contains(&other) && is_same(event, &run.events[*at].2)
        })
    };
    let copies: Vec<usize> = all.iter().copied().filter(waited).collect();
    (!copies.is_empty()).then(|| copies[choice % copies.len()])
}

/// Whether two events are about one stored message, which did not fail.
fn is_same(one: &Event, other: &Event) -> bool {
    let stored = |event: &Event| match *event {
        Event::Appended {
            value, reconsume, ..
        } => value.filter(|_| reconsume == 0),
        _ => None,
    };
    stored(one).is_some_and(|value| stored(other) == Some(value))
}

fn is_of(stored: &Event, message: Value) -> bool {
    matches!(stored, Event::Appended { value, .. } if *value == Some(message))
}

pub(super) fn early(run: &mut Run, choice: usize) -> Option<InvariantId> {
    let at = due(run, choice)?;
    let (time, _, stored) = run.events[at];
    let sent = run
        .events
        .iter()
        .find_map(|&(sent, _, event)| match event {
            Event::SendInvoked { value, .. } if is_of(&stored, value) => Some(sent),
            _ => None,
        })?;
    let early = SimTime(time.0 - 800_000);
    // Not before it was sent.
    if early <= sent {
        return None;
    }
    run.events[at].0 = early;
    Some(InvariantId::Early)
}

pub(super) fn late(run: &mut Run, choice: usize) -> Option<InvariantId> {
    let at = due(run, choice)?;
    run.events[at].0.0 += 2_500_000;
    Some(InvariantId::Late)
}

pub(super) fn never(run: &mut Run, choice: usize) -> Option<InvariantId> {
    let at = due(run, choice)?;
    run.events.remove(at);
    Some(InvariantId::Late)
}

pub(super) fn twice(run: &mut Run, choice: usize) -> Option<InvariantId> {
    let at = due(run, choice)?;
    let (
        time,
        _,
        Event::Appended {
            value: Some(value), ..
        },
    ) = run.events[at]
    else {
        return None;
    };
    run.append_own(at, time, value);
    Some(InvariantId::Once)
}

pub(super) fn recalled(run: &mut Run, choice: usize) -> Option<InvariantId> {
    let due_ms = |run: &Run, op: OpId| {
        run.events.iter().find_map(|(_, _, event)| match *event {
            Event::Timed { op: o, due_ms } if o == op => Some(due_ms),
            _ => None,
        })
    };
    let ok = |event: &Event| {
        matches!(
            event,
            Event::RecallEnded {
                outcome: CallOutcome::Ok,
                ..
            }
        )
    };
    let mut ends = run.places(ok);
    ends.retain(|&at| {
        let (time, _, Event::RecallEnded { op, .. }) = run.events[at] else {
            return false;
        };
        due_ms(run, op).is_some_and(|due_ms| time.0 as i64 / 1000 + 2300 < due_ms)
    });
    let at = *ends.get(choice.checked_rem(ends.len())?)?;
    let Event::RecallEnded { op, .. } = run.events[at].2 else {
        return None;
    };
    let value = run.events.iter().find_map(|(_, _, event)| match *event {
        Event::SendInvoked { op: o, value, .. } if o == op => Some(value),
        _ => None,
    })?;
    let due = SimTime::from_millis(due_ms(run, op)? as u64 + 200);
    run.append_own(at, due, value);
    Some(InvariantId::Once)
}
