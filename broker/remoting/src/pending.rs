//! The requests of one direction of a connection that wait for their responses.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rustc_hash::FxHashMap;
use tokio::time::Instant;

/// Waiters by opaque, with their deadlines.
///
/// Deadlines of requests that were answered stay in the heap until they are due or make up most of
/// it: removing them one by one would cost more than the answers do.
pub(crate) struct Pending<W> {
    waiters: FxHashMap<i32, Waiter<W>>,
    deadlines: BinaryHeap<Reverse<(Instant, i32)>>,
    next_opaque: i32,
}

struct Waiter<W> {
    deadline: Instant,
    waiter: W,
}

/// So few dead deadlines are not worth a clean-up.
const SLACK: usize = 256;

impl<W> Pending<W> {
    pub(crate) fn new() -> Self {
        Self {
            waiters: FxHashMap::default(),
            deadlines: BinaryHeap::new(),
            next_opaque: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.waiters.len()
    }

    /// The opaque of the next request. Java's counter wraps through the negative numbers too.
    pub(crate) fn next_opaque(&mut self) -> i32 {
        loop {
            let opaque = self.next_opaque;
            self.next_opaque = opaque.wrapping_add(1);
            if !self.waiters.contains_key(&opaque) {
                return opaque;
            }
        }
    }

    /// Adds a waiter under an opaque of [`Pending::next_opaque`].
    pub(crate) fn add(&mut self, opaque: i32, deadline: Instant, waiter: W) {
        if self.deadlines.len() > 2 * self.waiters.len() + SLACK {
            let waiters = &self.waiters;
            self.deadlines.retain(|Reverse((deadline, opaque))| {
                waiters
                    .get(opaque)
                    .is_some_and(|waiter| waiter.deadline == *deadline)
            });
        }
        self.waiters.insert(opaque, Waiter { deadline, waiter });
        self.deadlines.push(Reverse((deadline, opaque)));
    }

    /// The waiter for a response, which no longer waits.
    pub(crate) fn complete(&mut self, opaque: i32) -> Option<W> {
        Some(self.waiters.remove(&opaque)?.waiter)
    }

    /// A waiter whose deadline is not after `now`, which no longer waits.
    pub(crate) fn expire(&mut self, now: Instant) -> Option<W> {
        while self.next_deadline()? <= now {
            let Reverse((deadline, opaque)) = self.deadlines.pop()?;
            if self
                .waiters
                .get(&opaque)
                .is_some_and(|waiter| waiter.deadline == deadline)
            {
                return self.complete(opaque);
            }
        }
        None
    }

    /// A time before which nothing expires.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines
            .peek()
            .map(|Reverse((deadline, _))| *deadline)
    }

    /// All waiters, in the order of their opaques; none is left.
    pub(crate) fn drain(&mut self) -> Vec<W> {
        self.deadlines.clear();
        let mut waiters: Vec<_> = self.waiters.drain().collect();
        waiters.sort_unstable_by_key(|(opaque, _)| *opaque);
        waiters
            .into_iter()
            .map(|(_, waiter)| waiter.waiter)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    #[test]
    fn a_waiter_is_found_by_its_opaque_once() {
        let mut pending = Pending::new();
        let opaque = pending.next_opaque();
        pending.add(opaque, Instant::now(), "first");
        assert_eq!(pending.complete(opaque), Some("first"));
        assert_eq!(pending.complete(opaque), None);
    }

    #[test]
    fn waiters_expire_in_the_order_of_their_deadlines() {
        let (mut pending, start) = (Pending::new(), Instant::now());
        for (opaque, millis) in [(1, 30), (2, 10), (3, 20)] {
            pending.add(opaque, at(start, millis), opaque);
        }
        assert_eq!(pending.expire(at(start, 9)), None);
        assert_eq!(pending.expire(at(start, 20)), Some(2));
        assert_eq!(pending.expire(at(start, 20)), Some(3));
        assert_eq!(pending.expire(at(start, 20)), None);
        assert_eq!(pending.next_deadline(), Some(at(start, 30)));
    }

    #[test]
    fn an_answered_request_does_not_expire() {
        let (mut pending, start) = (Pending::new(), Instant::now());
        pending.add(1, start, ());
        pending.complete(1);
        assert_eq!(pending.expire(at(start, 1)), None);
    }

    #[test]
    fn an_opaque_that_still_waits_is_not_given_out_again() {
        let mut pending = Pending::new();
        pending.next_opaque = i32::MAX;
        let last = pending.next_opaque();
        pending.add(last, Instant::now(), ());
        pending.add(i32::MIN, Instant::now(), ());
        assert_eq!(pending.next_opaque(), i32::MIN + 1);
    }

    #[test]
    fn the_deadlines_of_answered_requests_do_not_pile_up() {
        let (mut pending, start) = (Pending::new(), Instant::now());
        for opaque in 0..10_000 {
            pending.add(opaque, at(start, 3000), ());
            pending.complete(opaque);
        }
        assert!(pending.deadlines.len() <= SLACK + 2);
    }

    #[test]
    fn draining_yields_every_waiter_in_order() {
        let (mut pending, start) = (Pending::new(), Instant::now());
        for opaque in [7, -1, 3] {
            pending.add(opaque, start, opaque);
        }
        assert_eq!(pending.drain(), [-1, 3, 7]);
        assert_eq!((pending.len(), pending.next_deadline()), (0, None));
    }
}
