//! Sharing the queues of a topic among the members of a group.
//!
//! Every member computes its own share from the sorted list of queues and the sorted list of client
//! ids. Nobody coordinates them: shares are disjoint only as far as all members see the same two
//! lists and use the same strategy.

use hotfire_protocol::MessageQueue;

/// How queues are shared (`AllocateMessageQueueStrategy`).
pub trait AllocateStrategy: Send + Sync {
    /// The strategy's name in RocketMQ.
    fn name(&self) -> &'static str;

    /// The share of the client `client_id`. Both lists are sorted. A client that is not in the list
    /// gets nothing.
    fn allocate(
        &self,
        client_id: &str,
        queues: &[MessageQueue],
        clients: &[String],
    ) -> Vec<MessageQueue>;
}

/// Contiguous ranges; the first members get one more if it does not come out even
/// (`AllocateMessageQueueAveragely`, the default).
#[derive(Debug, Clone, Copy, Default)]
pub struct AllocateAveragely;

impl AllocateStrategy for AllocateAveragely {
    fn name(&self) -> &'static str {
        "AVG"
    }

    fn allocate(
        &self,
        client_id: &str,
        queues: &[MessageQueue],
        clients: &[String],
    ) -> Vec<MessageQueue> {
        let Some(index) = clients.iter().position(|client| client == client_id) else {
            return Vec::new();
        };
        let (share, extra) = (queues.len() / clients.len(), queues.len() % clients.len());
        let start = index * share + index.min(extra);
        let len = share + usize::from(index < extra);
        queues
            .get(start..start + len)
            .map(<[_]>::to_vec)
            .unwrap_or_default()
    }
}

/// In turn, like dealing cards (`AllocateMessageQueueAveragelyByCircle`).
#[derive(Debug, Clone, Copy, Default)]
pub struct AllocateAveragelyByCircle;

impl AllocateStrategy for AllocateAveragelyByCircle {
    fn name(&self) -> &'static str {
        "AVG_BY_CIRCLE"
    }

    fn allocate(
        &self,
        client_id: &str,
        queues: &[MessageQueue],
        clients: &[String],
    ) -> Vec<MessageQueue> {
        match clients.iter().position(|client| client == client_id) {
            Some(index) => queues
                .iter()
                .skip(index)
                .step_by(clients.len())
                .cloned()
                .collect(),
            None => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn queues(count: usize) -> Vec<MessageQueue> {
        (0..count)
            .map(|id| MessageQueue::new("t", "b", id as i32))
            .collect()
    }

    fn clients(count: usize) -> Vec<String> {
        (0..count).map(|at| format!("c{at:03}")).collect()
    }

    fn shares(strategy: &dyn AllocateStrategy, queue_count: usize, count: usize) -> Vec<Vec<i32>> {
        let (queues, clients) = (queues(queue_count), clients(count));
        clients
            .iter()
            .map(|client| {
                let share = strategy.allocate(client, &queues, &clients);
                share.iter().map(|queue| queue.queue_id).collect()
            })
            .collect()
    }

    #[test]
    fn averagely_gives_ranges_and_the_rest_to_the_first() {
        assert_eq!(
            shares(&AllocateAveragely, 8, 3),
            [vec![0, 1, 2], vec![3, 4, 5], vec![6, 7]]
        );
    }

    #[test]
    fn by_circle_deals_queues_out_in_turn() {
        assert_eq!(
            shares(&AllocateAveragelyByCircle, 8, 3),
            [vec![0, 3, 6], vec![1, 4, 7], vec![2, 5]]
        );
    }

    #[test]
    fn members_beyond_the_number_of_queues_idle() {
        assert_eq!(shares(&AllocateAveragely, 1, 3), [vec![0], vec![], vec![]]);
        assert_eq!(shares(&AllocateAveragelyByCircle, 1, 2), [vec![0], vec![]]);
    }

    #[test]
    fn a_client_that_is_not_listed_gets_nothing() {
        for strategy in [
            &AllocateAveragely as &dyn AllocateStrategy,
            &AllocateAveragelyByCircle,
        ] {
            assert!(
                strategy
                    .allocate("stranger", &queues(4), &clients(2))
                    .is_empty()
            );
        }
    }

    proptest! {
        #[test]
        fn every_queue_is_assigned_exactly_once(queue_count in 0usize..200, count in 1usize..40) {
            let averagely: &dyn AllocateStrategy = &AllocateAveragely;
            for strategy in [averagely, &AllocateAveragelyByCircle] {
                let shares = shares(strategy, queue_count, count);
                let mut all: Vec<_> = shares.concat();
                all.sort_unstable();
                prop_assert_eq!(all, (0..queue_count as i32).collect::<Vec<_>>());
                let sizes: Vec<_> = shares.iter().map(Vec::len).collect();
                let (least, most) = (sizes.iter().min().unwrap(), sizes.iter().max().unwrap());
                prop_assert!(most - least <= 1);
            }
        }
    }
}
