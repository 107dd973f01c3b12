//! One thing wrong in an otherwise correct run, and the invariant that says so.

use hotfire_check::history::*;
use hotfire_check::{InvariantId, Status, check};
use proptest::prelude::*;

use crate::model::{Run, Weather, World};

/// No faults, so that nothing excuses what is wrong; failures, so that there are retries.
const CALM: Weather = Weather {
    rebalances: false,
    crashes: false,
    power: false,
    failures: true,
    retried_sends: false,
};

/// Which of the invariants must fire after a change; `None` if the run offers no place for the
/// change.
type Mutation = fn(&mut Run, usize) -> Option<InvariantId>;

/// The little queue system knows nothing of what these are about.
pub const NOT_MODELLED: &[InvariantId] = &[
    InvariantId::Filter,
    InvariantId::Invis,
    InvariantId::Handle,
    InvariantId::IdUniq,
    InvariantId::Corr,
    InvariantId::Index,
    InvariantId::Early,
    InvariantId::Late,
    InvariantId::Once,
    InvariantId::TxAtom,
    InvariantId::TxTerm,
    InvariantId::TxCheck,
    InvariantId::Access,
];

const MUTATIONS: &[(&str, Mutation)] = &[
    ("a body is garbled", garble),
    ("a message was never stored", never_stored),
    ("a message is stored twice", stored_twice),
    ("a send result names a neighbour's offset", wrong_offset),
    ("an orderly delivery overtakes the one before", overtakes),
    ("a pull skips an offset", pull_skips),
    ("a pull goes back", pull_goes_back),
    ("a commit covers what is not finished", commit_too_far),
    ("the broker's offset goes back", offset_goes_back),
    ("a message is handed out twice", handed_out_twice),
    ("a new owner starts below the commit", starts_below),
    ("a message is never handed out", never_handed_out),
    ("a retry comes at once", retry_at_once),
    ("a dead letter is dropped", dead_letter_dropped),
    ("an effect is applied twice", applied_twice),
    ("two members process a queue at once", both_at_once),
    ("a queue is left to nobody", left_to_nobody),
    ("pulls are woken later than promised", woken_late),
];

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 16,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn one_thing_wrong_is_found(seed: u64, choice: usize) {
        for (name, mutate) in MUTATIONS {
            let mut run = World::run(seed, 900, CALM);
            let Some(expected) = mutate(&mut run, choice) else { continue };
            let (history, contract) = run.history();
            let report = check(&history, &contract);
            let found = report.invariant(expected).unwrap();
            prop_assert_eq!(found.status, Status::Violated, "{}: {:#?}", name, found);
            prop_assert!(!found.evidence.is_empty() && !found.evidence[0].lines.is_empty());
        }
    }
}

#[test]
fn every_mutation_finds_its_place_and_together_they_cover_every_invariant() {
    let mut covered: Vec<_> = MUTATIONS
        .iter()
        .map(|(name, mutate)| {
            let mut places = (1..20).map(|seed| mutate(&mut World::run(seed, 900, CALM), 3));
            places
                .find_map(|id| id)
                .unwrap_or_else(|| panic!("no place where {name}"))
        })
        .collect();
    covered.sort_unstable();
    let modelled = InvariantId::ALL
        .iter()
        .filter(|id| !NOT_MODELLED.contains(id));
    assert_eq!(covered, modelled.copied().collect::<Vec<_>>());
}

impl Run {
    /// The places of events that satisfy a condition.
    fn places(&self, wanted: impl Fn(&Event) -> bool) -> Vec<usize> {
        let events = self.events.iter().enumerate();
        events
            .filter(|(_, (_, _, event))| wanted(event))
            .map(|(at, _)| at)
            .collect()
    }

    /// One of the places, by choice.
    fn place(&self, choice: usize, wanted: impl Fn(&Event) -> bool) -> Option<usize> {
        let places = self.places(wanted);
        (!places.is_empty()).then(|| places[choice % places.len()])
    }

    fn group(&mut self, name: &str) -> GroupId {
        self.recorder.group(name)
    }

    fn delivery_of(&self, delivery: DeliveryId) -> (u64, QueueRef, i64) {
        let found = self.events.iter().find_map(|(_, _, event)| match *event {
            Event::Delivered {
                delivery: d,
                value,
                queue,
                offset,
                ..
            } if d == delivery => Some((value.0, queue, offset)),
            _ => None,
        });
        found.unwrap()
    }

    fn add(&mut self, node: NodeId, events: &[Event]) {
        // Long after the last event but before the end.
        let done = self.events.pop().unwrap();
        let at = done.0.0 - 20_000_000;
        self.events
            .extend(events.iter().map(|&event| (SimTime(at), node, event)));
        self.events.push(done);
    }
}

