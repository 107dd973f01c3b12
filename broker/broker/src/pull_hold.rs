//! Parked pulls: long polling (`PullRequestHoldService`).
//!
//! A pull that finds nothing is parked under its queue until a message that its filter lets
//! through arrives, its deadline passes, or its connection closes. Deadlines are looked at when
//! something arrives in the queue and by a tick every 5 s, so an empty answer may come up to 5 s late,
//! as in RocketMQ.
//!
//! Invariants: a parked request leaves the table exactly once; a request that was woken is never
//! parked again (the caller's part); a queue or a connection without parked requests is not in the
//! table.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use hotfire_remoting::ConnectionId;
use tokio::time::Instant;

use crate::filter::PullFilter;
use crate::limits::{self, Full};

/// How often every parked request is looked at (`PullRequestHoldService.run`).
pub const HOLD_TICK: Duration = Duration::from_secs(5);
/// How many requests and queues a piece of such a look is made of, at least.
const TICK_PIECE: usize = 2_000;

/// A request that waits for messages.
#[derive(Debug)]
pub struct Parked<R> {
    /// The queue offset that it wants to read from.
    pub pull_from: i64,
    /// When it is answered whatever the queue holds.
    pub deadline: Instant,
    /// Which messages it waits for.
    pub filter: PullFilter,
    /// Who waits.
    pub connection: ConnectionId,
    /// What it takes beyond the usual, in bytes.
    pub bytes: usize,
    /// What is needed to run it again.
    pub request: R,
}

/// The requests of a queue by number: in the order in which they were parked.
type Queue<R> = BTreeMap<u64, Parked<R>>;
/// A queue that a tick goes on with.
pub type Place = (Arc<str>, i32);

/// All parked requests.
#[derive(Debug)]
pub struct PullHold<R> {
    topics: BTreeMap<Arc<str>, BTreeMap<i32, Queue<R>>>,
    /// Where the requests of each connection are, by number.
    connections: BTreeMap<ConnectionId, BTreeMap<u64, Place>>,
    /// Counts the requests that were ever parked.
    numbers: u64,
    parked: usize,
    bytes: usize,
}

impl<R> Default for PullHold<R> {
    fn default() -> Self {
        Self {
            topics: BTreeMap::new(),
            connections: BTreeMap::new(),
            numbers: 0,
            parked: 0,
            bytes: 0,
        }
    }
}

impl<R> PullHold<R> {
    /// Parks a request.
    ///
    /// # Errors
    /// Too many are parked, and it comes back.
    pub fn park(&mut self, topic: &str, queue_id: i32, parked: Parked<R>) -> Result<(), (R, Full)> {
        if let Err(full) = self.check(topic, queue_id, &parked) {
            return Err((parked.request, full));
        }
        let topic: Arc<str> = match self.topics.get_key_value(topic) {
            Some((topic, _)) => topic.clone(),
            None => topic.into(),
        };
        self.numbers += 1;
        self.parked += 1;
        self.bytes += parked.bytes;
        let place = (topic.clone(), queue_id);
        let of_connection = self.connections.entry(parked.connection).or_default();
        of_connection.insert(self.numbers, place);
        let queues = self.topics.entry(topic).or_default();
        let queue = queues.entry(queue_id).or_default();
        queue.insert(self.numbers, parked);
        Ok(())
    }

    fn check(&self, topic: &str, queue_id: i32, parked: &Parked<R>) -> Result<(), Full> {
        let of_connection = self.connections.get(&parked.connection);
        let of_connection = of_connection.map_or(0, BTreeMap::len);
        let max = limits::PARKED_PER_CONNECTION;
        limits::check("waiting pulls of one connection", of_connection + 1, max)?;
        let queues = self.topics.get(topic);
        let queue = queues.and_then(|queues| queues.get(&queue_id));
        let of_queue = queue.map_or(0, BTreeMap::len);
        let max = limits::PARKED_PER_QUEUE;
        limits::check("waiting pulls of one queue", of_queue + 1, max)?;
        limits::check("waiting pulls", self.parked + 1, limits::PARKED)?;
        let bytes = self.bytes + parked.bytes;
        limits::check("bytes of waiting pulls", bytes, limits::PARKED_BYTES)
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
        let queues = self.topics.get_mut(topic);
        let Some(queue) = queues.and_then(|queues| queues.get_mut(&queue_id)) else {
            return;
        };
        let ready = ready(queue, max_offset, matches, now);
        self.woken(topic, queue_id, ready, woken);
    }

