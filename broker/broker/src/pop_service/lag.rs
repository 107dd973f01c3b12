//! How far pop consumption is: what metrics tell of it.

use hotfire_protocol::pop::revive_topic;
use parking_lot::Mutex;

use crate::pop::{Hidden, ReviveQueue};
use crate::state::State;

/// How far behind one queue of the revive topic is (`PopReviveService.getReviveBehindMessages`,
/// `getReviveBehindMillis`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReviveLag {
    pub queue_id: i32,
    /// Records that were not looked at, and check points that are due and not dealt with.
    pub records: i64,
    /// For how long the oldest of those check points is due, in milliseconds.
    pub late_ms: i64,
}

impl State {
    /// How far behind the queues of the revive topic are.
    pub(crate) fn revive_lags(&self) -> Vec<ReviveLag> {
        let topic = revive_topic(&self.config().broker_cluster_name);
        let now_ms = self.env.now_ms();
        let queues = (0..).zip(&self.pop.revive);
        let lag = |(queue_id, queue): (i32, &Mutex<ReviveQueue>)| {
            let end = self.store.max_offset_in_queue(&topic, queue_id);
            let queue = queue.lock();
            let (due, late_ms) = queue.overdue(now_ms);
            ReviveLag {
                queue_id,
                records: (end - queue.next()).max(0) + due,
                late_ms,
            }
        };
        queues.map(lag).collect()
    }

    /// How many messages are hidden by pops.
    pub(crate) fn hidden(&self) -> Hidden {
        let mut hidden = Hidden::new();
        for queue in &self.pop.revive {
            queue.lock().count_hidden(&mut hidden);
        }
        hidden
    }
}
