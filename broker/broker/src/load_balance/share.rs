//! A member's share of the queues of a topic (`QueryAssignmentProcessor.doLoadBalance`).

use std::collections::BTreeSet;

use hotfire_protocol::body::MessageRequestMode;
use hotfire_protocol::{MessageQueue, allocate};

/// How queues are shared: queues, the number of members, and whose share.
type Strategy = fn(&[MessageQueue], usize, usize) -> Vec<MessageQueue>;

/// The strategies that brokers know, by their names.
const STRATEGIES: [(&str, Strategy); 2] = [
    ("AVG", allocate::averagely),
    ("AVG_BY_CIRCLE", allocate::by_circle),
];

/// The queues that a member is to read, of `queues`, by what is set for its group. Both lists are
/// sorted. `None` if nobody can say: nobody knows the strategy, or there are no queues, no members or
/// no client to share among. Who is not a member gets nothing, unless all pop everything.
pub fn share(
    (mode, share_with): (MessageRequestMode, i32),
    strategy: &str,
    queues: &[MessageQueue],
    members: &[String],
    client_id: &str,
) -> Option<BTreeSet<MessageQueue>> {
    let &(_, strategy) = STRATEGIES.iter().find(|(name, _)| *name == strategy)?;
    let followers = usize::try_from(share_with).unwrap_or(0);
    let pops = mode == MessageRequestMode::Pop;
    if pops && (followers == 0 || followers + 1 >= members.len()) {
        // Each pops from all queues of each broker.
        let all = |queue: &MessageQueue| MessageQueue {
            queue_id: -1,
            ..queue.clone()
        };
        return Some(queues.iter().map(all).collect());
    }
    if client_id.trim().is_empty() || queues.is_empty() || members.is_empty() {
        return None;
    }
    let Some(at) = members.iter().position(|member| member == client_id) else {
        return Some(BTreeSet::new());
    };
    let share_of = |at| strategy(queues, members.len(), at);
    Some(if !pops {
        share_of(at).into_iter().collect()
    } else if members.len() <= queues.len() {
        // Its own, and those of the members that follow.
        let sharing = (at..=at + followers).map(|at| at % members.len());
        sharing.flat_map(share_of).collect()
    } else {
        // Nobody is left without a queue.
        queues.get(at % queues.len()).cloned().into_iter().collect()
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const PULL: (MessageRequestMode, i32) = (MessageRequestMode::Pull, 0);

    fn queues(count: i32) -> Vec<MessageQueue> {
        MessageQueue::of_broker("orders", "broker-a", count).collect()
    }

    fn members(count: usize) -> Vec<String> {
        (0..count).map(|at| format!("c{at}")).collect()
    }

    fn ids(
        setting: (MessageRequestMode, i32),
        queue_count: i32,
        member_count: usize,
        client_id: &str,
    ) -> Vec<i32> {
        let (queues, members) = (queues(queue_count), members(member_count));
        let share = share(setting, "AVG", &queues, &members, client_id).unwrap();
        share.into_iter().map(|queue| queue.queue_id).collect()
    }

    fn pop(share_with: i32) -> (MessageRequestMode, i32) {
        (MessageRequestMode::Pop, share_with)
    }

    #[test]
    fn who_pulls_gets_queues_of_its_own() {
        assert_eq!(ids(PULL, 5, 2, "c0"), [0, 1, 2]);
        assert_eq!(ids(PULL, 5, 2, "c1"), [3, 4]);
        let circle = share(PULL, "AVG_BY_CIRCLE", &queues(4), &members(2), "c1").unwrap();
        assert_eq!(
            circle.iter().map(|q| q.queue_id).collect::<Vec<_>>(),
            [1, 3]
        );
    }

    #[test]
    fn who_pops_gets_all_queues_of_each_broker_unless_few_share() {
        for share_with in [-1, 0, 3, 4, i32::MAX] {
            assert_eq!(ids(pop(share_with), 8, 4, "c0"), [-1], "{share_with}");
        }
    }

    #[test]
    fn who_shares_gets_the_queues_of_the_members_that_follow_too() {
        assert_eq!(ids(pop(1), 8, 4, "c0"), [0, 1, 2, 3]);
        assert_eq!(ids(pop(2), 8, 4, "c3"), [0, 1, 2, 3, 6, 7]);
    }

    #[test]
    fn with_more_members_than_queues_nobody_is_left_without() {
        assert_eq!(ids(pop(1), 2, 4, "c2"), [0]);
        assert_eq!(ids(pop(1), 2, 4, "c3"), [1]);
        assert_eq!(ids(PULL, 2, 4, "c3"), [0; 0]);
    }

    proptest! {
        /// However many there are and share: every queue is read, by one member if they pull, and
        /// by no more than may share it if they pop.
        #[test]
        fn every_queue_is_read(
            pops: bool,
            share_with in -1..12i32,
            circle: bool,
            queue_count in 1..20i32,
            member_count in 1..10usize,
        ) {
            let (queues, members) = (queues(queue_count), members(member_count));
            let mode = [MessageRequestMode::Pull, MessageRequestMode::Pop][usize::from(pops)];
            let strategy = ["AVG", "AVG_BY_CIRCLE"][usize::from(circle)];
            let mut readers: BTreeMap<i32, i32> = BTreeMap::new();
            for member in &members {
                let share = share((mode, share_with), strategy, &queues, &members, member).unwrap();
                for queue in share {
                    *readers.entry(queue.queue_id).or_default() += 1;
                }
            }
            let all = member_count as i32;
            if readers.contains_key(&-1) {
                prop_assert!(pops);
                prop_assert_eq!(readers, BTreeMap::from([(-1, all)]));
            } else {
                let many = all > queue_count;
                prop_assert_eq!(readers.len() as i32, queue_count);
                let most = match pops {
                    false => 1,
                    true if many => (all + queue_count - 1) / queue_count,
                    true => share_with + 1,
                };
                prop_assert!(readers.values().all(|&count| count <= most), "{:?}", readers);
            }
        }
    }

    #[test]
    fn who_is_no_member_gets_nothing() {
        assert_eq!(ids(PULL, 4, 2, "stranger"), [0; 0]);
        assert_eq!(ids(pop(1), 8, 4, "stranger"), [0; 0]);
    }

    #[test]
    fn nobody_can_say_without_queues_members_or_a_known_strategy() {
        let (queues, members) = (queues(4), members(3));
        assert_eq!(share(PULL, "AVG", &[], &members, "c0"), None);
        assert_eq!(share(PULL, "AVG", &queues, &[], "c0"), None);
        assert_eq!(share(PULL, "AVG", &queues, &members, " "), None);
        assert_eq!(share(pop(1), "AVG", &queues, &members, " "), None);
        let all = share(pop(0), "AVG", &queues, &members, " ").unwrap();
        assert_eq!(all.len(), 1);
        assert_eq!(share(PULL, "CONFIG", &queues, &members, "c0"), None);
    }
}
