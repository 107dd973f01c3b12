//! Ids, replies and look-ups that do not belong to what was asked.

use hotfire_check::InvariantId;
use hotfire_check::history::*;

use crate::model::Run;

pub(super) fn same_id(run: &mut Run, choice: usize) -> Option<InvariantId> {
    let named = run.places(|event| matches!(event, Event::Named { .. }));
    if named.len() < 2 {
        return None;
    }
    let (one, other) = (choice % named.len(), (choice / 7 + 1) % named.len());
    let Event::Named { id: taken, .. } = run.events[named[one]].2 else {
        return None;
    };
    if let Event::Named { id, .. } = &mut run.events[named[other]].2
        && one != other
    {
        *id = taken;
        return Some(InvariantId::IdUniq);
    }
    None
}

fn is_reply(event: &Event) -> bool {
    matches!(event, Event::Replied { .. })
}

pub(super) fn wrong_reply(run: &mut Run, choice: usize) -> Option<InvariantId> {
    let replies = run.places(is_reply);
    if replies.len() < 2 {
        return None;
    }
    let other = run.events[replies[(choice + 1) % replies.len()]].2;
    let Event::Replied { value: other, .. } = other else {
        return None;
    };
    if let Event::Replied { value, .. } = &mut run.events[replies[choice % replies.len()]].2 {
        *value = other;
    }
    Some(InvariantId::Corr)
}

pub(super) fn replied_twice(run: &mut Run, choice: usize) -> Option<InvariantId> {
    let at = run.place(choice, is_reply)?;
    run.events.insert(at + 1, run.events[at]);
    Some(InvariantId::Corr)
}

/// The place of a look-up of a message that has been there for a while.
fn looked_up(run: &Run, choice: usize) -> Option<usize> {
    let plain = run.plain();
    let old = |at: SimTime, value: Value| {
        plain.contains(&value)
            && run.events.iter().any(|(sent, _, event)| match event {
                Event::SendInvoked { value: v, .. } => *v == value && at.since(*sent) > 2_000_000,
                _ => false,
            })
    };
    let events = run.events.iter().enumerate();
    let looks = events.filter(|(_, (at, _, event))| match event {
        Event::Queried { value, .. } => old(*at, *value),
        _ => false,
    });
    let looks: Vec<_> = looks.map(|(at, _)| at).collect();
    (!looks.is_empty()).then(|| looks[choice % looks.len()])
}

pub(super) fn not_found(run: &mut Run, choice: usize) -> Option<InvariantId> {
    let at = looked_up(run, choice)?;
    if let Event::Queried { found, .. } = &mut run.events[at].2 {
        *found = false;
    }
    Some(InvariantId::Index)
}

pub(super) fn strangers(run: &mut Run, choice: usize) -> Option<InvariantId> {
    let at = looked_up(run, choice)?;
    if let Event::Queried { strangers, .. } = &mut run.events[at].2 {
        *strangers = 1;
    }
    Some(InvariantId::Index)
}
