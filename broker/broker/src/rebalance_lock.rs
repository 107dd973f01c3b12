//! Queue locks of orderly consumers (`RebalanceLockManager`).
//!
//! A member of a group that consumes in order holds a lock on each of its queues and refreshes it
//! every 20 s. The table lives in memory only: after a restart every queue is free.
//!
//! Invariants: at any instant a queue of a group has at most one holder whose lock has not expired; a
//! group without locks is not in the table.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use hotfire_protocol::MessageQueue;
use tokio::time::Instant;

use crate::limits;

/// How many locks are looked at before others have their turn, when expired ones are removed.
const EXPIRY_PIECE: usize = 5_000;
/// How long a lock lives without a refresh (`rocketmq.broker.rebalance.lockMaxLiveTime`).
pub const LOCK_MAX_LIVE: Duration = Duration::from_secs(60);

/// Who holds which queue, for every group.
#[derive(Debug, Default)]
pub struct RebalanceLocks {
    groups: BTreeMap<String, BTreeMap<MessageQueue, Holder>>,
    /// How many locks there are, expired ones too.
    count: usize,
}

#[derive(Debug)]
struct Holder {
    client_id: Arc<str>,
    refreshed: Instant,
}

impl Holder {
    fn is_expired(&self, now: Instant) -> bool {
        now.duration_since(self.refreshed) > LOCK_MAX_LIVE
    }
}

impl RebalanceLocks {
    /// Locks or refreshes queues for a client and returns those that it holds now: the free ones,
    /// its own, and those whose lock has expired. The others stay with their holders, and if there are
    /// too many locks, the free ones stay free.
    pub fn lock(
        &mut self,
        group: &str,
        queues: impl IntoIterator<Item = MessageQueue>,
        client_id: &str,
        now: Instant,
    ) -> Vec<MessageQueue> {
        let client_id: Arc<str> = client_id.into();
        let mut held = self.groups.remove(group).unwrap_or_default();
        let (mut locked, mut refused) = (Vec::new(), 0);
        for queue in queues {
            match held.get_mut(&queue) {
                Some(holder) if holder.client_id == client_id => holder.refreshed = now,
                Some(holder) if !holder.is_expired(now) => continue,
                None if self.count >= limits::LOCKED_QUEUES => {
                    refused += 1;
                    continue;
                }
                _ => {
                    let holder = Holder {
                        client_id: client_id.clone(),
                        refreshed: now,
                    };
                    let before = held.insert(queue.clone(), holder);
                    self.count += usize::from(before.is_none());
                }
            }
            locked.push(queue);
        }
        if !held.is_empty() {
            self.groups.insert(group.to_owned(), held);
        }
        if refused > 0 {
            tracing::warn!(group, refused, "there are too many locked queues");
        }
        locked
    }

    /// Forgets a topic.
    pub fn remove_topic(&mut self, topic: &str) {
        self.groups.retain(|_, held| {
            held.retain(|queue, _| queue.topic != topic);
            !held.is_empty()
        });
    }

    /// Forgets a group.
    pub fn remove_group(&mut self, group: &str) {
        self.groups.remove(group);
    }

    /// Frees those of the queues that the client holds.
    pub fn unlock<'a>(
        &mut self,
        group: &str,
        queues: impl IntoIterator<Item = &'a MessageQueue>,
        client_id: &str,
    ) {
        let Some(held) = self.groups.get_mut(group) else {
            return;
        };
        for queue in queues {
            if held
                .get(queue)
                .is_some_and(|by| *by.client_id == *client_id)
            {
                held.remove(queue);
                self.count -= 1;
            }
        }
        if held.is_empty() {
            self.groups.remove(group);
        }
    }

    /// Removes expired locks, from a group on, a piece at a time. Returns where to go on.
    pub fn expire(&mut self, from: Option<&str>, now: Instant) -> Option<String> {
        let first = from.map_or(Bound::Unbounded, Bound::Included);
        let (mut looked_at, mut next) = (0, None);
        let mut empty = Vec::new();
        for (group, held) in self.groups.range_mut::<str, _>((first, Bound::Unbounded)) {
            if looked_at >= EXPIRY_PIECE {
                next = Some(group.clone());
                break;
            }
            let before = held.len();
            looked_at += before;
            held.retain(|_, holder| !holder.is_expired(now));
            self.count -= before - held.len();
            if held.is_empty() {
                empty.push(group.clone());
            }
        }
        for group in empty {
            self.groups.remove(&group);
        }
        next
    }

    /// How many locks there are, with expired ones that were not removed yet.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.count
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

    #[test]
    fn expired_locks_are_removed_and_others_stay() {
        let (mut locks, start) = (RebalanceLocks::default(), Instant::now());
        for group in 0..2_000 {
            let all: Vec<i32> = (0..10).collect();
            locks.lock(&group.to_string(), queues(&all), "a", start);
        }
        let late = start + LOCK_MAX_LIVE + Duration::from_millis(1);
        locks.lock("7", queues(&[1]), "a", late);
        assert_eq!(locks.len(), 20_000);
        let mut from = None;
        loop {
            from = locks.expire(from.as_deref(), late);
            if from.is_none() {
                break;
            }
        }
        assert_eq!((locks.len(), locks.groups.len()), (1, 1));
        locks.unlock("7", &queues(&[1]), "a");
        assert_eq!((locks.len(), locks.groups.len()), (0, 0));
    }

    #[test]
    fn when_there_are_too_many_locks_free_queues_stay_free() {
        let (mut locks, now) = (RebalanceLocks::default(), Instant::now());
        locks.lock("g", queues(&[0]), "a", now);
        locks.count = limits::LOCKED_QUEUES;
        assert_eq!(locks.lock("g", queues(&[0, 1]), "a", now), queues(&[0]));
        assert_eq!(locks.lock("h", queues(&[0]), "a", now), []);
        assert!(!locks.groups.contains_key("h"));
    }
}
