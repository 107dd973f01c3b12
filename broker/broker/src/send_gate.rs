//! Overload protection of sends (`BrokerFastFailure` and the send thread pool).
//!
//! Java hands each send to a thread pool with a bounded queue. Here a send is handled the moment
//! its frame is read, and the one thing that it can wait for is the disk. So the pool becomes a
//! number of slots (`sendMessageThreadPoolNums`) for sends that wait for a flush; when they are all
//! taken, sends queue (`sendThreadPoolQueueCapacity`) and are refused when they have queued for too
//! long (`waitTimeMillsInSendQueue`) or the queue is full.
//!
//! Invariants: a request in the queue has not touched the store, so its refusal is definite; slots
//! are handed on in the order of arrival.

use std::collections::VecDeque;
use std::time::Duration;

use hotfire_remoting::ConnectionId;
use tokio::time::Instant;

use crate::limits;

/// Slots and the queue behind them. `R` is what is needed to run a request later.
#[derive(Debug)]
pub struct SendGate<R> {
    slots: usize,
    taken: usize,
    capacity: usize,
    queue: VecDeque<Queued<R>>,
    /// What the queued requests take.
    bytes: usize,
}

#[derive(Debug)]
struct Queued<R> {
    since: Instant,
    connection: ConnectionId,
    bytes: usize,
    request: R,
}

impl<R> SendGate<R> {
    /// A gate with so many slots and a queue of this capacity.
    pub fn new(slots: usize, capacity: usize) -> Self {
        Self {
            slots: slots.max(1),
            taken: 0,
            capacity,
            queue: VecDeque::new(),
            bytes: 0,
        }
    }

    /// Whether a request that arrives may run now. If it then has to wait, it takes a slot:
    /// [`SendGate::take_slot`].
    pub fn admits(&self) -> bool {
        self.taken < self.slots && self.queue.is_empty()
    }

    /// Queues a request that was not admitted, of so many bytes.
    ///
    /// # Errors
    /// The queue is full: the request comes back.
    pub fn enqueue(
        &mut self,
        connection: ConnectionId,
        bytes: usize,
        request: R,
        now: Instant,
    ) -> Result<(), R> {
        let all = self.bytes.saturating_add(bytes);
        if self.queue.len() >= self.capacity || all > limits::QUEUED_SEND_BYTES {
            return Err(request);
        }
        self.bytes = all;
        self.queue.push_back(Queued {
            since: now,
            connection,
            bytes,
            request,
        });
        Ok(())
    }

    /// A connection closed: its queued requests are dropped. Nobody waits for their answers, and
    /// whoever sent them has to take them for lost.
    pub fn connection_closed(&mut self, connection: ConnectionId) {
        let bytes = &mut self.bytes;
        self.queue.retain(|queued| {
            let keep = queued.connection != connection;
            if !keep {
                *bytes -= queued.bytes;
            }
            keep
        });
    }

    /// A request that runs has to wait: it holds a slot until [`SendGate::release_slot`].
    pub fn take_slot(&mut self) {
        self.taken += 1;
    }

    /// A request has waited enough.
    pub fn release_slot(&mut self) {
        self.taken = self.taken.saturating_sub(1);
    }

    /// The next queued request, if a slot is free.
    pub fn next(&mut self) -> Option<R> {
        if self.taken < self.slots {
            self.pop().map(|queued| queued.request)
        } else {
            None
        }
    }

    /// Takes out the requests that have queued for at least `limit`, with the time they did and the
    /// length of the queue.
    pub fn expire(&mut self, now: Instant, limit: Duration) -> Vec<(R, Duration, usize)> {
        let mut expired = Vec::new();
        while let Some(oldest) = self.queue.front() {
            let waited = now.duration_since(oldest.since);
            if waited < limit {
                break;
            }
            let queued = self.queue.len();
            if let Some(oldest) = self.pop() {
                expired.push((oldest.request, waited, queued));
            }
        }
        expired
    }

    fn pop(&mut self) -> Option<Queued<R>> {
        let oldest = self.queue.pop_front()?;
        self.bytes -= oldest.bytes;
        Some(oldest)
    }

    /// How many requests are queued.
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// How long the oldest queued request has waited; zero without one.
    pub fn head_wait(&self, now: Instant) -> Duration {
        self.queue
            .front()
            .map_or(Duration::ZERO, |oldest| now.duration_since(oldest.since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: ConnectionId = ConnectionId(1);
    const LIMIT: Duration = Duration::from_millis(200);

    #[test]
    fn requests_run_while_slots_are_free_and_queue_afterwards() {
        let (mut gate, now) = (SendGate::new(1, 1), Instant::now());
        assert!(gate.admits());
        gate.take_slot();
        assert!(!gate.admits());
        assert_eq!(gate.enqueue(FIRST, 10, "first", now), Ok(()));
        assert_eq!(gate.enqueue(FIRST, 10, "second", now), Err("second"));
    }

    #[test]
    fn a_released_slot_goes_to_the_oldest_request() {
        let (mut gate, now) = (SendGate::new(1, 9), Instant::now());
        gate.take_slot();
        gate.enqueue(FIRST, 10, "first", now).unwrap();
        gate.enqueue(FIRST, 10, "second", now).unwrap();
        assert_eq!(gate.next(), None);
        gate.release_slot();
        assert!(!gate.admits(), "a newcomer does not overtake the queue");
        assert_eq!(gate.next(), Some("first"));
    }

    #[test]
    fn a_request_is_refused_after_queueing_too_long() {
        let (mut gate, start) = (SendGate::new(1, 9), Instant::now());
        gate.take_slot();
        gate.enqueue(FIRST, 10, "early", start).unwrap();
        gate.enqueue(FIRST, 10, "later", start + Duration::from_millis(50))
            .unwrap();
        assert_eq!(gate.expire(start + LIMIT / 2, LIMIT), []);
        assert_eq!(gate.head_wait(start + LIMIT), LIMIT);
        assert_eq!(gate.expire(start + LIMIT, LIMIT), [("early", LIMIT, 2)]);
        assert_eq!(gate.queued(), 1);
    }

    #[test]
    fn the_queue_is_full_when_its_requests_are_large() {
        let (mut gate, now) = (SendGate::new(1, 9), Instant::now());
        gate.take_slot();
        let half = limits::QUEUED_SEND_BYTES / 2;
        gate.enqueue(FIRST, half, "first", now).unwrap();
        gate.enqueue(FIRST, half, "second", now).unwrap();
        assert_eq!(gate.enqueue(FIRST, 1, "third", now), Err("third"));
        gate.release_slot();
        assert_eq!(gate.next(), Some("first"));
        assert_eq!(gate.enqueue(FIRST, 1, "third", now), Ok(()));
    }

    #[test]
    fn the_queued_sends_of_a_closed_connection_are_dropped() {
        let (mut gate, now) = (SendGate::new(1, 9), Instant::now());
        gate.take_slot();
        gate.enqueue(FIRST, 10, "gone", now).unwrap();
        gate.enqueue(ConnectionId(2), 10, "here", now).unwrap();
        gate.connection_closed(FIRST);
        gate.release_slot();
        assert_eq!(gate.next(), Some("here"));
        assert_eq!((gate.next(), gate.bytes), (None, 0));
    }
}
