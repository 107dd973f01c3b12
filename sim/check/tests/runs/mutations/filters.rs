//! Filters that do not do what they should.

use hotfire_check::InvariantId;
use hotfire_check::history::*;

use super::messages::withhold;
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
    withhold(run, choice, "f")?;
    Some(InvariantId::Filter)
}
