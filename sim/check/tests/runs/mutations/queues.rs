//! Pulls, commits and queues that are not as they should be.

use hotfire_check::InvariantId;
use hotfire_check::history::*;

use crate::model::Run;

fn is_pull(event: &Event) -> bool {
    matches!(
        event,
        Event::Pulled {
            got: 1..,
            from: 1..,
            ..
        }
    )
}

pub(super) fn pull_skips(run: &mut Run, choice: usize) -> Option<InvariantId> {
    let filtering = run.group("f");
    let whole = |event: &Event| match event {
        Event::Pulled { group, .. } => *group != filtering && is_pull(event),
        _ => false,
    };
    let at = run.place(choice, whole)?;
    if let Event::Pulled { next, .. } = &mut run.events[at].2 {
        *next += 1;
    }
    Some(InvariantId::Skip)
}

pub(super) fn pull_goes_back(run: &mut Run, choice: usize) -> Option<InvariantId> {
    let at = run.place(choice, is_pull)?;
    if let Event::Pulled { from, .. } = &mut run.events[at].2 {
        *from -= 1;
    }
    Some(InvariantId::Mono)
}

/// A commit right after a delivery, of the offset behind it.
pub(super) fn commit_too_far(run: &mut Run, choice: usize) -> Option<InvariantId> {
    let popping = run.group("p");
    let pulled =
        |event: &Event| matches!(event, Event::Delivered { group, .. } if *group != popping);
    let at = run.place(choice, pulled)?;
    let (
        time,
        node,
        Event::Delivered {
            group,
            queue,
            offset,
            ..
        },
    ) = run.events[at]
    else {
        return None;
    };
    let commit = Event::Committed {
        group,
        queue,
        offset: offset + 1,
    };
    run.events
        .insert(at + 1, (SimTime(time.0 + 1), node, commit));
    Some(InvariantId::OffSafe)
}

pub(super) fn offset_goes_back(run: &mut Run, choice: usize) -> Option<InvariantId> {
    let popping = run.group("p");
    let set = |event: &Event| match event {
        Event::OffsetSet {
            group, offset: 2.., ..
        } => *group != popping,
        _ => false,
    };
    let at = run.place(choice, set)?;
    let (
        time,
        node,
        Event::OffsetSet {
            group,
            queue,
            offset,
        },
    ) = run.events[at]
    else {
        return None;
    };
    let member = run.events[..at]
        .iter()
        .rev()
        .find_map(|(_, node, event)| match event {
            Event::Committed {
                group: g, queue: q, ..
            } if (*g, *q) == (group, queue) => Some(*node),
            _ => None,
        })?;
    let offset = offset - 2;
    let commit = (
        SimTime(time.0 + 1),
        member,
        Event::Committed {
            group,
            queue,
            offset,
        },
    );
    let set = (
        SimTime(time.0 + 2),
        node,
        Event::OffsetSet {
            group,
            queue,
            offset,
        },
    );
    run.events.splice(at + 1..at + 1, [commit, set]);
    Some(InvariantId::OffMono)
}

/// A message that was consumed at once, long after members had settled, is handed out once more.
pub(super) fn handed_out_twice(run: &mut Run, choice: usize) -> Option<InvariantId> {
    let popping = run.group("p");
    let pulled =
        |event: &Event| matches!(event, Event::Delivered { group, .. } if *group != popping);
    let at = run.place(choice, pulled)?;
    let (time, node, mut again) = run.events[at];
    let Event::Delivered {
        delivery,
        reconsume,
        ..
    } = &mut again
    else {
        return None;
    };
    let first = *delivery;
    let consumed = |event: &Event| {
        *event
            == Event::Finished {
                delivery: first,
                outcome: Outcome::Consumed,
            }
    };
    let settled = time > SimTime::from_secs(6) && *reconsume == 0;
    if !settled || run.places(consumed).is_empty() {
        return None;
    }
    *delivery = run.recorder.next_delivery();
    run.events
        .insert(at + 1, (SimTime(time.0 + 1), node, again));
    Some(InvariantId::SteadyDup)
}

pub(super) fn starts_below(run: &mut Run, choice: usize) -> Option<InvariantId> {
    let popping = run.group("p");
    let set = |event: &Event| match event {
        Event::OffsetSet {
            group, offset: 1.., ..
        } => *group != popping,
        _ => false,
    };
    let at = run.place(choice, set)?;
    let Event::OffsetSet { group, queue, .. } = run.events[at].2 else {
        return None;
    };
    let first = run.events.iter().find_map(|(_, _, event)| match *event {
        Event::Delivered {
            group: g,
            queue: q,
            offset: 0,
            value,
            ..
        } if (g, q) == (group, queue) => Some(value),
        _ => None,
    });
    let (value, delivery) = (first?, run.recorder.next_delivery());
    let node = run.recorder.node("newcomer");
    let (intact, offset, reconsume) = (true, 0, 0);
    run.add(
        node,
        &[
            Event::Assigned {
                group,
                queue,
                from: Some(0),
            },
            Event::Pulled {
                group,
                queue,
                got: 1,
                from: 0,
                next: 1,
            },
            Event::Delivered {
                delivery,
                group,
                queue,
                offset,
                value,
                intact,
                reconsume,
            },
            Event::Finished {
                delivery,
                outcome: Outcome::Consumed,
            },
        ],
    );
    Some(InvariantId::Redeliver)
}

/// Another member begins with the queue of an orderly listener call that is running.
pub(super) fn both_at_once(run: &mut Run, choice: usize) -> Option<InvariantId> {
    let group = run.group("o");
    let mine = |event: &Event| matches!(event, Event::Delivered { group: g, .. } if *g == group);
    let at = run.place(choice, mine)?;
    let (time, node, mut other) = run.events[at];
    if let Event::Delivered { delivery, .. } = &mut other {
        *delivery = run.recorder.next_delivery();
    }
    let members = ["o-0", "o-1"].map(|name| run.recorder.node(name));
    let second = members.into_iter().find(|member| *member != node)?;
    run.events
        .insert(at + 1, (SimTime(time.0 + 1), second, other));
    Some(InvariantId::Excl)
}

pub(super) fn left_to_nobody(run: &mut Run, choice: usize) -> Option<InvariantId> {
    let retry = run.recorder.queue("%RETRY%c", "b", 0);
    let owners = |event: &Event| matches!(event, Event::Assigned { queue, .. } if *queue != retry);
    let at = run.place(choice, owners)?;
    let Event::Assigned { group, queue, .. } = run.events[at].2 else {
        return None;
    };
    // Whoever has it last gives it up.
    let same = |event: &Event| match event {
        Event::Assigned {
            group: g, queue: q, ..
        } => (*g, *q) == (group, queue),
        _ => false,
    };
    let last = run.places(same).into_iter().next_back()?;
    let node = run.events[last].1;
    run.add(node, &[Event::Revoked { group, queue }]);
    Some(InvariantId::Alloc)
}

pub(super) fn woken_late(run: &mut Run, _: usize) -> Option<InvariantId> {
    run.contract.wake_ms = 1;
    Some(InvariantId::Wake)
}
