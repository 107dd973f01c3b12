//! Queue locks of orderly consumers (`RebalanceLockManager`).
//!
//! A member of a group that consumes in order holds a lock on each of its queues and refreshes it
//! every 20 s. The table lives in memory only: after a restart every queue is free.
//!
//! Invariant: at any instant a queue of a group has at most one holder whose lock has not expired.

use std::collections::BTreeMap;
use std::time::Duration;

use hotfire_protocol::MessageQueue;
use tokio::time::Instant;

/// How long a lock lives without a refresh (`rocketmq.broker.rebalance.lockMaxLiveTime`).
pub const LOCK_MAX_LIVE: Duration = Duration::from_secs(60);

/// Who holds which queue, for every group.
#[derive(Debug, Default)]
pub struct RebalanceLocks {
    groups: BTreeMap<String, BTreeMap<MessageQueue, Holder>>,
}

#[derive(Debug)]
struct Holder {
    client_id: String,
    refreshed: Instant,
}

impl Holder {
    fn is_expired(&self, now: Instant) -> bool {
        now.duration_since(self.refreshed) > LOCK_MAX_LIVE
    }
}

impl RebalanceLocks {
    /// Locks or refreshes queues for a client and returns those that it holds now: the free ones,
    /// its own, and those whose lock has expired. The others stay with their holders.
    pub fn lock(
        &mut self,
        group: &str,
        queues: impl IntoIterator<Item = MessageQueue>,
        client_id: &str,
        now: Instant,
    ) -> Vec<MessageQueue> {
        if !self.groups.contains_key(group) {
            self.groups.insert(group.to_owned(), BTreeMap::new());
        }
        let Some(held) = self.groups.get_mut(group) else {
            return Vec::new();
        };
        let mut locked = Vec::new();
        for queue in queues {
            match held.get_mut(&queue) {
                Some(holder) if holder.client_id == client_id => holder.refreshed = now,
                Some(holder) if !holder.is_expired(now) => continue,
                _ => {
                    let holder = Holder {
                        client_id: client_id.to_owned(),
                        refreshed: now,
                    };
                    held.insert(queue.clone(), holder);
                }
            }
            locked.push(queue);
        }
        locked
    }

    /// Frees those of the queues that the client holds.
    pub fn unlock<'a>(
        &mut self,
        group: &str,
        queues: impl IntoIterator<Item = &'a MessageQueue>,
        client_id: &str,
    ) {
        if let Some(held) = self.groups.get_mut(group) {
            for queue in queues {
                if held.get(queue).is_some_and(|by| by.client_id == client_id) {
                    held.remove(queue);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queues(ids: &[i32]) -> Vec<MessageQueue> {
        ids.iter()
            .map(|&id| MessageQueue::new("orders", "broker-a", id))
            .collect()
    }

    #[test]
    fn a_free_queue_is_locked_and_a_held_one_is_not() {
        let (mut locks, now) = (RebalanceLocks::default(), Instant::now());
        assert_eq!(locks.lock("g", queues(&[0, 1]), "a", now), queues(&[0, 1]));
        assert_eq!(locks.lock("g", queues(&[1, 2]), "b", now), queues(&[2]));
    }

    #[test]
    fn two_groups_do_not_see_each_others_locks() {
        let (mut locks, now) = (RebalanceLocks::default(), Instant::now());
        locks.lock("g", queues(&[0]), "a", now);
        assert_eq!(locks.lock("h", queues(&[0]), "b", now), queues(&[0]));
    }

    #[test]
    fn a_lock_expires_60_seconds_after_its_last_refresh() {
        let (mut locks, start) = (RebalanceLocks::default(), Instant::now());
        locks.lock("g", queues(&[0]), "a", start);
        let refreshed = start + Duration::from_secs(20);
        locks.lock("g", queues(&[0]), "a", refreshed);
        let kept = refreshed + LOCK_MAX_LIVE;
        assert_eq!(locks.lock("g", queues(&[0]), "b", kept), []);
        let late = kept + Duration::from_millis(1);
        assert_eq!(locks.lock("g", queues(&[0]), "b", late), queues(&[0]));
        assert_eq!(locks.lock("g", queues(&[0]), "a", late), []);
    }

    #[test]
    fn only_the_holder_can_unlock() {
        let (mut locks, now) = (RebalanceLocks::default(), Instant::now());
        locks.lock("g", queues(&[0]), "a", now);
        locks.unlock("g", &queues(&[0]), "b");
        assert_eq!(locks.lock("g", queues(&[0]), "b", now), []);
        locks.unlock("g", &queues(&[0]), "a");
        assert_eq!(locks.lock("g", queues(&[0]), "b", now), queues(&[0]));
    }
}
