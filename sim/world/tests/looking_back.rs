//! After a reset the very messages come again that came before.

#![allow(clippy::unwrap_used, reason = "tests may fail")]

use std::collections::{BTreeMap, BTreeSet};

use hotfire_check::History;
use hotfire_check::history::{Event, GroupId, QueueRef, SimTime, Value};
use hotfire_check::report::Verdict;
use hotfire_world::run::run;
use hotfire_world::scenario::Scenario;

/// What a run shows of its queues and groups.
#[derive(Default)]
struct Seen {
    /// What is stored where.
    log: BTreeMap<(QueueRef, i64), Value>,
    resets: Vec<(GroupId, QueueRef, i64, SimTime)>,
    /// Who got what, from where, when.
    deliveries: Vec<(GroupId, QueueRef, i64, Value, SimTime)>,
}

impl Seen {
    fn of(history: &History) -> Self {
        let mut seen = Self::default();
        for record in history.records() {
            let at = record.at;
            match record.event {
                Event::Appended {
                    queue,
                    offset,
                    value: Some(value),
                    ..
                } => {
                    seen.log.insert((queue, offset), value);
                }
                Event::OffsetReset {
                    group,
                    queue,
                    offset,
                } => seen.resets.push((group, queue, offset, at)),
                Event::Delivered {
                    group,
                    queue,
                    offset,
                    value,
                    intact: true,
                    ..
                } => seen.deliveries.push((group, queue, offset, value, at)),
                _ => {}
            }
        }
        seen
    }

    /// What a group got of a queue from an offset on, before a time or after it.
    fn delivered(
        &self,
        (group, queue, from): (GroupId, QueueRef, i64),
        when: impl Fn(SimTime) -> bool,
    ) -> BTreeSet<(i64, Value)> {
        let of_group = self
            .deliveries
            .iter()
            .filter(|d| (d.0, d.1) == (group, queue));
        of_group
            .filter(|d| d.2 >= from && when(d.4))
            .map(|d| (d.2, d.3))
            .collect()
    }
}

#[test]
fn a_group_that_is_set_back_gets_exactly_what_is_stored_behind_its_new_offset() {
    let text = include_str!("../../../scenarios/looking-back/replay.toml");
    let scenario = Scenario::parse("looking-back/replay.toml", text).unwrap();
    let outcome = run(&scenario, 1, &mut |_| {});
    assert_eq!(
        outcome.report.verdict,
        Verdict::Pass,
        "{:?}",
        outcome.report.reasons
    );
    let seen = Seen::of(&outcome.history);
    // Two groups, eight queues each.
    assert_eq!(seen.resets.len(), 16);
    let mut again = 0;
    for &(group, queue, offset, at) in &seen.resets {
        let place = (group, queue, offset);
        let before = seen.delivered(place, |when| when < at);
        let after = seen.delivered(place, |when| when > at);
        let end = i64::MAX;
        let stored = seen.log.range((queue, offset)..(queue, end));
        let stored: BTreeSet<_> = stored
            .map(|((_, offset), value)| (*offset, *value))
            .collect();
        assert_eq!(after, stored, "all of it, and nothing else");
        assert!(before.is_subset(&after), "and that is what came before");
        again += before.len();
    }
    assert!(again > 5_000, "{again} messages came again");
}