    /// Takes out the requests that wait for something that is gone, by topic and request.
    pub fn take(&mut self, gone: impl Fn(&str, &R) -> bool) -> Vec<R> {
        let mut found = Vec::new();
        for (topic, queues) in &mut self.topics {
            for (&queue_id, queue) in queues.iter_mut() {
                let gone = |_: &u64, parked: &mut Parked<R>| gone(topic, &parked.request);
                let gone: Vec<_> = queue.extract_if(.., gone).collect();
                if !gone.is_empty() {
                    found.push((topic.clone(), queue_id, gone));
                }
            }
        }
        let mut taken = Vec::new();
        for (topic, queue_id, gone) in found {
            self.woken(&topic, queue_id, gone, &mut taken);
        }
        taken
    }

    /// Looks at a piece of all requests, from a queue on, without knowing what arrived: one whose
    /// queue has grown beyond its offset, and one whose deadline has passed, is to be run again. The
    /// second result is where to go on.
    pub fn tick(
        &mut self,
        from: Option<&Place>,
        now: Instant,
        max_offset: impl Fn(&str, i32) -> i64,
    ) -> (Vec<R>, Option<Place>) {
        let (mut found, mut looked_at, mut next) = (Vec::new(), 0, None);
        let first = from.map_or(Bound::Unbounded, |(topic, _)| {
            Bound::Included(topic.clone())
        });
        'topics: for (topic, queues) in self.topics.range_mut((first, Bound::Unbounded)) {
            let first = match from {
                Some((from, queue_id)) if from == topic => *queue_id,
                _ => i32::MIN,
            };
            for (&queue_id, queue) in queues.range_mut(first..) {
                if looked_at >= TICK_PIECE {
                    next = Some((topic.clone(), queue_id));
                    break 'topics;
                }
                looked_at += queue.len();
                let max = max_offset(topic, queue_id);
                let ready = ready(queue, max, &mut |_| true, now);
                if !ready.is_empty() {
                    found.push((topic.clone(), queue_id, ready));
                }
            }
        }
        let mut woken = Vec::new();
        for (topic, queue_id, ready) in found {
            self.woken(&topic, queue_id, ready, &mut woken);
        }
        (woken, next)
    }

    /// A connection closed: nobody waits for its requests any more.
    pub fn connection_closed(&mut self, connection: ConnectionId) {
        let places = self.connections.remove(&connection);
        for (number, (topic, queue_id)) in places.into_iter().flatten() {
            let queues = self.topics.get_mut(&topic);
            let queue = queues.and_then(|queues| queues.get_mut(&queue_id));
            if let Some(parked) = queue.and_then(|queue| queue.remove(&number)) {
                self.parked -= 1;
                self.bytes -= parked.bytes;
                self.remove_empty(&topic, queue_id);
            }
        }
    }

    /// Requests have left their queue.
    fn woken(
        &mut self,
        topic: &str,
        queue_id: i32,
        ready: Vec<(u64, Parked<R>)>,
        woken: &mut Vec<R>,
    ) {
        for (number, parked) in ready {
            self.parked -= 1;
            self.bytes -= parked.bytes;
            if let Some(places) = self.connections.get_mut(&parked.connection) {
                places.remove(&number);
                if places.is_empty() {
                    self.connections.remove(&parked.connection);
                }
            }
            woken.push(parked.request);
        }
        self.remove_empty(topic, queue_id);
    }

    fn remove_empty(&mut self, topic: &str, queue_id: i32) {
        let Some(queues) = self.topics.get_mut(topic) else {
            return;
        };
        if queues.get(&queue_id).is_some_and(BTreeMap::is_empty) {
            queues.remove(&queue_id);
        }
        if queues.is_empty() {
            self.topics.remove(topic);
        }
    }
}

