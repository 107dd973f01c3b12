//! Parked pulls: long polling (`PullRequestHoldService`).
//!
//! A pull that finds nothing is parked under its queue until a message that its filter lets
//! through arrives, or its deadline passes. Deadlines are looked at when something arrives in the
//! queue and by a tick every 5 s, so an empty answer may come up to 5 s late, as in RocketMQ.
//!
//! Invariants: a parked request leaves the table exactly once; a request that was woken is never
//! parked again (the caller's part).

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::filter::PullFilter;

/// How often every parked request is looked at (`PullRequestHoldService.run`).
pub const HOLD_TICK: Duration = Duration::from_secs(5);

/// A request that waits for messages.
#[derive(Debug)]
pub struct Parked<R> {
    /// The queue offset that it wants to read from.
    pub pull_from: i64,
    /// When it is answered whatever the queue holds.
    pub deadline: Instant,
    /// Which messages it waits for.
    pub filter: PullFilter,
    /// What is needed to run it again.
    pub request: R,
}

/// All parked requests.
#[derive(Debug)]
pub struct PullHold<R> {
    topics: BTreeMap<String, BTreeMap<i32, Vec<Parked<R>>>>,
    parked: usize,
}

impl<R> Default for PullHold<R> {
    fn default() -> Self {
        Self {
            topics: BTreeMap::new(),
            parked: 0,
        }
    }
}

impl<R> PullHold<R> {
    /// Parks a request.
    pub fn park(&mut self, topic: &str, queue_id: i32, parked: Parked<R>) {
        if !self.topics.contains_key(topic) {
            self.topics.insert(topic.to_owned(), BTreeMap::new());
        }
        if let Some(queues) = self.topics.get_mut(topic) {
            queues.entry(queue_id).or_default().push(parked);
            self.parked += 1;
        }
    }

    /// How many requests are parked.
    pub fn len(&self) -> usize {
        self.parked
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.parked == 0
    }

    /// A message arrived: the queue now ends at `max_offset`, and `matches` says whether a filter
    /// lets the message through. The requests to run again are appended to `woken`, in the order
    /// they were parked.
    pub fn on_arrival(
        &mut self,
        topic: &str,
        queue_id: i32,
        max_offset: i64,
        matches: &mut dyn FnMut(&PullFilter) -> bool,
        now: Instant,
        woken: &mut Vec<R>,
    ) {
        if self.parked == 0 {
            return;
        }
        let Some(queue) = self
            .topics
            .get_mut(topic)
            .and_then(|queues| queues.get_mut(&queue_id))
        else {
            return;
        };
        let before = queue.len();
        wake(queue, max_offset, matches, now, woken);
        self.parked -= before - queue.len();
    }

    /// Looks at every request, without knowing what arrived: one whose queue has grown beyond its
    /// offset, and one whose deadline has passed, is to be run again.
    pub fn tick(&mut self, now: Instant, max_offset: impl Fn(&str, i32) -> i64) -> Vec<R> {
        let mut woken = Vec::new();
        for (topic, queues) in &mut self.topics {
            for (&queue_id, queue) in queues.iter_mut() {
                if !queue.is_empty() {
                    let max = max_offset(topic, queue_id);
                    wake(queue, max, &mut |_| true, now, &mut woken);
                }
            }
            queues.retain(|_, queue| !queue.is_empty());
        }
        self.topics.retain(|_, queues| !queues.is_empty());
        self.parked -= woken.len();
        woken
    }
}

/// Moves what is ready out of a queue.
fn wake<R>(
    queue: &mut Vec<Parked<R>>,
    max_offset: i64,
    matches: &mut dyn FnMut(&PullFilter) -> bool,
    now: Instant,
    woken: &mut Vec<R>,
) {
    let ready = |parked: &mut Parked<R>| {
        (max_offset > parked.pull_from && matches(&parked.filter)) || now >= parked.deadline
    };
    woken.extend(queue.extract_if(.., ready).map(|parked| parked.request));
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hotfire_protocol::body::SubscriptionData;
    use hotfire_store::MessageFilter;

    use super::*;

    const TAG_A: i64 = 2_598_919;
    const TAG_B: i64 = 2_598_920;

    struct Held {
        hold: PullHold<&'static str>,
        start: Instant,
    }

    impl Held {
        fn new() -> Self {
            Self {
                hold: PullHold::default(),
                start: Instant::now(),
            }
        }

        fn park(&mut self, name: &'static str, pull_from: i64, expression: &str) {
            let parked = Parked {
                pull_from,
                deadline: self.start + Duration::from_secs(15),
                filter: PullFilter::tags(Arc::new(
                    SubscriptionData::parse("orders", expression, 1).unwrap(),
                )),
                request: name,
            };
            self.hold.park("orders", 1, parked);
        }

        fn arrive(&mut self, queue_id: i32, max: i64, code: i64, after: u64) -> Vec<&'static str> {
            let now = self.start + Duration::from_secs(after);
            let mut woken = Vec::new();
            let mut matches = |filter: &PullFilter| filter.matches_code(code);
            self.hold
                .on_arrival("orders", queue_id, max, &mut matches, now, &mut woken);
            woken
        }
    }

    #[test]
    fn an_arrival_wakes_the_requests_of_its_queue_only() {
        let mut held = Held::new();
        held.park("waits", 5, "*");
        assert_eq!(held.arrive(0, 6, TAG_A, 1), [""; 0]);
        assert_eq!(held.arrive(1, 6, TAG_A, 1), ["waits"]);
        assert!(held.hold.is_empty());
        assert_eq!(held.arrive(1, 7, TAG_A, 1), [""; 0]);
    }

    #[test]
    fn an_arrival_below_the_wanted_offset_wakes_nobody() {
        let mut held = Held::new();
        held.park("ahead", 9, "*");
        assert_eq!(held.arrive(1, 9, TAG_A, 1), [""; 0]);
        assert_eq!(held.hold.len(), 1);
    }

    #[test]
    fn a_message_with_another_tag_leaves_a_request_parked() {
        let mut held = Held::new();
        held.park("wants A", 0, "TagA");
        held.park("wants B", 0, "TagB");
        assert_eq!(held.arrive(1, 1, TAG_B, 1), ["wants B"]);
        assert_eq!(held.arrive(1, 2, TAG_A, 1), ["wants A"]);
    }

    #[test]
    fn a_passed_deadline_is_noticed_by_any_arrival_in_the_queue() {
        let mut held = Held::new();
        held.park("wants A", 0, "TagA");
        assert_eq!(held.arrive(1, 1, TAG_B, 14), [""; 0]);
        assert_eq!(held.arrive(1, 2, TAG_B, 15), ["wants A"]);
    }

    #[test]
    fn the_tick_wakes_what_has_new_messages_or_waited_long_enough() {
        let mut held = Held::new();
        held.park("has messages", 3, "TagA");
        held.park("has none", 4, "TagA");
        let max_offset = |_: &str, _: i32| 4;
        let at = |seconds| held.start + Duration::from_secs(seconds);
        let (early, late) = (at(5), at(15));
        assert_eq!(held.hold.tick(early, max_offset), ["has messages"]);
        assert_eq!(held.hold.tick(early, max_offset), [""; 0]);
        assert_eq!(held.hold.tick(late, max_offset), ["has none"]);
        assert!(held.hold.is_empty());
    }
}
