//! Transactions that do not end as they should, and checks that should not be.

use std::collections::BTreeMap;

use hotfire_check::InvariantId;
use hotfire_check::history::*;

use crate::model::Run;

/// A transactional message, and what became of it.
#[derive(Default)]
struct Transaction {
    /// When its half was sent.
    sent: SimTime,
    /// The offsets of its halves.
    halves: Vec<i64>,
    /// The places where the producer committed it, rolled it back, or was asked.
    commits: Vec<usize>,
    rollbacks: Vec<usize>,
    checks: Vec<usize>,
    /// The places where it was stored in its topic, and where it ended.
    copies: Vec<usize>,
    ends: Vec<usize>,
}

fn transactions(run: &mut Run) -> BTreeMap<Value, Transaction> {
    let half_topic = run.recorder.queue("RMQ_SYS_TRANS_HALF_TOPIC", "b", 0);
    let mut all: BTreeMap<Value, Transaction> = BTreeMap::new();
    let events = run.events.clone();
    for (place, (time, _, event)) in events.into_iter().enumerate() {
        match event {
            Event::SendInvoked {
                value,
                kind: SendKind::Transaction,
                ..
            } => all.entry(value).or_default().sent = time,
            Event::Appended {
                queue,
                value: Some(value),
                offset,
                ..
            } => {
                let is_own = run.is_own(queue);
                let Some(transaction) = all.get_mut(&value) else {
                    continue;
                };
                if queue == half_topic {
                    transaction.halves.push(offset);
                } else if is_own {
                    transaction.copies.push(place);
                }
            }
            Event::HalfEnded { offset, .. } => {
                let of = all.values_mut().find(|of| of.halves.contains(&offset));
                of.into_iter().for_each(|of| of.ends.push(place));
            }
            Event::LocalTransaction { value, state, .. }
            | Event::TransactionChecked { value, state, .. } => {
                let Some(transaction) = all.get_mut(&value) else {
                    continue;
                };
                match state {
                    TransactionState::Commit => transaction.commits.push(place),
                    TransactionState::Rollback => transaction.rollbacks.push(place),
                    TransactionState::Unknown => {}
                }
                if matches!(event, Event::TransactionChecked { .. }) {
                    transaction.checks.push(place);
                }
            }
            _ => {}
        }
    }
    all
}

/// One of those that satisfy a condition.
fn pick(
    run: &mut Run,
    choice: usize,
    wanted: impl Fn(&Transaction) -> bool,
) -> Option<(Value, Transaction)> {
    let mut all: Vec<_> = transactions(run).into_iter().collect();
    all.retain(|(_, transaction)| wanted(transaction));
    (!all.is_empty()).then(|| all.swap_remove(choice % all.len()))
}

pub(super) fn rolled_back(run: &mut Run, choice: usize) -> Option<InvariantId> {
    let (value, of) = pick(run, choice, |of| !of.rollbacks.is_empty())?;
    let after = *of.rollbacks.last()?;
    let time = SimTime(run.events[after].0.0 + 1);
    run.append_own(after, time, value);
    Some(InvariantId::TxAtom)
}

pub(super) fn too_soon(run: &mut Run, choice: usize) -> Option<InvariantId> {
    let (_, of) = pick(run, choice, |of| !of.copies.is_empty())?;
    run.events[*of.copies.first()?].0 = SimTime(of.sent.0 + 1);
    Some(InvariantId::TxAtom)
}

pub(super) fn too_often(run: &mut Run, choice: usize) -> Option<InvariantId> {
    let (value, of) = pick(run, choice, |of| {
        !of.copies.is_empty() && of.copies.len() == of.commits.len()
    })?;
    let after = *of.copies.last()?;
    let time = SimTime(run.events[after].0.0 + 1);
    run.append_own(after, time, value);
    Some(InvariantId::TxAtom)
}

/// Whatever is seen of a message outside of the half topic is gone.
fn hide(run: &mut Run, hidden: Value, ends: &[usize]) {
    let mut place = 0;
    let half_topic = run.recorder.queue("RMQ_SYS_TRANS_HALF_TOPIC", "b", 0);
    run.events.retain(|(_, _, event)| {
        place += 1;
        let is_end = ends.contains(&(place - 1));
        match *event {
            Event::Appended { queue, value, .. } => value != Some(hidden) || queue == half_topic,
            Event::Delivered { value, .. } => value != hidden,
            _ => !is_end,
        }
    });
}

pub(super) fn swallowed(run: &mut Run, choice: usize) -> Option<InvariantId> {
    let (value, _) = pick(run, choice, |of| {
        !of.copies.is_empty() && !of.ends.is_empty()
    })?;
    hide(run, value, &[]);
    Some(InvariantId::TxAtom)
}

pub(super) fn forgotten(run: &mut Run, choice: usize) -> Option<InvariantId> {
    let (value, of) = pick(run, choice, |of| !of.halves.is_empty())?;
    hide(run, value, &of.ends);
    Some(InvariantId::TxTerm)
}

/// The producer is asked at a time.
fn ask(run: &mut Run, after: usize, time: SimTime, value: Value, round: u16) {
    let event = Event::TransactionChecked {
        value,
        round,
        state: TransactionState::Unknown,
    };
    let node = run.recorder.node("producer");
    run.events.insert(after + 1, (time, node, event));
}

pub(super) fn asked_early(run: &mut Run, choice: usize) -> Option<InvariantId> {
    let (value, of) = pick(run, choice, |of| !of.halves.is_empty())?;
    ask(run, 0, SimTime(of.sent.0 + 1_500_000), value, 1);
    Some(InvariantId::TxCheck)
}

pub(super) fn asked_twice(run: &mut Run, choice: usize) -> Option<InvariantId> {
    let (value, of) = pick(run, choice, |of| !of.checks.is_empty())?;
    let after = *of.checks.first()?;
    let time = SimTime(run.events[after].0.0 + 1_000_000);
    ask(run, after, time, value, 2);
    Some(InvariantId::TxCheck)
}

pub(super) fn asked_often(run: &mut Run, choice: usize) -> Option<InvariantId> {
    let (value, of) = pick(run, choice, |of| !of.checks.is_empty())?;
    let after = *of.checks.last()?;
    let time = SimTime(run.events[after].0.0 + 3_000_000);
    ask(run, after, time, value, 4);
    Some(InvariantId::TxCheck)
}

pub(super) fn asked_in_vain(run: &mut Run, choice: usize) -> Option<InvariantId> {
    let (value, of) = pick(run, choice, |of| !of.ends.is_empty())?;
    let after = *of.ends.last()?;
    let time = SimTime(run.events[after].0.0 + 11_000_000);
    ask(run, after, time, value, 3);
    Some(InvariantId::TxCheck)
}