/// Takes what is ready out of a queue.
fn ready<R>(
    queue: &mut Queue<R>,
    max_offset: i64,
    matches: &mut dyn FnMut(&PullFilter) -> bool,
    now: Instant,
) -> Vec<(u64, Parked<R>)> {
    let ready = |_: &u64, parked: &mut Parked<R>| {
        (max_offset > parked.pull_from && matches(&parked.filter)) || now >= parked.deadline
    };
    queue.extract_if(.., ready).collect()
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
                connection: ConnectionId(pull_from.unsigned_abs()),
                bytes: 10,
                request: name,
            };
            self.hold.park("orders", 1, parked).unwrap();
        }

        fn tick(
            &mut self,
            now: Instant,
            max_offset: impl Fn(&str, i32) -> i64 + Copy,
        ) -> Vec<&'static str> {
            let (mut all, mut from) = (Vec::new(), None);
            loop {
                let (woken, next) = self.hold.tick(from.as_ref(), now, max_offset);
                all.extend(woken);
                from = next;
                if from.is_none() {
                    return all;
                }
            }
        }

        fn is_empty(&self) -> bool {
            let PullHold {
                topics,
                connections,
                parked,
                bytes,
                ..
            } = &self.hold;
            topics.is_empty() && connections.is_empty() && (*parked, *bytes) == (0, 0)
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
        assert!(held.is_empty());
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
        assert_eq!(held.tick(early, max_offset), ["has messages"]);
        assert_eq!(held.tick(early, max_offset), [""; 0]);
        assert_eq!(held.tick(late, max_offset), ["has none"]);
        assert!(held.is_empty());
    }

    #[test]
    fn what_is_parked_for_a_connection_goes_with_it() {
        let mut held = Held::new();
        held.park("of 5", 5, "*");
        held.park("of 6", 6, "*");
        held.park("of 5 too", 5, "*");
        held.hold.connection_closed(ConnectionId(5));
        assert_eq!(held.hold.len(), 1);
        assert_eq!(held.arrive(1, 9, TAG_A, 1), ["of 6"]);
        assert!(held.is_empty());
        held.hold.connection_closed(ConnectionId(6));
        assert!(held.is_empty());
    }

    #[test]
    fn a_tick_in_pieces_looks_at_every_request() {
        let mut held = Held::new();
        for number in 0..3 * TICK_PIECE as i64 {
            let parked = Parked {
                pull_from: 0,
                deadline: held.start,
                filter: PullFilter::tags(Arc::default()),
                connection: ConnectionId(number.unsigned_abs()),
                bytes: 0,
                request: "late",
            };
            let topic = (number % 7).to_string();
            let queue_id = (number % 1_000) as i32;
            held.hold.park(&topic, queue_id, parked).unwrap();
        }
        let now = held.start;
        let (first, next) = held.hold.tick(None, now, |_, _| 0);
        assert!(first.len() < 2 * TICK_PIECE && next.is_some());
        let rest = held.tick(now, |_, _| 0);
        assert_eq!(first.len() + rest.len(), 3 * TICK_PIECE);
        assert!(held.is_empty());
    }

    #[test]
    fn one_more_than_the_limit_is_given_back() {
        let mut held = Held::new();
        let parked = |held: &Held, connection: u64, bytes| Parked {
            pull_from: 0,
            deadline: held.start,
            filter: PullFilter::tags(Arc::default()),
            connection: ConnectionId(connection),
            bytes,
            request: "r",
        };
        for number in 0..limits::PARKED_PER_QUEUE as u64 {
            let parked = parked(&held, number, 0);
            held.hold.park("orders", 1, parked).unwrap();
        }
        let one_more = parked(&held, u64::MAX, 0);
        let (given_back, full) = held.hold.park("orders", 1, one_more).unwrap_err();
        assert_eq!((given_back, full.what), ("r", "waiting pulls of one queue"));
        let large = parked(&held, u64::MAX, limits::PARKED_BYTES + 1);
        let (_, full) = held.hold.park("orders", 2, large).unwrap_err();
        assert_eq!(full.what, "bytes of waiting pulls");
    }
}