fn garble(run: &mut Run, choice: usize) -> Option<InvariantId> {
    let at = run.place(choice, |event| matches!(event, Event::Delivered { .. }))?;
    if let Event::Delivered { intact, .. } = &mut run.events[at].2 {
        *intact = false;
    }
    Some(InvariantId::Phantom)
}

/// Forgets that a message was appended and delivered, but not that it was acknowledged.
fn never_stored(run: &mut Run, choice: usize) -> Option<InvariantId> {
    let at = run.place(choice, |event| matches!(event, Event::SendInvoked { .. }))?;
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

fn stored_twice(run: &mut Run, choice: usize) -> Option<InvariantId> {
    let retry = run.recorder.queue("%RETRY%c", "b", 0);
    let at = run.place(choice, |event| match event {
        Event::Appended {
            reconsume: 0,
            queue,
            ..
        } => *queue != retry,
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

fn wrong_offset(run: &mut Run, choice: usize) -> Option<InvariantId> {
    let at = run.place(choice, |event| {
        matches!(event, Event::SendOk { offset: 1.., .. })
    })?;
    if let Event::SendOk { offset, .. } = &mut run.events[at].2 {
        *offset -= 1;
    }
    Some(InvariantId::LogId)
}

/// An orderly listener that goes on after a suspended message, as if it had not been suspended.
fn overtakes(run: &mut Run, choice: usize) -> Option<InvariantId> {
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

fn pull_skips(run: &mut Run, choice: usize) -> Option<InvariantId> {
    let at = run.place(choice, is_pull)?;
    if let Event::Pulled { next, .. } = &mut run.events[at].2 {
        *next += 1;
    }
    Some(InvariantId::Skip)
}

fn pull_goes_back(run: &mut Run, choice: usize) -> Option<InvariantId> {
    let at = run.place(choice, is_pull)?;
    if let Event::Pulled { from, .. } = &mut run.events[at].2 {
        *from -= 1;
    }
    Some(InvariantId::Mono)
}

/// A commit right after a delivery, of the offset behind it.
fn commit_too_far(run: &mut Run, choice: usize) -> Option<InvariantId> {
    let at = run.place(choice, |event| matches!(event, Event::Delivered { .. }))?;
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

fn offset_goes_back(run: &mut Run, choice: usize) -> Option<InvariantId> {
    let at = run.place(choice, |event| {
        matches!(event, Event::OffsetSet { offset: 2.., .. })
    })?;
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
fn handed_out_twice(run: &mut Run, choice: usize) -> Option<InvariantId> {
    let at = run.place(choice, |event| matches!(event, Event::Delivered { .. }))?;
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

fn starts_below(run: &mut Run, choice: usize) -> Option<InvariantId> {
    let set = |event: &Event| matches!(event, Event::OffsetSet { offset: 1.., .. });
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

fn never_handed_out(run: &mut Run, choice: usize) -> Option<InvariantId> {
    let group = run.group("o");
    let mine = |event: &Event| matches!(event, Event::Delivered { group: g, .. } if *g == group);
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
    Some(InvariantId::Unseen)
}

/// A redelivery is moved to just after the failure that caused it.
fn retry_at_once(run: &mut Run, choice: usize) -> Option<InvariantId> {
    let group = run.group("c");
    let again = |event: &Event| match event {
        Event::Delivered {
            group: g,
            reconsume: 1..,
            ..
        } => *g == group,
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

fn dead_letter_dropped(run: &mut Run, choice: usize) -> Option<InvariantId> {
    let dlq = run.recorder.queue("%DLQ%c", "b", 0);
    let dead = |event: &Event| matches!(event, Event::Appended { queue, .. } if *queue == dlq);
    let at = run.place(choice, dead)?;
    run.events.remove(at);
    Some(InvariantId::Dlq)
}

fn applied_twice(run: &mut Run, choice: usize) -> Option<InvariantId> {
    let at = run.place(choice, |event| {
        matches!(event, Event::Effect { applied: true, .. })
    })?;
    run.events.insert(at + 1, run.events[at]);
    Some(InvariantId::Ledger)
}

/// Another member begins with the queue of an orderly listener call that is running.
fn both_at_once(run: &mut Run, choice: usize) -> Option<InvariantId> {
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

fn left_to_nobody(run: &mut Run, choice: usize) -> Option<InvariantId> {
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

fn woken_late(run: &mut Run, _: usize) -> Option<InvariantId> {
    run.contract.wake_ms = 1;
    Some(InvariantId::Wake)
}
