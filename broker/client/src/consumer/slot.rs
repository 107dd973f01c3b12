//! A queue that is assigned to a consumer, with all that belongs to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use hotfire_env::TaskHandle;
use hotfire_protocol::MessageQueue;
use hotfire_protocol::body::SubscriptionData;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::process_queue::ProcessQueue;

/// An assigned queue. A queue that is given up and assigned again gets a new slot.
pub(crate) struct Slot {
    pub(crate) queue: Arc<MessageQueue>,
    /// The queue as the user knows it: without a namespace.
    pub(crate) shown: Arc<MessageQueue>,
    pub(crate) subscription: Arc<SubscriptionData>,
    pub(crate) state: Mutex<ProcessQueue>,
    /// Held during an orderly run; shared by all slots that the queue ever had in this consumer.
    pub(crate) serial: Arc<tokio::sync::Mutex<()>>,
    /// Held while the orderly listener is called: whoever gives the queue up waits for it.
    pub(crate) listening: tokio::sync::Mutex<()>,
    /// The member of the broker group that the broker wants to be asked next.
    suggested_broker: AtomicI64,
    pulling: Mutex<Option<TaskHandle>>,
    resting: AtomicBool,
}

impl Slot {
    pub(crate) fn new(
        queue: MessageQueue,
        shown: MessageQueue,
        subscription: Arc<SubscriptionData>,
        serial: Arc<tokio::sync::Mutex<()>>,
        now: Instant,
    ) -> Self {
        Self {
            queue: Arc::new(queue),
            shown: Arc::new(shown),
            subscription,
            state: Mutex::new(ProcessQueue::new(now)),
            serial,
            listening: tokio::sync::Mutex::default(),
            suggested_broker: AtomicI64::new(0),
            pulling: Mutex::new(None),
            resting: AtomicBool::new(false),
        }
    }

    /// Whether the queue was given up.
    pub(crate) fn is_dropped(&self) -> bool {
        self.state.lock().is_dropped()
    }

    /// Gives the queue up and stops pulling it. An answer that is still on its way is forgotten.
    /// Its rest is over: if it cannot be given up at once, the next rebalancing tries again.
    pub(crate) fn give_up(&self) {
        self.state.lock().set_dropped();
        self.resting.store(false, Ordering::Release);
        if let Some(task) = self.pulling.lock().take() {
            task.abort();
        }
    }

    /// Stops work on the queue, but keeps it until whoever calls this gives it up.
    pub(crate) fn rest(&self) {
        self.resting.store(true, Ordering::Release);
        self.state.lock().set_dropped();
    }

    /// Whether pulling has died, or the queue was to be given up and its listener was busy.
    pub(crate) fn is_stale(&self, now: Instant) -> bool {
        let state = self.state.lock();
        let resting = self.resting.load(Ordering::Acquire);
        !resting && (state.is_dropped() || state.is_pull_expired(now))
    }

    /// Takes the task that pulls this queue.
    pub(crate) fn set_pulling(&self, task: TaskHandle) {
        if self.is_dropped() {
            task.abort();
        } else {
            *self.pulling.lock() = Some(task);
        }
    }

    /// The broker id to pull from.
    pub(crate) fn suggested_broker(&self) -> i64 {
        self.suggested_broker.load(Ordering::Relaxed)
    }

    /// Notes the broker id to pull from next.
    pub(crate) fn suggest_broker(&self, id: i64) {
        self.suggested_broker.store(id, Ordering::Relaxed);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn slot() -> Arc<Slot> {
        let queue = MessageQueue::new("t", "b", 0);
        Arc::new(Slot::new(
            queue.clone(),
            queue,
            Arc::default(),
            Arc::default(),
            Instant::now(),
        ))
    }

    #[test]
    fn a_slot_that_is_given_up_is_dropped() {
        let slot = slot();
        assert!(!slot.is_dropped());
        slot.give_up();
        assert!(slot.is_dropped());
    }
}
