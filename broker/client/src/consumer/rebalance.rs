//! What changes when the share of a consumer changes (`RebalanceImpl`).

use std::collections::BTreeSet;

use hotfire_protocol::MessageQueue;

/// A queue that is assigned now.
#[derive(Debug, Clone)]
pub struct Assigned {
    /// The queue.
    pub queue: MessageQueue,
    /// It no longer works, because pulling died or it could not be given up at once: it is given up
    /// and, if it is still ours, taken anew.
    pub stale: bool,
}

/// What to do about one topic.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Queues to give up, in order.
    pub revoke: Vec<MessageQueue>,
    /// Queues to take, in order; those that are given up because they are stale are among both.
    pub assign: Vec<MessageQueue>,
}

impl Plan {
    /// The way from what is `assigned` (of all topics) to the `share` of one topic.
    pub fn new(assigned: &[Assigned], topic: &str, share: &[MessageQueue]) -> Self {
        let wanted: BTreeSet<_> = share.iter().collect();
        let of_topic = || assigned.iter().filter(|held| held.queue.topic == topic);
        let revoke: Vec<_> = of_topic()
            .filter(|held| held.stale || !wanted.contains(&held.queue))
            .map(|held| held.queue.clone())
            .collect();
        let kept: BTreeSet<_> = of_topic()
            .filter(|held| !revoke.contains(&held.queue))
            .map(|held| &held.queue)
            .collect();
        let assign = wanted
            .difference(&kept)
            .map(|queue| (*queue).clone())
            .collect();
        Self { revoke, assign }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(id: i32) -> MessageQueue {
        MessageQueue::new("t", "b", id)
    }

    fn held(id: i32) -> Assigned {
        Assigned {
            queue: queue(id),
            stale: false,
        }
    }

    #[test]
    fn what_left_the_share_is_given_up_and_what_joined_it_is_taken() {
        let plan = Plan::new(&[held(0), held(1)], "t", &[queue(2), queue(1)]);
        assert_eq!(
            plan,
            Plan {
                revoke: vec![queue(0)],
                assign: vec![queue(2)]
            }
        );
    }

    #[test]
    fn an_unchanged_share_changes_nothing() {
        let plan = Plan::new(&[held(0), held(1)], "t", &[queue(0), queue(1)]);
        assert_eq!(plan, Plan::default());
    }

    #[test]
    fn queues_of_other_topics_are_left_alone() {
        let other = Assigned {
            queue: MessageQueue::new("u", "b", 0),
            stale: true,
        };
        assert_eq!(Plan::new(&[other], "t", &[]), Plan::default());
    }

    #[test]
    fn a_queue_that_is_no_longer_pulled_is_taken_anew() {
        let expired = Assigned {
            queue: queue(0),
            stale: true,
        };
        let plan = Plan::new(&[expired], "t", &[queue(0)]);
        assert_eq!(
            plan,
            Plan {
                revoke: vec![queue(0)],
                assign: vec![queue(0)]
            }
        );
    }
}
