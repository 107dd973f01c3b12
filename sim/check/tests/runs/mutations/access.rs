//! Access control that does not refuse.

use hotfire_check::InvariantId;
use hotfire_check::history::*;

use crate::model::Run;

/// The place of a refused send.
fn refused(run: &mut Run, choice: usize) -> Option<usize> {
    let outsider = run.recorder.node("outsider");
    let events = run.events.iter().enumerate();
    let ends = events.filter(|(_, (_, node, event))| {
        *node == outsider && matches!(event, Event::SendFailed { .. })
    });
    let ends: Vec<_> = ends.map(|(at, _)| at).collect();
    (!ends.is_empty()).then(|| ends[choice % ends.len()])
}

pub(super) fn acknowledged(run: &mut Run, choice: usize) -> Option<InvariantId> {
    let at = refused(run, choice)?;
    let Event::SendFailed { op, attempts, .. } = run.events[at].2 else {
        return None;
    };
    run.events[at].2 = Event::SendOk {
        op,
        queue: run.recorder.queue("t", "b", 0),
        offset: 100_000,
        durable: true,
        attempts,
    };
    Some(InvariantId::Access)
}

pub(super) fn stored(run: &mut Run, choice: usize) -> Option<InvariantId> {
    let at = refused(run, choice)?;
    let Event::SendFailed { op, .. } = run.events[at].2 else {
        return None;
    };
    let value = run.events.iter().find_map(|(_, _, event)| match *event {
        Event::SendInvoked { op: o, value, .. } if o == op => Some(value),
        _ => None,
    })?;
    let time = run.events[at].0;
    run.append_own(at, time, value);
    Some(InvariantId::Access)
}

pub(super) fn delivered(run: &mut Run, choice: usize) -> Option<InvariantId> {
    let at = run.place(choice, |event| matches!(event, Event::Delivered { .. }))?;
    run.events[at].1 = run.recorder.node("outsider");
    Some(InvariantId::Access)
}
