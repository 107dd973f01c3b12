//! One thing wrong in an otherwise correct run, and the invariant that says so.

use std::collections::{BTreeMap, BTreeSet};

use hotfire_check::history::*;
use hotfire_check::{InvariantId, Status, check};
use proptest::prelude::*;

use crate::model::{Run, Weather, World};

mod access;
mod asking;
mod filters;
mod messages;
mod popping;
mod queues;
mod timing;
mod transactions;

/// No faults, so that nothing excuses what is wrong; failures, so that there are retries.
const CALM: Weather = Weather {
    rebalances: false,
    crashes: false,
    power: false,
    failures: true,
    retried_sends: false,
    clocks: false,
    lost: false,
};

/// Which of the invariants must fire after a change; `None` if the run offers no place for the
/// change.
type Mutation = fn(&mut Run, usize) -> Option<InvariantId>;

const MUTATIONS: &[(&str, Mutation)] = &[
    ("a body is garbled", messages::garble),
    ("a message was never stored", messages::never_stored),
    ("a message is stored twice", messages::stored_twice),
    (
        "a send result names a neighbour's offset",
        messages::wrong_offset,
    ),
    (
        "an orderly delivery overtakes the one before",
        messages::overtakes,
    ),
    ("a pull skips an offset", queues::pull_skips),
    ("a pull goes back", queues::pull_goes_back),
    (
        "a commit covers what is not finished",
        queues::commit_too_far,
    ),
    ("the broker's offset goes back", queues::offset_goes_back),
    ("a message is handed out twice", queues::handed_out_twice),
    ("a new owner starts below the commit", queues::starts_below),
    ("a message is never handed out", messages::never_handed_out),
    ("a retry comes at once", messages::retry_at_once),
    ("a dead letter is dropped", messages::dead_letter_dropped),
    ("an effect is applied twice", messages::applied_twice),
    ("two members process a queue at once", queues::both_at_once),
    ("a queue is left to nobody", queues::left_to_nobody),
    ("pulls are woken later than promised", queues::woken_late),
    (
        "a filter lets through what it must stop",
        filters::let_through,
    ),
    ("a filter stops what it must let through", filters::left_out),
    (
        "one who may not send is told that it did",
        access::acknowledged,
    ),
    ("what one who may not send sends is stored", access::stored),
    (
        "one who may not read is handed a message",
        access::delivered,
    ),
    ("two messages have one id", asking::same_id),
    ("a reply is about another request", asking::wrong_reply),
    ("a request is replied to twice", asking::replied_twice),
    ("a look-up finds nothing", asking::not_found),
    ("a look-up finds what nobody asked for", asking::strangers),
    ("a popped message comes again at once", popping::not_hidden),
    ("a popped message never comes again", popping::taken_along),
    ("an acknowledged message comes again", popping::not_taken),
    ("a stale handle acknowledges", popping::stale_counts),
    ("a valid handle is refused", popping::refused),
    ("a message comes before its time", timing::early),
    ("a message for a time never comes", timing::never),
    ("a message for a time comes long after it", timing::late),
    ("a message for a time comes twice", timing::twice),
    ("a recalled message comes", timing::recalled),
    (
        "a message that was rolled back is seen",
        transactions::rolled_back,
    ),
    (
        "a message is seen before it is committed",
        transactions::too_soon,
    ),
    (
        "a message is seen more often than committed",
        transactions::too_often,
    ),
    ("a committed message is never seen", transactions::swallowed),
    ("a half message is forgotten", transactions::forgotten),
    ("a producer is asked too early", transactions::asked_early),
    (
        "a producer is asked twice in a row",
        transactions::asked_twice,
    ),
    ("a producer is asked too often", transactions::asked_often),
    (
        "a producer is asked about what is over",
        transactions::asked_in_vain,
    ),
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
    covered.dedup();
    assert_eq!(covered, InvariantId::ALL);
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

    /// The messages that neither wait nor ask for anything: each is stored once.
    fn plain(&self) -> BTreeSet<Value> {
        let sends = self.events.iter().filter_map(|event| match event.2 {
            Event::SendInvoked {
                value,
                order: Some(_),
                ..
            } => Some(value),
            _ => None,
        });
        sends.collect()
    }

    /// The messages that wait for a time, which nobody tried to call back.
    fn timed(&self) -> BTreeSet<Value> {
        let mut ops = BTreeMap::new();
        for (_, _, event) in &self.events {
            match *event {
                Event::SendInvoked {
                    op,
                    value,
                    kind,
                    delay_level,
                    ..
                } if kind == SendKind::Timed || delay_level > 0 => {
                    ops.insert(op, value);
                }
                Event::RecallInvoked { op } => {
                    ops.remove(&op);
                }
                _ => {}
            }
        }
        ops.into_values().collect()
    }

    /// Whether a queue belongs to the topic that messages are sent to.
    fn is_own(&mut self, queue: QueueRef) -> bool {
        let topic = self.recorder.topic("t");
        let of = self.recorder.names().queue_of(queue);
        of.is_some_and(|queue| queue.topic == topic)
    }

    /// The places where messages are stored in the topic that they were sent to.
    fn own_copies(&mut self, wanted: impl Fn(Value) -> bool) -> Vec<usize> {
        let topic = self.recorder.topic("t");
        let names = self.recorder.names();
        self.places(|event| match *event {
            Event::Appended {
                queue,
                value: Some(value),
                ..
            } => names.queue_of(queue).is_some_and(|of| of.topic == topic) && wanted(value),
            _ => false,
        })
    }

    /// Stores a message in its topic, at an offset of its own.
    fn append_own(&mut self, after: usize, at: SimTime, value: Value) {
        let event = Event::Appended {
            queue: self.recorder.queue("t", "b", 0),
            reconsume: 0,
            offset: 100_000,
            physical: 100_000_010,
            value: Some(value),
        };
        let broker = self.recorder.node("broker");
        self.events.insert(after + 1, (at, broker, event));
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
