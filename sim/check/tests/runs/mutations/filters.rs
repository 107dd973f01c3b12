//! Filters that do not do what they should.

use hotfire_check::InvariantId;
use hotfire_check::history::*;

use crate::model::Run;

pub(super) fn let_through(run: &mut Run, choice: usize) -> Option<InvariantId> {
    let group = run.group("f");
    let mine = |event: &Event| matches!(event, Event::Delivered { group: g, .. } if *g == group);
    let at = run.place(choice, mine)?;
    let Event::Delivered { value, .. } = run.events[at].2 else {
        return None;
    };
    let sent = |event: &Event| matches!(event, Event::SendInvoked { value: v, .. } if *v == value);
    let sent = run.places(sent).first().copied()?;
    let (at, node, _) = run.events[sent];
    let unwanted = (at, node, Event::Unwanted { group, value });
    run.events.insert(sent + 1, unwanted);
    Some(InvariantId::Filter)
}

pub(super) fn left_out(run: &mut Run, choice: usize) -> Option<InvariantId> {
    let (group, plain) = (run.group("f"), run.plain());
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
    Some(InvariantId::Filter)
}
