//! Pop consumption: the state of it (`PopMessageProcessor`, `PopReviveService`,
//! `ConsumerOrderInfoManager`, `PopLongPollingService`).
//!
//! A pop hides messages from the other members of a group until its time is up. What it has hidden
//! is written to the revive topic as a check point before the messages leave, and so is every
//! acknowledgement; both survive whatever the log survives. The revive service reads that topic and
//! puts what is due and not acknowledged into the group's retry topic.
//!
//! Where Apache RocketMQ sends check points round by the timer wheel, so that they come up in the
//! revive topic when they are due, they are written there at once, and the service keeps those that
//! are open in memory, in the order of their times. What consumers see is the same, but for the
//! moment: an unacknowledged message comes back 1 to 2 s after its time, not 2 to 5 s. When messages
//! have been revived, an acknowledgement of them follows in the topic, so that reading it again
//! after a restart does not revive them again. And a broker that starts moves the offsets of groups
//! behind what has a check point, so that a crash does not pop it twice.
//!
//! Left out: the buffer in which check points and their acknowledgements meet before they are stored
//! (`PopBufferMergeService`). With `enablePopBufferMerge=false`, the default of all versions, Java
//! keeps nothing there but the offsets that wait for their check points, as [`PopOffsets`] does:
//! every check point and every acknowledgement is stored, and clients and operators see no
//! difference. Switching it on is accepted, and changes nothing: it promises nothing, spares writes,
//! and pops again after a crash what it had in memory only. Also left out: the store on RocksDB
//! (`popConsumerKVServiceEnable`, off by default), so that POP_ROLLBACK, which moves its records to
//! the revive topic, has nothing to move; and the limit of unacknowledged messages
//! (`enablePopMessageThreshold`, off by default).

mod offsets;
mod order;
mod polling;
mod retries;
mod revive;

use std::collections::{BTreeMap, VecDeque};
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU32, Ordering};

use hotfire_protocol::pop::ORDER_REVIVE_QUEUE;
use parking_lot::{Mutex, MutexGuard};
use rustc_hash::FxBuildHasher;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::waiting::Waiting;

use offsets::PopOffsets;
use polling::Polling;

pub(crate) use order::{Committed, OrderInfos, Popped};
pub(crate) use polling::Parked;
pub(crate) use retries::{retry_topic_to_write, retry_topics_to_read};
pub(crate) use revive::{
    ACK_GRACE_MS, CheckPointKey, Due, Gone, Hidden, ReviveQueue, ReviveRecord,
};

/// The queues of the revive topic (`reviveQueueNum`).
pub(crate) const REVIVE_QUEUES: i32 = 8;
/// How many locks there are for all queues.
const STRIPES: usize = 64;

/// A queue, as a group reads it.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct QueueKey {
    pub topic: String,
    pub group: String,
    pub queue_id: i32,
}

impl QueueKey {
    pub fn new(topic: &str, group: &str, queue_id: i32) -> Self {
        Self {
            topic: topic.to_owned(),
            group: group.to_owned(),
            queue_id,
        }
    }
}

/// The state of pop consumption.
pub(crate) struct Pop {
    /// One queue of one group is popped by one request at a time; these locks are held meanwhile,
    /// and may be held while another table is.
    stripes: [Mutex<()>; STRIPES],
    pub offsets: Mutex<PopOffsets>,
    /// Held while offsets of pops are committed, so that they are in order.
    pub committing: Mutex<()>,
    pub orders: Mutex<OrderInfos>,
    /// Pops that wait for messages.
    pub polling: Mutex<Polling<Waiting>>,
    /// Notifications that wait for messages.
    pub notifications: Mutex<Polling<Waiting>>,
    /// Requests that are to be run again.
    pub woken: Mutex<VecDeque<Waiting>>,
    pub wake: Notify,
    /// Notified when something is parked, or an alarm is set.
    pub parked: Notify,
    /// When ordered queues can give messages again.
    pub alarms: Mutex<BTreeMap<QueueKey, Instant>>,
    /// The queues of the revive topic; only the service changes them.
    pub revive: [Mutex<ReviveQueue>; REVIVE_QUEUES as usize],
    check_points: AtomicU32,
}

impl Pop {
    pub fn new(orders: OrderInfos) -> Self {
        Self {
            stripes: std::array::from_fn(|_| Mutex::new(())),
            offsets: Mutex::default(),
            committing: Mutex::default(),
            orders: Mutex::new(orders),
            polling: Mutex::default(),
            notifications: Mutex::default(),
            woken: Mutex::default(),
            wake: Notify::new(),
            parked: Notify::new(),
            alarms: Mutex::default(),
            revive: std::array::from_fn(|_| Mutex::default()),
            check_points: AtomicU32::new(0),
        }
    }

    /// Keeps other requests from popping a queue for a group.
    pub fn lock(&self, key: &QueueKey) -> MutexGuard<'_, ()> {
        let stripe = FxBuildHasher.hash_one(key) as usize % STRIPES;
        self.stripes[stripe].lock()
    }

    /// The queue of the revive topic for the next pop: one after the other.
    pub fn next_revive_queue(&self, order: bool) -> i32 {
        if order {
            return ORDER_REVIVE_QUEUE;
        }
        let number = self.check_points.fetch_add(1, Ordering::Relaxed);
        (number % REVIVE_QUEUES.unsigned_abs()) as i32
    }

    /// Forgets a topic or a group that is gone. Returns the requests that wait for it. `revive_end`
    /// tells the ends of the revive topic's queues.
    pub fn forget(&self, gone: &Gone, revive_end: impl Fn(i32) -> i64) -> Vec<Waiting> {
        let Self {
            stripes: _,
            offsets,
            committing,
            orders,
            polling,
            notifications,
            woken: _,
            wake: _,
            parked: _,
            alarms,
            revive,
            check_points: _,
        } = self;
        let is_gone = |key: &QueueKey| gone.has(&key.topic, &key.group);
        {
            // An offset that is about to be committed is committed before.
            let _committing = committing.lock();
            offsets.lock().retain(|key| !is_gone(key));
        }
        orders.lock().retain(|topic, group| !gone.has(topic, group));
        alarms.lock().retain(|key, _| !is_gone(key));
        for (queue_id, queue) in (0..).zip(revive) {
            queue.lock().forget(gone, revive_end(queue_id));
        }
        let mut waiting = polling.lock().take_all(is_gone);
        waiting.extend(notifications.lock().take_all(is_gone));
        waiting
    }

    /// Has requests run again.
    pub fn run_again(&self, woken: Vec<Waiting>) {
        if !woken.is_empty() {
            self.woken.lock().extend(woken);
            self.wake.notify_one();
        }
    }
}
