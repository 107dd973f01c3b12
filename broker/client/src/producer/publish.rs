use std::sync::atomic::{AtomicU32, Ordering};

use hotfire_protocol::MessageQueue;

/// The queues that a topic's messages can be sent to, and whose turn it is (`TopicPublishInfo`).
#[derive(Debug, Default)]
pub struct PublishInfo {
    queues: Vec<MessageQueue>,
    next: AtomicU32,
}

impl PublishInfo {
    /// Queues in the order in which they take turns; `start` says who comes first. Java draws it at
    /// random, so that many producers do not march in step.
    pub fn new(queues: Vec<MessageQueue>, start: u32) -> Self {
        Self {
            queues,
            next: AtomicU32::new(start),
        }
    }

    /// All queues.
    pub fn queues(&self) -> &[MessageQueue] {
        &self.queues
    }

    /// Whether there is no queue to send to.
    pub fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    /// The next number of the turn counter; it is never negative in Java's terms.
    pub(crate) fn turn(&self) -> usize {
        (self.next.fetch_add(1, Ordering::Relaxed).wrapping_add(1) & 0x7FFF_FFFF) as usize
    }

    /// The queue whose turn it is, if possible not on the broker that just failed.
    pub fn select(&self, avoid_broker: Option<&str>) -> Option<&MessageQueue> {
        for _ in 0..self.queues.len() {
            let queue = self.at(self.turn())?;
            if avoid_broker != Some(queue.broker_name.as_str()) {
                return Some(queue);
            }
        }
        self.at(self.turn())
    }

    /// The queue for a turn.
    pub(crate) fn at(&self, turn: usize) -> Option<&MessageQueue> {
        self.queues.get(turn.checked_rem(self.queues.len())?)
    }

    /// How many queues a broker has here.
    pub(crate) fn queues_of(&self, broker_name: &str) -> usize {
        self.queues
            .iter()
            .filter(|queue| queue.broker_name == broker_name)
            .count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(brokers: &[&str], queues: i32) -> PublishInfo {
        let queues = brokers
            .iter()
            .flat_map(|broker| (0..queues).map(|id| MessageQueue::new("t", *broker, id)))
            .collect();
        PublishInfo::new(queues, 0)
    }

    #[test]
    fn queues_take_turns() {
        let info = info(&["a", "b"], 2);
        let order: Vec<_> = (0..5)
            .map(|_| info.select(None).unwrap().to_string())
            .collect();
        assert_eq!(order, ["t@a:1", "t@b:0", "t@b:1", "t@a:0", "t@a:1"]);
    }

    #[test]
    fn the_broker_that_failed_is_avoided() {
        let info = info(&["a", "b"], 3);
        for _ in 0..20 {
            assert_eq!(info.select(Some("a")).unwrap().broker_name, "b");
        }
    }

    #[test]
    fn the_only_broker_is_used_although_it_failed() {
        let info = info(&["a"], 2);
        assert_eq!(info.select(Some("a")).unwrap().broker_name, "a");
    }

    #[test]
    fn without_queues_there_is_nothing_to_select() {
        assert_eq!(PublishInfo::default().select(None), None);
    }

    #[test]
    fn the_turn_counter_wraps_without_a_gap() {
        let info = PublishInfo::new(info(&["a"], 2).queues, u32::MAX - 1);
        let order: Vec<_> = (0..4)
            .map(|_| info.select(None).unwrap().queue_id)
            .collect();
        assert_eq!(order, [1, 0, 1, 0]);
    }
}
